/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files opened through io_uring, which no system call's end tells of. Submission has the kernel's own copy of
 * the name and who asked; completion, perhaps in a worker or a kernel thread, has the result. Linux 6.3 and
 * later (io_uring_submit_req); before, the ring's own record is the tell-tale.
 * Connects need nothing here: the cgroup hooks and the socket's states see them whoever makes them.
 */
#ifndef SALLYPORT_URING_H
#define SALLYPORT_URING_H

#include "file.h"

#define IORING_OP_OPENAT 18
#define IORING_OP_OPENAT2 28
#define NR_IO_URING_SETUP 425
#define NR_IO_URING_ENTER 426
#define REQ_F_CQE_SKIP (1ULL << 6) /* IOSQE_CQE_SKIP_SUCCESS: a success completes unseen */
#define EINPROGRESS 115

/* The signature of io_uring_complete changed in 6.14: the result, or where it is. Set before load. */
SEC(".rodata.uring") const volatile bool complete_has_cqe = false;

/* As /proc/PID/fd shows it. In words: as a string it would lie where libbpf relocates nothing. */
#define RING_NAME { 0x6f6e695f6e6f6e61ULL, 0x755f6f695b3a6564ULL, 0x5d676e6972ULL }
#define RING_NAME_LENGTH 21

/* A ring made in a session: what goes through it may be seen less well, so this is told whatever is recorded. */
static __always_inline void on_uring_setup(struct task_struct *task, struct session *session,
					   struct lineage *entry, bool compat, long result)
{
	struct scratch *s = scratch_of_cpu();
	__u32 at = sizeof(struct record_open);
	const __u64 name[] = RING_NAME;
	struct record_open *record;

	if (!s || result < 0)
		return;
	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	record->result = result;
	record->syscall = NR_IO_URING_SETUP;
	record->path_source = PATH_URING;
	describe_member(&record->h, task, session, entry);
	if (compat)
		record->h.flags |= RECORD_FLAG_COMPAT32;
	put_tlv(s, at, TLV_PATH, RING_NAME_LENGTH);
	bpf_probe_read_kernel(s->data + at + sizeof(struct tlv), sizeof(name), name); /* padding included */
	at += tlv_space(RING_NAME_LENGTH);
	record->h.length = at;
	if (begin_record(session, &record->h, RECORD_OPEN, KIND_META, SOURCE_IO_URING))
		finish_record(session, KIND_META, record, at);
}

/* `open` may lie in a map or in the scratch behind where the record is built. */
static __noinline int report_uring_open(struct uring_open *open, __s64 result)
{
	__u32 at = sizeof(struct record_open), length = open->length, walked;
	struct session *session = session_of(open->h.session);
	struct scratch *s = scratch_of_cpu();
	struct record_open *record;

	if (!session || !s)
		return 0;
	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	record->h = open->h;
	record->result = result;
	record->open_flags = open->flags;
	record->syscall = NR_IO_URING_ENTER;
	record->path_source = PATH_USER;
	/* a descriptor only means something in the process that asked; with a fixed slot there is none */
	if (result >= 0 && !open->slot && bpf_get_current_pid_tgid() >> 32 == open->h.pid) {
		struct file *file = file_of_descriptor(current_task(), result);
		struct path path;

		if (file) {
			describe_file(record, file);
			record->path_source = PATH_URING;
			READ_PATH(&path, file, f_path);
			at = put_path(s, at, TLV_PATH, &path, &walked);
			if (walked & WALK_PARTIAL)
				record->flags |= OPEN_FLAG_PATH_PARTIAL;
		}
	}
	if (record->path_source == PATH_USER) {
		BOUND(length, URING_PATH - 1);
		put_tlv(s, at, TLV_USER_PATH, length);
		zero_padding(s, at, length);
		bpf_probe_read_kernel(s->data + at + sizeof(struct tlv), length, open->path);
		at += tlv_space(length);
	}
	record->h.length = at;
	if (begin_record(session, &record->h, RECORD_OPEN, KIND_DISK, SOURCE_IO_URING))
		finish_record(session, KIND_DISK, record, at & (SCRATCH_HEAD - 1));
	return 0;
}

GATE("tp_btf/io_uring_submit_req", uring_submit, host.active)

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(do_uring_submit, struct io_kiocb *req)
{
	__u8 opcode = READ(req, opcode);
	struct io_open *call = (void *)req; /* io_kiocb_to_cmd() */
	struct task_struct *task = current_task();
	__u64 key = (__u64)req;
	struct uring_open *open;
	struct session *session;
	struct lineage *entry;
	struct scratch *s;
	long length;

	if (opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2)
		return 0;
	session = member(task, bpf_get_current_pid_tgid() >> 32, &entry);
	s = scratch_of_cpu();
	if (!session || !wants(session, KIND_DISK) || !s)
		return 0;
	open = (void *)(s->data + 16384);
	__builtin_memset(&open->h, 0, sizeof(open->h));
	describe_member(&open->h, task, session, entry);
	open->h.session = session->ref;
	open->flags = READ(call, how.flags);
	open->slot = READ(call, file_slot);
	length = bpf_probe_read_kernel_str(open->path, sizeof(open->path), READ(call, filename, name));
	open->length = length > 0 ? length - 1 : 0;
	if ((READ(req, flags) & REQ_F_CQE_SKIP) || bpf_map_update_elem(&uring_opens, &key, open, BPF_ANY))
		report_uring_open(open, -EINPROGRESS); /* nobody will tell how it went: told that it was tried */
	return 0;
}

GATE("tp_btf/io_uring_complete", uring_complete, host.active && ctx[1])

SEC("tp_btf/io_uring_complete")
int do_uring_complete(unsigned long long *ctx)
{
	__u64 key = ctx[1];
	struct uring_open *found, *copy;
	struct scratch *s;
	int result;

	found = bpf_map_lookup_elem(&uring_opens, &key);
	s = scratch_of_cpu();
	if (!found || !s)
		return 0;
	if (complete_has_cqe) {
		struct io_uring_cqe *cqe = (void *)ctx[2];

		result = READ(cqe, res);
	} else {
		result = ctx[3];
	}
	copy = (void *)(s->data + 16384);
	bpf_probe_read_kernel(copy, sizeof(*copy), found);
	if (!bpf_map_delete_elem(&uring_opens, &key))
		report_uring_open(copy, result);
	return 0;
}

#endif
