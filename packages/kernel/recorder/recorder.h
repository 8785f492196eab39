/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: owns the BPF programs, moves records from the ring into one spool file a session, and answers
 * on a root-only socket. One thread does all of it; a second one only waits for fdatasync.
 *
 *   kernel.c    load, attach, pin, take over          ring.c     the consumer
 *   sessions.c  watch, end, totals, loss              spool.c    files, frames, recovery
 *   freezer.c   sessions' cgroups                     sweep.c    what waits too long in the maps
 *   control.c   socket and protocol                   exec.c     environment filter
 *   privilege.c capabilities, OOM                     main.c     arguments and the loop
 */
#ifndef RECORDER_H
#define RECORDER_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "shared.h"

struct options {
	const char *socket;
	const char *spool_dir;
	const char *cgroup_root;
	const char *pin_dir;     /* "" = do not pin */
	const char *instance;    /* "" or one that differs from that of another recorder on the same spool directory */
	size_t ring_bytes;
	bool foreground;
};

/* ---- kernel.c ---- */

struct kernel {
	int ring_fd, sessions_fd, lineage_fd, cgroups_fd, audits_fd, exec_attempts_fd, connecting_fd,
		connected_fd, outside_fd, handled_fd;
	int sweep_fd;
	int sys_exit_fd;         /* program; attached only while a session is watched */
	int sys_exit_link;       /* -1: not attached */
	struct host *host;       /* mapped */
	struct session *sessions;
	size_t ring_size;
	__u32 features;
	bool numbers;            /* no atomic fetch (5.10): seq is given here, by ring order */
	bool taken_over;
	char pin_dir[256];       /* "" = not pinned */
};

int kernel_start(struct kernel *kernel, const struct options *options);
/* Detaches and unpins everything. */
void kernel_stop(struct kernel *kernel);
int kernel_watch_calls(struct kernel *kernel, bool on);
int kernel_sweep(struct kernel *kernel, __u64 operation, __u64 key);
__u64 kernel_outside(struct kernel *kernel);
__u64 kernel_misses(struct kernel *kernel);
int kernel_probe(void);

/* ---- spool.c ---- */

struct segment {
	struct segment *next;
	unsigned char *data;
	size_t length;
};

struct spool {
	int fd;
	__u64 length;            /* bytes of the file that are whole frames */
	__u64 notified;          /* length told to the clients */
	struct segment *head, *tail;
	bool dirty;              /* written since the last fdatasync was asked for */
	bool syncing;
};

/* Where losses are counted; each is declared on its own. */
enum loss { LOSS_RING, LOSS_SPOOL, LOSS_LINEAGE, LOSS_COUNT };

/* What is on disk of a session that was found again. */
struct recovered {
	__u64 recorded[KIND_COUNT];
	__u64 declared[LOSS_COUNT][KIND_COUNT];
	__u64 last_seq;
	__u32 last_position;
	bool any;
	bool ended;
};

int spool_create(struct spool *spool, const char *dir, const __u8 *session_id);
int spool_recover(struct spool *spool, const char *dir, const __u8 *session_id, struct recovered *found);
/* Stages a frame; false: the arena is full, flush first. `own` marks the recorder's records. */
bool spool_stage(struct spool *spool, const void *record, __u32 length, __u32 position);
/* Writes what is staged. On error the file is cut back to whole frames and the caller counts what was lost. */
int spool_write(struct spool *spool);
void spool_arena_reset(void);
void spool_close(struct spool *spool);

int sync_start(void);             /* the fd to poll: readable when a sync is done */
void sync_request(struct spool *spool);
void sync_collect(void);

/* ---- freezer.c ---- */

struct freezer {
	int fd;                  /* cgroup.freeze; -1 when the cgroup could not be opened */
	bool frozen;
};

