// SPDX-License-Identifier: Apache-2.0
/*
 * The control socket. Every client is root (SO_PEERCRED), has a bounded buffer each way, and is dropped alone
 * when it sends nonsense or stops reading.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "recorder.h"
#include "wire-hash.h"

#define MAX_CLIENTS 32
#define MAX_REQUEST 4096           /* body of the longest request, with room for later versions */
#define MAX_OUTPUT (1u << 20)      /* waiting to be read; more and the client is gone */
#define NOTICE_OUTPUT (64u << 10)  /* more waiting than this: progress is told later, once */

struct client {
	int fd;
	unsigned char in[sizeof(struct control_frame) + MAX_REQUEST];
	size_t in_length;
	unsigned char *out;
	size_t out_length, out_space;
	bool writing;                  /* EPOLLOUT asked for */
	bool behind;                   /* progress was skipped */
	bool dead;
};

bool control_shutdown, control_handover;
static int listener = -1, epoll;
static struct kernel *kernel;
static struct client *clients[MAX_CLIENTS];
static char socket_path[108];
static __u64 started;

static void watch_events(struct client *client, bool writing)
{
	struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = client };

	if (client->writing != writing)
		epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
	client->writing = writing;
}

/* The struct lives on until control_event or control_progress is out of it. */
static void bury(struct client *client)
{
	if (client->dead)
		return;
	client->dead = true;
	sessions_forget_client(client);
	close(client->fd);
}

static void reap(void)
{
	for (int i = 0; i < MAX_CLIENTS; i++) {
		if (!clients[i] || !clients[i]->dead)
			continue;
		free(clients[i]->out);
		free(clients[i]);
		clients[i] = NULL;
	}
}

