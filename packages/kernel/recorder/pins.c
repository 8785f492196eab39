// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"
#include "pins.h"

#define BPF_FS_MAGIC_ 0xcafe4a11

int pin_set(struct kernel *kernel, int fd, const char *name)
{
	char path[512];

	if (!kernel->pin_dir[0])
		return 0;
	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	return bpf_obj_pin(fd, path);
}

int pin_get(struct kernel *kernel, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	return bpf_obj_get(path);
}

void pin_remove(struct kernel *kernel, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", kernel->pin_dir, name);
	unlink(path);
}

void pin_name_of_link(char *to, size_t size, const char *program)
{
	snprintf(to, size, "link_%s", program);
}

void pins_remove(struct kernel *kernel)
{
	char name[64];

	if (!kernel->pin_dir[0])
		return;
	for (size_t i = 0; i < PROGRAMS; i++) {
		pin_name_of_link(name, sizeof(name), programs[i].name);
		pin_remove(kernel, name);
		pin_remove(kernel, programs[i].name);
		if (programs[i].behind)
			pin_remove(kernel, programs[i].behind);
	}
	for (size_t i = 0; i < MAPS; i++)
		pin_remove(kernel, kernel_maps[i].name);
	pin_remove(kernel, "host");
	pin_remove(kernel, "sweep");
	rmdir(kernel->pin_dir);
}

bool pins_prepare(struct kernel *kernel, const char *dir)
{
	struct statfs fs;
	char parent[256];

	if (!dir[0] || strlen(dir) >= sizeof(kernel->pin_dir))
		return false;
	if (statfs("/sys/fs/bpf", &fs) || (unsigned long)fs.f_type != BPF_FS_MAGIC_)
		if (mount("bpf", "/sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
			say("cannot mount bpffs at /sys/fs/bpf: %s; a recorder that dies loses what is in the ring",
			    strerror(errno));
	snprintf(parent, sizeof(parent), "%s", dir);
	for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(parent, 0700);
		*slash = '/';
	}
	if ((mkdir(dir, 0700) && errno != EEXIST) || statfs(dir, &fs) || (unsigned long)fs.f_type != BPF_FS_MAGIC_)
		return false;
	strcpy(kernel->pin_dir, dir);
	return true;
}
