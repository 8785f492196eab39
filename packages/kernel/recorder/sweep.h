/* SPDX-License-Identifier: Apache-2.0 */
/* What waited too long in the kernel's maps is told as it stands. */
#ifndef RECORDER_SWEEP_H
#define RECORDER_SWEEP_H

#include "kernel.h"

void sweep_start(struct kernel *kernel);
void sweep_older(__u64 than);                     /* ktime */
void sweep_session(__u64 ref);
bool sweep_has_sockets(__u64 ref);                /* open connections of the session */
void sweep_sockets(__u64 ref);

#endif
