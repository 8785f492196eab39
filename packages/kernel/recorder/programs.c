// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "programs.h"
#include "shared.h"

#define TRACED(name, ...) { "on_" name, "do_" name, "behind_" name, __VA_ARGS__ }
#define CGROUP(name, ...) { "on_" name, NULL, NULL, __VA_ARGS__ }

const struct program programs[PROGRAMS] = {
	TRACED("exec", FEATURE_EXEC, true),
	TRACED("exit", FEATURE_EXIT, true),
	TRACED("task_newtask", FEATURE_LINEAGE, true),
	TRACED("sys_exit", FEATURE_SYS_EXIT, true),
	TRACED("cgroup_attach_task", FEATURE_CGROUP_ATTACH, false),
	TRACED("sock_state", FEATURE_SOCK_STATE, false),
	TRACED("state_again", FEATURE_SOCK_STATE, false), /* after the one it follows */
	CGROUP("connect4", FEATURE_CONNECT4, false),
	CGROUP("connect6", FEATURE_CONNECT6, false),
	CGROUP("sendmsg4", FEATURE_SENDMSG4, false),
	CGROUP("sendmsg6", FEATURE_SENDMSG6, false),
	/* completion first: what is submitted before it is attached would wait for ever */
	TRACED("uring_complete", FEATURE_IO_URING, false, "btf_trace_io_uring_submit_req"),
	TRACED("uring_submit", FEATURE_IO_URING, false, "btf_trace_io_uring_submit_req"),
};
