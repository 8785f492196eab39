// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "log.h"
#include "misses.h"
#include "sessions.h"

#define SETTLE_NS (1 * MS) /* between a run that is skipped and the one that makes up for it lies a softirq */

__u64 misses_outside(struct kernel *kernel)
{
	int cpus = libbpf_num_possible_cpus();
	struct outside values[cpus > 0 ? cpus : 1];
	__u64 sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(kernel->outside_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i].count;
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

__u64 misses_skipped(struct kernel *kernel)
{
	__s64 sum = 0;

	for (size_t i = 0; i < PROGRAMS; i++) {
		struct bpf_prog_info info = {};
		__u32 size = sizeof(info);

		/* what on_state_again missed had been done */
		if (kernel->gate_fds[i] < 0 || !programs[i].body || !strcmp(programs[i].name, "on_state_again"))
			continue;
		if (!bpf_obj_get_info_by_fd(kernel->gate_fds[i], &info, &size))
			sum += info.recursion_misses;
	}
	sum -= rescued(kernel);
	return sum > 0 ? sum : 0;
}

/* Emitted and lost at once, with a number: as if the kernel had found the ring full. */
static void bill(struct session *session, __u64 count)
{
	__atomic_add_fetch(&session->emitted[KIND_META], count, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&session->skipped, count, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&session->lost[KIND_META], count, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&session->seq, count, __ATOMIC_SEQ_CST);
}

bool misses_settle(struct kernel *kernel)
{
	static __u64 seen, seen_at;
	__u64 skipped = misses_skipped(kernel), known = kernel->host->skipped, sure = seen < skipped ? seen : skipped;
	__u64 now = boottime_ns();
	struct watched *watched;

	if (skipped <= known || now - seen_at < SETTLE_NS)
		return skipped <= known;
	seen = skipped;
	seen_at = now;
	if (sure > known) {
		say("the kernel skipped %llu runs of programs: %u sessions may have lost so many events", sure - known,
		    sessions_count());
		for (__u32 cursor = 0; (watched = session_next(&cursor));)
			if (watched->shared->state == SESSION_LIVE)
				bill(watched->shared, sure - known);
		kernel->host->skipped = sure;
	}
	return skipped <= kernel->host->skipped;
}

void misses_forget(struct kernel *kernel)
{
	kernel->host->skipped = misses_skipped(kernel);
}
