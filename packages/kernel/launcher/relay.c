/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What forwards for a user: instead of a shell, the leader becomes this. It connects and listens where the client
 * asked, with the user's rights, in the session's cgroup: the kernel decides what may be reached (sockets' modes,
 * ports below 1024), and whoever watches the session sees each connection as the session's own.
 *
 * A process a connection: one name server that does not answer, one peer that does not read, holds up nobody else.
 * Nothing is executed (but xauth, in a process that holds nothing of ours), so the process stays undumpable (prctl(2)):
 * the user can end it, but neither trace it nor speak in its place.
 *
 *   daemon → stdin      connect ID tcp PORT HOST | connect ID unix PATH
 *                       listen ID tcp PORT | listen ID unix PATH | listen ID agent | listen ID display FIRST
 *                       cookie ID DISPLAY PROTOCOL HEX    into the user's X authority file
 *                       close ID               a listener, or a connection that is not open yet
 *   stdout → daemon     open ID PID W R        PID holds two pipes: the daemon opens W for writing and R for reading
 *                                              through /proc/PID/fd, and writes one byte: "I have them"
 *                       failed ID TEXT
 *                       listening ID WHERE     a port, a path or the number of a display
 *                       done ID                the cookie is there
 *                       incoming ID PID W R PORT ADDRESS     on listener ID; PORT 0 and no address on a Unix socket
 *                       closed PID             that connection is over
 *
 * End of file on stdin ends everything, and removes the sockets that were made.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay-cookie.h"
#include "relay-say.h"
#include "relay-stream.h"

enum {
	/* The daemon allows fewer; this is what holds if it ever does not. */
	CHILDREN_MAX = 256,
	LISTENERS_MAX = 64, /* a TCP port takes two: one an address family */
	DISPLAY_PORT = 6000, /* of display 0 */
	DISPLAYS_TRIED = 1000, /* as sshd */
	BACKLOG = 128,
};

struct child {
	pid_t pid; /* 0: a free place */
	unsigned id;
};

struct listener {
	int fd; /* -1: a free place */
	unsigned id;
	char path[RELAY_PATH_MAX + 1]; /* empty: TCP */
	char folder[32]; /* made for the socket alone, and goes with it */
	dev_t device;
	ino_t inode;
};

static struct child children[CHILDREN_MAX];
static struct listener listeners[LISTENERS_MAX];
static size_t child_count;
static int signals;

static void drop_listener(struct listener *listener)
{
	struct stat st;

	close(listener->fd);
	listener->fd = -1;
	/* Only what we made: another may stand there by now. */
	if (*listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		unlink(listener->path);
	if (*listener->folder)
		rmdir(listener->folder);
}

/* The parent gets true. A child keeps none of the parent's descriptors, and ends when the parent does. */
static bool in_parent(unsigned id)
{
	pid_t parent = getpid(), pid = child_count < CHILDREN_MAX ? fork() : -1;
	sigset_t none;

	if (pid < 0) {
		if (id)
			relay_say("failed %u too many connections", id);
		return true;
	}
	if (pid > 0) {
		size_t at = 0;

		while (children[at].pid)
			at++;
		children[at] = (struct child){ pid, id };
		child_count++;
		return true;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	close(STDIN_FILENO);
	close(signals);
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		if (listeners[i].fd >= 0)
			close(listeners[i].fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return false;
}

static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (size_t i = 0; i < CHILDREN_MAX; i++)
			if (children[i].pid == pid) {
				children[i].pid = 0;
				child_count--;
			}
		relay_say("closed %d", pid);
	}
}

static struct listener *free_listener(void)
{
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		if (listeners[i].fd < 0) {
			listeners[i].path[0] = listeners[i].folder[0] = 0;
			return &listeners[i];
		}
	errno = EMFILE;
	return NULL;
}

static int listen_on(const struct sockaddr *address, socklen_t length)
{
	int one = 1, fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

enum v6 { V6_WHERE_IT_CAN, V6_NOBODY_ELSE };

/*
 * On loopback, and on nothing else: sshd's GatewayPorts no. The second family is good to have, and no more; unless
 * nobody else may listen on it, because a client may try it first and would show its secret there.
 * The port, or 0 with errno.
 */
static unsigned listen_loopback(unsigned id, unsigned port, enum v6 wanted)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct listener *first = free_listener(), *second;
	socklen_t length = sizeof(v4);

	v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!first || (first->fd = listen_on((struct sockaddr *)&v4, sizeof(v4))) < 0)
		return 0;
	first->id = id;
	getsockname(first->fd, (struct sockaddr *)&v4, &length);
	v6.sin6_port = v4.sin_port;
	second = free_listener();
	if (second) {
		second->id = id;
		second->fd = listen_on((struct sockaddr *)&v6, sizeof(v6));
	}
	if (wanted == V6_NOBODY_ELSE && (!second || (second->fd < 0 && errno == EADDRINUSE))) {
		drop_listener(first);
		errno = EADDRINUSE;
		return 0;
	}
	return ntohs(v4.sin_port);
}

