/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Building records and handing them to the ring, with counters that add up. */
#ifndef SALLYPORT_RECORD_H
#define SALLYPORT_RECORD_H

#include "maps.h"

/*
 * Set before load where the kernel has bpf_rdonly_cast (6.2): any address can then be followed by plain loads
 * that the JIT guards, 1-2 ns each, where a probe_read helper takes about 20. The verifier knows the value and
 * drops the other half of every READ.
 */
SEC(".rodata.reads") const volatile bool direct_reads = false;
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

#define CAST(pointer) \
	((typeof(pointer))bpf_rdonly_cast(pointer, bpf_core_type_id_kernel(typeof(*(pointer)))))

/* A field at the end of a chain of pointers; 0 where the chain breaks. */
#define READ(source, first, ...)                                                        \
	({                                                                              \
		___type((source), first, ##__VA_ARGS__) value_;                         \
		if (direct_reads)                                                       \
			value_ = ___arrow(CAST(source), first, ##__VA_ARGS__);          \
		else                                                                    \
			BPF_CORE_READ_INTO(&value_, source, first, ##__VA_ARGS__);      \
		value_;                                                                 \
	})

#define READ_PATH(to, source, field)                                                    \
	({                                                                              \
		(to)->mnt = READ(source, field.mnt);                                    \
		(to)->dentry = READ(source, field.dentry);                              \
	})

#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
/* A bound the verifier sees: without the barrier the compiler proves it needless and drops it. */
#define BOUND(var, mask) ({ barrier_var(var); (var) &= (mask); })

#define NO_AUDIT_ID (~0U)

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000

static __always_inline struct session *session_of(__u64 ref)
{
	__u32 slot = ref & (MAX_SESSIONS - 1);
	struct session *session = bpf_map_lookup_elem(&sessions, &slot);

	if (!session || session->ref != ref || session->state != SESSION_LIVE)
		return NULL;
	return session;
}

static __always_inline bool wants(const struct session *session, __u32 kind)
{
	return session->kinds & (1U << kind);
}

/*
 * Counts the record as emitted and numbers it. The order is what makes the totals at the end exact without
 * waiting for a grace period: the recorder sets ENDED, then reads emitted; we add, then read ENDED. Whoever is
 * second sees the other (both are full barriers), so a record is counted by both or by neither.
 * False: the session has ended, nothing was counted.
 */
static __always_inline bool begin_record(struct session *session, struct record_header *h, __u8 type, __u8 kind,
					 __u8 source)
{
	__sync_fetch_and_add(&session->emitted[kind & (KIND_COUNT - 1)], 1);
	if (*(volatile __u32 *)&session->state != SESSION_LIVE) {
		__sync_fetch_and_add(&session->emitted[kind & (KIND_COUNT - 1)], -1);
		return false;
	}
	h->type = type;
	h->kind = kind;
	h->source = source;
	h->session = session->ref;
	/* 5.10 has no atomic fetch: the recorder patches it to a plain add there and numbers by ring order */
	h->seq = __sync_fetch_and_add(&session->seq, 1) + 1;
	h->ktime = bpf_ktime_get_boot_ns();
	return true;
}

/*
 * No flags: the kernel wakes the reader only when this record is the very next one it waits for. The recorder
 * drains at intervals while there is work, so a burst costs one wake-up an interval, not one a record.
 */
static __always_inline void finish_record(struct session *session, __u8 kind, void *record, __u32 length)
{
	if (bpf_ringbuf_output(&ring, record, length, 0))
		__sync_fetch_and_add(&session->lost[kind & (KIND_COUNT - 1)], 1);
}

/* ---- what is known of a task ---- */

static __always_inline __u32 audit_id_of(struct task_struct *task)
{
	if (bpf_core_field_exists(task->sessionid))
		return READ(task, sessionid);
	return NO_AUDIT_ID;
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* Everything but type, kind, source, session, seq, ktime, which begin_record fills. */
static __always_inline void describe_task(struct record_header *h, struct task_struct *task, __u64 cgroup_id)
{
	struct cred *cred = READ(task, cred);
	struct path root;

	h->flags = 0;
	h->cgroup_id = cgroup_id;
	h->pid = READ(task, tgid);
	h->tid = READ(task, pid);
	h->ppid = READ(task, real_parent, tgid);
	h->audit_session_id = audit_id_of(task);
	h->uid = READ(cred, euid.val);
	h->gid = READ(cred, egid.val);
	bpf_core_read(&h->comm, sizeof(h->comm), &task->comm);

	if ((__u64)READ(cred, user_ns) != host.user_ns)
		h->flags |= RECORD_FLAG_USER_NS;
	if ((__u64)READ(task, nsproxy, mnt_ns) != host.mount_ns) {
		h->flags |= RECORD_FLAG_MOUNT_NS;
	} else {
		/* Only comparable inside the same mount namespace. A task that exits has given its fs back. */
		struct fs_struct *fs = READ(task, fs);

		if (fs) {
			READ_PATH(&root, fs, root);
			if ((__u64)root.dentry != host.root_dentry || (__u64)root.mnt != host.root_mount)
				h->flags |= RECORD_FLAG_CHROOT;
		}
	}
}

#define read_fs_path(to, task, field)                                                   \
	({                                                                              \
		struct fs_struct *fs_ = READ(task, fs);                                 \
		READ_PATH(to, fs_, field);                                              \
	})

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline __u32 encode_device(__u32 dev)
{
	__u32 major = dev >> 20, minor = dev & 0xfffff;

	return (minor & 0xff) | (major << 8) | ((minor & ~0xffU) << 12); /* as stat(2) shows it */
}

/* ---- the scratch of this CPU, and TLVs in it ---- */

static __always_inline struct scratch *scratch_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&scratches, &cpu);
}

/* Bytes a value of that length takes with its TLV header and padding. */
static __always_inline __u32 tlv_space(__u32 length)
{
	return sizeof(struct tlv) + ((length + 7) & ~7U);
}

/*
 * Writes the header of a TLV whose value, at most max_length long, stands behind it already or soon will.
 * Padding must be zero: it goes to disk. `at` must be below SCRATCH_HEAD.
 */
static __always_inline void put_tlv(struct scratch *s, __u32 at, __u16 tag, __u32 length)
{
	struct tlv *tlv;

	BOUND(at, SCRATCH_HEAD - 1);
	tlv = (struct tlv *)(s->data + at);
	tlv->tag = tag;
	tlv->reserved = 0;
	tlv->length = length;
}

static __always_inline void zero_padding(struct scratch *s, __u32 at, __u32 length)
{
	at += sizeof(struct tlv) + length;
	barrier_var(at);
	if (at <= SCRATCH_HEAD + WIRE_MAX_ARGV + 1024)
		*(volatile __u64 *)(s->data + at) = 0;
}

#endif
