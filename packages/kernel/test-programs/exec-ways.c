/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes a program in one of the ways that hide it.
 *   exec-ways memfd FILE [ARG…]     from memory, no path
 *   exec-ways deleted FILE COPY [ARG…]   from COPY, unlinked before it runs
 *   exec-ways int80 FILE [ARG]      by the 32-bit system call
 *   exec-ways missing NAME COUNT    COUNT failed tries
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void copy_into(int to, const char *file)
{
	int from = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (from < 0 || to < 0 || fstat(from, &st) < 0 || sendfile(to, from, NULL, st.st_size) != st.st_size) {
		perror(file);
		exit(2);
	}
	close(from);
}

static void from_memory(char **argv)
{
	int fd = memfd_create("hidden", MFD_CLOEXEC);

	copy_into(fd, argv[0]);
	fexecve(fd, argv, environ);
}

static void from_deleted(const char *file, const char *copy, char **argv)
{
	int fd = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	copy_into(fd, file);
	close(fd);
	/* Not for writing any more, or execve says ETXTBSY. */
	fd = open(copy, O_RDONLY | O_CLOEXEC);
	unlink(copy);
	fexecve(fd, argv, environ);
}

static void by_int80(const char *file, const char *argument)
{
#ifdef __x86_64__
	/* i386 execve: pointers are 32 bits wide, so everything lies below 4 GiB. */
	char *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned int *list = (unsigned int *)(low + 4096);
	long result;

	strncpy(low, file, 2000);
	strncpy(low + 2048, argument, 2000);
	list[0] = (unsigned int)(unsigned long)low;
	list[1] = (unsigned int)(unsigned long)(low + 2048);
	list[2] = 0;
	__asm__ volatile("int $0x80" : "=a"(result)
			 : "a"(11L), "b"((long)low), "c"((long)list), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	errno = -(int)result;
#else
	errno = ENOSYS;
#endif
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "memfd"))
		from_memory(argv + 2);
	else if (!strcmp(argv[1], "deleted") && argc > 3)
		from_deleted(argv[2], argv[3], argv + 3);
	else if (!strcmp(argv[1], "int80"))
		by_int80(argv[2], argc > 3 ? argv[3] : "");
	else if (!strcmp(argv[1], "missing") && argc > 3) {
		for (int i = atoi(argv[3]); i > 0; i--)
			execl(argv[2], argv[2], (char *)NULL);
		return 0;
	}
	perror(argv[1]);
	return 1;
}
