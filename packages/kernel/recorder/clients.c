// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clients.h"
#include "ending.h"
#include "log.h"

#define MAX_CLIENTS 32
#define MAX_OUTPUT (1u << 20)      /* waiting to be read; more and the client is gone */
#define NOTICE_OUTPUT (64u << 10)  /* more waiting than this: progress is told later, once */

static struct client *clients[MAX_CLIENTS];
static int epoll;

void clients_start(int epoll_fd)
{
	epoll = epoll_fd;
}

struct client *clients_add(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct client *client = NULL;
	int slot = 0;

	while (slot < MAX_CLIENTS && clients[slot])
		slot++;
	if (slot < MAX_CLIENTS)
		client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return NULL;
	}
	client->fd = fd;
	clients[slot] = client;
	event.data.ptr = client;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return client;
}

struct client *clients_next(int *cursor)
{
	while (*cursor < MAX_CLIENTS) {
		struct client *client = clients[(*cursor)++];

		if (client)
			return client;
	}
	return NULL;
}

bool client_lags(const struct client *client)
{
	return client->out_length > NOTICE_OUTPUT;
}

static void watch_events(struct client *client, bool writing)
{
	struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = client };

	if (client->writing != writing)
		epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
	client->writing = writing;
}

void client_bury(struct client *client)
{
	if (client->dead)
		return;
	client->dead = true;
	ending_forget_asker(client);
	close(client->fd);
}

void clients_reap(void)
{
	for (int i = 0; i < MAX_CLIENTS; i++) {
		if (!clients[i] || !clients[i]->dead)
			continue;
		free(clients[i]->out);
		free(clients[i]);
		clients[i] = NULL;
	}
}

void client_write_out(struct client *client)
{
	size_t done = 0;

	while (done < client->out_length) {
		ssize_t n = send(client->fd, client->out + done, client->out_length - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			client_bury(client);
			return;
		}
		if (n < 0)
			break;
		done += n;
	}
	client->out_length -= done;
	memmove(client->out, client->out + done, client->out_length);
	if (!client->out_length && client->out_space > NOTICE_OUTPUT) {
		free(client->out);
		client->out = NULL;
		client->out_space = 0;
	}
	watch_events(client, client->out_length > 0);
}

void client_send(struct client *client, __u32 id, __u16 type, const void *body, __u32 length)
{
	struct control_frame frame = { .length = length, .type = type, .version = WIRE_VERSION, .id = id };
	size_t needed = client->out_length + sizeof(frame) + length;

	if (client->dead)
		return;
	if (needed > MAX_OUTPUT) {
		say("a client does not read its answers: dropped");
		client_bury(client);
		return;
	}
	if (needed > client->out_space) {
		size_t space = needed < 4096 ? 4096 : needed * 2;
		unsigned char *out = realloc(client->out, space);

		if (!out) {
			client_bury(client);
			return;
		}
		client->out = out;
		client->out_space = space;
	}
	memcpy(client->out + client->out_length, &frame, sizeof(frame));
	if (length)
		memcpy(client->out + client->out_length + sizeof(frame), body, length);
	client->out_length = needed;
	if (!client->writing)
		client_write_out(client);
}

bool client_receive(struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->in_length, sizeof(client->in) - client->in_length, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	client->in_length += n;
	return true;
}

int client_take(struct client *client, struct control_frame *frame, unsigned char body[MAX_REQUEST])
{
	size_t whole;

	if (client->in_length < sizeof(*frame))
		return 0;
	memcpy(frame, client->in, sizeof(*frame));
	if (frame->length > MAX_REQUEST || frame->version != WIRE_VERSION || !frame->id)
		return -1;
	whole = sizeof(*frame) + frame->length;
	if (client->in_length < whole)
		return 0;
	memcpy(body, client->in + sizeof(*frame), frame->length);
	client->in_length -= whole;
	memmove(client->in, client->in + whole, client->in_length);
	return 1;
}
