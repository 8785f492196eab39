/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload of the benchmarks: one operation, many times, and one line of JSON with the median and the
 * 99th percentile in nanoseconds an operation. The same binary runs outside, inside and beside a session.
 *
 *   workload exec N | open N | connect N PORT | getppid N | listen
 *
 * Short operations are timed in batches; their figures are of batch means.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int port;

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void op_exec(void)
{
	char *argv[] = { "true", NULL };
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		execv("/bin/true", argv);
		_exit(127);
	}
	if (waitpid(pid, NULL, 0) < 0)
		die("waitpid");
}

static void op_open(void)
{
	int fd = open("/etc/hostname", O_RDONLY);

	if (fd < 0)
		die("open");
	close(fd);
}

static void op_connect(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	/* Reset on close: no TIME_WAIT, so that the ports don't run out. */
	struct linger reset = { 1, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	close(fd);
}

static void op_getppid(void)
{
	syscall(SYS_getppid);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*op)(void), int n, int batch)
{
	int batches = n / batch;
	double *ns = calloc(batches, sizeof(*ns));

	for (int i = 0; i < batch; i++)
		op(); /* warm */
	for (int i = 0; i < batches; i++) {
		double start = now_ns();

		for (int j = 0; j < batch; j++)
			op();
		ns[i] = (now_ns() - start) / batch;
	}
	qsort(ns, batches, sizeof(*ns), by_value);
	printf("{\"op\":\"%s\",\"n\":%d,\"median_ns\":%.1f,\"p99_ns\":%.1f}\n", name, batches * batch,
	       ns[batches / 2], ns[batches * 99 / 100]);
	free(ns);
}

/* Accepts for ever on a loopback port, which it prints. */
static void serve(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024) ||
	    getsockname(fd, (struct sockaddr *)&at, &length))
		die("listen");
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer >= 0)
			close(peer);
	}
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (argc > 1 && !strcmp(argv[1], "listen"))
		serve();
	if (n < 1) {
		fprintf(stderr, "usage: workload exec|open|connect|getppid N [PORT] | listen\n");
		return 2;
	}
	port = argc > 3 ? atoi(argv[3]) : 0;
	if (!strcmp(argv[1], "exec"))
		measure("exec", op_exec, n, 1);
	else if (!strcmp(argv[1], "open"))
		measure("open", op_open, n, 100);
	else if (!strcmp(argv[1], "connect"))
		measure("connect", op_connect, n, 10);
	else if (!strcmp(argv[1], "getppid"))
		measure("getppid", op_getppid, n, 1000);
	return 0;
}
