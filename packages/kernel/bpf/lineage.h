/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose is this task? Lineage (who forked it) decides: nothing a user can do moves it. Else the cgroup or any
 * ancestor of it, else the audit session id; a task found that way joins the lineage, and is reported.
 */
#ifndef SALLYPORT_LINEAGE_H
#define SALLYPORT_LINEAGE_H

#include "record.h"

#define CLONE_THREAD 0x00010000
#define SIGNAL_GROUP_EXIT 0x00000004
#define MAX_CGROUP_LEVELS 32

/*
 * A frame of its own, and built in the ring: the callers' stacks are full. Rare, so the task is described anew.
 * `what` is the enum attribution_reason, and the enum source << 8.
 */
static __noinline int report_attribution(struct session *session, struct task_struct *task, __u64 old_value,
					 __u64 new_value, __u32 what)
{
	struct record_attribution *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	struct record_header spare;

	if (!record) {
		if (begin_record(session, &spare, RECORD_ATTRIBUTION, KIND_META, SOURCE_NONE))
			__sync_fetch_and_add(&session->lost[KIND_META], 1);
		return 0;
	}
	describe_task(&record->h, task, cgroup_of(task));
	record->h.length = sizeof(*record);
	record->reason = what & 0xff;
	record->reserved = 0;
	record->old_value = old_value;
	record->new_value = new_value;
	if (begin_record(session, &record->h, RECORD_ATTRIBUTION, KIND_META, what >> 8))
		bpf_ringbuf_submit(record, 0);
	else
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* A process that could not be put into the lineage: what it does from now on may go unseen. */
static __always_inline void count_lineage_loss(struct session *session)
{
	__sync_fetch_and_add(&session->emitted[KIND_META], 1);
	__sync_fetch_and_add(&session->lineage_lost, 1);
	__sync_fetch_and_add(&session->lost[KIND_META], 1);
	__sync_fetch_and_add(&session->seq, 1);
}

/* The session whose cgroup this is, or lies above it. */
static __noinline __u64 session_of_cgroup(struct cgroup *cgroup)
{
	__u32 levels = host.cgroup_levels;
	__u64 id = READ(cgroup, kn, id);
	__u64 *ref = bpf_map_lookup_elem(&cgroups, &id);
	int level, i;

	if (ref)
		return *ref;
	level = READ(cgroup, level);
	for (i = 1; i < MAX_CGROUP_LEVELS; i++) {
		if (i >= level)
			break;
		if (!(levels & (1U << i)))
			continue;
		if (bpf_core_field_exists(cgroup->ancestors)) {
			struct cgroup *ancestor = NULL;

			bpf_core_read(&ancestor, sizeof(ancestor), &cgroup->ancestors[i]);
			id = READ(ancestor, kn, id);
		} else {
			struct cgroup___ids *old = (void *)cgroup;

			bpf_core_read(&id, sizeof(id), &old->ancestor_ids[i]);
		}
		ref = bpf_map_lookup_elem(&cgroups, &id);
		if (ref)
			return *ref;
	}
	return 0;
}

static __always_inline struct outside *outside_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&outside, &zero);
}

/*
 * The task is in no lineage. By another key it may still be somebody's; that it is not is remembered, as the next task
 * on this CPU is mostly the same. `steady`: no other task can come in between, as it can in programs of cgroups, which
 * might read half of what was written.
 */