void freezer_start(struct kernel *kernel, const char *cgroup_root);
void freezer_open(struct freezer *freezer, __u32 slot, __u64 cgroup_id);
void freezer_set(struct freezer *freezer, __u64 ref, bool frozen);
void freezer_thaw(struct freezer *freezer, __u64 ref);
void freezer_close(struct freezer *freezer, __u32 slot, __u64 ref);
void freezer_publish(void);                       /* how deep the programs must look for cgroups of sessions */

/* ---- sweep.c ---- */

void sweep_start(struct kernel *kernel);
void sweep_older(__u64 than);                     /* ktime */
void sweep_session(__u64 ref);
bool sweep_has_sockets(__u64 ref);                /* open connections of the session */
void sweep_sockets(__u64 ref);

/* ---- sessions.c ---- */

struct watched {
	__u64 ref;
	struct session *shared;
	struct spool spool;
	__u64 recorded[KIND_COUNT];
	__u64 staged[KIND_COUNT];         /* in the arena: recorded once written */
	__u64 declared[LOSS_COUNT][KIND_COUNT];
	__u64 declaring[LOSS_COUNT][KIND_COUNT]; /* in the arena */
	__u64 last_loss_check;            /* ktime */
	__u64 last_seq;                   /* only where the kernel cannot number */
	__u32 last_position;              /* of what a recorder before this one wrote */
	bool skip_known;
	bool idle_told;
	bool listed;                      /* in the list of those with something staged */
	struct freezer freezer;
	__u64 emitted_before;             /* throttle: sum at the last look */
	/* end() under way */
	struct client *ending;
	__u32 ending_id;
	__u64 ending_since;               /* ktime; 0 = not ending */
	bool end_written, end_sync_asked;
};

int sessions_start(struct kernel *kernel, const struct options *options);
__u32 sessions_count(void);
__u32 sessions_resumed(void);
struct watched *session_by_ref(__u64 ref);
struct watched *session_by_id(const __u8 *session_id);
struct watched *session_next(__u32 *cursor);      /* cursor starts at 0; NULL at the end */
int session_watch(const struct control_watch *request, struct control_watched *answer, const char **why);
int session_end(const __u8 *session_id, struct client *client, __u32 id);
void session_totals(struct watched *watched, struct control_totals *totals);
bool sessions_ending(void);                       /* the next tick is wanted soon */
void sessions_forget_client(struct client *client);
/* After each drain and at least every 100 ms. */
void sessions_tick(__u64 now);
void sessions_throttle(double occupancy);
/* The kernel's record goes to its spool. Flushes when the arena is full. */
void session_stage(struct watched *watched, const struct record_header *record, __u32 length, __u32 position);
void sessions_write(void);                        /* everything staged, to disk */
void sessions_leave(void);                        /* all that was read is durable, and a successor may rely on it */
void sessions_idle(__u64 ref);

/* ---- ring.c ---- */

int ring_start(struct kernel *kernel);
size_t ring_drain(void);                          /* records consumed and written */
void ring_flush(void);
__u64 ring_used(void);
__u64 ring_position(void);
struct ring_counts { __u64 records, bytes, orphans; };
extern struct ring_counts ring_counts;

/* ---- exec.c: makes the ring's RECORD_EXEC the spool's; returns its new length ---- */
__u32 exec_rewrite(struct record_exec *to, const struct record_exec *from, __u32 length);

/* ---- control.c ---- */

int control_start(const char *path, int epoll_fd, struct kernel *kernel);
void control_event(void *tag, __u32 events);
bool control_owns(void *tag);
void control_stop(void);
void control_reply(struct client *client, __u32 id, __u16 type, const void *body, __u32 length);
void control_notify(__u16 type, const void *body, __u32 length);
void control_progress(void);
extern bool control_shutdown;                     /* a client asked, and it was granted */
extern bool control_handover;                     /* and another recorder goes on with what is pinned */

/* ---- privilege.c ---- */
int privilege_protect(void);                      /* OOM score, signals */
int privilege_drop(void);

/* ---- main.c ---- */
__u64 boottime_ns(void);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
