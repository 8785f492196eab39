/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the watched leader becomes. Every stage does one known thing and reports the process that did it; the
 * host knows the rest (paths, arguments, addresses) and compares it with the evidence.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "report.h"

#define WORK "/matrix/work"
#define BUSYBOX "/bin/busybox"

/* Runs a body in a child, waits for it, reports its pid and how it ended. */
#define in_child(name, ...)                                                        \
	do {                                                                       \
		int status_ = -1;                                                  \
		pid_t pid_ = fork();                                               \
		must(pid_ >= 0);                                                   \
		if (pid_ == 0) {                                                   \
			__VA_ARGS__;                                               \
			_exit(127);                                                \
		}                                                                  \
		must(waitpid(pid_, &status_, 0) == pid_);                          \
		report("did", "%s %d %d", name, pid_, status_);                    \
	} while (0)

static void exec_stages(void)
{
	static char *const environment[] = { "LANG=C", "SECRET=hidden", NULL };
	/* argv is bytes: an empty last argument, a newline, an escape code, invalid UTF-8. */
	in_child("exec", execve(BUSYBOX, (char *[]){ "true", "two words", "line\nfeed", "\x1b[2J", "\xff\xfe", "", NULL },
				environment));
	/* A script: the file that was named, the interpreter that runs. */
	in_child("script", { must(chdir(WORK) == 0); execl("./greet.sh", "greet.sh", "again", (char *)NULL); });
	/* Longer than one page, shorter than the limit: every byte of it is kept. */
	static char longer[100001];
	memset(longer, 'x', sizeof(longer) - 1);
	in_child("long-argv", execl(BUSYBOX, "true", longer, (char *)NULL));
	/* Beyond the limit: the start of it is kept, and said to be cut. */
	in_child("longest-argv", execl(BUSYBOX, "true", longer, longer, (char *)NULL));
	in_child("exec-denied", { execl(WORK "/plain", "plain", (char *)NULL); _exit(errno); });
	in_child("exec-format", { execl(WORK "/garbage", "garbage", "x", (char *)NULL); _exit(errno); });
	in_child("exec-missing", { execl(WORK "/nowhere/tool", "tool", (char *)NULL); _exit(errno); });
}

static void *exec_in_thread(void *unused)
{
	execl(BUSYBOX, "true", "from a thread", (char *)NULL);
	return NULL;
}

static void process_stages(void)
{
	in_child("exit", _exit(3));
	in_child("killed", { raise(SIGKILL); });
	/* The thread takes over the thread group: the process keeps its id, and exits once. */
	in_child("thread-exec", {
		pthread_t thread;
		must(pthread_create(&thread, NULL, exec_in_thread, NULL) == 0);
		pthread_join(thread, NULL);
	});
}

/* 60 folders below each other, 11 bytes each: a walk that is long but whole. */
static void make_deep(void)
{
	int dir = open(WORK, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 60; i++) {
		char name[16];
		snprintf(name, sizeof(name), "folder-%03d", i);
		must(mkdirat(dir, name, 0755) == 0);
		int next = openat(dir, name, O_RDONLY | O_DIRECTORY);
		must(next >= 0);
		close(dir);
		dir = next;
	}
	must(openat(dir, "deep", O_CREAT | O_WRONLY, 0644) >= 0);
}

static void *open_in_thread(void *unused)
{
	must(open(WORK "/threaded", O_RDONLY) >= 0);
	return NULL;
}

static void open_stages(void)
{
	in_child("open", _exit(open(WORK "/plain", O_RDONLY | O_CLOEXEC) < 0));
	in_child("open-relative", { must(chdir(WORK) == 0); _exit(open("./data/../relative", O_RDWR) < 0); });
	in_child("open-at", {
		int dir = open(WORK "/data", O_PATH | O_DIRECTORY);
		_exit(openat(dir, "inner", O_RDONLY) < 0);
	});
	in_child("open-link", { must(symlink("plain", WORK "/link") == 0); _exit(open(WORK "/link", O_RDONLY) < 0); });
	in_child("open-new", _exit(open(WORK "/new", O_CREAT | O_EXCL | O_WRONLY, 0600) < 0));
	in_child("open-missing", { open(WORK "/missing", O_RDONLY); _exit(errno); });
	in_child("open-missing-relative", { must(chdir(WORK) == 0); open("gone/file", O_RDONLY); _exit(errno); });
	in_child("open-deep", make_deep());
	in_child("open-device", _exit(open("/dev/null", O_RDONLY) < 0));
	in_child("open-proc", _exit(open("/proc/sys/kernel/osrelease", O_RDONLY) < 0));
	in_child("open-tmpfs", _exit(open("/tmp/file", O_CREAT | O_RDWR, 0600) < 0));
	in_child("open-thread", {
		pthread_t thread;
		must(pthread_create(&thread, NULL, open_in_thread, NULL) == 0);
		pthread_join(thread, NULL);
		_exit(0);
	});
	in_child("openat2", {
		struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_NO_MAGICLINKS };
		_exit(syscall(SYS_openat2, AT_FDCWD, WORK "/second", &how, sizeof(how)) < 0);
	});
