/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the daemon in a guest, where Node does not run: starts the recorder, opens sessions in the
 * order the daemon does (cgroup, blocked leader, watch, go), ends them behind the barrier and sends the
 * spools to the host, which judges them.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "control.h"
#include "report.h"

#define RECORDER "/matrix/recorder"
#define SOCKET "/run/recorder.sock"
#define SPOOLS "/run/spool"
#define CGROUPS "/sys/fs/cgroup/sallyport"

/* What every kernel of the matrix has: all but io_uring's own hook and the first tier of opens. */
#define EXPECTED (1u << FEATURE_EXEC | 1u << FEATURE_EXIT | 1u << FEATURE_LINEAGE | 1u << FEATURE_SYS_EXIT | \
		  1u << FEATURE_CONNECT4 | 1u << FEATURE_CONNECT6 | 1u << FEATURE_SOCK_STATE |           \
		  1u << FEATURE_CGROUP_ATTACH | 1u << FEATURE_SENDMSG4 | 1u << FEATURE_SENDMSG6 | 1u << FEATURE_PINNED)

struct session {
	unsigned char id[SESSION_ID_LEN];
	char uuid[40];
	char cgroup[96];
	int go;                 /* the leader blocks until this end of its pipe says so */
	pid_t leader;
	__u32 audit_session_id;
};

static void send_file(const char *name, const char *path)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char in[576];
	char out[sizeof(in) / 3 * 4 + 1];
	long offset = 0;
	FILE *file = fopen(path, "r");
	must(file != NULL);
	for (size_t n; (n = fread(in, 1, sizeof(in), file)) > 0; offset += (long)n) {
		char *o = out;
		for (size_t i = 0; i < n; i += 3) {
			unsigned int v = (unsigned int)in[i] << 16 | (i + 1 < n ? in[i + 1] : 0u) << 8 | (i + 2 < n ? in[i + 2] : 0u);
			*o++ = digits[v >> 18];
			*o++ = digits[v >> 12 & 63];
			*o++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
			*o++ = i + 2 < n ? digits[v & 63] : '=';
		}
		*o = 0;
		report("file", "%s %ld %s", name, offset, out);
	}
	fclose(file);
}

static void report_tail(const char *topic, const char *path, long bytes)
{
	char line[900];
	FILE *file = fopen(path, "r");
	if (file != NULL && fseek(file, -bytes, SEEK_END) != 0)
		rewind(file);
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\r\n")] = 0;
		report(topic, "%s", line);
	}
	if (file != NULL)
		fclose(file);
}

static void report_lines(const char *topic, const char *path)
{
	report_tail(topic, path, 1L << 30);
}

