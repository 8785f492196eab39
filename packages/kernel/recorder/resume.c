// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "freezer.h"
#include "log.h"
#include "losses.h"
#include "resume.h"
#include "ring.h"
#include "staging.h"
#include "sweep.h"
#include "watch.h"

static struct kernel *kernel;
static const struct options *options;
static __u32 resumed;

__u32 resume_count(void)
{
	return resumed;
}

/* What the ring holds after that waits there for the successor. */
void resume_leave(void)
{
	struct watched *watched;

	/* under load there is always more: a few times are enough, as nothing waits for the rest */
	for (int i = 0; i < 16 && ring_drain(); i++)
		;
	ring_flush();
	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		if (fdatasync(watched->spool.fd))
			say("fdatasync of a spool: %s", strerror(errno));
	kernel->host->handed_over = 1;
}

static void resume(__u32 slot, __u64 now, bool interrupted)
{
	struct session *session = &kernel->sessions[slot];
	struct watched *watched = session_new(slot, now);
	struct recovered found;
	int error;

	if (!watched)
		return;
	watched->ref = session->ref;
	error = spool_recover(&watched->spool, options->spool_dir, session->session_id, &found);
	if (error == -ENOENT && session->state == SESSION_LIVE)
		error = spool_create(&watched->spool, options->spool_dir, session->session_id);
	if (error || found.ended) {
		if (error && session->state == SESSION_LIVE)
			say("session %llx cannot be resumed: %s", session->ref, strerror(-error));
		if (session->state == SESSION_LIVE) {
			session_unpublish(watched);
			session_set_state(session, SESSION_ENDED);
		}
		spool_close(&watched->spool);
		free(watched);
		sessions_rest(slot, now);
		return;
	}
	memcpy(watched->recorded, found.recorded, sizeof(watched->recorded));
	memcpy(watched->declared, found.declared, sizeof(watched->declared));
	watched->last_seq = found.last_seq;
	watched->last_position = found.last_position;
	/* only what the ring still holds can come again */
	watched->skip_known = found.any && found.last_position - (__u32)ring_position() < kernel->ring_size;
	sessions_add(watched);
	resumed++;
	freezer_open(&watched->freezer, SLOT(watched->ref), watched->shared->cgroup_id);
	freezer_thaw(&watched->freezer, watched->ref); /* ours may have died freezing */
	losses_declare(watched, now, interrupted);
}

int resume_start(struct kernel *with, const struct options *given)
{
	__u64 now = boottime_ns();
	bool interrupted = !with->host->handed_over;

	kernel = with;
	options = given;
	sessions_start(with);
	staging_start(with);
	watch_start(with, given);
	freezer_start(with, given->cgroup_root);
	sweep_start(with);
	kernel->host->handed_over = 0;
	kernel->host->active = 0;
	for (__u32 slot = 0; slot < MAX_SESSIONS; slot++)
		kernel->host->active += kernel->sessions[slot].state == SESSION_LIVE;
	for (__u32 slot = 0; slot < MAX_SESSIONS; slot++)
		if (kernel->sessions[slot].ref)
			resume(slot, now, interrupted);
	freezer_publish();
	__atomic_add_fetch(&kernel->host->generation, 1, __ATOMIC_SEQ_CST);
	if (sessions_count())
		return calls_watch(kernel, true);
	return 0;
}
