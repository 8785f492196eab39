// SPDX-License-Identifier: Apache-2.0
/*
 * The sessions being watched. emitted = recorded + lost is kept here: what the kernel counted as emitted is
 * either written to the spool or declared there as lost, and end() answers only when the sum is right.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "recorder.h"

#define MS 1000000ULL
#define SLOT_REST_NS (5000 * MS)  /* a program that saw the old session in a slot is long gone after that */
#define END_PATIENCE_NS (2000 * MS)
#define END_QUIET_NS (300 * MS)   /* with an empty ring nothing more will come */
#define CLOSE_PATIENCE_NS (250 * MS) /* sockets are closed after the exit is told, TCP says goodbye after that */
#define LOSS_PERIOD_NS (50 * MS)
#define SYNC_PERIOD_NS (200 * MS)
#define SWEEP_PERIOD_NS (250 * MS)
#define SWEEP_AGE_NS (500 * MS)
#define SLOT(ref) ((ref) & (MAX_SESSIONS - 1))

static struct kernel *kernel;
static const struct options *options;
static struct watched *by_slot[MAX_SESSIONS];
static __u64 rested_from[MAX_SESSIONS];           /* ktime at which the slot's session ended */
static struct watched *staged_list[MAX_SESSIONS]; /* with something in the arena */
static size_t staged_count;
static __u32 count, resumed, throttled, ending, next_slot;
static __u64 last_sync, last_sweep;

__u32 sessions_count(void)
{
	return count;
}

__u32 sessions_resumed(void)
{
	return resumed;
}

struct watched *session_by_ref(__u64 ref)
{
	struct watched *watched = by_slot[SLOT(ref)];

	return watched && watched->ref == ref ? watched : NULL;
}

struct watched *session_next(__u32 *cursor)
{
	while (*cursor < MAX_SESSIONS) {
		struct watched *watched = by_slot[(*cursor)++];

		if (watched)
			return watched;
	}
	return NULL;
}

struct watched *session_by_id(const __u8 *session_id)
{
	struct watched *watched;

	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		if (!memcmp(watched->shared->session_id, session_id, SESSION_ID_LEN))
			return watched;
	return NULL;
}

static void set_state(struct session *session, __u32 state)
{
	__atomic_store_n(&session->state, state, __ATOMIC_SEQ_CST);
}

/* ---- staging and writing ---- */

static void list_staged(struct watched *watched)
{
	if (watched->listed)
		return;
	watched->listed = true;
	staged_list[staged_count++] = watched;
}

static void stage(struct watched *watched, const void *record, __u32 length, __u32 position)
{
	if (!spool_stage(&watched->spool, record, length, position)) {
		sessions_write();
		spool_arena_reset();
		spool_stage(&watched->spool, record, length, position); /* an empty arena holds any record */
	}
	list_staged(watched);
}

void session_stage(struct watched *watched, const struct record_header *record, __u32 length, __u32 position)
{
	if (watched->skip_known) { /* the recorder before us wrote it, but died before it moved the position */
		if ((__s32)(position - watched->last_position) <= 0)
			return;
		watched->skip_known = false;
	}
	if (kernel->numbers) {
		struct record_header *mutable = (void *)record;
		static unsigned char copy[WIRE_MAX_RECORD] __attribute__((aligned(8)));

		memcpy(copy, record, length); /* the ring is mapped read-only */
		mutable = (void *)copy;
		mutable->seq = ++watched->last_seq;
		record = mutable;
	}
	stage(watched, record, length, position);
	watched->staged[record->kind % KIND_COUNT]++;
}

static void written(struct watched *watched, int error)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		if (!error)
			watched->recorded[kind] += watched->staged[kind];
		else /* in the map: the next recorder must know it too */
			watched->shared->spool_lost[kind] += watched->staged[kind];
		for (int loss = 0; loss < LOSS_COUNT; loss++) {
			if (!error)
				watched->declared[loss][kind] += watched->declaring[loss][kind];
			watched->declaring[loss][kind] = 0;
		}
		watched->staged[kind] = 0;
	}
	if (error)
		say("spool of session %llx cannot be written: %s", watched->ref, strerror(-error));
}

void sessions_write(void)
{
	for (size_t i = 0; i < staged_count; i++) {
		staged_list[i]->listed = false;
		written(staged_list[i], spool_write(&staged_list[i]->spool));
	}
	staged_count = 0;
}

static void describe_own(struct watched *watched, struct record_header *h, __u32 length, __u8 type, __u8 kind)
{
	h->length = length;
	h->type = type;
	h->kind = kind;
	h->source = SOURCE_RECORDER;
	h->session = watched->ref;
	h->ktime = boottime_ns();
	h->cgroup_id = watched->shared->cgroup_id;
	h->pid = watched->shared->leader_pid;
	h->tid = watched->shared->leader_pid;
	h->audit_session_id = watched->shared->audit_session_id;
}

