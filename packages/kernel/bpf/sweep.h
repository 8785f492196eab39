/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Never attached: the recorder runs it (BPF_PROG_TEST_RUN) to have the kernel do what only it can. */
#ifndef SALLYPORT_SWEEP_H
#define SALLYPORT_SWEEP_H

#include "exec.h"
#include "file.h"
#include "net.h"

/* The process that a pidfd of the recorder leads to, by its number in the first PID namespace; 0: it leads to none. */
static __always_inline __u32 process_of(__u32 fd)
{
	struct file *file = file_of_descriptor(current_task(), fd);
	struct pid *pid;

	if (!file)
		return 0;
	pid = READ(file, private_data);
	if (!pid) /* 6.9: a file of pidfs */
		pid = READ(file, f_inode, i_private);
	return pid ? READ(pid, numbers[0].nr) : 0;
}

SEC("raw_tp/sallyport")
int sweep(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 operation = ctx->args[0], key = ctx->args[1];
	struct task_struct *task = current_task();
	struct path root;

	switch (operation) {
	case SWEEP_HOST: /* where the recorder lives is what "elsewhere" is measured against */
		read_fs_path(&root, task, root);
		host.root_dentry = (__u64)root.dentry;
		host.root_mount = (__u64)root.mnt;
		host.mount_ns = (__u64)READ(task, nsproxy, mnt_ns);
		host.user_ns = (__u64)READ(task, cred, user_ns);
		break;
	case SWEEP_CONNECTION: /* the socket may be gone: sk is not to be followed */
		settle_connection(key, NULL, OUTCOME_PENDING, 0, SOURCE_SWEEP, true);
		break;
	case SWEEP_CLOSE: /* the session ends; an entry in the map means a socket that is not freed yet */
		report_close(key, (struct sock *)key, OUTCOME_ESTABLISHED, SOURCE_SWEEP);
		break;
	case SWEEP_EXEC_ATTEMPT:
		settle_attempt(key, NULL);
		break;
	case SWEEP_PROCESS:
		return process_of(key);
	}
	return 0;
}

#endif
