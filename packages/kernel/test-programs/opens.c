/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a file in one of the ways there are and says what it got, as one JSON line.
 *   opens open PATH | creat PATH | openat DIR NAME | openat2 PATH | int80 PATH | flood PATH COUNT | until STOP PATH
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* i386 open(2) from a 64-bit process: the string must lie below 4 GiB. */
static int open_int80(const char *path)
{
#ifdef __x86_64__
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	if (low == MAP_FAILED)
		return -1;
	strncpy(low, path, 4095);
	__asm__ volatile("int $0x80" : "=a"(result)
			 : "a"(5L), "b"((long)low), "c"((long)O_RDONLY), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) {
		errno = -(int)result;
		return -1;
	}
	return (int)result;
#else
	errno = ENOSYS;
	return -1;
#endif
}

static int flood(const char *path, long count)
{
	for (long i = 0; i < count; i++) {
		int fd = open(path, O_RDONLY);

		if (fd < 0)
			return -1;
		close(fd);
	}
	return 0;
}

/* Some 30,000 a second until there is a file STOP; says how many. */
static int flood_until(const char *stop, const char *path)
{
	struct stat st;
	long count = 0;

	for (; stat(stop, &st); count += 50, usleep(1000))
		if (flood(path, 50))
			return 1;
	printf("%ld\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_NO_MAGICLINKS };
	struct stat st = { 0 };
	const char *act;
	int fd = -1;

	if (argc < 3)
		return 2;
	act = argv[1];
	if (!strcmp(act, "flood"))
		return argc == 4 && flood(argv[2], atol(argv[3])) == 0 ? 0 : 1;
	if (!strcmp(act, "until"))
		return argc == 4 ? flood_until(argv[2], argv[3]) : 2;
	if (!strcmp(act, "open"))
		fd = open(argv[2], O_RDONLY);
	else if (!strcmp(act, "creat"))
		fd = creat(argv[2], 0600);
	else if (!strcmp(act, "openat") && argc == 4)
		fd = openat(open(argv[2], O_PATH | O_DIRECTORY), argv[3], O_RDONLY);
	else if (!strcmp(act, "openat2"))
		fd = (int)syscall(SYS_openat2, AT_FDCWD, argv[2], &how, sizeof(how));
	else if (!strcmp(act, "int80"))
		fd = open_int80(argv[2]);
	else
		return 2;
	int error = fd < 0 ? errno : 0;
	if (fd >= 0)
		fstat(fd, &st);
	printf("{\"pid\":%d,\"fd\":%d,\"errno\":%d,\"inode\":%ju,\"device\":%ju,\"nlink\":%ju}\n", getpid(), fd, error,
	       (uintmax_t)st.st_ino, (uintmax_t)st.st_dev, (uintmax_t)st.st_nlink);
	return 0;
}