static void stage_watch(struct watched *watched)
{
	struct session *session = watched->shared;
	struct record_watch record = {
		.realtime_offset = session->realtime_offset, .cgroup_id = session->cgroup_id,
		.audit_session_id = session->audit_session_id, .leader_pid = session->leader_pid,
		.kinds = session->kinds, .policy = session->policy,
	};

	memcpy(record.session_id, session->session_id, SESSION_ID_LEN);
	describe_own(watched, &record.h, sizeof(record), RECORD_WATCH, KIND_META);
	record.h.ktime = session->watch_ktime;
	stage(watched, &record, sizeof(record), 0);
}

/* ---- losses ---- */

static __u64 lost_so_far(const struct session *session, int loss, int kind)
{
	__u64 lineage = kind == KIND_META ? session->lineage_lost : 0;

	switch (loss) {
	case LOSS_SPOOL:
		return session->spool_lost[kind];
	case LOSS_LINEAGE:
		return lineage;
	default:
		return session->lost[kind] > lineage ? session->lost[kind] - lineage : 0;
	}
}

static void stage_lost(struct watched *watched, int loss, int kind, __u64 lost, __u32 cause, __u64 now)
{
	struct record_lost record = {
		.count = lost, .first_ktime = watched->last_loss_check, .last_ktime = now, .cause = cause,
	};

	describe_own(watched, &record.h, sizeof(record), RECORD_LOST, kind);
	stage(watched, &record, sizeof(record), 0);
	watched->declaring[loss][kind] += lost;
}

/* Declares what was lost since the last look. `gap` 1: a recorder died, say so even when nothing was lost. */
static bool declare_losses(struct watched *watched, __u64 now, bool gap)
{
	static const __u32 causes[LOSS_COUNT] = { LOST_RING_FULL, LOST_SPOOL_WRITE, LOST_LINEAGE_FULL };
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
	if (any) {
		struct control_session notice;

		memcpy(notice.session_id, watched->shared->session_id, SESSION_ID_LEN);
		control_notify(CONTROL_LOSS, &notice, sizeof(notice));
	}
	return any;
}

/* ---- watch ---- */

static int take_slot(__u64 now)
{
	for (__u32 tried = 0; tried < MAX_SESSIONS; tried++) {
		__u32 slot = next_slot++ % MAX_SESSIONS;

		if (!by_slot[slot] && (!rested_from[slot] || now - rested_from[slot] > SLOT_REST_NS))
			return slot;
	}
	return -1;
}

static struct watched *new_watched(__u32 slot, __u64 now)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	if (!watched)
		return NULL;
	watched->shared = &kernel->sessions[slot];
	watched->spool.fd = watched->freezer.fd = -1;
	watched->last_loss_check = now;
	return watched;
}

/* Marks a process: the leader, or the supervisor that is not to be mistaken for one of the session. */
static int mark(__u32 pid, __u64 ref, __u32 audit, __u32 flags, __u64 now)
{
	struct lineage entry = { .session = ref, .since = now, .audit_session_id = audit, .flags = flags }, old;

	if (!bpf_map_lookup_elem(kernel->lineage_fd, &pid, &old) && !(old.flags & LINEAGE_SUPERVISOR)) {
		struct watched *of = session_by_ref(old.session);

		if (of) /* a recorded session inside a recorded session: the inner one has it now */
			__atomic_sub_fetch(&of->shared->live_tasks, 1, __ATOMIC_SEQ_CST);
	}
	return bpf_map_update_elem(kernel->lineage_fd, &pid, &entry, BPF_ANY);
}

static __u64 realtime_offset(void)
{
	struct timespec real, boot;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_REALTIME, &real);
	return (real.tv_sec - boot.tv_sec) * 1000000000LL + real.tv_nsec - boot.tv_nsec;
}

static void forget(struct watched *watched)
{
	__u32 slot = SLOT(watched->ref);

	freezer_close(&watched->freezer, slot, watched->ref);
	by_slot[slot] = NULL;
	rested_from[slot] = boottime_ns();
	count--;
	ending -= watched->ending_since != 0;
	throttled -= watched->shared->policy == POLICY_THROTTLE;
	spool_close(&watched->spool);
	free(watched);
	freezer_publish();
	if (!count)
		kernel_watch_calls(kernel, false);
}

