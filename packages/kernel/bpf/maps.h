/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map. All preallocated: programs run where memory must not be asked for. */
#ifndef SALLYPORT_MAPS_H
#define SALLYPORT_MAPS_H

#include "shared.h"

/* Section of its own: the map holds this and nothing else, whatever else is global. */
SEC(".data.host") struct host host;

/* Size set by the recorder before load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct session);
} sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LINEAGE);
	__type(key, __u32);
	__type(value, struct lineage);
} lineage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u64);
	__type(value, __u64);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u32);
	__type(value, __u64);
} audits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_EXEC_ATTEMPTS);
	__type(key, __u64);
	__type(value, struct exec_attempt);
} exec_attempts SEC(".maps");

/* Threads inside connect(), by pid_tgid. LRU: io_uring never comes back through sys_exit to clean up. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECT_ATTEMPTS);
	__type(key, __u64);
	__type(value, struct connect_attempt);
} connect_attempts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_URING_OPENS);
	__type(key, __u64);
	__type(value, struct uring_open);
} uring_opens SEC(".maps");

/* Of this CPU: see do_sock_state. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct handled);
} handled SEC(".maps");

/* Not reported yet. Deleting the entry is the claim to report it: it succeeds for one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONNECTING);
	__type(key, __u64);
	__type(value, struct connection);
} connecting SEC(".maps");

/* Reported, not closed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONNECTED);
	__type(key, __u64);
	__type(value, struct connection);
} connected SEC(".maps");

/* When a datagram socket last sent there. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct destination);
	__type(value, __u64);
} destinations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outside);
} outside SEC(".maps");

/*
 * Where a process-context program builds its record. Indexed by CPU rather than PERCPU_ARRAY, whose values
 * end at 32 KiB; max_entries set by the recorder. Tracing programs cannot be preempted, and what may interrupt
 * them (softirq) builds on its stack instead.
 */
#define SCRATCH_HEAD 0x10000
struct scratch {
	char data[SCRATCH_HEAD + WIRE_MAX_ARGV + 4096];
	__u32 call;              /* see on_sys_exit */
	__u32 number;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

#define PATH_BYTES 4096
struct path_buffer {
	char data[PATH_BYTES + 256];
	__u64 dentry;            /* what walk_path is asked for */
	__u64 mount;
	__u32 start;
	__u32 reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct path_buffer);
} path_buffers SEC(".maps");

#endif
