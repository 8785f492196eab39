// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "misses.h"

__u64 misses_outside(struct kernel *kernel)
{
	int cpus = libbpf_num_possible_cpus();
	__u64 values[cpus > 0 ? cpus : 1], sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(kernel->outside_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

static __u64 rescued(struct kernel *kernel)
{
	int cpus = libbpf_num_possible_cpus();
	struct handled values[cpus > 0 ? cpus : 1];
	__u64 sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(kernel->handled_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i].rescued;
	return sum;
}

/*
 * Runs the kernel skipped because the program was running on that CPU already. Only the socket's states come in
 * softirq, in the middle of anything: what on_sock_state missed on_state_again took up, and what that one missed
 * on_sock_state had done.
 */
__u64 misses_skipped(struct kernel *kernel)
{
	__u64 sum = 0, saved = rescued(kernel);

	for (size_t i = 0; i < kernel->program_count; i++) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);

		if (!bpf_obj_get_info_by_fd(kernel->program_fds[i], &info, &size) && strcmp(info.name, "on_state_again"))
			sum += info.recursion_misses;
	}
	return sum > saved ? sum - saved : 0;
}
