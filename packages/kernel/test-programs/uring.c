/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a file or connects through an io_uring, without liburing, and says what came of it:
 *   uring open|async|sqpoll|skip|slot PATH    uring connect PORT    uring ring
 * async: in a worker. sqpoll: by the kernel's thread. skip: without a completion when it succeeds. slot: into the
 * ring's own file table. ring: nothing but the ring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct io_uring_params params;
static int ring;
static unsigned char *queues;
static struct io_uring_sqe *entries;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void set_up(int sqpoll)
{
	if (sqpoll) {
		params.flags = IORING_SETUP_SQPOLL;
		params.sq_thread_idle = 50;
	}
	ring = syscall(SYS_io_uring_setup, 8, &params);
	if (ring < 0)
		die("io_uring_setup");
	queues = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		      PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		       IORING_OFF_SQES);
	if (queues == MAP_FAILED || entries == MAP_FAILED)
		die("mmap");
}

/* Submits what stands in entries[0] and gives its result; with `wait` 0 the result of the submission alone. */
static int submit(int sqpoll, int wait)
{
	unsigned *tail = (void *)(queues + params.sq_off.tail), *array = (void *)(queues + params.sq_off.array);
	unsigned *seen = (void *)(queues + params.cq_off.head), *done = (void *)(queues + params.cq_off.tail);
	struct io_uring_cqe *results = (void *)(queues + params.cq_off.cqes);
	unsigned flags = (wait ? IORING_ENTER_GETEVENTS : 0) | (sqpoll ? IORING_ENTER_SQ_WAKEUP : 0);

	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	do
		if (syscall(SYS_io_uring_enter, ring, 1, wait, flags, NULL, 0) < 0 && errno != EINTR)
			die("io_uring_enter");
	while (wait && __atomic_load_n(done, __ATOMIC_ACQUIRE) == *seen);
	return wait ? results[*seen & *(unsigned *)(queues + params.cq_off.ring_mask)].res : 0;
}

int main(int argc, char **argv)
{
	int sqpoll = argc > 1 && !strcmp(argv[1], "sqpoll"), result = 0;

	if (argc < 2)
		return 2;
	set_up(sqpoll);
	if (!strcmp(argv[1], "connect") && argc > 2) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

		entries[0].opcode = IORING_OP_CONNECT;
		entries[0].fd = socket(AF_INET, SOCK_STREAM, 0);
		entries[0].addr = (unsigned long)&to;
		entries[0].off = sizeof(to);
		result = submit(0, 1);
	} else if (strcmp(argv[1], "ring") && argc > 2) {
		int slots[] = { -1 };

		entries[0].opcode = IORING_OP_OPENAT;
		entries[0].fd = AT_FDCWD;
		entries[0].addr = (unsigned long)argv[2];
		entries[0].open_flags = O_RDONLY;
		if (!strcmp(argv[1], "async"))
			entries[0].flags = IOSQE_ASYNC;
		if (!strcmp(argv[1], "skip"))
			entries[0].flags = IOSQE_CQE_SKIP_SUCCESS;
		if (!strcmp(argv[1], "slot")) {
			if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, slots, 1))
				die("io_uring_register");
			entries[0].file_index = 1;
		}
		result = submit(sqpoll, strcmp(argv[1], "skip") != 0);
	}
	printf("{\"pid\":%d,\"ring\":%d,\"result\":%d}\n", getpid(), ring, result);
	return 0;
}
