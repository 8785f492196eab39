// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "calls.h"
#include "freezer.h"
#include "log.h"
#include "misses.h"
#include "ring.h"
#include "staging.h"
#include "watch.h"

static struct kernel *kernel;
static const struct options *options;

void watch_start(struct kernel *with, const struct options *given)
{
	kernel = with;
	options = given;
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

void session_forget(struct watched *watched)
{
	__u32 slot = SLOT(watched->ref);

	freezer_close(&watched->freezer, slot, watched->ref);
	sessions_remove(watched);
	sessions_rest(slot, boottime_ns());
	spool_close(&watched->spool);
	free(watched);
	freezer_publish();
	if (!sessions_count())
		calls_watch(kernel, false);
}

void session_unpublish(struct watched *watched)
{
	struct session *session = watched->shared;
	__u64 ref;

	session_set_state(session, SESSION_ENDED);
	if (session->cgroup_id && !bpf_map_lookup_elem(kernel->cgroups_fd, &session->cgroup_id, &ref) &&
	    ref == watched->ref)
		bpf_map_delete_elem(kernel->cgroups_fd, &session->cgroup_id);
	if (!bpf_map_lookup_elem(kernel->audits_fd, &session->audit_session_id, &ref) && ref == watched->ref)
		bpf_map_delete_elem(kernel->audits_fd, &session->audit_session_id);
	__atomic_sub_fetch(&kernel->host->active, 1, __ATOMIC_SEQ_CST);
}

int session_watch(const struct control_watch *request, struct control_watched *answer, const char **why)
{
	__u32 leader = kernel_process(kernel, request->leader_pid);
	__u32 supervisor = kernel_process(kernel, request->supervisor_pid);
	__u64 now = boottime_ns();
	struct watched *watched;
	struct session *session;
	int slot, error;

	*why = "this session is watched already";
	if (session_by_id(request->session_id))
		return -EEXIST;
	*why = "the leader is not alive";
	if (!leader || (kill(request->leader_pid, 0) && errno == ESRCH))
		return -ESRCH;
	*why = "too many sessions";
	slot = sessions_take_slot(now);
	if (slot < 0)
		return -EMFILE;
	*why = "out of memory";
	watched = session_new(slot, now);
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
	session->leader_pid = leader;
	session->supervisor_pid = supervisor;
	session->policy = request->policy;
	session->watch_ktime = now;
	session->realtime_offset = realtime_offset();
	session->live_tasks = 1;
	memcpy(session->session_id, request->session_id, SESSION_ID_LEN);
	if (sessions_count())
		misses_settle(kernel);
	else
		misses_forget(kernel);
	sessions_add(watched);
	freezer_open(&watched->freezer, SLOT(watched->ref), watched->shared->cgroup_id);
	staging_watch(watched);
	ring_flush();

	*why = "the system-call hook cannot be attached";
	error = calls_watch(kernel, true);
	/* LIVE before any key leads here: a key that leads to a slot that is not live is taken for stale */
	session_set_state(session, SESSION_LIVE);
	__atomic_add_fetch(&kernel->host->active, 1, __ATOMIC_SEQ_CST);
	freezer_publish();
	if (!error) {
		*why = "the kernel's maps are full";
		if (supervisor)
			error = mark(supervisor, watched->ref, request->audit_session_id, LINEAGE_SUPERVISOR, now);
		error = error ?: mark(leader, watched->ref, request->audit_session_id, 0, now);
		if (!error && request->cgroup_id)
			error = bpf_map_update_elem(kernel->cgroups_fd, &request->cgroup_id, &watched->ref, BPF_ANY);
		if (!error && request->audit_session_id != ~0U)
			error = bpf_map_update_elem(kernel->audits_fd, &request->audit_session_id, &watched->ref,
						    BPF_ANY);
	}
	if (error) {
		session_unpublish(watched);
		session_forget(watched);
		return error;
	}
	/* what was found to be nobody's before the keys above is looked at again */
	__atomic_add_fetch(&kernel->host->generation, 1, __ATOMIC_SEQ_CST);
	answer->session = watched->ref;
	answer->realtime_offset = session->realtime_offset;
	return 0;
}
