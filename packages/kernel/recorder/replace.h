/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of another build, which a recorder took over with their sessions, give way to ours. */
#ifndef RECORDER_REPLACE_H
#define RECORDER_REPLACE_H

#include "kernel.h"

/*
 * Where it is needed, on a thread of its own: the verifier takes seconds, in which the ring must be drained. Before
 * privileges are dropped.
 */
void replace_start(struct kernel *kernel);
/* Nothing is put in or pinned from here on. */
void replace_stop(void);

#endif
