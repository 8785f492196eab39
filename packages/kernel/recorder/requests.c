// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ending.h"
#include "log.h"
#include "losses.h"
#include "misses.h"
#include "requests.h"
#include "resume.h"
#include "ring.h"
#include "watch.h"
#include "wire-hash.h"

bool control_shutdown, control_handover;
static struct kernel *kernel;
static __u64 started;

void requests_start(struct kernel *with)
{
	kernel = with;
	started = boottime_ns();
}

static void reply_error(struct client *client, __u32 id, int error, const char *message)
{
	struct control_error body = { .error = error };

	snprintf(body.message, sizeof(body.message), "%s", message);
	client_send(client, id, CONTROL_ERROR, &body, sizeof(body));
}

void requests_hello(struct client *client)
{
	static const unsigned char hash[32] = WIRE_HASH_BYTES;
	struct control_hello hello = {
		.pid = getpid(), .features = kernel->features, .ring_size = kernel->ring_size, .start_ktime = started,
		.resumed_sessions = resume_count(),
	};

	memcpy(hello.wire_hash, hash, sizeof(hash));
	client_send(client, 0, CONTROL_HELLO, &hello, sizeof(hello));
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
	client_send(client, id, CONTROL_LIST, list, n * sizeof(*list));
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
		.outside_tasks = misses_outside(kernel), .program_misses = misses_skipped(kernel),
		.sessions = sessions_count(), .lineage_entries = count_lineage(),
		.foreign_programs = kernel->foreign_programs,
	};

	for (__u32 slot = 0; slot < MAX_SESSIONS; slot++)
		for (int kind = 0; kind < KIND_COUNT; kind++)
			stats.ring_lost += kernel->sessions[slot].lost[kind];
	client_send(client, id, CONTROL_STATS, &stats, sizeof(stats));
}

static bool has_others(const struct client *client)
{
	struct client *other;

	for (int cursor = 0; (other = clients_next(&cursor));)
		if (other != client && !other->dead)
			return true;
	return false;
}

bool requests_handle(struct client *client, const struct control_frame *frame, const void *body)
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
			client_send(client, frame->id, CONTROL_WATCH, &watched, sizeof(watched));
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
		client_send(client, frame->id, CONTROL_TOTALS, &totals, sizeof(totals));
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
		client_send(client, frame->id, CONTROL_SHUTDOWN, NULL, 0);
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
		client_send(client, frame->id, CONTROL_HANDOVER, NULL, 0);
		control_shutdown = control_handover = true;
		return true;
	default:
		return false;
	}
}
