/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What threads do to bookkeeping by process.
 *   threads exec FILE [ARG…]   a second thread executes FILE: it takes over the leader's pid
 *   threads leader-first       the leader ends before its sibling, which ends the process with 23
 *   threads crowd COUNT        COUNT threads at once, each opens /etc/hostname
 *   threads forks COUNT        COUNT children, one after the other, status i % 200
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *execute(void *argv)
{
	execv(((char **)argv)[0], argv);
	exit(1);
}

static void *outlive(void *unused)
{
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

	(void)unused;
	nanosleep(&pause, NULL);
	_exit(23);
}

static void *open_one(void *unused)
{
	(void)unused;
	close(open("/etc/hostname", O_RDONLY));
	return NULL;
}

static void crowd(int count)
{
	pthread_t *threads = calloc(count, sizeof(*threads));

	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, open_one, NULL);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
}

static void forks(int count)
{
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (!child)
			_exit(i % 200);
		waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "exec") && argc > 2) {
		pthread_create(&thread, NULL, execute, argv + 2);
		pthread_join(thread, NULL);
	} else if (!strcmp(argv[1], "leader-first")) {
		pthread_create(&thread, NULL, outlive, NULL);
		/* this thread only; exit() would end the process */
		syscall(SYS_exit, 0);
	} else if (!strcmp(argv[1], "crowd") && argc > 2) {
		crowd(atoi(argv[2]));
	} else if (!strcmp(argv[1], "forks") && argc > 2) {
		forks(atoi(argv[2]));
	} else {
		return 2;
	}
	return 0;
}
