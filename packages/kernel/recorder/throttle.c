// SPDX-License-Identifier: Apache-2.0
#include "sessions.h"
#include "throttle.h"

static __u64 emitted_by(const struct watched *watched)
{
	__u64 sum = 0;

	for (int kind = 0; kind < KIND_COUNT; kind++)
		sum += watched->shared->emitted[kind];
	return sum;
}

void throttle(double occupancy)
{
	struct watched *watched;
	__u64 all = 0;

	if (!sessions_throttled() || (occupancy > 0.25 && occupancy < 0.75))
		return;
	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		all += emitted_by(watched) - watched->emitted_before;
	for (__u32 cursor = 0; (watched = session_next(&cursor));) {
		__u64 emitted = emitted_by(watched);

		if (occupancy <= 0.25)
			freezer_set(&watched->freezer, watched->ref, false);
		else if (watched->shared->policy == POLICY_THROTTLE && emitted - watched->emitted_before > all / 8)
			freezer_set(&watched->freezer, watched->ref, true);
		watched->emitted_before = emitted;
	}
}
