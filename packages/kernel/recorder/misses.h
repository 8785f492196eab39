/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of programs that came to nothing, as the kernel counts them. */
#ifndef RECORDER_MISSES_H
#define RECORDER_MISSES_H

#include "kernel.h"

/* That ended because the task is in no session. */
__u64 misses_outside(struct kernel *kernel);
/* That the kernel skipped, and nothing made up for. */
__u64 misses_skipped(struct kernel *kernel);

#endif
