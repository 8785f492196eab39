/* SPDX-License-Identifier: Apache-2.0 */
/* A line of the log, and the clock of the records. */
#ifndef RECORDER_LOG_H
#define RECORDER_LOG_H

#include "shared.h"

/* CLOCK_BOOTTIME, as bpf_ktime_get_boot_ns has it. */
__u64 boottime_ns(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
