/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every struct that crosses a boundary: kernel -> recorder (ring), recorder -> disk (spool),
 * recorder <-> Node (control socket). The only truth about their layout: wire.gen.ts is generated from
 * the BTF of the built object, and the recorder's hello carries the hash of it.
 *
 * All integers little-endian, natural alignment, no implicit padding. Variable data stands behind the
 * fixed part as TLVs (struct tlv), so that a record is as long as what it says.
 */
#ifndef SALLYPORT_WIRE_H
#define SALLYPORT_WIRE_H

#ifndef __u8
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
#define __u8 __u8
#endif

#define WIRE_VERSION 1
#define COMM_LEN 16
#define SESSION_ID_LEN 16
#define WIRE_MAX_RECORD 229376     /* bytes of the longest record: an exec with 128 KiB of argv */
#define WIRE_MAX_ARGV 131072       /* bytes of TLV_ARGV; beyond it ARGV_TRUNCATED */

/* What a role can switch on and off; also the index of the counters. META (attribution, tamper) is always on. */
enum kind { KIND_COMMAND = 0, KIND_DISK = 1, KIND_NETWORK = 2, KIND_META = 3, KIND_COUNT = 4 };

enum record_type {
	RECORD_EXEC = 1,             /* struct record_exec; execve succeeded */
	RECORD_EXEC_FAILED = 2,      /* struct record_exec_failed */
	RECORD_EXIT = 3,             /* struct record_exit; the last thread of a process is gone */
	RECORD_OPEN = 4,             /* struct record_open */
	RECORD_CONNECT = 5,          /* struct record_connect; with its outcome where it is known by then */
	RECORD_CONNECT_OUTCOME = 6,  /* struct record_connect; the later outcome of a CONNECT that said PENDING */
	RECORD_SOCKET_CLOSE = 7,     /* struct record_connect; bytes and duration. OUTCOME_ESTABLISHED: still open when the session ended */
	RECORD_ATTRIBUTION = 8,      /* struct record_attribution */
	RECORD_IDLE = 9,             /* struct record_header; to the recorder only, never spooled: the last task is gone */
	/* written by the recorder into the spool, never by the kernel */
	RECORD_WATCH = 64,           /* struct record_watch: first frame of a spool */
	RECORD_LOST = 65,            /* struct record_lost: a declared loss */
	RECORD_END = 66,             /* struct record_end: the totals, last frame of a spool */
};

/* Which hook saw it. */
enum source {
	SOURCE_NONE = 0,
	SOURCE_SCHED_PROCESS_EXEC = 1,
	SOURCE_SCHED_PROCESS_EXIT = 2,
	SOURCE_SYS_EXIT = 3,
	SOURCE_CGROUP_CONNECT = 4,
	SOURCE_SOCK_STATE = 5,
	SOURCE_CGROUP_ATTACH = 6,
	SOURCE_TASK_NEWTASK = 7,
	SOURCE_SWEEP = 8,            /* the recorder asked the kernel to report a connect still pending */
	SOURCE_RECORDER = 9,
	SOURCE_CGROUP_SENDMSG = 10,
	SOURCE_IO_URING = 11,
};

/* Leads every record. */
struct record_header {
	__u32 length;                /* of the whole record: header, fixed part, TLVs */
	__u8 type;                   /* enum record_type */
	__u8 kind;                   /* enum kind */
	__u8 source;                 /* enum source */
	__u8 flags;                  /* enum record_flags */
	__u64 session;               /* the recorder's reference of the session, never reused in one boot */
	__u64 seq;                   /* per session, from 1, contiguous over emitted; 0 on recorder records */
	__u64 ktime;                 /* CLOCK_BOOTTIME ns */
	__u64 cgroup_id;
	__u32 pid;                   /* tgid */
	__u32 tid;
	__u32 ppid;                  /* real parent's tgid */
	__u32 audit_session_id;      /* ~0 = unset */
	__u32 uid;                   /* effective, initial user namespace */
	__u32 gid;
	char comm[COMM_LEN];
};

enum record_flags {
	RECORD_FLAG_COMPAT32 = 1,    /* a 32-bit system call or binary */
	RECORD_FLAG_MOUNT_NS = 2,    /* task lives in another mount namespace than init */
	RECORD_FLAG_CHROOT = 4,      /* task's root is not its namespace's root */
	RECORD_FLAG_USER_NS = 8,
};

