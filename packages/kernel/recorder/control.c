// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients.h"
#include "control.h"
#include "listener.h"
#include "log.h"
#include "requests.h"

static int socket_fd = -1;
static char socket_path[108];

static void notify(__u16 type, const struct watched *watched)
{
	struct control_session notice;
	struct client *client;

	memcpy(notice.session_id, watched->shared->session_id, SESSION_ID_LEN);
	for (int cursor = 0; (client = clients_next(&cursor));)
		client_send(client, 0, type, &notice, sizeof(notice));
}

static void tell_lost(const struct watched *watched)
{
	notify(CONTROL_LOSS, watched);
}

static void tell_idle(const struct watched *watched)
{
	notify(CONTROL_IDLE, watched);
}

static void tell_ended(const struct watched *watched, const struct control_totals *totals)
{
	struct client *client;

	for (int cursor = 0; (client = clients_next(&cursor));)
		if (client == watched->asker)
			client_send(client, watched->asker_id, CONTROL_TOTALS, totals, sizeof(*totals));
}

static void read_client(struct client *client)
{
	unsigned char body[MAX_REQUEST] __attribute__((aligned(8)));
	struct control_frame frame;
	int taken;

	if (!client_receive(client)) {
		client_bury(client);
		return;
	}
	while (!client->dead && (taken = client_take(client, &frame, body))) {
		if (taken < 0) {
			say("a client sent a malformed frame: dropped");
			client_bury(client);
		} else if (!requests_handle(client, &frame, body)) {
			say("a client sent an unknown request (%u, %u bytes): dropped", frame.type, frame.length);
			client_bury(client);
		}
	}
}

static void accept_client(void)
{
	int fd = accept4(socket_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = { .uid = ~0U };
	socklen_t size = sizeof(peer);
	struct client *client;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != 0) {
		say("a client (uid %u) is turned away", peer.uid);
		close(fd);
		return;
	}
	client = clients_add(fd);
	if (client)
		requests_hello(client);
	else
		say("a client is turned away: there are too many");
}

static void tell_progress(struct client *client, struct watched *watched)
{
	struct control_progress notice = { .spool_length = watched->spool.length };

	memcpy(notice.session_id, watched->shared->session_id, SESSION_ID_LEN);
	client_send(client, 0, CONTROL_PROGRESS, &notice, sizeof(notice));
}

void control_progress(void)
{
	struct watched *watched;
	struct client *client;

	for (int at = 0; (client = clients_next(&at));) {
		bool behind = client->behind;

		if (client->dead)
			continue;
		client->behind = client_lags(client);
		for (__u32 cursor = 0, seen = 0; seen < sessions_count() && (watched = session_next(&cursor)); seen++)
			if (!client->behind && (behind || watched->spool.length != watched->spool.notified))
				tell_progress(client, watched);
	}
	for (__u32 cursor = 0, seen = 0; seen < sessions_count() && (watched = session_next(&cursor)); seen++)
		watched->spool.notified = watched->spool.length;
	clients_reap();
}

void control_event(void *tag, __u32 events)
{
	struct client *client = tag;

	if (tag == &socket_fd) {
		accept_client();
	} else if (!client->dead) {
		if (events & EPOLLOUT)
			client_write_out(client);
		if (!client->dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			read_client(client);
	}
}

bool control_owns(void *tag)
{
	struct client *client;

	if (tag == &socket_fd)
		return true;
	for (int cursor = 0; tag && (client = clients_next(&cursor));)
		if (client == tag)
			return true;
	return false;
}

int control_start(const char *path, int epoll_fd, struct kernel *with)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &socket_fd };
	mode_t mask;
	int error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	clients_start(epoll_fd);
	requests_start(with);
	strcpy(address.sun_path, path);
	strcpy(socket_path, path);
	unlink(path); /* the spool's lock says that nobody else serves here */
	socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	error = socket_fd < 0 || bind(socket_fd, (struct sockaddr *)&address, sizeof(address)) || listen(socket_fd, 64)
			? -errno : 0;
	umask(mask);
	listener = (struct listener){ tell_lost, tell_idle, tell_ended };
	if (!error && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, socket_fd, &event))
		error = -errno;
	return error;
}

void control_stop(void)
{
	struct client *client;

	for (int cursor = 0; (client = clients_next(&cursor));)
		if (!client->dead)
			client_write_out(client);
	unlink(socket_path);
}
