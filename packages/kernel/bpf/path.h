/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From dentry and mount to an absolute path, as d_path() would, but beyond a chroot: up to the root of the
 * mount namespace. What the caller typed plays no part.
 */
#ifndef SALLYPORT_PATH_H
#define SALLYPORT_PATH_H

#include "record.h"

#define PATH_DEPTH 160           /* components and mounts walked; deeper is partial */
#define WALK_START_MASK 0x1fff   /* result: where the path starts in the buffer, PATH_BYTES = empty */
#define WALK_PARTIAL 0x10000     /* begins in the middle: too deep or too long */
#define WALK_DETACHED 0x20000    /* on no visible mount: memfd, pipe, a lazily unmounted tree */

/*
 * Global, so that the verifier walks the loop once and not once a caller; the path comes through the CPU's
 * buffer, as a global function takes no kernel pointers. Fills that buffer from its end backwards.
 */
__noinline int walk_path(__u32 zero)
{
	struct path_buffer *buffer = bpf_map_lookup_elem(&path_buffers, &zero);
	struct dentry *dentry, *mount_root;
	struct mount *mount;
	__u32 start, flags = WALK_PARTIAL;
	int i;

	if (!buffer)
		return PATH_BYTES;
	dentry = (void *)buffer->dentry;
	mount = (void *)(buffer->mount - bpf_core_field_offset(struct mount, mnt));
	mount_root = READ(mount, mnt.mnt_root);
	buffer->start = PATH_BYTES;
	for (i = 0; i < PATH_DEPTH; i++) {
		struct dentry *parent;
		__u32 length, at;

		if (dentry == mount_root) {
			struct mount *up = READ(mount, mnt_parent);

			if (up == mount) {
				flags = 0;
				break;
			}
			dentry = READ(mount, mnt_mountpoint);
			mount = up;
			mount_root = READ(mount, mnt.mnt_root);
			continue;
		}
		parent = READ(dentry, d_parent);
		length = READ(dentry, d_name.len) & 0xff;
		/*
		 * Kept in memory: in a register its range would differ with every way through the loop, and the
		 * verifier would walk them all.
		 */
		start = buffer->start;
		if (length + 1 > start)
			break;
		start -= length;
		at = start;
		BOUND(at, PATH_BYTES - 1);
		bpf_probe_read_kernel(buffer->data + at, length, READ(dentry, d_name.name));
		start -= 1;
		at = start;
		BOUND(at, PATH_BYTES - 1);
		buffer->data[at] = '/';
		buffer->start = start;
		if (parent == dentry) {
			flags = WALK_DETACHED;
			break;
		}
		dentry = parent;
	}
	start = buffer->start;
	if (start == PATH_BYTES && !flags) { /* the root itself */
		start -= 1;
		buffer->data[PATH_BYTES - 1] = '/';
	}
	return start | flags;
}

/*
 * Walks and puts the result behind `at` as a TLV. Returns the offset behind it; *walked says how it went.
 * `at` below SCRATCH_HEAD / 2.
 */
static __always_inline __u32 put_path(struct scratch *s, __u32 at, __u16 tag, struct path *path, __u32 *walked)
{
	__u32 zero = 0, start, length;
	struct path_buffer *buffer = bpf_map_lookup_elem(&path_buffers, &zero);

	if (!buffer)
		return at;
	buffer->dentry = (__u64)path->dentry;
	buffer->mount = (__u64)path->mnt;
	*walked = walk_path(0);
	start = *walked & WALK_START_MASK;
	if (start > PATH_BYTES)
		return at;
	length = PATH_BYTES - start;
	put_tlv(s, at, tag, length);
	zero_padding(s, at, length);
	barrier_var(start);
	if (start < PATH_BYTES) {
		__u32 value = at + sizeof(struct tlv);

		BOUND(value, SCRATCH_HEAD - 1);
		barrier_var(length);
		if (length <= PATH_BYTES)
			/* reads up to the buffer's end, wherever the path starts: it is kernel memory */
			bpf_probe_read_kernel(s->data + value, length, buffer->data + (start & (PATH_BYTES - 1)));
	}
	return at + tlv_space(length);
}

/* A string of the kernel's or the caller's as a TLV, without its NUL. A failed read leaves it out. */
static __always_inline __u32 put_string(struct scratch *s, __u32 at, __u16 tag, const void *string, bool user)
{
	__u32 value = at + sizeof(struct tlv);
	long length;

	BOUND(value, SCRATCH_HEAD - 1);
	length = user ? bpf_probe_read_user_str(s->data + value, PATH_BYTES, string)
		      : bpf_probe_read_kernel_str(s->data + value, PATH_BYTES, string);
	if (length <= 0)
		return at;
	length -= 1;
	put_tlv(s, at, tag, length);
	zero_padding(s, at, length);
	return at + tlv_space(length);
}

#endif
