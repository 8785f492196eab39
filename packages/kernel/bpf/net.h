/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections. Three hooks see a TCP connect, each what the others cannot:
 *   cgroup connect4/6   the kernel's own copy of the address, before anything can fail
 *   inet_sock_set_state SYN_SENT (still the caller), then the outcome and the end (softirq: never `current`)
 *   sys_exit(connect)   the errno of what failed before a SYN was sent
 * One CONNECT an attempt. It waits for its outcome; a sweep of the recorder stops the waiting.
 */
#ifndef SALLYPORT_NET_H
#define SALLYPORT_NET_H

#include "file.h"
#include <bpf/bpf_endian.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define SOCK_STREAM 1
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define SOCK_DONE 1              /* bit of sk_flags: the peer's FIN was read */
#define EINPROGRESS 115
#define SEND_REPORT_NS 10000000000ULL

/* ---- addresses ---- */

/* IPv4 spoken through an IPv6 socket is IPv4: ::ffff:a.b.c.d is told as what goes over the wire. */
static __always_inline __u16 put_address6(__u8 *to, const __u32 *words)
{
	__u32 *out = (__u32 *)to;

	if (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff)) {
		out[0] = words[3];
		out[1] = out[2] = out[3] = 0;
		return AF_INET;
	}
	out[0] = words[0];
	out[1] = words[1];
	out[2] = words[2];
	out[3] = words[3];
	return AF_INET6;
}

static __always_inline void describe_source(struct record_connect *record, struct sock *sk)
{
	record->src_port = READ(sk, __sk_common.skc_num);
	if (READ(sk, __sk_common.skc_family) == AF_INET6) {
		struct in6_addr address = {};

		bpf_core_read(&address, sizeof(address), &sk->__sk_common.skc_v6_rcv_saddr);
		put_address6(record->src_addr, address.in6_u.u6_addr32);
	} else {
		*(__u32 *)record->src_addr = READ(sk, __sk_common.skc_rcv_saddr);
	}
}

static __always_inline void describe_destination(struct record_connect *record, struct sock *sk)
{
	record->protocol = READ(sk, sk_protocol);
	record->dst_port = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	if (READ(sk, __sk_common.skc_family) == AF_INET6) {
		struct in6_addr address = {};

		bpf_core_read(&address, sizeof(address), &sk->__sk_common.skc_v6_daddr);
		record->family = put_address6(record->dst_addr, address.in6_u.u6_addr32);
	} else {
		record->family = AF_INET;
		*(__u32 *)record->dst_addr = READ(sk, __sk_common.skc_daddr);
	}
}

/* ---- reporting ---- */

static __always_inline void report_connection(struct record_connect *record, __u8 type, __u8 source)
{
	struct session *session = session_of(record->h.session);

	if (!session || !begin_record(session, &record->h, type, KIND_NETWORK, source))
		return;
	record->h.length = sizeof(*record);
	finish_record(session, KIND_NETWORK, record, sizeof(*record));
}

/*
 * Reports the outcome of a connection on its way: as CONNECT when nobody has spoken of it yet, else as
 * CONNECT_OUTCOME. `keep` lets it live on until it closes.
 */
static __always_inline void settle_connection(__u64 key, struct sock *sk, __u8 outcome, int error, __u8 source,
					      bool keep)
{
	struct connection *waiting = bpf_map_lookup_elem(&connecting, &key), copy;
	__u8 type = RECORD_CONNECT_OUTCOME;
	__u64 now = bpf_ktime_get_boot_ns(), started;

	if (waiting) {
		copy = *waiting;
		type = RECORD_CONNECT;
	} else {
		waiting = outcome == OUTCOME_PENDING ? NULL : bpf_map_lookup_elem(&connected, &key);
		if (!waiting)
			return;
		copy = *waiting;
	}
	started = copy.started;
	if (outcome == OUTCOME_ESTABLISHED)
		copy.established = now;
	copy.record.outcome = outcome;
	copy.record.error = error;
	copy.record.duration_ns = now - started;
	if (sk)
		describe_source(&copy.record, sk);
	/* into the one map before out of the other: a transition on another CPU must find it in either */
	if (keep)
		bpf_map_update_elem(&connected, &key, &copy, outcome == OUTCOME_PENDING ? BPF_NOEXIST : BPF_ANY);
	else if (type == RECORD_CONNECT_OUTCOME && bpf_map_delete_elem(&connected, &key))
		return;
	if (type == RECORD_CONNECT && bpf_map_delete_elem(&connecting, &key)) {
		if (outcome == OUTCOME_PENDING)
			return; /* it was decided meanwhile, and told */
		type = RECORD_CONNECT_OUTCOME;
		if (!keep)
			bpf_map_delete_elem(&connected, &key);
	}
	report_connection(&copy.record, type, source);
}