static void unpublish(struct watched *watched)
{
	struct session *session = watched->shared;
	__u64 ref;

	set_state(session, SESSION_ENDED);
	if (session->cgroup_id && !bpf_map_lookup_elem(kernel->cgroups_fd, &session->cgroup_id, &ref) &&
	    ref == watched->ref)
		bpf_map_delete_elem(kernel->cgroups_fd, &session->cgroup_id);
	if (!bpf_map_lookup_elem(kernel->audits_fd, &session->audit_session_id, &ref) && ref == watched->ref)
		bpf_map_delete_elem(kernel->audits_fd, &session->audit_session_id);
	__atomic_sub_fetch(&kernel->host->active, 1, __ATOMIC_SEQ_CST);
}

int session_watch(const struct control_watch *request, struct control_watched *answer, const char **why)
{
	__u64 now = boottime_ns();
	struct watched *watched;
	struct session *session;
	int slot, error;

	*why = "this session is watched already";
	if (session_by_id(request->session_id))
		return -EEXIST;
	*why = "the leader is not alive";
	if (!request->leader_pid || kill(request->leader_pid, 0))
		if (!request->leader_pid || errno == ESRCH)
			return -ESRCH;
	*why = "too many sessions";
	slot = take_slot(now);
	if (slot < 0)
		return -EMFILE;
	*why = "out of memory";
	watched = new_watched(slot, now);
	if (!watched)
		return -ENOMEM;
	*why = "the spool file cannot be made";
	error = spool_create(&watched->spool, options->spool_dir, request->session_id);
	if (error) {
		free(watched);
		return error;
	}
	session = watched->shared;
	memset(session, 0, sizeof(*session));
	session->ref = watched->ref = (now / 1000) << 12 | slot;
	session->kinds = request->kinds | 1U << KIND_META;
	session->cgroup_id = request->cgroup_id;
	session->audit_session_id = request->audit_session_id;
	session->leader_pid = request->leader_pid;
	session->supervisor_pid = request->supervisor_pid;
	session->policy = request->policy;
	session->watch_ktime = now;
	session->realtime_offset = realtime_offset();
	session->live_tasks = 1;
	memcpy(session->session_id, request->session_id, SESSION_ID_LEN);
	by_slot[slot] = watched;
	count++;
	throttled += session->policy == POLICY_THROTTLE;
	freezer_open(&watched->freezer, SLOT(watched->ref), watched->shared->cgroup_id);
	stage_watch(watched);
	ring_flush();

	*why = "the system-call hook cannot be attached";
	error = kernel_watch_calls(kernel, true);
	/* LIVE before any key leads here: a key that leads to a slot that is not live is taken for stale */
	set_state(session, SESSION_LIVE);
	__atomic_add_fetch(&kernel->host->active, 1, __ATOMIC_SEQ_CST);
	freezer_publish();
	if (!error) {
		*why = "the kernel's maps are full";
		if (request->supervisor_pid)
			error = mark(request->supervisor_pid, watched->ref, request->audit_session_id,
				     LINEAGE_SUPERVISOR, now);
		error = error ?: mark(request->leader_pid, watched->ref, request->audit_session_id, 0, now);
		if (!error && request->cgroup_id)
			error = bpf_map_update_elem(kernel->cgroups_fd, &request->cgroup_id, &watched->ref, BPF_ANY);
		if (!error && request->audit_session_id != ~0U)
			error = bpf_map_update_elem(kernel->audits_fd, &request->audit_session_id, &watched->ref,
						    BPF_ANY);
	}
	if (error) {
		unpublish(watched);
		forget(watched);
		return error;
	}
	answer->session = watched->ref;
	answer->realtime_offset = session->realtime_offset;
	return 0;
}

/* ---- end ---- */

int session_end(const __u8 *session_id, struct client *client, __u32 id)
{
	struct watched *watched = session_by_id(session_id);

	if (!watched)
		return -ENOENT;
	if (watched->ending_since)
		return -EALREADY;
	watched->ending = client;
	watched->ending_id = id;
	watched->ending_since = boottime_ns();
	ending++;
	return 0;
}

bool sessions_ending(void)
{
	return ending;
}

