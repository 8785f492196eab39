/* SPDX-License-Identifier: Apache-2.0 */
/* The sessions being watched: who they are. What happens to them is told in the files above. */
#ifndef RECORDER_SESSIONS_H
#define RECORDER_SESSIONS_H

#include "freezer.h"
#include "kernel.h"
#include "spool.h"

#define MS 1000000ULL
#define SLOT(ref) ((ref) & (MAX_SESSIONS - 1))

struct watched {
	__u64 ref;
	struct session *shared;
	struct spool spool;
	__u64 recorded[KIND_COUNT];
	__u64 staged[KIND_COUNT];         /* in the arena: recorded once written */
	__u64 declared[LOSS_COUNT][KIND_COUNT];
	__u64 declaring[LOSS_COUNT][KIND_COUNT]; /* in the arena */
	__u64 last_loss_check;            /* ktime */
	__u64 last_seq;                   /* only where the kernel cannot number */
	__u32 last_position;              /* of what a recorder before this one wrote */
	bool skip_known;
	bool idle_told;
	bool listed;                      /* in the list of those with something staged */
	struct freezer freezer;
	__u64 emitted_before;             /* throttle: sum at the last look */
	/* end() under way */
	const void *asker;                /* who is answered; NULL: nobody any more */
	__u32 asker_id;
	__u64 ending_since;               /* ktime; 0 = not ending */
	bool end_written, end_sync_asked;
};

void sessions_start(struct kernel *kernel);
__u32 sessions_count(void);
__u32 sessions_throttled(void);                   /* of them, with that policy */
struct watched *session_by_ref(__u64 ref);
struct watched *session_by_id(const __u8 *session_id);
struct watched *session_next(__u32 *cursor);      /* cursor starts at 0; NULL at the end */
/* A slot that is free and rested, or -1. */
int sessions_take_slot(__u64 now);
/* Not among them yet. NULL: no memory. */
struct watched *session_new(__u32 slot, __u64 now);
void sessions_add(struct watched *watched);
void sessions_remove(struct watched *watched);
/* Its slot's session ended just now. */
void sessions_rest(__u32 slot, __u64 now);
void session_set_state(struct session *session, __u32 state);
/* The kernel says that its last task is gone. */
void session_idle(__u64 ref);

#endif
