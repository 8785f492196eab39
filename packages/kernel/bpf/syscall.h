/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * System call numbers by architecture and bitness, and where pt_regs keeps the arguments when the call is over.
 */
#ifndef SALLYPORT_SYSCALL_H
#define SALLYPORT_SYSCALL_H

#include "record.h"

enum call {
	CALL_NONE, CALL_OPEN, CALL_OPENAT, CALL_CREAT, CALL_OPEN_BY_HANDLE, CALL_DUP, CALL_EXECVE, CALL_EXECVEAT,
	CALL_CONNECT, CALL_SOCKETCALL, CALL_IO_URING_SETUP,
};

#define BIT(n) (1ULL << ((n) & 63))

#if defined(__TARGET_ARCH_x86)

#define TS_COMPAT 0x0002
#define X32_BIT 0x40000000

static __always_inline bool is_compat(struct task_struct *task)
{
	return READ(task, thread_info.status) & TS_COMPAT;
}

static __always_inline long call_number(struct pt_regs *regs)
{
	return (long)regs->orig_ax; /* -1: not a system call */
}

/*
 * The first test of every system call of every process: numbers of either bitness, a word of 64 at a time.
 * 5, 8 and 11 are only compat's (natively fstat, lseek, munmap); the second test sorts that out.
 */
static __always_inline bool may_matter(long number)
{
	switch ((__u64)number >> 6) {
	case 0: return (BIT(2) | BIT(5) | BIT(8) | BIT(11) | BIT(33) | BIT(42) | BIT(59) | BIT(63)) & BIT(number);
	case 1: return (BIT(85) | BIT(102)) & BIT(number);
	case 4: return (BIT(257) | BIT(292) | BIT(295) | BIT(304)) & BIT(number);
	case 5: return (BIT(322) | BIT(330) | BIT(342) | BIT(358) | BIT(362)) & BIT(number);
	case 6: return (BIT(425) | BIT(437)) & BIT(number);
	default: return number & X32_BIT;
	}
}

static __always_inline enum call native_call(long number)
{
	if (number & X32_BIT)
		number = (number & ~X32_BIT) == 520 ? 59 : (number & ~X32_BIT) == 545 ? 322 : number & ~X32_BIT;
	switch (number) {
	case 2: return CALL_OPEN;
	case 257: case 437: return CALL_OPENAT;
	case 85: return CALL_CREAT;
	case 304: return CALL_OPEN_BY_HANDLE;
	case 33: case 292: return CALL_DUP;
	case 59: return CALL_EXECVE;
	case 322: return CALL_EXECVEAT;
	case 42: return CALL_CONNECT;
	case 425: return CALL_IO_URING_SETUP;
	default: return CALL_NONE;
	}
}

static __always_inline enum call compat_call(long number)
{
	switch (number) {
	case 5: return CALL_OPEN;
	case 295: case 437: return CALL_OPENAT;
	case 8: return CALL_CREAT;
	case 342: return CALL_OPEN_BY_HANDLE;
	case 63: case 330: return CALL_DUP;
	case 11: return CALL_EXECVE;
	case 358: return CALL_EXECVEAT;
	case 362: return CALL_CONNECT;
	case 102: return CALL_SOCKETCALL;
	case 425: return CALL_IO_URING_SETUP;
	default: return CALL_NONE;
	}
}

/* The registers outlive the call, apart from ax. */
static __always_inline __u64 argument(struct pt_regs *regs, int n, bool compat)
{
	if (compat) {
		__u64 value = n == 0 ? regs->bx : n == 1 ? regs->cx : n == 2 ? regs->dx : regs->si;

		return (__u32)value;
	}
	return n == 0 ? regs->di : n == 1 ? regs->si : n == 2 ? regs->dx : regs->r10;
}

#elif defined(__TARGET_ARCH_arm64)

#define TIF_32BIT 22

static __always_inline bool is_compat(struct task_struct *task)
{
	return READ(task, thread_info.flags) & BIT(TIF_32BIT);
}

static __always_inline long call_number(struct pt_regs *regs)
{
	return regs->syscallno;
}

static __always_inline bool may_matter(long number)
{
	switch ((__u64)number >> 6) {
	case 0: return (BIT(5) | BIT(8) | BIT(11) | BIT(24) | BIT(56) | BIT(63)) & BIT(number);
	case 3: return (BIT(203) | BIT(221)) & BIT(number);
	case 4: return (BIT(265) | BIT(281) | BIT(283)) & BIT(number);
	case 5: return (BIT(322) | BIT(358) | BIT(371)) & BIT(number);
	case 6: return (BIT(387) | BIT(425) | BIT(437)) & BIT(number);
	default: return false;
	}
}

static __always_inline enum call native_call(long number)
{
	switch (number) {
	case 56: case 437: return CALL_OPENAT;
	case 265: return CALL_OPEN_BY_HANDLE;
	case 24: return CALL_DUP;
	case 221: return CALL_EXECVE;
	case 281: return CALL_EXECVEAT;
	case 203: return CALL_CONNECT;
	case 425: return CALL_IO_URING_SETUP;
	default: return CALL_NONE;
	}
}

static __always_inline enum call compat_call(long number)
{
	switch (number) {
	case 5: return CALL_OPEN;
	case 322: case 437: return CALL_OPENAT;
	case 8: return CALL_CREAT;
	case 371: return CALL_OPEN_BY_HANDLE;
	case 63: case 358: return CALL_DUP;
	case 11: return CALL_EXECVE;
	case 387: return CALL_EXECVEAT;
	case 283: return CALL_CONNECT;
	case 425: return CALL_IO_URING_SETUP;
	default: return CALL_NONE;
	}
}

/* x0 became the result; the entry code kept the first argument apart. */
static __always_inline __u64 argument(struct pt_regs *regs, int n, bool compat)
{
	__u64 value = n == 0 ? regs->orig_x0 : regs->regs[n];

	return compat ? (__u32)value : value;
}

#else
#error "no system call table for this architecture"
#endif

/* Results the kernel never shows: the call is made again. ERESTARTSYS, -NOINTR, -NOHAND, _RESTARTBLOCK. */
static __always_inline bool will_restart(long result)
{
	return result <= -512 && result >= -516;
}

#endif
