/* SPDX-License-Identifier: Apache-2.0 */
/* A session ends: a barrier through the ring, and an answer only when the sum is right. */
#ifndef RECORDER_ENDING_H
#define RECORDER_ENDING_H

#include "sessions.h"

void ending_start(struct kernel *kernel);
/* -ENOENT, -EALREADY; else listener.ended is told of it later. */
int session_end(const __u8 *session_id, const void *asker, __u32 id);
/* One step further with a session that is ending; it is gone after the last. */
void ending_proceed(struct watched *watched, __u64 now);
bool sessions_ending(void);                       /* the next tick is wanted soon */
/* They still end; this one is not told. */
void ending_forget_asker(const void *asker);

#endif
