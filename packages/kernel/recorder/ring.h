/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer of the kernel's ring: what it holds goes to the spools of its sessions. */
#ifndef RECORDER_RING_H
#define RECORDER_RING_H

#include <stddef.h>

#include "kernel.h"

int ring_start(struct kernel *kernel);
size_t ring_drain(void);                          /* records consumed and written */
void ring_flush(void);
__u64 ring_used(void);
__u64 ring_position(void);
struct ring_counts { __u64 records, bytes, orphans; };
extern struct ring_counts ring_counts;

#endif