static __always_inline void report_close(__u64 key, struct sock *sk, __u8 outcome, __u8 source)
{
	struct connection *found = bpf_map_lookup_elem(&connected, &key);
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	struct record_connect record;
	__u64 established;

	if (!found)
		return;
	record = found->record;
	established = found->established;
	if (bpf_map_delete_elem(&connected, &key))
		return;
	record.outcome = outcome;
	record.error = -READ(sk, sk_err);
	/* payload only: bytes_acked would count SYN and FIN, bytes_sent counts what was sent again */
	record.bytes_sent = READ(tcp, bytes_sent) - READ(tcp, bytes_retrans);
	record.bytes_received = READ(tcp, bytes_received);
	if (record.bytes_received && (READ(sk, __sk_common.skc_flags) & BIT(SOCK_DONE)))
		record.bytes_received -= 1; /* the FIN's sequence number */
	record.duration_ns = bpf_ktime_get_boot_ns() - established;
	report_connection(&record, RECORD_SOCKET_CLOSE, source);
}

/* ---- TCP ---- */

/* Still the caller of connect(), or of sendto() with Fast Open, or an io_uring worker of the process. */
static __always_inline void on_syn_sent(struct sock *sk)
{
	__u64 thread = bpf_get_current_pid_tgid(), key = (__u64)sk;
	struct task_struct *task = current_task();
	struct connect_attempt *attempt;
	struct connection connection = {};
	struct record_connect *record = &connection.record;
	struct lineage *entry;
	struct session *session = member(task, thread >> 32, &entry);

	if (!session || !wants(session, KIND_NETWORK))
		return;
	attempt = bpf_map_lookup_elem(&connect_attempts, &thread);
	if (attempt && !attempt->sock && attempt->record.h.session == session->ref) {
		attempt->sock = key;
		connection.record = attempt->record;
		connection.started = attempt->record.h.ktime;
	} else {
		describe_member(&record->h, task, session, entry);
		record->h.session = session->ref;
		connection.started = bpf_ktime_get_boot_ns();
		record->socket = READ(sk, __sk_common.skc_cookie.counter);
		if (!record->socket)
			record->socket = connection.started;
	}
	describe_destination(record, sk); /* as it is now: another cgroup program may have rewritten it */
	if (!bpf_map_update_elem(&connecting, &key, &connection, BPF_ANY))
		return;
	record->outcome = OUTCOME_PENDING; /* no room to wait in: tell what is known */
	report_connection(record, RECORD_CONNECT, SOURCE_SOCK_STATE);
}

static __always_inline void on_syn_sent_to_close(struct sock *sk)
{
	__u64 key = (__u64)sk, thread = bpf_get_current_pid_tgid();
	struct connect_attempt *attempt;
	int error = READ(sk, sk_err);

	if (error) {
		settle_connection(key, sk, OUTCOME_FAILED, -error, SOURCE_SOCK_STATE, false);
		return;
	}
	/* in softirq the thread is anybody, but not one that is connecting this very socket */
	attempt = bpf_map_lookup_elem(&connect_attempts, &thread);
	if (attempt && attempt->sock == key) {
		attempt->early = 1;
		return;
	}
	settle_connection(key, sk, OUTCOME_CLOSED, 0, SOURCE_SOCK_STATE, false);
}

static __always_inline void on_transition(struct sock *sk, int old, int new)
{
	/* A connection that stands where another one begins has ended unseen: told now, its bytes are lost to us. */
	if (new == TCP_SYN_SENT || (new == TCP_CLOSE && old != TCP_SYN_SENT))
		report_close((__u64)sk, sk, OUTCOME_CLOSED, new == TCP_CLOSE ? SOURCE_SOCK_STATE : SOURCE_SWEEP);
	if (new == TCP_SYN_SENT)
		on_syn_sent(sk);
	else if (old == TCP_SYN_SENT && new == TCP_CLOSE)
		on_syn_sent_to_close(sk);
	else if (old == TCP_SYN_SENT)
		settle_connection((__u64)sk, sk, OUTCOME_ESTABLISHED, 0, SOURCE_SOCK_STATE, true);
}

