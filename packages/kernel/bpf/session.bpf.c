// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The one BPF object. Parts: lineage.h (whose task is it), exec.h, file.h, net.h, uring.h; record.h builds records,
 * wire.h says what they look like, shared.h what the recorder and we keep in maps.
 */
#include "kernel-types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "program.h"
#include "shared.h"
#include "anchors.h"
#include "record.h"
#include "syscall.h"
#include "path.h"
#include "lineage.h"
#include "file.h"
#include "exec.h"
#include "net.h"
#include "sweep.h"
#include "uring.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * The one hook every system call of every process pays for while it is attached: number first, then whether
 * anybody is watched, then whose task it is.
 */
GATE("tp_btf/sys_exit", sys_exit, may_matter(call_number((struct pt_regs *)ctx[0])) && host.active)

SEC("tp_btf/sys_exit")
int BPF_PROG(do_sys_exit, struct pt_regs *regs, long result)
{
	long number = call_number(regs);
	struct task_struct *task;
	struct session *session;
	struct lineage *entry;
	struct scratch *s;
	bool compat;
	__u32 call;

	task = current_task();
	compat = is_compat(task);
	call = compat ? compat_call(number) : native_call(number);
	if (call == CALL_NONE || will_restart(result))
		return 0;
	if ((call == CALL_EXECVE || call == CALL_EXECVEAT) && result >= 0)
		return 0; /* on_exec saw it */
	if (call == CALL_SOCKETCALL && argument(regs, 0, compat) != 3)
		return 0;
	s = scratch_of_cpu();
	if (!s)
		return 0;
	/*
	 * Through memory: the verifier forgets which of two dozen numbers led here, and looks at what follows once
	 * instead of two dozen times.
	 */
	s->call = call | compat << 8;
	s->number = number;
	session = member(task, bpf_get_current_pid_tgid() >> 32, &entry);
	if (!session)
		return 0;
	call = *(volatile __u32 *)&s->call;
	compat = call >> 8;
	call &= 0xff;
	number = *(volatile __u32 *)&s->number;
	switch (call) {
	case CALL_EXECVE:
	case CALL_EXECVEAT:
		if (wants(session, KIND_COMMAND))
			on_exec_failed(task, session, entry,
				       (void *)argument(regs, call == CALL_EXECVEAT, compat), result,
				       compat ? RECORD_FLAG_COMPAT32 : 0);
		return 0;
	case CALL_CONNECT:
	case CALL_SOCKETCALL:
		if (wants(session, KIND_NETWORK))
			on_connect_done(task, session, entry, regs, compat, result);
		return 0;
	case CALL_IO_URING_SETUP:
		on_uring_setup(task, session, entry, compat, result);
		return 0;
	default:
		break;
	}
	if (wants(session, KIND_DISK)) {
		struct open_call open = { .number = number, .compat = compat, .directory = AT_FDCWD };

		if (call == CALL_OPENAT) {
			open.directory = argument(regs, 0, compat);
			open.name = (void *)argument(regs, 1, compat);
			open.flags = flags_of_openat(regs, number, compat);
		} else if (call == CALL_OPEN || call == CALL_CREAT) {
			open.name = (void *)argument(regs, 0, compat);
			open.flags = call == CALL_OPEN ? argument(regs, 1, compat) : 01101; /* O_CREAT|O_WRONLY|O_TRUNC */
		} else if (call == CALL_OPEN_BY_HANDLE) {
			open.flags = argument(regs, 2, compat);
		} else if (call == CALL_DUP) {
			open.dup = true;
			if (result < 0)
				return 0;
		}
		on_open(task, session, entry, &open, result);
	}
	return 0;
}
