// SPDX-License-Identifier: Apache-2.0
#include "programs.h"
#include "shared.h"

const struct program programs[PROGRAMS] = {
	{ "on_exec", FEATURE_EXEC, true, false },
	{ "on_exit", FEATURE_EXIT, true, false },
	{ "on_task_newtask", FEATURE_LINEAGE, true, false },
	{ "on_sys_exit", FEATURE_SYS_EXIT, true, false },
	{ "on_cgroup_attach_task", FEATURE_CGROUP_ATTACH, false, false },
	{ "on_sock_state", FEATURE_SOCK_STATE, false, false },
	{ "on_state_again", FEATURE_SOCK_STATE, false, false }, /* after the one it follows */
	{ "on_connect4", FEATURE_CONNECT4, false, true },
	{ "on_connect6", FEATURE_CONNECT6, false, true },
	{ "on_sendmsg4", FEATURE_SENDMSG4, false, true },
	{ "on_sendmsg6", FEATURE_SENDMSG6, false, true },
	/* completion first: what is submitted before it is attached would wait for ever */
	{ "on_uring_complete", FEATURE_IO_URING, false, false, "btf_trace_io_uring_submit_req" },
	{ "on_uring_submit", FEATURE_IO_URING, false, false, "btf_trace_io_uring_submit_req" },
};
