/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs run, tried in vain, and ended. */
#ifndef SALLYPORT_EXEC_H
#define SALLYPORT_EXEC_H

#include "lineage.h"
#include "path.h"
#include "syscall.h"

#define ENOENT 2
#define EFAULT 14
#define S_ISUID 04000
#define S_ISGID 02000
#define S_IXGRP 00010
#define TMPFS_MAGIC 0x01021994
#define ENV_BYTES 0x7fff         /* searched for allow-listed keys */

/* FNV-1a over what follows the last slash: enough to tell one program name from another within a thread. */
static __noinline __u64 hash_basename(struct exec_attempt *attempt)
{
	__u64 hash = 0xcbf29ce484222325ULL;
	int i;

	for (i = 0; i < ATTEMPT_PATH; i++) {
		char c = attempt->path[i];

		if (!c)
			break;
		hash = c == '/' ? 0xcbf29ce484222325ULL : (hash ^ (__u8)c) * 0x100000001b3ULL;
	}
	return hash;
}

/* A run of ENOENT that led to nothing. The entry was taken out of the map by whoever calls. */
static __always_inline void report_attempt(struct session *session, struct scratch *s, struct exec_attempt *attempt)
{
	struct record_exec_failed *record = (void *)s->data;
	__u32 length = attempt->length & (ATTEMPT_PATH - 1), at = sizeof(*record);

	record->h = attempt->h;
	record->error = -ENOENT;
	record->folded = attempt->count;
	put_tlv(s, at, TLV_USER_PATH, length);
	zero_padding(s, at, length);
	bpf_probe_read_kernel(s->data + at + sizeof(struct tlv), length, attempt->path);
	record->h.length = at + tlv_space(length);
	if (begin_record(session, &record->h, RECORD_EXEC_FAILED, KIND_COMMAND, attempt->h.source)) {
		record->h.ktime = attempt->h.ktime; /* when it happened, not when it became certain */
		finish_record(session, KIND_COMMAND, record, at + tlv_space(length));
	}
}

/* Ends the run of this thread, if there is one: it is reported unless `found` is what was searched for. */
static __noinline int settle_attempt(__u64 thread, const char *found)
{
	struct exec_attempt *attempt = bpf_map_lookup_elem(&exec_attempts, &thread);
	struct scratch *s = scratch_of_cpu();
	struct exec_attempt *copy;
	struct session *session;

	if (!attempt || !s)
		return 0;
	/* behind where report_attempt builds */
	copy = (void *)(s->data + 4096);
	bpf_probe_read_kernel(copy, sizeof(*copy), attempt);
	if (bpf_map_delete_elem(&exec_attempts, &thread))
		return 0; /* the sweep was faster */
	if (found) {
		struct exec_attempt *name = (void *)(s->data + 8192);

		bpf_probe_read_kernel_str(name->path, sizeof(name->path), found);
		if (hash_basename(name) == copy->basename)
			return 0;
	}
	session = session_of(copy->h.session);
	if (session)
		report_attempt(session, s, copy);
	return 0;
}

/*
 * argv as the kernel copied it into the new mm: nobody has run there yet, so nobody has changed it. Last in the
 * record, as it is the longest.
 */
static __always_inline __u32 put_argv(struct scratch *s, __u32 at, struct record_exec *record, struct mm_struct *mm)
{
	__u64 start = READ(mm, arg_start), end = READ(mm, arg_end);
	__u32 value = at + sizeof(struct tlv), length;
	long error;

	record->argv_size = end - start;
	record->argv_state = ARGV_EXACT;
	length = WIRE_MAX_ARGV;
	if (record->argv_size > WIRE_MAX_ARGV)
		record->argv_state = ARGV_TRUNCATED;
	else
		length = record->argv_size;
	BOUND(value, SCRATCH_HEAD - 1);
	barrier_var(length);
	if (length > WIRE_MAX_ARGV)
		return at;
	error = bpf_probe_read_user(s->data + value, length, (void *)start);
	if (error && length > 4096) { /* all or nothing: a page may have gone since; keep the first */
		length = 4096 - (start & 4095);
		record->argv_state = ARGV_TRUNCATED;
		barrier_var(length);
		if (length <= 4096)
			error = bpf_probe_read_user(s->data + value, length, (void *)start);
	}
	if (error) {
		record->argv_state = ARGV_UNREADABLE;
		record->argv_error = error;
		return at;
	}
	put_tlv(s, at, TLV_ARGV, length);
	zero_padding(s, at, length);
	return at + tlv_space(length);
}

