/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions' cgroups: to stop one, and to tell the programs how deep they lie. */
#ifndef RECORDER_FREEZER_H
#define RECORDER_FREEZER_H

#include "kernel.h"

struct freezer {
	int fd;                  /* cgroup.freeze; -1 when the cgroup could not be opened */
	bool frozen;
};

void freezer_start(struct kernel *kernel, const char *cgroup_root);
void freezer_open(struct freezer *freezer, __u32 slot, __u64 cgroup_id);
void freezer_set(struct freezer *freezer, __u64 ref, bool frozen);
void freezer_thaw(struct freezer *freezer, __u64 ref);
void freezer_close(struct freezer *freezer, __u32 slot, __u64 ref);
void freezer_publish(void);                       /* how deep the programs must look for cgroups of sessions */

#endif
