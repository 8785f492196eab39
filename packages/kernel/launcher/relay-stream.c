/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One forwarded connection: reach the other end, hand two pipes to the daemon, copy both ways until both directions
 * have ended. Pipes, because the daemon can open them through /proc without anybody passing descriptors.
 */
#define _GNU_SOURCE
#include "relay-stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "relay-say.h"

enum {
	CONNECT_SECONDS = 30, /* an address; a name may have several */
	BUFFER_SIZE = 64 * 1024,
};

/* One way through: what was read and not yet written. A closed end is -1. */
struct direction {
	int from, to;
	size_t start, length;
	char bytes[BUFFER_SIZE];
};

static _Noreturn void failed(unsigned id, const char *text)
{
	relay_say("failed %u %s", id, text);
	_exit(0);
}

/* False: the connection was reset, which ends the other direction too. */
static bool read_more(struct direction *way)
{
	ssize_t got = read(way->from, way->bytes, sizeof(way->bytes));

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	way->start = 0;
	way->length = (size_t)got;
	if (got == 0)
		way->from = -1;
	return true;
}

/* False: nobody takes it any more. */
static bool write_on(struct direction *way)
{
	ssize_t put = write(way->to, way->bytes + way->start, way->length);

	if (put < 0)
		return errno == EAGAIN || errno == EINTR;
	way->start += (size_t)put;
	way->length -= (size_t)put;
	return true;
}

static bool is_over(const struct direction *way)
{
	return way->from < 0 && way->length == 0;
}

/* A way waits for its input or for its output, never for both: what is under way is one buffer. */
static struct pollfd waits_for(const struct direction *way)
{
	if (is_over(way))
		return (struct pollfd){ -1, 0, 0 };
	return way->length ? (struct pollfd){ way->to, POLLOUT, 0 } : (struct pollfd){ way->from, POLLIN, 0 };
}

static bool move(struct direction *way)
{
	if (way->length == 0 && !read_more(way))
		return false;
	return way->length == 0 || write_on(way);
}

static _Noreturn void copy(int socket, int from_daemon, int to_daemon)
{
	static struct direction out, in;
	bool out_open = true, in_open = true;

	out.from = from_daemon, out.to = socket;
	in.from = socket, in.to = to_daemon;
	while (out_open || in_open) {
		/* The third tells that the daemon closed its end altogether, also while nothing comes to be written. */
		struct pollfd polled[] = { waits_for(&out), waits_for(&in), { in_open ? to_daemon : -1, 0, 0 } };

		if (poll(polled, 3, -1) < 0)
			continue;
		if ((polled[2].revents & POLLERR) || (polled[0].revents && !move(&out)) ||
		    (polled[1].revents && !move(&in)))
			break;
		if (out_open && is_over(&out)) {
			shutdown(socket, SHUT_WR);
			out_open = false;
		}
		if (in_open && is_over(&in)) {
			close(to_daemon);
			in_open = false;
		}
	}
	_exit(0);
}

/* What is said of the pipes stands between `head` and `tail`. */
static _Noreturn void hand_over(int socket, const char *head, const char *tail)
{
	int out[2], in[2], one = 1; /* out: daemon → socket */
	char ready;

	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on a Unix socket */
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		_exit(1);
	relay_say("%s %d %d %d%s", head, getpid(), out[1], in[0], tail);
	/* We hold the daemon's ends until it has opened them; should it never, our parent ends us. */
	if (read(out[0], &ready, 1) != 1)
		_exit(1);
	close(out[1]);
	close(in[0]);
	close(STDOUT_FILENO);
	fcntl(socket, F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	copy(socket, out[0], in[1]);
}

static int connect_to(int family, const struct sockaddr *address, socklen_t length)
{
	struct timeval patience = { .tv_sec = CONNECT_SECONDS };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, address, length) == 0)
		return fd;
	error = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
	close(fd);
	errno = error;
	return -1;
}

static _Noreturn void opened(unsigned id, int socket)
{
	char head[32];

	snprintf(head, sizeof(head), "open %u", id);
	hand_over(socket, head, "");
}

void relay_connect_tcp(unsigned id, const char *host, unsigned port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
	char service[16];
	int status, fd = -1;

	snprintf(service, sizeof(service), "%u", port);
	status = getaddrinfo(host, service, &hints, &found);
	if (status != 0)
		failed(id, gai_strerror(status));
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
		fd = connect_to(at->ai_family, at->ai_addr, at->ai_addrlen);
	if (fd < 0)
		failed(id, strerror(errno));
	freeaddrinfo(found);
	opened(id, fd);
}

void relay_connect_unix(unsigned id, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	fd = connect_to(AF_UNIX, (struct sockaddr *)&address, sizeof(address));
	if (fd < 0)
		failed(id, strerror(errno));
	opened(id, fd);
}

void relay_incoming(unsigned listener, int socket, unsigned port, const char *address)
{
	char head[32], tail[64];

	snprintf(head, sizeof(head), "incoming %u", listener);
	snprintf(tail, sizeof(tail), " %u %s", port, address);
	hand_over(socket, head, tail);
}
