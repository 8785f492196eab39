// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "listener.h"
#include "log.h"
#include "losses.h"
#include "staging.h"

static __u64 lost_so_far(const struct session *session, int loss, int kind)
{
	__u64 lineage = kind == KIND_META ? session->lineage_lost : 0;
	__u64 skipped = kind == KIND_META ? session->skipped : 0;

	switch (loss) {
	case LOSS_SPOOL:
		return session->spool_lost[kind];
	case LOSS_LINEAGE:
		return lineage;
	case LOSS_SKIPPED:
		return skipped;
	default:
		return session->lost[kind] > lineage + skipped ? session->lost[kind] - lineage - skipped : 0;
	}
}

static void stage_lost(struct watched *watched, int loss, int kind, __u64 lost, __u32 cause, __u64 now)
{
	struct record_lost record = {
		.count = lost, .first_ktime = watched->last_loss_check, .last_ktime = now, .cause = cause,
	};

	staging_describe(watched, &record.h, sizeof(record), RECORD_LOST, kind);
	staging_own(watched, &record, sizeof(record), 0);
	watched->declaring[loss][kind] += lost;
}

bool losses_declare(struct watched *watched, __u64 now, bool gap)
{
	static const __u32 causes[LOSS_COUNT] = { LOST_RING_FULL, LOST_SPOOL_WRITE, LOST_LINEAGE_FULL,
						 LOST_UNKNOWN };
	bool any = false;

	for (int loss = 0; loss < LOSS_COUNT; loss++) {
		for (int kind = 0; kind < KIND_COUNT; kind++) {
			__u64 known = watched->declared[loss][kind] + watched->declaring[loss][kind];
			__u64 lost = lost_so_far(watched->shared, loss, kind);
			__u32 cause = gap && loss == LOSS_RING ? LOST_RECORDER_DOWN : causes[loss];

			if (lost > known)
				stage_lost(watched, loss, kind, lost - known, cause, now);
			any = any || lost > known;
		}
	}
	if (gap && !any)
		stage_lost(watched, LOSS_RING, KIND_META, 0, LOST_RECORDER_DOWN, now);
	watched->last_loss_check = now;
	if (any)
		listener.lost(watched);
	return any;
}

void session_totals(struct watched *watched, struct control_totals *totals)
{
	struct session *session = watched->shared;

	memset(totals, 0, sizeof(*totals));
	memcpy(totals->session_id, session->session_id, SESSION_ID_LEN);
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		totals->totals[kind].emitted = session->emitted[kind];
		totals->totals[kind].recorded = watched->recorded[kind];
		totals->totals[kind].lost = session->lost[kind] + session->spool_lost[kind];
		totals->last_seq += session->emitted[kind];
	}
	totals->spool_length = watched->spool.length;
	totals->live_tasks = session->live_tasks;
}

bool session_adds_up(struct watched *watched)
{
	struct control_totals totals;

	session_totals(watched, &totals);
	for (int kind = 0; kind < KIND_COUNT; kind++)
		if (totals.totals[kind].emitted != totals.totals[kind].recorded + totals.totals[kind].lost)
			return false;
	return true;
}

void losses_account_for_missing(struct watched *watched)
{
	struct control_totals totals;

	session_totals(watched, &totals);
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		__s64 missing = totals.totals[kind].emitted - totals.totals[kind].recorded - totals.totals[kind].lost;

		if (!missing)
			continue;
		say("session %llx: %lld records of kind %d are neither on disk nor counted as lost", watched->ref,
		    missing, kind);
		if (missing > 0)
			watched->shared->spool_lost[kind] += missing;
	}
}
