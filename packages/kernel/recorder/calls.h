/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_CALLS_H
#define RECORDER_CALLS_H

#include "kernel.h"

/* The system-call hook, which every process of the host pays for: only while somebody is watched. */
int calls_watch(struct kernel *kernel, bool on);

#endif