static __noinline struct lineage *adopt(struct task_struct *task, bool steady)
{
	__u32 generation = *(volatile __u32 *)&host.generation; /* before the maps are looked at */
	struct cgroup *cgroup = READ(task, cgroups, dfl_cgrp);
	__u32 tgid = READ(task, tgid), audit = audit_id_of(task);
	__u32 reason = ATTRIBUTION_ADOPTED_CGROUP;
	struct outside *known = outside_of_cpu();
	__u64 id = READ(cgroup, kn, id), ref;
	struct lineage entry = {};
	struct session *session;

	if (!known)
		return NULL; /* never so */
	if (steady && known->generation == generation && known->cgroup_id == id && known->audit_session_id == audit) {
		known->count++;
		return NULL;
	}
	ref = session_of_cgroup(cgroup);
	if (!ref || !session_of(ref)) {
		__u64 *by_audit = audit == NO_AUDIT_ID ? NULL : bpf_map_lookup_elem(&audits, &audit);

		reason = ATTRIBUTION_ADOPTED_AUDIT;
		ref = by_audit ? *by_audit : 0;
	}
	session = ref ? session_of(ref) : NULL;
	if (!session) {
		known->count++;
		if (steady) {
			known->cgroup_id = id;
			known->audit_session_id = audit;
			known->generation = generation;
		}
		return NULL;
	}
	entry.session = ref;
	entry.start_boottime = READ(task, group_leader, start_boottime);
	entry.since = entry.start_boottime;
	entry.cgroup_id = id;
	entry.audit_session_id = audit;
	/* what is there is of an earlier session or of a process of the past, or of a sibling thread just now */
	if (bpf_map_update_elem(&lineage, &tgid, &entry, BPF_ANY)) {
		count_lineage_loss(session);
		return NULL;
	}
	__sync_fetch_and_add(&session->live_tasks, 1);
	report_attribution(session, task, 0, reason == ATTRIBUTION_ADOPTED_CGROUP ? entry.cgroup_id : audit, reason);
	return bpf_map_lookup_elem(&lineage, &tgid);
}

/*
 * The session the task is in, and its lineage entry; NULL when in none. start_boottime guards against a pid
 * used again. A stale or foreign entry falls through to the other keys.
 */
static __always_inline struct session *member_steady(struct task_struct *task, __u32 tgid, struct lineage **entry,
						     bool steady)
{
	struct lineage *found = bpf_map_lookup_elem(&lineage, &tgid);

	if (found) {
		__u64 start = READ(task, group_leader, start_boottime);

		if (!found->start_boottime)
			found->start_boottime = start;
		if (found->start_boottime == start) {
			struct session *session;

			if (found->flags & LINEAGE_SUPERVISOR)
				return NULL;
			session = session_of(found->session);
			if (session) {
				*entry = found;
				return session;
			}
		}
	}
	found = adopt(task, steady);
	if (!found)
		return NULL;
	*entry = found;
	return session_of(found->session);
}

/* In a tracing program. */
static __always_inline struct session *member(struct task_struct *task, __u32 tgid, struct lineage **entry)
{
	return member_steady(task, tgid, entry, true);
}

/* What the task says of itself, and whether that changed since its last record: cgroup, audit session id. */
static __always_inline void describe_member(struct record_header *h, struct task_struct *task,
					    struct session *session, struct lineage *entry)
{
	describe_task(h, task, bpf_get_current_cgroup_id());
	if (h->audit_session_id != entry->audit_session_id) {
		__u32 old = entry->audit_session_id;

		entry->audit_session_id = h->audit_session_id;
		report_attribution(session, task, old, h->audit_session_id, ATTRIBUTION_AUDIT_ID_CHANGED);
	}
	if (h->cgroup_id != entry->cgroup_id) { /* clone3 into a cgroup passes by cgroup_attach_task */
		__u64 old = entry->cgroup_id;

		entry->cgroup_id = h->cgroup_id;
		if (old)
			report_attribution(session, task, old, h->cgroup_id, ATTRIBUTION_CGROUP_MOVED);
	}
}

/* A thread is of its process: nothing to remember. */
GATE("tp_btf/task_newtask", task_newtask, host.active && !(ctx[1] & CLONE_THREAD))