/* Behind the fixed part: tlv, then length bytes, padded to 8. */
struct tlv {
	__u16 tag;                   /* enum tlv_tag */
	__u16 reserved;
	__u32 length;                /* of the value in bytes, without padding */
};

enum tlv_tag {
	TLV_PATH = 1,                /* open: the file that was opened. exec: the name given to execve (bprm->filename) */
	TLV_EXE = 2,                 /* exec: absolute path of mm->exe_file */
	TLV_CWD = 3,
	TLV_ARGV = 4,                /* NUL-separated, argv[0] included, as in mm->arg_start..arg_end */
	TLV_ENV = 5,                 /* NUL-separated KEY=VALUE, allow-listed keys only */
	TLV_INTERPRETER = 6,         /* bprm->interp when it differs from filename */
	TLV_USER_PATH = 7,           /* the caller's own string, read at syscall exit: may have been changed since */
	TLV_UNIX_PATH = 8,           /* connect: sun_path; a leading NUL marks the abstract name space */
	TLV_ENV_RAW = 9,             /* ring only: the whole environment; the recorder filters it into TLV_ENV */
	TLV_BASE = 10,               /* open that failed: the directory a relative TLV_USER_PATH starts from */
};

enum exec_flags {
	EXEC_FLAG_MEMFD = 1,
	EXEC_FLAG_DELETED = 2,       /* nlink 0 */
	EXEC_FLAG_SETUID = 4,        /* the file's setuid or setgid bit took effect (euid or egid changed) */
	EXEC_FLAG_LD_EXEC = 8,       /* exe is a dynamic loader run as a program */
	EXEC_FLAG_PATH_PARTIAL = 16,
	EXEC_FLAG_CWD_PARTIAL = 32,
	EXEC_FLAG_SHM = 64,          /* on a tmpfs/devshm mount */
	EXEC_FLAG_ENV_PARTIAL = 128, /* the environment was longer than what was searched for allow-listed keys */
};

enum argv_state { ARGV_EXACT = 0, ARGV_TRUNCATED = 1, ARGV_UNREADABLE = 2 };

struct record_exec {
	struct record_header h;
	__u32 flags;                 /* enum exec_flags */
	__u32 argv_state;            /* enum argv_state */
	__u64 argv_size;             /* bytes of the whole argv area; more than TLV_ARGV holds when truncated */
	__s32 argv_error;            /* negative errno when unreadable */
	__u32 argc;                  /* bprm->argc: so that a truncated argv can say n of m */
	__u64 inode;
	__u32 device;                /* new_encode_dev(s_dev): as in stat(2) st_dev */
	__u32 mode;                  /* i_mode */
};

struct record_exec_failed {
	struct record_header h;
	__s32 error;                 /* negative errno */
	__u32 folded;                /* how many failed tries of the same basename this stands for */
};

struct record_exit {
	struct record_header h;
	__u32 exit_code;             /* as wait(2): status << 8 | core 0x80 | signal */
	__u32 reserved;
	__u64 duration_ns;           /* since the process's last exec, or its fork */
	__u64 cpu_ns;                /* utime + stime of the thread group */
};

enum path_source { PATH_FILE_OPEN = 0, PATH_FD = 1, PATH_FD_SHARED = 2, PATH_URING = 3, PATH_USER = 4 };

enum open_flags { OPEN_FLAG_PATH_PARTIAL = 1, OPEN_FLAG_DUP = 2 /* reported by dup2/dup3 over a shared table */ };

struct record_open {
	struct record_header h;
	__s64 result;                /* descriptor, or negative errno */
	__u32 open_flags;            /* O_*, the file's own f_flags on success, else the argument */
	__u32 mode;                  /* i_mode */
	__u64 inode;
	__u32 device;
	__u32 nlink;
	__u8 path_source;            /* enum path_source */
	__u8 flags;                  /* enum open_flags */
	__u16 syscall;               /* nr */
	__u32 reserved;
};

enum outcome {
	OUTCOME_NONE = 0,            /* not a stream: nothing to wait for */
	OUTCOME_ESTABLISHED = 1,
	OUTCOME_FAILED = 2,          /* see error */
	OUTCOME_PENDING = 3,
	OUTCOME_CLOSED = 4,          /* closed by the process before it was decided */
};