static __always_inline __u32 put_env(struct scratch *s, __u32 at, struct record_exec *record, struct mm_struct *mm)
{
	__u64 start = READ(mm, env_start), size = READ(mm, env_end) - start;
	__u32 value = at + sizeof(struct tlv), length = size;

	if (size > ENV_BYTES) {
		length = ENV_BYTES;
		record->flags |= EXEC_FLAG_ENV_PARTIAL;
	}
	BOUND(value, SCRATCH_HEAD / 2 - 1);
	BOUND(length, ENV_BYTES);
	if (bpf_probe_read_user(s->data + value, length, (void *)start)) {
		record->flags |= EXEC_FLAG_ENV_PARTIAL;
		return at;
	}
	put_tlv(s, at, TLV_ENV_RAW, length);
	zero_padding(s, at, length);
	return at + tlv_space(length);
}

static __always_inline void describe_program(struct record_exec *record, struct file *exe, struct task_struct *task)
{
	struct inode *inode = READ(exe, f_inode);
	struct cred *cred = READ(task, cred);
	__u32 mode = READ(inode, i_mode);

	record->mode = mode;
	record->inode = READ(inode, i_ino);
	record->device = encode_device(READ(inode, i_sb, s_dev));
	if (!READ(inode, i_nlink))
		record->flags |= EXEC_FLAG_DELETED;
	if (READ(inode, i_sb, s_magic) == TMPFS_MAGIC)
		record->flags |= EXEC_FLAG_SHM;
	if (((mode & S_ISUID) && READ(cred, euid.val) != READ(cred, uid.val)) ||
	    ((mode & S_ISGID) && (mode & S_IXGRP) && READ(cred, egid.val) != READ(cred, gid.val)))
		record->flags |= EXEC_FLAG_SETUID;
}

GATE("tp_btf/sched_process_exec", exec, host.active)

SEC("tp_btf/sched_process_exec")
int BPF_PROG(do_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 tgid = thread >> 32, at = sizeof(struct record_exec), walked = 0;
	struct record_exec *record;
	struct lineage *entry;
	struct session *session;
	struct scratch *s;
	struct mm_struct *mm;
	struct file *exe;
	struct path path;
	const char *name, *interpreter;

	session = member(task, tgid, &entry);
	if (!session)
		return 0;
	entry->since = bpf_ktime_get_boot_ns();
	name = READ(bprm, filename);
	if (entry->flags & LINEAGE_EXEC_ATTEMPT) {
		/* de_thread gave this thread the leader's pid; its run stands under the old one */
		settle_attempt((__u64)tgid << 32 | (__u32)old_pid, name);
		entry->flags &= ~LINEAGE_EXEC_ATTEMPT;
	}
	s = scratch_of_cpu();
	if (!wants(session, KIND_COMMAND) || !s)
		return 0;

	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	describe_member(&record->h, task, session, entry);
	record->argc = READ(bprm, argc);
	mm = READ(task, mm);
	exe = READ(mm, exe_file);
	describe_program(record, exe, task);

	READ_PATH(&path, exe, f_path);
	at = put_path(s, at, TLV_EXE, &path, &walked);
	if (walked & WALK_PARTIAL)
		record->flags |= EXEC_FLAG_PATH_PARTIAL;
	if ((walked & WALK_DETACHED) && (record->mode & S_IFMT) == S_IFREG && (record->flags & EXEC_FLAG_SHM)) {
		record->flags |= EXEC_FLAG_MEMFD; /* a regular file on tmpfs that no directory ever held */
		record->flags &= ~(EXEC_FLAG_DELETED | EXEC_FLAG_SHM);
	}
	read_fs_path(&path, task, pwd);
	at = put_path(s, at, TLV_CWD, &path, &walked);
	if (walked & WALK_PARTIAL)
		record->flags |= EXEC_FLAG_CWD_PARTIAL;
	at = put_string(s, at, TLV_PATH, name, false);
	interpreter = READ(bprm, interp);
	if (interpreter != name)
		at = put_string(s, at, TLV_INTERPRETER, interpreter, false);
	at = put_env(s, at, record, mm);
	at = put_argv(s, at, record, mm);
	record->h.length = at;
	if (is_compat(task))
		record->h.flags |= RECORD_FLAG_COMPAT32;
	if (begin_record(session, &record->h, RECORD_EXEC, KIND_COMMAND, SOURCE_SCHED_PROCESS_EXEC)) {
		barrier_var(at);
		if (at <= sizeof(*s))
			finish_record(session, KIND_COMMAND, record, at);
	}
	return 0;
}

