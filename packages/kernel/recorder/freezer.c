// SPDX-License-Identifier: Apache-2.0
/*
 * Sessions' cgroups as the recorder uses them: to freeze one that fills the ring, and to tell the programs how deep in
 * the hierarchy they must look. Knows slots, and no session.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "freezer.h"
#include "log.h"

#define FILEID_KERNFS_ 0xfe

static struct kernel *kernel;
static const char *root_path;
static int level[MAX_SESSIONS];   /* below the root; 0: none, -1: somewhere */

void freezer_start(struct kernel *with, const char *cgroup_root)
{
	kernel = with;
	root_path = cgroup_root;
}

static int open_cgroup(__u64 id, int *levels)
{
	struct { struct file_handle h; __u64 id; } handle = {
		.h = { .handle_bytes = sizeof(handle.id), .handle_type = FILEID_KERNFS_ }, .id = id,
	};
	int root = open(root_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	char link[64], path[4096], base[4096];
	ssize_t length;

	if (root < 0)
		return -errno;
	fd = open_by_handle_at(root, &handle.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int error = -errno;

		close(root);
		return error;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", root);
	length = readlink(link, base, sizeof(base) - 1);
	base[length > 0 ? length : 0] = 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	path[length > 0 ? length : 0] = 0;
	close(root);
	*levels = 0;
	if (!strncmp(path, base, strlen(base)))
		for (const char *c = path + strlen(base); *c; c++)
			*levels += *c == '/';
	else
		*levels = -1;
	return fd;
}

void freezer_publish(void)
{
	__u32 mask = 0;

	for (__u32 slot = 0; slot < MAX_SESSIONS; slot++)
		mask |= level[slot] > 0 && level[slot] < 32 ? 1U << level[slot] : level[slot] ? ~0U : 0;
	kernel->host->cgroup_levels = mask;
}

void freezer_open(struct freezer *freezer, __u32 slot, __u64 cgroup_id)
{
	int dir;

	*freezer = (struct freezer){ .fd = -1 };
	level[slot] = 0;
	if (!cgroup_id)
		return;
	dir = open_cgroup(cgroup_id, &level[slot]);
	if (dir < 0) {
		say("cgroup %llu cannot be opened: %s", cgroup_id, strerror(-dir));
		level[slot] = -1; /* somewhere: every level is looked at */
		return;
	}
	freezer->fd = openat(dir, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
	close(dir);
}

void freezer_set(struct freezer *freezer, __u64 ref, bool frozen)
{
	if (freezer->frozen == frozen || freezer->fd < 0)
		return;
	if (pwrite(freezer->fd, frozen ? "1" : "0", 1, 0) != 1)
		say("session %llx cannot be %s: %s", ref, frozen ? "frozen" : "thawed", strerror(errno));
	else
		freezer->frozen = frozen;
}

/* Whatever was left frozen goes on. */
void freezer_thaw(struct freezer *freezer, __u64 ref)
{
	freezer->frozen = true;
	freezer_set(freezer, ref, false);
}

void freezer_close(struct freezer *freezer, __u32 slot, __u64 ref)
{
	freezer_set(freezer, ref, false);
	level[slot] = 0;
	if (freezer->fd >= 0)
		close(freezer->fd);
	freezer->fd = -1;
}
