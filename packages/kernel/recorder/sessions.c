// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "sessions.h"

#define SLOT_REST_NS (5000 * MS)  /* a program that saw the old session in a slot is long gone after that */

static struct kernel *kernel;
static struct watched *by_slot[MAX_SESSIONS];
static __u64 rested_from[MAX_SESSIONS];           /* ktime at which the slot's session ended */
static __u32 count, throttled, next_slot;

void sessions_start(struct kernel *with)
{
	kernel = with;
}

__u32 sessions_count(void)
{
	return count;
}

__u32 sessions_throttled(void)
{
	return throttled;
}

struct watched *session_by_ref(__u64 ref)
{
	struct watched *watched = by_slot[SLOT(ref)];

	return watched && watched->ref == ref ? watched : NULL;
}

struct watched *session_next(__u32 *cursor)
{
	while (*cursor < MAX_SESSIONS) {
		struct watched *watched = by_slot[(*cursor)++];

		if (watched)
			return watched;
	}
	return NULL;
}

struct watched *session_by_id(const __u8 *session_id)
{
	struct watched *watched;

	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		if (!memcmp(watched->shared->session_id, session_id, SESSION_ID_LEN))
			return watched;
	return NULL;
}

int sessions_take_slot(__u64 now)
{
	for (__u32 tried = 0; tried < MAX_SESSIONS; tried++) {
		__u32 slot = next_slot++ % MAX_SESSIONS;

		if (!by_slot[slot] && (!rested_from[slot] || now - rested_from[slot] > SLOT_REST_NS))
			return slot;
	}
	return -1;
}

struct watched *session_new(__u32 slot, __u64 now)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	if (!watched)
		return NULL;
	watched->shared = &kernel->sessions[slot];
	watched->spool.fd = watched->freezer.fd = -1;
	watched->last_loss_check = now;
	return watched;
}

void sessions_add(struct watched *watched)
{
	by_slot[SLOT(watched->ref)] = watched;
	count++;
	throttled += watched->shared->policy == POLICY_THROTTLE;
}

void sessions_remove(struct watched *watched)
{
	by_slot[SLOT(watched->ref)] = NULL;
	count--;
	throttled -= watched->shared->policy == POLICY_THROTTLE;
}

void sessions_rest(__u32 slot, __u64 now)
{
	rested_from[slot] = now;
}

void session_set_state(struct session *session, __u32 state)
{
	__atomic_store_n(&session->state, state, __ATOMIC_SEQ_CST);
}

void session_idle(__u64 ref)
{
	struct watched *watched = session_by_ref(ref);

	if (watched)
		watched->idle_told = false; /* the tick tells, when it is still so */
}
