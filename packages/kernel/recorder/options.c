// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "probe.h"
#include "shared.h"
#include "wire-hash.h"

#define DEFAULT_RING (64u << 20)

static size_t ring_size_for(const char *text)
{
	unsigned long long wanted = strtoull(text, NULL, 0);
	size_t size = sysconf(_SC_PAGESIZE);

	while (size < wanted && size < (1u << 30))
		size <<= 1; /* a power of 2, of whole pages: the kernel takes no other */
	return size;
}

/* Instances on one host differ by spool directory; so do their pins. */
const char *options_default_pin_dir(const char *spool_dir)
{
	static char dir[128];
	char resolved[4096];
	__u64 hash = 0xcbf29ce484222325ULL;

	if (!realpath(spool_dir, resolved))
		return "";
	for (const char *c = resolved; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/sallyport/%016llx", hash);
	return dir;
}

static const char *default_cgroup_root(void)
{
	return access("/sys/fs/cgroup/cgroup.controllers", F_OK) ? "/sys/fs/cgroup/unified" : "/sys/fs/cgroup";
}

static void usage(void)
{
	fputs("usage: recorder --socket PATH --spool DIR [--ring-bytes N] [--cgroup-root DIR]\n"
	      "                [--pin-dir DIR|none] [--instance NAME] [--log FILE] [--foreground]\n"
	      "       recorder --probe      which programs load and attach here, a JSON line each\n"
	      "       recorder --wire-hash\n", stderr);
	exit(64);
}

void options_parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' }, { "spool", required_argument, NULL, 'd' },
		{ "spool-dir", required_argument, NULL, 'd' }, { "ring-bytes", required_argument, NULL, 'r' },
		{ "cgroup-root", required_argument, NULL, 'c' }, { "pin-dir", required_argument, NULL, 'p' },
		{ "log", required_argument, NULL, 'l' }, { "foreground", no_argument, NULL, 'f' },
		{ "instance", required_argument, NULL, 'i' },
		{ "probe", no_argument, NULL, 'P' }, { "wire-hash", no_argument, NULL, 'w' }, { 0 },
	};
	int option, fd;

	*options = (struct options){ .cgroup_root = default_cgroup_root(), .ring_bytes = DEFAULT_RING, .instance = "" };
	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (option) {
		case 's': options->socket = optarg; break;
		case 'd': options->spool_dir = optarg; break;
		case 'r': options->ring_bytes = ring_size_for(optarg); break;
		case 'c': options->cgroup_root = optarg; break;
		case 'p': options->pin_dir = strcmp(optarg, "none") ? optarg : ""; break;
		case 'f': options->foreground = true; break;
		case 'i': options->instance = optarg; break;
		case 'P': exit(probe());
		case 'w': puts(WIRE_HASH_HEX); exit(0);
		case 'l':
			fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
			if (fd < 0 || dup2(fd, STDERR_FILENO) < 0) {
				perror(optarg);
				exit(73);
			}
			break;
		default: usage();
		}
	}
	if (optind < argc || !options->socket || !options->spool_dir)
		usage();
}