/* Never 0, which is nobody's. */
#define TRANSITION(key, old, new) ((key) ^ (__u32)(new) << 4 ^ (__u32)(old))

/* The verifier reckons with numbers, not with pointers: through memory, where it forgets. */
static __always_inline __u64 number_of(volatile __u64 *memory, struct sock *sk)
{
	*memory = (__u64)sk;
	return *memory;
}

static __always_inline struct handled *handled_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&handled, &zero);
}

GATE("tp_btf/inet_sock_set_state", sock_state, host.active)
GATE("tp_btf/inet_sock_set_state", state_again, host.active)

/*
 * The kernel never runs a program inside itself on one CPU: a softirq that comes in the middle of do_sock_state,
 * with another connection's SYN-ACK say, passes it by, and that connection's outcome would be lost. do_state_again
 * comes after it and does what it could not. It is short, so that if it is the one that is interrupted,
 * do_sock_state is free.
 *
 * `last` is the transition that do_sock_state has just handled. It is empty while do_sock_state runs, which is when a
 * softirq's is passed by: nothing left over can look like it. A softirq between the two programs handles a transition
 * of its own and puts back what it found.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(do_sock_state, struct sock *sk, int old, int new)
{
	struct handled *cpu = handled_of_cpu();
	__u64 key;

	if (!cpu)
		return 0;
	cpu->found = cpu->last;
	*(volatile __u64 *)&cpu->last = 0;
	on_transition(sk, old, new);
	key = number_of(&cpu->key[0], sk);
	*(volatile __u64 *)&cpu->last = TRANSITION(key, old, new);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(do_state_again, struct sock *sk, int old, int new)
{
	struct handled *cpu = handled_of_cpu();
	__u64 key;

	if (!cpu)
		return 0;
	key = number_of(&cpu->key[1], sk);
	if (cpu->last == TRANSITION(key, old, new)) {
		cpu->last = cpu->found;
		cpu->found = 0;
		return 0;
	}
	cpu->rescued++;
	on_transition(sk, old, new);
	return 0;
}

/* ---- the hooks of the cgroup root: every socket of the host passes here, whoever holds it now ---- */

static __always_inline void on_address(struct bpf_sock_addr *ctx, bool six, __u8 operation, __u8 source)
{
	__u64 thread = bpf_get_current_pid_tgid(), now;
	struct task_struct *task = current_task();
	struct connect_attempt attempt = {};
	struct record_connect *record = &attempt.record;
	struct lineage *entry;
	struct session *session = member_steady(task, thread >> 32, &entry, false);

	if (!session || !wants(session, KIND_NETWORK))
		return;
	record->socket = bpf_get_socket_cookie(ctx);
	record->protocol = ctx->protocol;
	record->dst_port = bpf_ntohs(ctx->user_port);
	record->operation = operation;
	if (six) {
		__u32 words[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };

		record->family = put_address6(record->dst_addr, words);
	} else {
		record->family = AF_INET;
		*(__u32 *)record->dst_addr = ctx->user_ip4;
	}
	now = bpf_ktime_get_boot_ns();
	if (operation == NETWORK_SEND) {
		struct destination to = { .socket = record->socket, .port = record->dst_port, .family = record->family };
		__u64 *last;

		__builtin_memcpy(to.addr, record->dst_addr, sizeof(to.addr));
		last = bpf_map_lookup_elem(&destinations, &to);
		if (last && now - *last < SEND_REPORT_NS)
			return;
		bpf_map_update_elem(&destinations, &to, &now, BPF_ANY);
	}
	describe_member(&record->h, task, session, entry);
	record->h.session = session->ref;
	record->h.ktime = now;
	if (ctx->type != SOCK_STREAM) {
		report_connection(record, RECORD_CONNECT, source);
		attempt.reported = 1;
	}
	if (operation == NETWORK_CONNECT)
		bpf_map_update_elem(&connect_attempts, &thread, &attempt, BPF_ANY);
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	if (host.active)
		on_address(ctx, false, NETWORK_CONNECT, SOURCE_CGROUP_CONNECT);
	return 1;
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	if (host.active)
		on_address(ctx, true, NETWORK_CONNECT, SOURCE_CGROUP_CONNECT);
	return 1;
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	if (host.active)
		on_address(ctx, false, NETWORK_SEND, SOURCE_CGROUP_SENDMSG);
	return 1;
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	if (host.active)
		on_address(ctx, true, NETWORK_SEND, SOURCE_CGROUP_SENDMSG);
	return 1;
}

