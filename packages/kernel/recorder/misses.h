/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of programs that came to nothing. The kernel skips a tracing program that is running on the same CPU already
 * (prog->active; 6.1 and later, before it just runs inside itself) and counts it. Only socket states come in the
 * middle of anything, in softirq, and do_state_again makes up for these. Were any other skipped, nobody could tell
 * whose event it was: each session that lives has lost one then.
 */
#ifndef RECORDER_MISSES_H
#define RECORDER_MISSES_H

#include "kernel.h"

/* That ended because the task is in no session. */
__u64 misses_outside(struct kernel *kernel);
/* That the kernel skipped, and nothing made up for. */
__u64 misses_skipped(struct kernel *kernel);
/*
 * What is new of these is added to the losses of every session. False: there is something new, which counts only when
 * it is still there at the next look: a run that was skipped is made up for a moment later.
 */
bool misses_settle(struct kernel *kernel);
/* Before the first session: what was skipped while nobody was watched is nobody's. */
void misses_forget(struct kernel *kernel);

#endif
