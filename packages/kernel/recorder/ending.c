// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "ending.h"
#include "listener.h"
#include "log.h"
#include "losses.h"
#include "misses.h"
#include "ring.h"
#include "staging.h"
#include "sweep.h"
#include "sync.h"
#include "watch.h"

#define END_PATIENCE_NS (2000 * MS)
#define END_QUIET_NS (300 * MS)   /* with an empty ring nothing more will come */
#define CLOSE_PATIENCE_NS (250 * MS) /* sockets are closed after the exit is told, TCP says goodbye after that */

static struct kernel *kernel;
static __u32 ending; /* so many are */

void ending_start(struct kernel *with)
{
	kernel = with;
}

int session_end(const __u8 *session_id, const void *asker, __u32 id)
{
	struct watched *watched = session_by_id(session_id);

	if (!watched)
		return -ENOENT;
	if (watched->ending_since)
		return -EALREADY;
	watched->asker = asker;
	watched->asker_id = id;
	watched->ending_since = boottime_ns();
	ending++;
	return 0;
}

bool sessions_ending(void)
{
	return ending;
}

void ending_forget_asker(const void *asker)
{
	struct watched *watched;

	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		if (watched->asker == asker)
			watched->asker = NULL;
}

static void write_end(struct watched *watched, __u64 now)
{
	struct control_totals totals;
	struct record_end record = {};

	losses_declare(watched, now, false);
	ring_flush();
	session_totals(watched, &totals);
	memcpy(record.totals, totals.totals, sizeof(record.totals));
	record.last_seq = totals.last_seq;
	staging_describe(watched, &record.h, sizeof(record), RECORD_END, KIND_META);
	staging_own(watched, &record, sizeof(record), 0);
	ring_flush();
	watched->end_written = true;
}

/* Still watched, until its sockets are closed too: then what is left open is told as it stands. */
static bool sockets_linger(struct watched *watched, __u64 now)
{
	if (!watched->shared->emitted[KIND_NETWORK])
		return false;
	if (now - watched->ending_since < CLOSE_PATIENCE_NS && sweep_has_sockets(watched->ref))
		return true;
	sweep_sockets(watched->ref);
	return false;
}

void ending_proceed(struct watched *watched, __u64 now)
{
	struct control_totals totals;

	if (watched->shared->state == SESSION_LIVE) {
		if (sockets_linger(watched, now))
			return;
		sweep_session(watched->ref);
		if (!misses_settle(kernel))
			return;
		session_unpublish(watched);
		watched->ending_since = now;
		ring_drain();
	}
	if (!watched->end_written) {
		if (!session_adds_up(watched)) {
			if (now - watched->ending_since < (ring_used() ? END_PATIENCE_NS : END_QUIET_NS))
				return;
			losses_account_for_missing(watched);
		}
		write_end(watched, now);
	}
	if (watched->spool.syncing)
		return;
	if (!watched->end_sync_asked) {
		watched->end_sync_asked = true;
		sync_request(&watched->spool);
		return;
	}
	session_totals(watched, &totals);
	if (watched->asker)
		listener.ended(watched, &totals);
	session_forget(watched);
	ending--;
}