enum network_operation { NETWORK_CONNECT = 0, NETWORK_SEND = 1 };

struct record_connect {
	struct record_header h;
	__u8 src_addr[16];           /* IPv4 in the first four bytes */
	__u8 dst_addr[16];
	__u16 src_port;              /* host order */
	__u16 dst_port;
	__u16 family;                /* AF_INET 2, AF_INET6 10, AF_UNIX 1 */
	__u16 protocol;              /* IPPROTO_* */
	__u8 outcome;                /* enum outcome */
	__u8 operation;              /* enum network_operation */
	__u16 reserved;
	__s32 error;                 /* negative errno with OUTCOME_FAILED */
	__u64 socket;                /* socket cookie: ties CONNECT, OUTCOME and CLOSE together */
	__u64 bytes_sent;            /* SOCKET_CLOSE only */
	__u64 bytes_received;
	__u64 duration_ns;           /* CLOSE: since established. OUTCOME: since connect */
};

enum attribution_reason {
	ATTRIBUTION_CGROUP_MOVED = 1,     /* a task of the session left its cgroup */
	ATTRIBUTION_AUDIT_ID_CHANGED = 2,
	ATTRIBUTION_ADOPTED_CGROUP = 3,   /* a task without lineage found in the session's cgroup */
	ATTRIBUTION_ADOPTED_AUDIT = 4,    /* a task without lineage found with the session's audit id */
	ATTRIBUTION_CGROUP_FOREIGN = 5,   /* a task of this session entered another session's cgroup */
};

struct record_attribution {
	struct record_header h;
	__u32 reason;                /* enum attribution_reason */
	__u32 reserved;
	__u64 old_value;             /* cgroup id or audit session id */
	__u64 new_value;
};

/* ---- recorder's own records ---- */

struct kind_totals {
	__u64 emitted;
	__u64 recorded;
	__u64 lost;
};

struct record_watch {
	struct record_header h;      /* ktime: when the watch began */
	__u8 session_id[SESSION_ID_LEN]; /* uuid bytes */
	__u64 realtime_offset;       /* CLOCK_REALTIME - CLOCK_BOOTTIME, ns, when the watch began */
	__u64 cgroup_id;
	__u32 audit_session_id;
	__u32 leader_pid;
	__u32 kinds;                 /* bit per enum kind */
	__u32 policy;                /* enum loss_policy */
};

enum lost_cause { LOST_RING_FULL = 1, LOST_RECORDER_DOWN = 2, LOST_SPOOL_WRITE = 3, LOST_LINEAGE_FULL = 4,
		  LOST_UNKNOWN = 5 /* the kernel skipped a program: of which session and kind, nobody knows */ };

struct record_lost {
	struct record_header h;      /* kind: what was lost */
	__u64 count;
	__u64 first_ktime;           /* bounds of the window in which it happened */
	__u64 last_ktime;
	__u32 cause;                 /* enum lost_cause */
	__u32 reserved;
};

struct record_end {
	struct record_header h;
	struct kind_totals totals[KIND_COUNT];
	__u64 last_seq;
};

/*
 * ---- spool file: <spool dir>/<session uuid>.spool ----
 * struct spool_header, then frames: struct spool_frame, then a record of that length, padded to 8.
 */
#define SPOOL_MAGIC 0x4c4f4f5053504153ULL /* "SAPSPOOL" */
#define SPOOL_FRAME_MAGIC 0x46525053u     /* "SPRF" */

struct spool_header {
	__u64 magic;
	__u32 version;               /* WIRE_VERSION */
	__u32 header_length;
	__u8 wire_hash[32];          /* SHA-256, as in hello */
	__u8 session_id[SESSION_ID_LEN];
};

struct spool_frame {
	__u32 magic;
	__u32 length;                /* of the record behind it, without padding */
	__u32 crc32;                 /* IEEE (zlib) CRC-32 of the record */
	__u32 position;              /* low half of the record's ring position: a new recorder skips what is spooled */
};

/*
 * ---- control socket: stream, root only. Frames: struct control_frame, then the body. ----
 * A request is answered by a frame with the same id; id 0 is a notification.
 */
#define CONTROL_MAX_BODY 262144    /* a list of MAX_SESSIONS; what a client sends is far below */

enum loss_policy { POLICY_BEST_EFFORT = 0, POLICY_THROTTLE = 1, POLICY_STRICT = 2 };

