/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * BPF_PROG as in libbpf's bpf_tracing.h, which cannot be included beside a partial struct pt_regs: a tp_btf
 * program gets its arguments as an array of 64-bit words.
 */
#ifndef SALLYPORT_PROGRAM_H
#define SALLYPORT_PROGRAM_H

#define ARGS_1(x) (void *)ctx[0]
#define ARGS_2(x, ...) ARGS_1(__VA_ARGS__), (void *)ctx[1]
#define ARGS_3(x, ...) ARGS_2(__VA_ARGS__), (void *)ctx[2]
#define ARGS_4(x, ...) ARGS_3(__VA_ARGS__), (void *)ctx[3]
#define COUNT_(_1, _2, _3, _4, n, ...) n
#define COUNT(...) COUNT_(__VA_ARGS__, 4, 3, 2, 1)
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

#define BPF_PROG(name, args...)                                                                        \
	name(unsigned long long *ctx);                                                                  \
	static __always_inline int name##_(args);                                                       \
	int name(unsigned long long *ctx)                                                               \
	{                                                                                               \
		_Pragma("GCC diagnostic push")                                                          \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                                  \
		return name##_(PASTE(ARGS_, COUNT(args))(args));                                        \
		_Pragma("GCC diagnostic pop")                                                           \
	}                                                                                               \
	static __always_inline int name##_(args)

#endif
