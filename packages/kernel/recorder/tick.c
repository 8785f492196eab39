// SPDX-License-Identifier: Apache-2.0
#include "ending.h"
#include "listener.h"
#include "losses.h"
#include "misses.h"
#include "ring.h"
#include "sweep.h"
#include "sync.h"
#include "tick.h"

#define LOSS_PERIOD_NS (50 * MS)
#define SYNC_PERIOD_NS (200 * MS)
#define SWEEP_PERIOD_NS (250 * MS)
#define SWEEP_AGE_NS (500 * MS)

static struct kernel *kernel;
static __u64 last_sync, last_sweep, last_misses;

void tick_start(struct kernel *with)
{
	kernel = with;
}

static void tell_idle(struct watched *watched)
{
	if (watched->shared->live_tasks) {
		watched->idle_told = false;
		return;
	}
	if (watched->idle_told || watched->ending_since)
		return;
	watched->idle_told = true;
	listener.idle(watched);
}

void sessions_tick(__u64 now)
{
	bool sync = now - last_sync >= SYNC_PERIOD_NS, staged = false;
	struct watched *watched;

	if (sessions_count() && now - last_sweep >= SWEEP_PERIOD_NS) {
		last_sweep = now;
		sweep_older(now - SWEEP_AGE_NS);
	}
	if (sessions_count() && now - last_misses >= LOSS_PERIOD_NS) {
		last_misses = now;
		misses_settle(kernel);
	}
	for (__u32 cursor = 0, seen = 0; seen < sessions_count() && (watched = session_next(&cursor)); seen++) {
		if (now - watched->last_loss_check >= LOSS_PERIOD_NS)
			staged |= losses_declare(watched, now, false);
		tell_idle(watched);
	}
	if (staged)
		ring_flush();
	for (__u32 cursor = 0; (watched = session_next(&cursor));) {
		if (watched->ending_since)
			ending_proceed(watched, now);
		else if (sync && watched->spool.dirty)
			sync_request(&watched->spool);
	}
	if (sync)
		last_sync = now;
}
