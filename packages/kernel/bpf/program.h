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

/*
 * What is attached to a tracepoint is a gate, on_NAME: it asks whether this hit can matter at all and calls what stands
 * behind it, do_NAME, by a map of one entry. That entry is how a recorder of another build puts its programs in the
 * place of those that run: a tracepoint's link cannot change its program (to 6.18; BPF_LINK_UPDATE is for cgroup and
 * network links), and of two attached at once both would run. A hit runs one or the other, never both, never none.
 * The call is a jump where the JIT knows the map.
 */
#define GATE(hook, name, passes)                                                                        \
	struct {                                                                                        \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                  \
		__uint(max_entries, 1);                                                                 \
		__type(key, __u32);                                                                     \
		__type(value, __u32);                                                                   \
	} behind_##name SEC(".maps");                                                                   \
	SEC(hook) int on_##name(unsigned long long *ctx)                                                \
	{                                                                                               \
		if (passes)                                                                             \
			bpf_tail_call(ctx, &behind_##name, 0);                                          \
		return 0;                                                                               \
	}

#endif
