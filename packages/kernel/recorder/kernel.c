// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"

#define FIRST_PID_NS 0xEFFFFFFCU /* PROC_PID_INIT_INO: the inode of the first PID namespace, on every kernel */

const struct kernel_map kernel_maps[MAPS] = {
	{ "ring", offsetof(struct kernel, ring_fd) },
	{ "sessions", offsetof(struct kernel, sessions_fd) },
	{ "lineage", offsetof(struct kernel, lineage_fd) },
	{ "cgroups", offsetof(struct kernel, cgroups_fd) },
	{ "audits", offsetof(struct kernel, audits_fd) },
	{ "exec_attempts", offsetof(struct kernel, exec_attempts_fd) },
	{ "connecting", offsetof(struct kernel, connecting_fd) },
	{ "connected", offsetof(struct kernel, connected_fd) },
	{ "connect_attempts", offsetof(struct kernel, connect_attempts_fd) },
	{ "uring_opens", offsetof(struct kernel, uring_opens_fd) },
	{ "destinations", offsetof(struct kernel, destinations_fd) },
	{ "outside", offsetof(struct kernel, outside_fd) },
	{ "handled", offsetof(struct kernel, handled_fd) },
};

int kernel_map_shared(struct kernel *kernel)
{
	kernel->host = mmap(NULL, sizeof(struct host), PROT_READ | PROT_WRITE, MAP_SHARED, kernel->host_fd, 0);
	kernel->sessions = mmap(NULL, sizeof(struct session) * MAX_SESSIONS, PROT_READ | PROT_WRITE, MAP_SHARED,
				kernel->sessions_fd, 0);
	if (kernel->host == MAP_FAILED || kernel->sessions == MAP_FAILED)
		return -errno;
	return 0;
}

int kernel_sweep(struct kernel *kernel, __u64 operation, __u64 key)
{
	__u64 context[2] = { operation, key };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = context, .ctx_size_in = sizeof(context));

	return bpf_prog_test_run_opts(kernel->sweep_fd, &run);
}

/*
 * The programs know processes by their numbers in the first PID namespace, the host's. In a container with numbers of
 * its own, a process that somebody names to us is another one there: its pidfd tells which.
 */
__u32 kernel_process(struct kernel *kernel, __u32 pid)
{
	__u64 context[2] = { SWEEP_PROCESS };
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = context, .ctx_size_in = sizeof(context));
	struct stat ns;
	int fd;

	if (!pid || stat("/proc/self/ns/pid", &ns) || ns.st_ino == FIRST_PID_NS)
		return pid;
	fd = syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return 0;
	context[1] = fd;
	if (bpf_prog_test_run_opts(kernel->sweep_fd, &run))
		run.retval = 0;
	close(fd);
	return run.retval;
}
