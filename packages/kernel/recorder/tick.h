/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_TICK_H
#define RECORDER_TICK_H

#include "kernel.h"

void tick_start(struct kernel *kernel);
/* What is due: losses, idle sessions, those that are ending, syncs. After each drain and at least every 100 ms. */
void sessions_tick(__u64 now);

#endif
