// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "log.h"
#include "staging.h"

static const struct kernel *kernel;
static struct watched *staged_list[MAX_SESSIONS]; /* with something in the arena */
static size_t staged_count;

void staging_start(struct kernel *with)
{
	kernel = with;
}

static void list_staged(struct watched *watched)
{
	if (watched->listed)
		return;
	watched->listed = true;
	staged_list[staged_count++] = watched;
}

void staging_own(struct watched *watched, const void *record, __u32 length, __u32 position)
{
	if (!spool_stage(&watched->spool, record, length, position)) {
		staging_write();
		spool_arena_reset();
		spool_stage(&watched->spool, record, length, position); /* an empty arena holds any record */
	}
	list_staged(watched);
}

void session_stage(struct watched *watched, const struct record_header *record, __u32 length, __u32 position)
{
	if (watched->skip_known) { /* the recorder before us wrote it, but died before it moved the position */
		if ((__s32)(position - watched->last_position) <= 0)
			return;
		watched->skip_known = false;
	}
	if (kernel->numbers) {
		struct record_header *mutable = (void *)record;
		static unsigned char copy[WIRE_MAX_RECORD] __attribute__((aligned(8)));

		memcpy(copy, record, length); /* the ring is mapped read-only */
		mutable = (void *)copy;
		mutable->seq = ++watched->last_seq;
		record = mutable;
	}
	staging_own(watched, record, length, position);
	watched->staged[record->kind % KIND_COUNT]++;
}

static void written(struct watched *watched, int error)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		if (!error)
			watched->recorded[kind] += watched->staged[kind];
		else /* in the map: the next recorder must know it too */
			watched->shared->spool_lost[kind] += watched->staged[kind];
		for (int loss = 0; loss < LOSS_COUNT; loss++) {
			if (!error)
				watched->declared[loss][kind] += watched->declaring[loss][kind];
			watched->declaring[loss][kind] = 0;
		}
		watched->staged[kind] = 0;
	}
	if (error)
		say("spool of session %llx cannot be written: %s", watched->ref, strerror(-error));
}

void staging_write(void)
{
	for (size_t i = 0; i < staged_count; i++) {
		staged_list[i]->listed = false;
		written(staged_list[i], spool_write(&staged_list[i]->spool));
	}
	staged_count = 0;
}

void staging_describe(struct watched *watched, struct record_header *h, __u32 length, __u8 type, __u8 kind)
{
	h->length = length;
	h->type = type;
	h->kind = kind;
	h->source = SOURCE_RECORDER;
	h->session = watched->ref;
	h->ktime = boottime_ns();
	h->cgroup_id = watched->shared->cgroup_id;
	h->pid = watched->shared->leader_pid;
	h->tid = watched->shared->leader_pid;
	h->audit_session_id = watched->shared->audit_session_id;
}

void staging_watch(struct watched *watched)
{
	struct session *session = watched->shared;
	struct record_watch record = {
		.realtime_offset = session->realtime_offset, .cgroup_id = session->cgroup_id,
		.audit_session_id = session->audit_session_id, .leader_pid = session->leader_pid,
		.kinds = session->kinds, .policy = session->policy,
	};

	memcpy(record.session_id, session->session_id, SESSION_ID_LEN);
	staging_describe(watched, &record.h, sizeof(record), RECORD_WATCH, KIND_META);
	record.h.ktime = session->watch_ktime;
	staging_own(watched, &record, sizeof(record), 0);
}