SEC("tp_btf/task_newtask")
int BPF_PROG(do_task_newtask, struct task_struct *task, unsigned long clone_flags)
{
	__u32 parent = bpf_get_current_pid_tgid() >> 32, tgid;
	struct lineage *of_parent, entry;
	struct session *session;

	of_parent = bpf_map_lookup_elem(&lineage, &parent);
	if (!of_parent)
		return 0;
	session = session_of(of_parent->session);
	if (!session)
		return 0;
	tgid = READ(task, tgid);
	entry.session = of_parent->session;
	entry.start_boottime = READ(task, start_boottime);
	entry.since = entry.start_boottime;
	entry.cgroup_id = of_parent->cgroup_id;
	entry.audit_session_id = of_parent->audit_session_id;
	/* The supervisor's children (PAM's helpers; the leader was there before the watch) are no more of it than it is. */
	entry.flags = of_parent->flags & LINEAGE_SUPERVISOR;
	if (bpf_map_update_elem(&lineage, &tgid, &entry, BPF_ANY))
		count_lineage_loss(session);
	else if (!entry.flags)
		__sync_fetch_and_add(&session->live_tasks, 1);
	return 0;
}

/* Called for the last thread of a member, after its lineage entry was taken out by whoever calls. */
static __always_inline void report_exit(struct session *session, struct task_struct *task, struct lineage *entry)
{
	struct record_exit record = {};
	struct signal_struct *signal = READ(task, signal);

	if (!wants(session, KIND_COMMAND))
		return;
	describe_task(&record.h, task, cgroup_of(task));
	record.h.length = sizeof(record);
	/* as wait(2) will: the group's code, else that of the leader, which may be a zombie for long */
	record.exit_code = READ(signal, flags) & SIGNAL_GROUP_EXIT ? READ(signal, group_exit_code)
								 : READ(task, group_leader, exit_code);
	record.cpu_ns = READ(signal, sum_sched_runtime) + READ(task, se.sum_exec_runtime);
	if (READ(task, group_leader) != task)
		record.cpu_ns += READ(task, group_leader, se.sum_exec_runtime);
	if (!begin_record(session, &record.h, RECORD_EXIT, KIND_COMMAND, SOURCE_SCHED_PROCESS_EXIT))
		return;
	record.duration_ns = record.h.ktime - entry->since;
	finish_record(session, KIND_COMMAND, &record, sizeof(record));
}

/* After the last record of the last task, so that whoever hears it has everything. Counted nowhere. */
static __always_inline void report_idle(struct session *session)
{
	struct record_header h = {
		.length = sizeof(h), .type = RECORD_IDLE, .kind = KIND_META, .session = session->ref,
	};

	bpf_ringbuf_output(&ring, &h, sizeof(h), BPF_RB_FORCE_WAKEUP);
}

static __always_inline void task_left(struct session *session)
{
	__sync_fetch_and_add(&session->live_tasks, -1);
	if (!*(volatile __u64 *)&session->live_tasks)
		report_idle(session);
}

GATE("tp_btf/cgroup_attach_task", cgroup_attach_task, host.active)

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(do_cgroup_attach_task, struct cgroup *to, const char *path, struct task_struct *task)
{
	__u32 tgid = READ(task, tgid), reason = ATTRIBUTION_CGROUP_MOVED;
	struct lineage *entry;
	struct session *session;
	__u64 id, old, owner;

	if (READ(to, root, hierarchy_id)) /* 0 is cgroup v2; the tracepoint tells of v1 as well */
		return 0;
	entry = bpf_map_lookup_elem(&lineage, &tgid);
	if (!entry || (entry->flags & LINEAGE_SUPERVISOR))
		return 0;
	session = session_of(entry->session);
	id = READ(to, kn, id);
	old = entry->cgroup_id;
	if (!session || old == id)
		return 0;
	entry->cgroup_id = id;
	owner = session_of_cgroup(to);
	if (owner && owner != entry->session)
		reason = ATTRIBUTION_CGROUP_FOREIGN;
	report_attribution(session, task, old, id, reason | SOURCE_CGROUP_ATTACH << 8);
	return 0;
}

#endif
