/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files opened, tier 0: at the end of the system call, by what the descriptor table holds. The kernel's own
 * object, so a path changed under the call does not matter; but a sibling thread may have put another file
 * under that number already, hence PATH_FD_SHARED and a record for each dup2 over a shared table.
 */
#ifndef SALLYPORT_FILE_H
#define SALLYPORT_FILE_H

#include "lineage.h"
#include "path.h"
#include "syscall.h"

#define AT_FDCWD (-100)

static __always_inline struct file *file_of_descriptor(struct task_struct *task, long descriptor)
{
	struct fdtable *table = READ(task, files, fdt);
	struct file **slots, *file = NULL;

	if (descriptor < 0 || descriptor >= READ(table, max_fds))
		return NULL;
	slots = READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + descriptor);
	return file;
}

static __always_inline void describe_file(struct record_open *record, struct file *file)
{
	struct inode *inode = READ(file, f_inode);

	record->open_flags = READ(file, f_flags);
	record->mode = READ(inode, i_mode);
	record->inode = READ(inode, i_ino);
	record->nlink = READ(inode, i_nlink);
	record->device = encode_device(READ(inode, i_sb, s_dev));
}

/* The directory a relative path that led nowhere started from. */
static __always_inline __u32 put_base(struct scratch *s, __u32 at, struct task_struct *task, int directory)
{
	struct path path = {};
	__u32 walked;

	if (directory == AT_FDCWD) {
		read_fs_path(&path, task, pwd);
	} else {
		struct file *file = file_of_descriptor(task, directory);

		if (!file)
			return at;
		READ_PATH(&path, file, f_path);
	}
	return put_path(s, at, TLV_BASE, &path, &walked);
}

struct open_call {
	const void *name;
	int directory;
	__u32 flags;
	__u16 number;
	bool compat;
	bool dup;
};

static __always_inline void on_open(struct task_struct *task, struct session *session, struct lineage *entry,
				    struct open_call *call, long result)
{
	struct scratch *s = scratch_of_cpu();
	__u32 at = sizeof(struct record_open), walked = 0;
	struct record_open *record;
	bool shared;

	if (!s)
		return;
	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	shared = READ(task, files, count.counter) > 1;
	if (call->dup && !shared)
		return;
	if (result >= 0) {
		struct file *file = file_of_descriptor(task, result);
		struct path path;

		if (!file) { /* a sibling closed it already: the caller's word is all there is */
			record->path_source = PATH_USER;
			record->open_flags = call->flags;
			at = put_string(s, at, TLV_USER_PATH, call->name, true);
		} else {
			describe_file(record, file);
			if (call->dup) {
				__u32 type = record->mode & S_IFMT;

				if (type != S_IFREG && type != S_IFDIR && type != S_IFBLK && type != S_IFCHR)
					return;
				record->flags |= OPEN_FLAG_DUP;
			}
			record->path_source = shared ? PATH_FD_SHARED : PATH_FD;
			READ_PATH(&path, file, f_path);
			at = put_path(s, at, TLV_PATH, &path, &walked);
			if (walked & WALK_PARTIAL)
				record->flags |= OPEN_FLAG_PATH_PARTIAL;
		}
	} else {
		char first = '/';

		record->path_source = PATH_USER;
		record->open_flags = call->flags;
		if (call->name) {
			at = put_string(s, at, TLV_USER_PATH, call->name, true);
			bpf_probe_read_kernel(&first, 1, s->data + sizeof(struct record_open) + sizeof(struct tlv));
			if (at != sizeof(struct record_open) && first != '/')
				at = put_base(s, at, task, call->directory);
		}
	}
	record->result = result;
	record->syscall = call->number;
	describe_member(&record->h, task, session, entry);
	if (call->compat)
		record->h.flags |= RECORD_FLAG_COMPAT32;
	record->h.length = at;
	if (begin_record(session, &record->h, RECORD_OPEN, KIND_DISK, SOURCE_SYS_EXIT))
		finish_record(session, KIND_DISK, record, at & (SCRATCH_HEAD - 1));
}

/* struct open_how of openat2 starts with 64 bits of flags; openat has them in the register itself. */
static __always_inline __u32 flags_of_openat(struct pt_regs *regs, long number, bool compat)
{
	__u64 flags = argument(regs, 2, compat);

	if (number == 437)
		bpf_probe_read_user(&flags, sizeof(flags), (void *)flags);
	return flags;
}

#endif