enum control_type {
	CONTROL_HELLO = 1,           /* -> client, first frame: struct control_hello */
	CONTROL_WATCH = 2,           /* struct control_watch -> struct control_watched */
	CONTROL_END = 3,             /* struct control_session -> struct control_totals, after the barrier */
	CONTROL_LIST = 4,            /* empty -> n * struct control_status */
	CONTROL_STATS = 5,           /* empty -> struct control_stats */
	CONTROL_SHUTDOWN = 6,        /* empty -> empty; refused with -EBUSY while sessions are watched */
	CONTROL_ERROR = 7,           /* struct control_error: answer to a request that failed */
	CONTROL_PROGRESS = 8,        /* notification: struct control_progress */
	CONTROL_IDLE = 9,            /* notification: struct control_session: the last task of it is gone */
	CONTROL_LOSS = 10,           /* notification: struct control_session: a loss was declared (strict: kill it) */
	CONTROL_TOTALS = 11,         /* struct control_session -> struct control_totals, no barrier, no end */
	CONTROL_HANDOVER = 12,       /* empty -> empty; leaves its pins to a successor and exits. -EOPNOTSUPP without pins */
};

struct control_frame {
	__u32 length;                /* of the body, <= CONTROL_MAX_BODY */
	__u16 type;                  /* enum control_type */
	__u16 version;               /* WIRE_VERSION */
	__u32 id;
	__u32 reserved;
};

struct control_hello {
	__u8 wire_hash[32];
	__u32 pid;
	__u32 features;              /* bit per enum feature that is attached */
	__u64 ring_size;
	__u64 start_ktime;           /* CLOCK_BOOTTIME ns */
	__u32 resumed_sessions;      /* taken over from a recorder that died */
	__u32 reserved;
};

enum feature {
	FEATURE_EXEC = 0, FEATURE_EXIT = 1, FEATURE_LINEAGE = 2, FEATURE_SYS_EXIT = 3, FEATURE_CONNECT4 = 4,
	FEATURE_CONNECT6 = 5, FEATURE_SOCK_STATE = 6, FEATURE_CGROUP_ATTACH = 7, FEATURE_SENDMSG4 = 8,
	FEATURE_SENDMSG6 = 9, FEATURE_IO_URING = 10, FEATURE_PINNED = 11, FEATURE_OPEN_TIER1 = 12,
};

struct control_watch {
	__u8 session_id[SESSION_ID_LEN];
	__u64 cgroup_id;
	__u32 audit_session_id;      /* ~0: the host has none */
	__u32 leader_pid;
	__u32 supervisor_pid;        /* the launcher: shares the audit id, is not of the session; 0 = none */
	__u32 kinds;
	__u32 policy;
	__u32 reserved;
};

struct control_watched {
	__u64 session;               /* record_header.session */
	__u64 realtime_offset;
};

struct control_session {
	__u8 session_id[SESSION_ID_LEN];
};

struct control_totals {
	__u8 session_id[SESSION_ID_LEN];
	struct kind_totals totals[KIND_COUNT];
	__u64 last_seq;
	__u64 spool_length;          /* bytes of the spool that are valid */
	__u32 live_tasks;
	__u32 reserved;
};

struct control_status {
	__u8 session_id[SESSION_ID_LEN];
	__u64 session;
	__u64 cgroup_id;
	__u64 spool_length;
	__u32 live_tasks;
	__u32 leader_pid;
};

struct control_progress {
	__u8 session_id[SESSION_ID_LEN];
	__u64 spool_length;
};

struct control_stats {
	__u64 ring_size;
	__u64 ring_used;
	__u64 drained_records;
	__u64 drained_bytes;
	__u64 ring_lost;             /* over all sessions */
	__u64 orphan_records;        /* records whose session the recorder does not know: 0 or a bug */
	__u64 outside_tasks;         /* hook runs that ended because the task is in no session */
	__u64 program_misses;        /* hook runs the kernel skipped, and nothing made up for: see LOST_UNKNOWN */
	__u32 sessions;
	__u32 lineage_entries;
	__u32 foreign_programs;      /* attached ones that are of another build than the recorder: 0, soon after it took over */
	__u32 reserved;
};

struct control_error {
	__s32 error;                 /* negative errno */
	__u32 reserved;
	char message[120];           /* NUL-terminated, English, safe to show */
};

#endif