#ifdef __x86_64__
	in_child("creat", _exit(syscall(SYS_creat, WORK "/created", 0600) < 0));
	/* A 32-bit system call of a 64-bit program; its arguments have 32 bits, so must the string's address. */
	in_child("open-compat", {
		long fd;
		char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		must(low != MAP_FAILED);
		strcpy(low, WORK "/compat");
		__asm__ volatile("int $0x80" : "=a"(fd) : "0"(5L), "b"(low), "c"(0L), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
		_exit(fd < 0 ? (int)-fd : 0);
	});
#endif
}

static int dial(int family, int type, const char *address, int port, int flags)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port) };
	int fd = socket(family, type | flags, 0);
	must(fd >= 0);
	if (family == AF_INET)
		must(inet_pton(AF_INET, address, &four.sin_addr) == 1);
	else
		must(inet_pton(AF_INET6, address, &six.sin6_addr) == 1);
	int failed = family == AF_INET ? connect(fd, (struct sockaddr *)&four, sizeof(four))
				       : connect(fd, (struct sockaddr *)&six, sizeof(six));
	if (failed && errno == EINPROGRESS) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		must(poll(&p, 1, 10000) == 1);
		return 0;
	}
	if (!failed && type == SOCK_STREAM)
		must(write(fd, "hello", 5) == 5);
	return failed ? errno : 0;
}

static void connect_stages(int port4, int port6)
{
	in_child("refused4", _exit(dial(AF_INET, SOCK_STREAM, "127.0.0.1", 9, 0)));
	in_child("refused6", _exit(dial(AF_INET6, SOCK_STREAM, "::1", 9, 0)));
	in_child("established4", _exit(dial(AF_INET, SOCK_STREAM, "127.0.0.1", port4, 0)));
	in_child("established6", _exit(dial(AF_INET6, SOCK_STREAM, "::1", port6, 0)));
	in_child("nonblocking", _exit(dial(AF_INET, SOCK_STREAM, "127.0.0.1", port4, SOCK_NONBLOCK)));
	in_child("mapped", _exit(dial(AF_INET6, SOCK_STREAM, "::ffff:127.0.0.1", port4, 0)));
	in_child("datagram", _exit(dial(AF_INET, SOCK_DGRAM, "127.0.0.1", 5300, 0)));
	in_child("send-only", {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5301), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		for (int i = 0; i < 3; i++)
			must(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1);
		_exit(0);
	});
	in_child("unix-missing", {
		struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/run/nobody.sock" };
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		connect(fd, (struct sockaddr *)&to, sizeof(to));
		_exit(errno);
	});
}

/* openat through a ring: no open system call ever happens. */
static void open_by_uring(void)
{
	struct io_uring_params p = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 2, &p);
	must(ring >= 0);
	char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	must(sq != MAP_FAILED && (void *)sqe != MAP_FAILED);
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .open_flags = O_RDONLY,
				      .addr = (unsigned long)(WORK "/ringed") };
	*(unsigned int *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	_exit(0);
}

/* Leaves the session's cgroup by itself, as root may: still of the session, and the move is evidence. */
static void leave_cgroup(void)
{
	char pid[16];
	int length = snprintf(pid, sizeof(pid), "%d", getpid());
	int fd = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY);
	must(fd >= 0 && write(fd, pid, (size_t)length) == length);
	_exit(open(WORK "/moved", O_RDONLY) < 0);
}

/* Outlives the leader: the session is not over before this is. */
static void start_background(void)
{
	int ready[2];
	must(pipe(ready) == 0);
	pid_t leader = getpid(), pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		char byte;
		setsid();
		close(ready[1]);
		/* End of file once the leader is gone, as nobody else holds the other end. */
		must(read(ready[0], &byte, 1) == 0);
		/* A process closes its files some time before its children get another parent. */
		for (int tries = 0; getppid() == leader && tries < 2000; tries++)
			poll(NULL, 0, 5);
		must(getppid() != leader);
		close(open(WORK "/background", O_RDONLY));
		_exit(6);
	}
	close(ready[0]);
	report("did", "background %d %d", pid, 6 << 8);
}

static void storm(void)
{
	for (int i = 0; i < 9000; i++)
		close(open(WORK "/plain", O_RDONLY));
}

int main(int argc, char **argv)
{
	must(argc > 1);
	report("did", "%s %d 0", argv[1], getpid());
	if (strcmp(argv[1], "storm") == 0) {
		storm();
		return 0;
	}
	must(argc == 4);
	exec_stages();
	process_stages();
	open_stages();
	connect_stages(atoi(argv[2]), atoi(argv[3]));
	in_child("uring", open_by_uring());
	in_child("moved", leave_cgroup());
	start_background();
	return 5;
}
