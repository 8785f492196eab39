/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Never attached: the recorder runs it (BPF_PROG_TEST_RUN) to have the kernel do what only it can. */
#ifndef SALLYPORT_SWEEP_H
#define SALLYPORT_SWEEP_H

#include "exec.h"
#include "net.h"

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
	}
	return 0;
}

#endif
