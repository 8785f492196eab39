/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF programs and the recorder share through maps. Part of the wire hash: a recorder takes over
 * pinned maps only from one that saw them the same way. Node never sees these.
 */
#ifndef SALLYPORT_SHARED_H
#define SALLYPORT_SHARED_H

#include "wire.h"

#define MAX_SESSIONS 4096        /* power of 2: the low bits of a session reference are its slot */
#define MAX_LINEAGE 65536        /* processes in all sessions */
#define MAX_CONNECTING 4096      /* TCP connections of sessions on their way */
#define MAX_CONNECTED 16384      /* and open */
#define MAX_EXEC_ATTEMPTS 2048   /* threads searching through PATH at one time */
#define MAX_CONNECT_ATTEMPTS 4096 /* threads inside connect() at one time */
#define ATTEMPT_PATH 256
#define MAX_URING_OPENS 1024     /* opens submitted to an io_uring and not done; more are told as tried only */
#define URING_PATH 4096

/* The one global: programs read it without a map look-up, the recorder through mmap. */
struct host {
	__u8 wire_hash[32];      /* first, so that a recorder of any version finds it */
	__u32 active;            /* sessions watched; 0 sends every hook home at once */
	__u32 cgroup_levels;     /* bit n: some session's cgroup lies n levels below the root */
	__u64 mount_ns;          /* addresses of the recorder's own, to tell who lives elsewhere */
	__u64 root_dentry;
	__u64 root_mount;
	__u64 user_ns;
	__u32 handed_over;       /* 1: the recorder before left in order, everything it read is in the spools */
	__u32 generation;        /* of what decides who is in a session: another one after each new key */
	__u64 build;             /* of the BPF object whose programs run; 0: of more than one, for the moment */
	__u64 skipped;           /* runs of programs that the kernel skipped, as far as they are in sessions' losses */
};

enum sweep_operation { SWEEP_HOST = 1, SWEEP_CONNECTION = 2, SWEEP_EXEC_ATTEMPT = 3, SWEEP_CLOSE = 4,
		       SWEEP_PROCESS = 5 };

enum session_state { SESSION_FREE = 0, SESSION_LIVE = 1, SESSION_ENDED = 2 };

struct session {
	__u64 ref;               /* record_header.session; 0 = slot never used */
	__u32 state;             /* enum session_state */
	__u32 kinds;             /* bit per enum kind */
	__u64 cgroup_id;
	__u32 audit_session_id;
	__u32 leader_pid;
	__u8 session_id[SESSION_ID_LEN];
	__u64 watch_ktime;
	__u64 realtime_offset;
	__u32 policy;
	__u32 supervisor_pid;
	__u64 reserved0[7];
	/* counters: the kernel's own cache lines */
	__u64 seq;
	__u64 emitted[KIND_COUNT];
	__u64 lost[KIND_COUNT];
	__u64 lineage_lost;      /* part of lost[KIND_META] */
	__u64 skipped;           /* part of lost[KIND_META]: the recorder's, see misses.h */
	__u64 live_tasks;        /* processes; goes below 0 never */
	__u64 spool_lost[KIND_COUNT]; /* the recorder's: read from the ring, not written to disk */
};

enum lineage_flags { LINEAGE_SUPERVISOR = 1, LINEAGE_EXEC_ATTEMPT = 2 };

/* Key: tgid. */
struct lineage {
	__u64 session;
	__u64 start_boottime;    /* of the group leader; 0: put in by the recorder, not seen running yet */
	__u64 since;             /* ktime of the last exec, else of the fork */
	__u64 cgroup_id;         /* last known; 0: not known yet */
	__u32 audit_session_id;  /* last known */
	__u32 flags;             /* enum lineage_flags */
};

/* Key: pid_tgid. A run of execve() that failed with ENOENT, as a search through PATH makes. */
struct exec_attempt {
	struct record_header h;  /* of the last try */
	__u64 basename;          /* hash of what follows the last slash */
	__u32 count;
	__u32 length;            /* of path, without NUL */
	char path[ATTEMPT_PATH];
};

/* A CPU's: the socket transition that was handled last, and how many had to be made up for. See do_sock_state. */
struct handled {
	__u64 last;              /* 0: none, or one is being handled */
	__u64 found;             /* `last` before it */
	__u64 key[2];            /* of either program alone: to make a number of a pointer */
	__u64 rescued;
};

/* Key: address of the struct io_kiocb. */
struct uring_open {
	struct record_header h;  /* of who submitted */
	__u32 flags;             /* O_* */
	__u32 slot;              /* not 0: into the ring's own table, so that there is no descriptor */
	__u32 length;            /* of path, without NUL */
	__u32 reserved;
	char path[URING_PATH];
};

/* Key: address of the struct sock. */
struct connection {
	struct record_connect record; /* as connect() was called: later transitions run in softirq, of whomever */
	__u64 started;
	__u64 established;       /* ktime; 0: not yet */
};

/*
 * A CPU's: hook runs that ended because the task is in no session, and what was found so last. Cgroup and audit session
 * id are each known to be nobody's in that generation, whichever task wrote which of them.
 */
struct outside {
	__u64 count;
	__u64 cgroup_id;
	__u32 audit_session_id;
	__u32 generation;
};

/* A datagram socket has sent there. */
struct destination {
	__u64 socket;
	__u8 addr[16];
	__u32 port;
	__u32 family;
};

/* Key: pid_tgid. Between the kernel's own copy of the address and connect() coming back. */
struct connect_attempt {
	struct record_connect record;
	__u64 sock;              /* 0: SYN_SENT not reached */
	__u32 early;             /* closed again inside connect(): its errno is the outcome */
	__u32 reported;
};

#endif
