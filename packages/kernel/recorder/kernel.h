/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's half as this process holds it: descriptors of maps and programs, and what is mapped of them.
 */
#ifndef RECORDER_KERNEL_H
#define RECORDER_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "programs.h"
#include "shared.h"

struct kernel {
	int ring_fd, sessions_fd, lineage_fd, cgroups_fd, audits_fd, exec_attempts_fd, connecting_fd,
		connected_fd, connect_attempts_fd, uring_opens_fd, destinations_fd, outside_fd, handled_fd;
	int host_fd;
	int behind_fds[PROGRAMS]; /* open as long as we live: a map of programs that nobody holds is emptied; -1: none */
	int sweep_fd;
	int sys_exit_fd;         /* gate; attached only while a session is watched */
	int sys_exit_link;       /* -1: not attached */
	struct host *host;       /* mapped */
	struct session *sessions;
	size_t ring_size;
	__u32 features;
	bool numbers;            /* no atomic fetch (5.10): seq is given here, by ring order */
	bool taken_over;
	char pin_dir[256];       /* "" = not pinned */
	int gate_fds[PROGRAMS];  /* of what is attached; -1: nothing */
	__u32 foreign_programs;  /* of these so many lead to programs of another build */
};

/* Maps the recorder itself works with, and where it keeps their descriptors. */
enum { MAPS = 13 };
struct kernel_map { const char *name; size_t field; };
extern const struct kernel_map kernel_maps[MAPS];
#define MAP_FD(kernel, i) (*(int *)((char *)(kernel) + kernel_maps[i].field))

int kernel_map_shared(struct kernel *kernel);
/* Has the kernel do what only it can: enum sweep_operation. */
int kernel_sweep(struct kernel *kernel, __u64 operation, __u64 key);
/* The process as the programs know it, which in a PID namespace is another number. 0: it is not alive. */
__u32 kernel_process(struct kernel *kernel, __u32 pid);

#endif