/* execve that failed. `name` is the caller's memory, read late: the attempt is what counts, not the spelling. */
static __always_inline void on_exec_failed(struct task_struct *task, struct session *session, struct lineage *entry,
					   const void *name, long error, __u8 flags)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct scratch *s = scratch_of_cpu();
	struct record_exec_failed *record;
	__u32 at = sizeof(*record);

	if (!s)
		return;
	if (error == -ENOENT) {
		struct exec_attempt *fresh = (void *)s->data, *run;
		long length = bpf_probe_read_user_str(fresh->path, sizeof(fresh->path), name);

		if (length > 0 && length < ATTEMPT_PATH) {
			fresh->basename = hash_basename(fresh);
			fresh->length = length - 1;
			fresh->count = 1;
			describe_member(&fresh->h, task, session, entry);
			fresh->h.session = session->ref;
			fresh->h.source = SOURCE_SYS_EXIT;
			fresh->h.flags |= flags;
			fresh->h.ktime = bpf_ktime_get_boot_ns();
			run = bpf_map_lookup_elem(&exec_attempts, &thread);
			if (run && run->basename == fresh->basename) {
				run->count += 1;
				return;
			}
			if (run) { /* settle_attempt builds at the scratch's start: keep ours out of its way */
				struct exec_attempt *kept = (void *)(s->data + 16384);

				bpf_probe_read_kernel(kept, sizeof(*kept), fresh);
				settle_attempt(thread, NULL);
				fresh = kept;
			}
			if (!bpf_map_update_elem(&exec_attempts, &thread, fresh, BPF_ANY)) {
				entry->flags |= LINEAGE_EXEC_ATTEMPT;
				return;
			}
		}
	}
	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	describe_member(&record->h, task, session, entry);
	record->h.flags |= flags;
	record->error = error;
	record->folded = 1;
	at = put_string(s, at, TLV_USER_PATH, name, true);
	record->h.length = at;
	if (begin_record(session, &record->h, RECORD_EXEC_FAILED, KIND_COMMAND, SOURCE_SYS_EXIT))
		finish_record(session, KIND_COMMAND, record, at & (SCRATCH_HEAD - 1));
}

GATE("tp_btf/sched_process_exit", exit, true)

/* Every thread; the process is over with the last. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(do_exit, struct task_struct *task)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 tgid = thread >> 32;
	struct lineage *found, entry;
	struct session *session;

	found = bpf_map_lookup_elem(&lineage, &tgid);
	if (!found)
		return 0;
	if (found->flags & LINEAGE_EXEC_ATTEMPT)
		settle_attempt(thread, NULL);
	if (READ(task, signal, live.counter))
		return 0;
	entry = *found;
	/* two last threads may both read 0: the one that takes the entry out reports */
	if (bpf_map_delete_elem(&lineage, &tgid) || (entry.flags & LINEAGE_SUPERVISOR))
		return 0;
	session = session_of(entry.session);
	if (!session)
		return 0;
	report_exit(session, task, &entry);
	task_left(session);
	return 0;
}

#endif