static void listen_tcp(unsigned id, unsigned port)
{
	port = listen_loopback(id, port, V6_WHERE_IT_CAN);
	if (port)
		relay_say("listening %u %u", id, port);
	else
		relay_say("failed %u %s", id, strerror(errno));
}

/* The first display from this number on that nobody has. */
static void listen_display(unsigned id, unsigned first)
{
	errno = EADDRINUSE;
	for (unsigned n = first; n < first + DISPLAYS_TRIED && n <= UINT16_MAX - DISPLAY_PORT; n++) {
		if (listen_loopback(id, DISPLAY_PORT + n, V6_NOBODY_ELSE)) {
			relay_say("listening %u %u", id, n);
			return;
		}
		if (errno != EADDRINUSE)
			break;
	}
	relay_say("failed %u no free display: %s", id, strerror(errno));
}

static bool listen_path(struct listener *listener, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t before = umask(0177); /* the user's alone, from the first moment */
	struct stat st;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	listener->fd = listen_on((struct sockaddr *)&address, sizeof(address));
	umask(before);
	if (listener->fd < 0)
		return false;
	snprintf(listener->path, sizeof(listener->path), "%s", path);
	if (lstat(path, &st) == 0) {
		listener->device = st.st_dev;
		listener->inode = st.st_ino;
	}
	return true;
}

static void listen_unix(unsigned id, const char *path)
{
	struct listener *listener = free_listener();

	if (!listener || !listen_path(listener, path)) {
		relay_say("failed %u %s", id, strerror(errno));
		return;
	}
	listener->id = id;
	relay_say("listening %u %s", id, path);
}

/* Where sshd puts it, and as it does: a folder of the user's own, so that nobody else reaches the socket. */
static void listen_agent(unsigned id)
{
	struct listener *listener = free_listener();
	char folder[] = "/tmp/ssh-XXXXXXXXXX", path[64];

	if (!listener || !mkdtemp(folder)) {
		relay_say("failed %u %s", id, strerror(errno));
		return;
	}
	snprintf(path, sizeof(path), "%s/agent.%d", folder, getpid());
	if (!listen_path(listener, path)) {
		relay_say("failed %u %s", id, strerror(errno));
		rmdir(folder);
		return;
	}
	snprintf(listener->folder, sizeof(listener->folder), "%s", folder);
	listener->id = id;
	relay_say("listening %u %s", id, path);
}

static void close_id(unsigned id)
{
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		if (listeners[i].fd >= 0 && listeners[i].id == id)
			drop_listener(&listeners[i]);
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (children[i].pid && children[i].id == id)
			kill(children[i].pid, SIGKILL);
}

