/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_EXEC_H
#define RECORDER_EXEC_H

#include "shared.h"

/* Makes the ring's RECORD_EXEC the spool's; returns its new length. */
__u32 exec_rewrite(struct record_exec *to, const struct record_exec *from, __u32 length);

#endif