static pid_t spawn(const char *out, const char *err, char *const argv[])
{
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		dup2(open(out, O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
		dup2(open(err, O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	must(fd >= 0);
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* What the recorder itself says about this kernel, program by program, and libbpf's words where one fails. */
static void probe(void)
{
	int status = -1;
	setenv("SALLYPORT_LIBBPF", "1", 1);
	pid_t pid = spawn("/run/probe.log", "/run/probe.err", (char *[]){ RECORDER, "--probe", NULL });
	unsetenv("SALLYPORT_LIBBPF");
	must(waitpid(pid, &status, 0) == pid);
	report_lines("probe", "/run/probe.log");
	report("probed", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	report_tail("verifier", "/run/probe.err", 16384);
}

static struct session open_session(int number, char *const argv[])
{
	struct session s = { 0 };
	int go[2], audit[2];
	char pid[16];
	for (int i = 0; i < SESSION_ID_LEN; i++)
		s.id[i] = (unsigned char)(number * 16 + i);
	/* A version 4 uuid, so that its textual form is one. */
	s.id[6] = 0x40;
	s.id[8] = 0x80;
	char *at = s.uuid;
	for (int i = 0; i < SESSION_ID_LEN; i++)
		at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", s.id[i]);
	snprintf(s.cgroup, sizeof(s.cgroup), CGROUPS "/%s", s.uuid);
	must(mkdir(s.cgroup, 0755) == 0);
	must(pipe(go) == 0 && pipe(audit) == 0);
	s.leader = fork();
	must(s.leader >= 0);
	if (s.leader == 0) {
		char text[16] = "";
		char start;
		close(go[1]);
		/* As pam_loginuid does: the kernel gives the next audit session id. */
		int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "0", 1) == 1)
			close(fd);
		fd = open("/proc/self/sessionid", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
			close(fd);
		__u32 id = text[0] ? (__u32)strtoul(text, NULL, 10) : ~0u;
		must(write(audit[1], &id, sizeof(id)) == sizeof(id));
		close(audit[1]);
		must(read(go[0], &start, 1) == 1);
		close(go[0]);
		execv("/matrix/session", argv);
		_exit(127);
	}
	close(go[0]);
	close(audit[1]);
	must(read(audit[0], &s.audit_session_id, sizeof(__u32)) == sizeof(__u32));
	close(audit[0]);
	s.go = go[1];
	char procs[128];
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", s.cgroup);
	snprintf(pid, sizeof(pid), "%d", s.leader);
	put(procs, pid);
	return s;
}

static void watch(int control, const struct session *s, __u32 kinds)
{
	struct stat cgroup;
	struct control_watched watched;
	must(stat(s->cgroup, &cgroup) == 0);
	struct control_watch request = {
		.cgroup_id = cgroup.st_ino,
		.audit_session_id = s->audit_session_id,
		.leader_pid = (__u32)s->leader,
		.kinds = kinds,
		.policy = POLICY_BEST_EFFORT,
	};
	memcpy(request.session_id, s->id, SESSION_ID_LEN);
	control_call(control, CONTROL_WATCH, &request, sizeof(request), &watched, sizeof(watched));
	report("watched", "%s leader=%d audit=%u cgroup=%llu", s->uuid, s->leader, s->audit_session_id,
	       (unsigned long long)cgroup.st_ino);
}

static void finish(int control, struct session *s, const char *name)
{
	int status = 0;
	struct control_totals t;
	struct control_session which;
	char path[128];
	must(waitpid(s->leader, &status, 0) == s->leader);
	report("leader", "%s %d", name, WEXITSTATUS(status));
	report("idle", "%s %s", name, control_await(control, CONTROL_IDLE, s->id, 30000) == 0 ? "yes" : "no");
	memcpy(which.session_id, s->id, SESSION_ID_LEN);
	control_call(control, CONTROL_END, &which, sizeof(which), &t, sizeof(t));
	for (int kind = 0; kind < KIND_COUNT; kind++)
		report("total", "%s %d %llu %llu %llu", name, kind, t.totals[kind].emitted, t.totals[kind].recorded,
		       t.totals[kind].lost);
	report("ended", "%s lastSeq=%llu length=%llu live=%u", name, t.last_seq, t.spool_length, t.live_tasks);
	snprintf(path, sizeof(path), SPOOLS "/%s.spool", s->uuid);
	/* An emulated serial line carries some 10 KB/s. */
	must(waitpid(spawn("/run/spool.gz", "/run/gzip.err", (char *[]){ "/bin/busybox", "gzip", "-c", path, NULL }), &status, 0) > 0);
	must(status == 0);
	send_file(name, "/run/spool.gz");
	unlink("/run/spool.gz");
	must(rmdir(s->cgroup) == 0);
}

static int listener(int family, __u16 *port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
	socklen_t length = family == AF_INET ? sizeof(four) : sizeof(six);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0 && bind(fd, address, length) == 0 && listen(fd, 64) == 0);
	must(getsockname(fd, address, &length) == 0);
	*port = ntohs(family == AF_INET ? four.sin_port : six.sin6_port);
	return fd;
}

/* Does while the session runs what must not be found in it. */
static void bystander(void)
{
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 20; i++)
			close(open("/matrix/work/bystander", O_RDONLY));
		execl("/bin/busybox", "true", "bystander", (char *)NULL);
		_exit(127);
	}
	must(waitpid(pid, NULL, 0) == pid);
}

static void evidence(int control)
{
	__u16 port4, port6;
	char four[8], six[8];
	int fd4 = listener(AF_INET, &port4), fd6 = listener(AF_INET6, &port6);
	snprintf(four, sizeof(four), "%u", port4);
	snprintf(six, sizeof(six), "%u", port6);
	report("ports", "%s %s", four, six);
	struct session s = open_session(1, (char *[]){ "-session", "stages", four, six, NULL });
	watch(control, &s, 7);
	bystander();
	must(write(s.go, "g", 1) == 1);
	bystander();
	finish(control, &s, "evidence");
	close(fd4);
	close(fd6);
}

/* More than the ring holds, with nobody to drain it: the loss must be declared to the last event. */
static void storm(int control, pid_t recorder)
{
	struct session s = open_session(2, (char *[]){ "-session", "storm", NULL });
	watch(control, &s, 7);
	must(kill(recorder, SIGSTOP) == 0);
	must(write(s.go, "g", 1) == 1);
	siginfo_t info;
	must(waitid(P_PID, (id_t)s.leader, &info, WEXITED | WNOWAIT) == 0);
	must(kill(recorder, SIGCONT) == 0);
	finish(control, &s, "storm");
}

static void report_stats(int control)
{
	struct control_stats t;
	control_call(control, CONTROL_STATS, NULL, 0, &t, sizeof(t));
	report("stats", "ring=%llu lost=%llu orphans=%llu misses=%llu sessions=%u lineage=%u", t.ring_size, t.ring_lost,
	       t.orphan_records, t.program_misses, t.sessions, t.lineage_entries);
}

int main(void)
{
	struct control_hello hello = { 0 };
	signal(SIGPIPE, SIG_IGN);
	must(mkdir(SPOOLS, 0700) == 0 && mkdir(CGROUPS, 0755) == 0);
	pid_t recorder = spawn("/run/recorder.log", "/run/recorder.log", (char *[]){ RECORDER, "--socket", SOCKET, "--spool", SPOOLS,
								"--ring-bytes", "1048576", NULL });
	int control = control_connect(SOCKET, 60000, &hello);
	/* Trying every program by itself takes half a minute here: only when something is amiss. */
	if (control < 0 || (hello.features & EXPECTED) != EXPECTED)
		probe();
	if (control < 0) {
		report("failed", "the recorder did not say hello");
		return 1;
	}
	report("hello", "%u", hello.features);
	evidence(control);
	storm(control, recorder);
	report_stats(control);
	control_call(control, CONTROL_SHUTDOWN, NULL, 0, NULL, 0);
	int status = -1;
	must(waitpid(recorder, &status, 0) == recorder);
	report("recorder-exit", "%d", status);
	return 0;
}
