/* SPDX-License-Identifier: Apache-2.0 */
/* From nothing, or from what a recorder before left pinned, to programs that run; and back. */
#ifndef RECORDER_HOOKS_H
#define RECORDER_HOOKS_H

#include "kernel.h"
#include "options.h"

int hooks_start(struct kernel *kernel, const struct options *options);
/* Detaches and unpins everything. */
void hooks_stop(struct kernel *kernel);

#endif