/* ---- connect() coming back ---- */

static __always_inline bool is_unix_socket(struct file *file)
{
	struct socket *socket;

	if (!file || (READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return false;
	socket = READ(file, private_data);
	return READ(socket, sk, __sk_common.skc_family) == AF_UNIX;
}

/*
 * AF_UNIX has no hook before 6.7. On success the peer's own address is the kernel's; on failure the caller's
 * memory must do.
 */
static __always_inline void on_unix_connect(struct task_struct *task, struct session *session,
					    struct lineage *entry, struct pt_regs *regs, bool compat, long result,
					    struct file *file)
{
	struct scratch *s = scratch_of_cpu();
	const void *address = (void *)argument(regs, 1, compat);
	__u32 at = sizeof(struct record_connect), value = at + sizeof(struct tlv);
	long length = (long)argument(regs, 2, compat) - 2;
	struct record_connect *record;
	unsigned short family = 0;

	if (!s || bpf_probe_read_user(&family, sizeof(family), address) || family != AF_UNIX)
		return;
	record = (void *)s->data;
	__builtin_memset(record, 0, sizeof(*record));
	record->family = AF_UNIX;
	record->outcome = result ? OUTCOME_FAILED : OUTCOME_ESTABLISHED;
	record->error = result;
	if (file) {
		struct socket *socket = READ(file, private_data);

		record->socket = READ(socket, sk, __sk_common.skc_cookie.counter);
	}
	if (!result && file && bpf_core_type_exists(struct unix_sock)) {
		struct socket *socket = READ(file, private_data);
		struct unix_sock *own = (void *)READ(socket, sk), *peer = (void *)READ(own, peer);
		struct unix_address *name = peer ? READ(peer, addr) : NULL;

		if (name) {
			length = READ(name, len) - 2;
			BOUND(length, 127);
			if (length > 108)
				length = 108;
			bpf_probe_read_kernel(s->data + value, length, &name->name[0].sun_path);
		} else {
			length = 0;
		}
	} else {
		if (length < 0)
			length = 0;
		if (length > 108)
			length = 108;
		BOUND(length, 127);
		bpf_probe_read_user(s->data + value, length, address + 2);
	}
	put_tlv(s, at, TLV_UNIX_PATH, length);
	zero_padding(s, at, length);
	at += tlv_space(length & 127);
	describe_member(&record->h, task, session, entry);
	record->h.length = at;
	if (begin_record(session, &record->h, RECORD_CONNECT, KIND_NETWORK, SOURCE_SYS_EXIT))
		finish_record(session, KIND_NETWORK, record, at & 1023);
}

static __always_inline void on_connect_done(struct task_struct *task, struct session *session,
					    struct lineage *entry, struct pt_regs *regs, bool compat, long result)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct connect_attempt *found = bpf_map_lookup_elem(&connect_attempts, &thread), attempt;
	struct file *file = file_of_descriptor(task, (int)argument(regs, 0, compat));

	/* what is found may be left over from a connect through io_uring, which does not come by here */
	if (!found || is_unix_socket(file)) {
		on_unix_connect(task, session, entry, regs, compat, result, file);
		return;
	}
	attempt = *found;
	bpf_map_delete_elem(&connect_attempts, &thread);
	if (!result || result == -EINPROGRESS || (attempt.sock && !attempt.early))
		return; /* a datagram told already, or the transitions will tell */
	if (attempt.sock)
		bpf_map_delete_elem(&connecting, &attempt.sock);
	attempt.record.outcome = OUTCOME_FAILED;
	attempt.record.error = result;
	report_connection(&attempt.record, attempt.reported ? RECORD_CONNECT_OUTCOME : RECORD_CONNECT,
			  SOURCE_SYS_EXIT);
}

#endif
