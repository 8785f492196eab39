// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

#include "calls.h"
#include "pins.h"

int calls_watch(struct kernel *kernel, bool on)
{
	char name[64];

	pin_name_of_link(name, sizeof(name), "on_sys_exit");
	if (on == (kernel->sys_exit_link >= 0))
		return 0;
	if (!on) {
		if (kernel->pin_dir[0])
			pin_remove(kernel, name);
		close(kernel->sys_exit_link);
		kernel->sys_exit_link = -1;
		return 0;
	}
	kernel->sys_exit_link = bpf_raw_tracepoint_open(NULL, kernel->sys_exit_fd);
	if (kernel->sys_exit_link < 0)
		return -errno;
	return pin_set(kernel, kernel->sys_exit_link, name) ? -errno : 0;
}