static void write_out(struct client *client)
{
	size_t done = 0;

	while (done < client->out_length) {
		ssize_t n = send(client->fd, client->out + done, client->out_length - done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			bury(client);
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

static void send_frame(struct client *client, __u32 id, __u16 type, const void *body, __u32 length)
{
	struct control_frame frame = { .length = length, .type = type, .version = WIRE_VERSION, .id = id };
	size_t needed = client->out_length + sizeof(frame) + length;

	if (client->dead)
		return;
	if (needed > MAX_OUTPUT) {
		say("a client does not read its answers: dropped");
		bury(client);
		return;
	}
	if (needed > client->out_space) {
		size_t space = needed < 4096 ? 4096 : needed * 2;
		unsigned char *out = realloc(client->out, space);

		if (!out) {
			bury(client);
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
		write_out(client);
}

void control_reply(struct client *client, __u32 id, __u16 type, const void *body, __u32 length)
{
	send_frame(client, id, type, body, length);
}

void control_notify(__u16 type, const void *body, __u32 length)
{
	for (int i = 0; i < MAX_CLIENTS; i++)
		if (clients[i])
			send_frame(clients[i], 0, type, body, length);
}

static void tell_progress(struct client *client, struct watched *watched)
{
	struct control_progress notice = { .spool_length = watched->spool.length };

	memcpy(notice.session_id, watched->shared->session_id, SESSION_ID_LEN);
	send_frame(client, 0, CONTROL_PROGRESS, &notice, sizeof(notice));
}

/* Once a drain: a notice for each spool that grew. */
void control_progress(void)
{
	struct watched *watched;

	for (int i = 0; i < MAX_CLIENTS; i++) {
		struct client *client = clients[i];
		bool behind = client && client->behind;

		if (!client || client->dead)
			continue;
		client->behind = client->out_length > NOTICE_OUTPUT;
		for (__u32 cursor = 0, seen = 0; seen < sessions_count() && (watched = session_next(&cursor)); seen++)
			if (!client->behind && (behind || watched->spool.length != watched->spool.notified))
				tell_progress(client, watched);
	}
	for (__u32 cursor = 0, seen = 0; seen < sessions_count() && (watched = session_next(&cursor)); seen++)
		watched->spool.notified = watched->spool.length;
	reap();
}

static void reply_error(struct client *client, __u32 id, int error, const char *message)
{
	struct control_error body = { .error = error };

	snprintf(body.message, sizeof(body.message), "%s", message);
	send_frame(client, id, CONTROL_ERROR, &body, sizeof(body));
}

static void send_hello(struct client *client)
{
	static const unsigned char hash[32] = WIRE_HASH_BYTES;
	struct control_hello hello = {
		.pid = getpid(), .features = kernel->features, .ring_size = kernel->ring_size, .start_ktime = started,
		.resumed_sessions = sessions_resumed(),
	};

	memcpy(hello.wire_hash, hash, sizeof(hash));
	send_frame(client, 0, CONTROL_HELLO, &hello, sizeof(hello));
}

static void reply_list(struct client *client, __u32 id)
{
	struct control_status *list = calloc(sessions_count() + 1, sizeof(*list));
	struct watched *watched;
	__u32 n = 0;

	if (!list) {
		reply_error(client, id, -ENOMEM, "out of memory");
		return;
	}
	for (__u32 cursor = 0; (watched = session_next(&cursor)) && (n + 1) * sizeof(*list) <= CONTROL_MAX_BODY; n++) {
		memcpy(list[n].session_id, watched->shared->session_id, SESSION_ID_LEN);
		list[n].session = watched->ref;
		list[n].cgroup_id = watched->shared->cgroup_id;
		list[n].spool_length = watched->spool.length;
		list[n].live_tasks = watched->shared->live_tasks;
		list[n].leader_pid = watched->shared->leader_pid;
	}
	send_frame(client, id, CONTROL_LIST, list, n * sizeof(*list));
	free(list);
}

static __u32 count_lineage(void)
{
	__u32 key, next, n = 0;
	void *from = NULL;

	while (n < MAX_LINEAGE && !bpf_map_get_next_key(kernel->lineage_fd, from, &next)) {
		key = next;
		from = &key;
		n++;
	}
	return n;
}

static void reply_stats(struct client *client, __u32 id)
{
	struct control_stats stats = {
		.ring_size = kernel->ring_size, .ring_used = ring_used(), .drained_records = ring_counts.records,
		.drained_bytes = ring_counts.bytes, .orphan_records = ring_counts.orphans,
		.outside_tasks = kernel_outside(kernel), .program_misses = kernel_misses(kernel),
		.sessions = sessions_count(), .lineage_entries = count_lineage(),
	};

	for (__u32 slot = 0; slot < MAX_SESSIONS; slot++)
		for (int kind = 0; kind < KIND_COUNT; kind++)
			stats.ring_lost += kernel->sessions[slot].lost[kind];
	send_frame(client, id, CONTROL_STATS, &stats, sizeof(stats));
}

static bool has_others(const struct client *client)
{
	for (int i = 0; i < MAX_CLIENTS; i++)
		if (clients[i] && clients[i] != client && !clients[i]->dead)
			return true;
	return false;
}

/* False: not a request of this protocol. */
static bool handle(struct client *client, const struct control_frame *frame, const void *body)
{
	const struct control_session *named = body;
	struct control_watched watched = {};
	struct control_totals totals;
	struct watched *found;
	const char *why;
	int error;

	switch (frame->type) {
	case CONTROL_WATCH:
		if (frame->length != sizeof(struct control_watch))
			return false;
		error = session_watch(body, &watched, &why);
		if (error) {
			char message[120];

			snprintf(message, sizeof(message), "%s: %s", why, strerror(-error));
			reply_error(client, frame->id, error, message);
		} else {
			control_reply(client, frame->id, CONTROL_WATCH, &watched, sizeof(watched));
		}
		return true;
	case CONTROL_END:
		if (frame->length != sizeof(*named))
			return false;
		error = session_end(named->session_id, client, frame->id);
		if (error)
			reply_error(client, frame->id, error,
				    error == -ENOENT ? "no such session is watched" : "the session is ending already");
		return true;
	case CONTROL_TOTALS:
		if (frame->length != sizeof(*named))
			return false;
		found = session_by_id(named->session_id);
		if (!found) {
			reply_error(client, frame->id, -ENOENT, "no such session is watched");
			return true;
		}
		session_totals(found, &totals);
		control_reply(client, frame->id, CONTROL_TOTALS, &totals, sizeof(totals));
		return true;
	case CONTROL_LIST:
		reply_list(client, frame->id);
		return !frame->length;
	case CONTROL_STATS:
		reply_stats(client, frame->id);
		return !frame->length;
	case CONTROL_SHUTDOWN:
		/* a daemon that leaves must not take the recorder from one that stays */
		if (sessions_count() || has_others(client)) {
			reply_error(client, frame->id, -EBUSY,
				    sessions_count() ? "sessions are being watched" : "another daemon uses it");
			return true;
		}
		control_reply(client, frame->id, CONTROL_SHUTDOWN, NULL, 0);
		control_shutdown = true;
		return true;
	case CONTROL_HANDOVER:
		if (frame->length)
			return false;
		if (!(kernel->features & 1U << FEATURE_PINNED)) {
			reply_error(client, frame->id, -EOPNOTSUPP, "nothing is pinned: a successor would find nothing");
			return true;
		}
		say("another recorder takes over %u sessions", sessions_count());
		control_reply(client, frame->id, CONTROL_HANDOVER, NULL, 0);
		control_shutdown = control_handover = true;
		return true;
	default:
		return false;
	}
}

static void read_client(struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->in_length, sizeof(client->in) - client->in_length, MSG_DONTWAIT);
	size_t at = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		bury(client);
		return;
	}
	client->in_length += n;
	while (!client->dead && client->in_length - at >= sizeof(struct control_frame)) {
		struct control_frame frame;
		unsigned char body[MAX_REQUEST] __attribute__((aligned(8)));

		memcpy(&frame, client->in + at, sizeof(frame));
		if (frame.length > MAX_REQUEST || frame.version != WIRE_VERSION || !frame.id) {
			say("a client sent a malformed frame: dropped");
			bury(client);
			return;
		}
		if (client->in_length - at < sizeof(frame) + frame.length)
			break;
		memcpy(body, client->in + at + sizeof(frame), frame.length);
		at += sizeof(frame) + frame.length;
		if (!handle(client, &frame, body)) {
			say("a client sent an unknown request (%u, %u bytes): dropped", frame.type, frame.length);
			bury(client);
			return;
		}
	}
	client->in_length -= at;
	memmove(client->in, client->in + at, client->in_length);
}

static void accept_client(void)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), slot = 0;
	struct epoll_event event = { .events = EPOLLIN };
	struct ucred peer = { .uid = ~0U };
	socklen_t size = sizeof(peer);
	struct client *client;

	if (fd < 0)
		return;
	while (slot < MAX_CLIENTS && clients[slot])
		slot++;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != 0 || slot == MAX_CLIENTS ||
	    !(client = calloc(1, sizeof(*client)))) {
		say("a client (uid %u) is turned away", peer.uid);
		close(fd);
		return;
	}
	client->fd = fd;
	clients[slot] = client;
	event.data.ptr = client;
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	send_hello(client);
}

void control_event(void *tag, __u32 events)
{
	struct client *client = tag;

	if (tag == &listener) {
		accept_client();
	} else if (!client->dead) {
		if (events & EPOLLOUT)
			write_out(client);
		if (!client->dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
			read_client(client);
	}
}

bool control_owns(void *tag)
{
	if (tag == &listener)
		return true;
	for (int i = 0; i < MAX_CLIENTS; i++)
		if (tag && clients[i] == tag)
			return true;
	return false;
}

int control_start(const char *path, int epoll_fd, struct kernel *with)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &listener };
	mode_t mask;
	int error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	kernel = with;
	epoll = epoll_fd;
	started = boottime_ns();
	strcpy(address.sun_path, path);
	strcpy(socket_path, path);
	unlink(path); /* the spool's lock says that nobody else serves here */
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	error = listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 64)
			? -errno : 0;
	umask(mask);
	if (!error && epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
		error = -errno;
	return error;
}

void control_stop(void)
{
	for (int i = 0; i < MAX_CLIENTS; i++)
		if (clients[i] && !clients[i]->dead)
			write_out(clients[i]);
	unlink(socket_path);
}
