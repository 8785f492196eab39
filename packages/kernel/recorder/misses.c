// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stddef.h>
#include <string.h>

#include "log.h"
#include "misses.h"
#include "sessions.h"

#define SETTLE_NS (1 * MS) /* between a run that is skipped and the one that makes up for it lies a softirq */

/* Of a map with one entry a CPU, `size` bytes each (the kernel rounds up to 8): the sum of the numbers at `offset`. */
static __u64 sum_of_cpus(int map_fd, size_t size, size_t offset)
{
	int cpus = libbpf_num_possible_cpus();
	__u64 values[(cpus > 0 ? cpus : 1) * size / sizeof(__u64)];
	__u64 sum = 0;
	__u32 zero = 0;

	if (cpus < 1 || bpf_map_lookup_elem(map_fd, &zero, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[(i * size + offset) / sizeof(__u64)];
	return sum;
}

_Static_assert(sizeof(struct outside) % sizeof(__u64) == 0 && sizeof(struct handled) % sizeof(__u64) == 0,
	       "what is read for a CPU is whole numbers");

__u64 misses_outside(struct kernel *kernel)
{
	return sum_of_cpus(kernel->outside_fd, sizeof(struct outside), offsetof(struct outside, count));
}

static __u64 rescued(struct kernel *kernel)
{
	return sum_of_cpus(kernel->handled_fd, sizeof(struct handled), offsetof(struct handled, rescued));
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