static void take_incoming(const struct listener *listener)
{
	struct sockaddr_storage from = { 0 };
	socklen_t length = sizeof(from);
	char text[INET6_ADDRSTRLEN] = "";
	unsigned port = 0;
	int fd = accept4(listener->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (from.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&from)->sin_addr, text, sizeof(text));
		port = ntohs(((struct sockaddr_in *)&from)->sin_port);
	} else if (from.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&from)->sin6_addr, text, sizeof(text));
		port = ntohs(((struct sockaddr_in6 *)&from)->sin6_port);
	}
	if (!in_parent(0))
		relay_incoming(listener->id, fd, port, text);
	close(fd);
}

static void obey(char *line)
{
	char display[32], protocol[64], cookie[257];
	unsigned id, port;
	int at = 0;

	if (sscanf(line, "connect %u tcp %u %n", &id, &port, &at) == 2 && at) {
		if (!in_parent(id))
			relay_connect_tcp(id, line + at, port);
	} else if (sscanf(line, "connect %u unix %n", &id, &at) == 1 && at) {
		if (!in_parent(id))
			relay_connect_unix(id, line + at);
	} else if (sscanf(line, "listen %u tcp %u", &id, &port) == 2) {
		listen_tcp(id, port);
	} else if (sscanf(line, "listen %u unix %n", &id, &at) == 1 && at) {
		listen_unix(id, line + at);
	} else if (sscanf(line, "listen %u agen%n", &id, &at) == 1 && at) {
		listen_agent(id);
	} else if (sscanf(line, "listen %u display %u", &id, &port) == 2) {
		listen_display(id, port);
	} else if (sscanf(line, "cookie %u %31s %63s %256s", &id, display, protocol, cookie) == 4) {
		if (!in_parent(id))
			relay_cookie(id, display, protocol, cookie);
	} else if (sscanf(line, "close %u", &id) == 1) {
		close_id(id);
	}
}

/* False: the daemon has no more to say. */
static bool hear_daemon(void)
{
	static char line[RELAY_LINE_MAX];
	static size_t length;
	char bytes[RELAY_LINE_MAX];
	ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (got < 0)
		return errno == EINTR;
	for (ssize_t i = 0; i < got; i++) {
		if (bytes[i] != '\n') {
			if (length < sizeof(line) - 1)
				line[length++] = bytes[i];
			continue;
		}
		line[length] = 0;
		length = 0;
		obey(line);
	}
	return got > 0;
}

/* False: asked to end. */
static bool hear_signal(void)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return true;
	if (info.ssi_signo != SIGCHLD)
		return false;
	reap();
	return true;
}

static bool serve(void)
{
	struct pollfd polled[2 + LISTENERS_MAX] = { { STDIN_FILENO, POLLIN, 0 }, { signals, POLLIN, 0 } };

	/* With no place for a connection they wait in the backlog. */
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		polled[2 + i] = (struct pollfd){ child_count < CHILDREN_MAX ? listeners[i].fd : -1, POLLIN, 0 };
	if (poll(polled, 2 + LISTENERS_MAX, -1) < 0)
		return errno == EINTR;
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		if (polled[2 + i].revents && child_count < CHILDREN_MAX)
			take_incoming(&listeners[i]);
	if (polled[1].revents && !hear_signal())
		return false;
	return !polled[0].revents || hear_daemon();
}

void run_relay(char *const *environment)
{
	sigset_t blocked;

	environ = (char **)environment; /* of whom we work for: xauth looks for HOME in it */
	prctl(PR_SET_DUMPABLE, 0);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&blocked);
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		listeners[i].fd = -1;
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signals = signalfd(-1, &blocked, SFD_CLOEXEC);
	if (signals < 0)
		_exit(1);
	while (serve())
		;
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		if (listeners[i].fd >= 0)
			drop_listener(&listeners[i]);
	_exit(0); /* the connections end with us: PR_SET_PDEATHSIG */
}