void sessions_forget_client(struct client *client)
{
	struct watched *watched;

	for (__u32 cursor = 0; (watched = session_next(&cursor));)
		if (watched->ending == client)
			watched->ending = NULL; /* it still ends; nobody is told */
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

static bool adds_up(struct watched *watched)
{
	struct control_totals totals;

	session_totals(watched, &totals);
	for (int kind = 0; kind < KIND_COUNT; kind++)
		if (totals.totals[kind].emitted != totals.totals[kind].recorded + totals.totals[kind].lost)
			return false;
	return true;
}

static void write_end(struct watched *watched, __u64 now)
{
	struct control_totals totals;
	struct record_end record = {};

	declare_losses(watched, now, false);
	ring_flush();
	session_totals(watched, &totals);
	memcpy(record.totals, totals.totals, sizeof(record.totals));
	record.last_seq = totals.last_seq;
	describe_own(watched, &record.h, sizeof(record), RECORD_END, KIND_META);
	stage(watched, &record, sizeof(record), 0);
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

/* What neither disk nor counters account for went with the page cache of a host that crashed: it is lost. */
static void account_for_missing(struct watched *watched)
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

/* One step further with a session that is ending; it is gone after the last. */
static void proceed_end(struct watched *watched, __u64 now)
{
	struct control_totals totals;

	if (watched->shared->state == SESSION_LIVE) {
		if (sockets_linger(watched, now))
			return;
		sweep_session(watched->ref);
		unpublish(watched);
		watched->ending_since = now;
		ring_drain();
	}
	if (!watched->end_written) {
		if (!adds_up(watched)) {
			if (now - watched->ending_since < (ring_used() ? END_PATIENCE_NS : END_QUIET_NS))
				return;
			account_for_missing(watched);
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
	if (watched->ending)
		control_reply(watched->ending, watched->ending_id, CONTROL_TOTALS, &totals, sizeof(totals));
	forget(watched);
}

/* ---- what happens by itself ---- */

void sessions_idle(__u64 ref)
{
	struct watched *watched = session_by_ref(ref);

	if (watched)
		watched->idle_told = false; /* the tick tells, when it is still so */
}

static void tell_idle(struct watched *watched)
{
	struct control_session notice;

	if (watched->shared->live_tasks) {
		watched->idle_told = false;
		return;
	}
	if (watched->idle_told || watched->ending_since)
		return;
	watched->idle_told = true;
	memcpy(notice.session_id, watched->shared->session_id, SESSION_ID_LEN);
	control_notify(CONTROL_IDLE, &notice, sizeof(notice));
}

void sessions_tick(__u64 now)
{
	bool sync = now - last_sync >= SYNC_PERIOD_NS, staged = false;
	struct watched *watched;

	if (count && now - last_sweep >= SWEEP_PERIOD_NS) {
		last_sweep = now;
		sweep_older(now - SWEEP_AGE_NS);
	}
	for (__u32 cursor = 0, seen = 0; seen < count && (watched = session_next(&cursor)); seen++) {
		if (now - watched->last_loss_check >= LOSS_PERIOD_NS)
			staged |= declare_losses(watched, now, false);
		tell_idle(watched);
	}
	if (staged)
		ring_flush();
	for (__u32 cursor = 0; (watched = session_next(&cursor));) {
		if (watched->ending_since)
			proceed_end(watched, now);
		else if (sync && watched->spool.dirty)
			sync_request(&watched->spool);
	}
	if (sync)
		last_sync = now;
}

static __u64 emitted_by(const struct watched *watched)
{
	__u64 sum = 0;

	for (int kind = 0; kind < KIND_COUNT; kind++)
		sum += watched->shared->emitted[kind];
	return sum;
}

/* At three quarters the sessions that filled the ring wait; at a quarter they go on. Others never wait. */
void sessions_throttle(double occupancy)
{
	struct watched *watched;
	__u64 all = 0;

	if (!throttled || (occupancy > 0.25 && occupancy < 0.75))
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

/* ---- start, and taking over ---- */

/* What the ring holds after that waits there for the successor. */
void sessions_leave(void)
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
	struct watched *watched = new_watched(slot, now);
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
			unpublish(watched);
			set_state(session, SESSION_ENDED);
		}
		spool_close(&watched->spool);
		free(watched);
		rested_from[slot] = now;
		return;
	}
	memcpy(watched->recorded, found.recorded, sizeof(watched->recorded));
	memcpy(watched->declared, found.declared, sizeof(watched->declared));
	watched->last_seq = found.last_seq;
	watched->last_position = found.last_position;
	/* only what the ring still holds can come again */
	watched->skip_known = found.any && found.last_position - (__u32)ring_position() < kernel->ring_size;
	by_slot[slot] = watched;
	count++;
	throttled += session->policy == POLICY_THROTTLE;
	resumed++;
	freezer_open(&watched->freezer, SLOT(watched->ref), watched->shared->cgroup_id);
	freezer_thaw(&watched->freezer, watched->ref); /* ours may have died freezing */
	declare_losses(watched, now, interrupted);
}

int sessions_start(struct kernel *with, const struct options *given)
{
	__u64 now = boottime_ns();
	bool interrupted = !with->host->handed_over;

	kernel = with;
	options = given;
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
	if (count)
		return kernel_watch_calls(kernel, true);
	return 0;
}
