/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions pass from one recorder to the next. */
#ifndef RECORDER_RESUME_H
#define RECORDER_RESUME_H

#include "options.h"
#include "sessions.h"

/* Those that the recorder before left, if any. */
int resume_start(struct kernel *kernel, const struct options *options);
__u32 resume_count(void);
/* All that was read is durable, and a successor may rely on it. */
void resume_leave(void);

#endif
