/* SPDX-License-Identifier: Apache-2.0 */
/* What works on paths. Relative ones start at the home folder, where the process is. */
#define _GNU_SOURCE
#include "sftp-names.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sftp-answer.h"
#include "sftp-attributes.h"
#include "sftp-packet.h"

void sftp_stat(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct stat found;

	if (sftp_path(request, path))
		sftp_attrs_answer(request->id, stat(path, &found), &found);
}

void sftp_lstat(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct stat found;

	if (sftp_path(request, path))
		sftp_attrs_answer(request->id, lstat(path, &found), &found);
}

static void set_attributes(struct sftp_request *request,
			   int (*apply)(const char *path, const struct sftp_attributes *attributes))
{
	char path[PATH_MAX];
	struct sftp_attributes attributes;

	if (!sftp_path(request, path))
		return;
	attributes = sftp_attributes(request);
	if (request->bad)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_result(request->id, apply(path, &attributes));
}

void sftp_setstat(struct sftp_request *request)
{
	set_attributes(request, sftp_apply_path);
}

void sftp_lsetstat(struct sftp_request *request)
{
	set_attributes(request, sftp_apply_link);
}

void sftp_remove(struct sftp_request *request)
{
	char path[PATH_MAX];

	if (sftp_path(request, path))
		sftp_result(request->id, unlink(path));
}

void sftp_mkdir(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct sftp_attributes attributes;

	if (!sftp_path(request, path))
		return;
	attributes = sftp_attributes(request);
	if (request->bad)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_result(request->id, mkdir(path, attributes.flags & ATTR_MODE ? attributes.mode & 07777 : 0777));
}

void sftp_rmdir(struct sftp_request *request)
{
	char path[PATH_MAX];

	if (sftp_path(request, path))
		sftp_result(request->id, rmdir(path));
}

/* A name that does not exist yet, in a folder that does: where a client is about to put something. */
static char *resolve_new(const char *path, char resolved[PATH_MAX])
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return NULL;
	snprintf(folder, sizeof(folder), "%.*s", (int)length, path);
	if (!realpath(slash == path ? "/" : slash ? folder : ".", resolved))
		return NULL;
	length = strlen(resolved);
	if (length + 1 + strlen(name) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	sprintf(resolved + length, "%s%s", resolved[length - 1] == '/' ? "" : "/", name);
	return resolved;
}

static void answer_resolved(uint32_t id, const char *path)
{
	char resolved[PATH_MAX];

	if (realpath(path, resolved) || (errno == ENOENT && resolve_new(path, resolved)))
		sftp_name_answer(id, resolved);
	else
		sftp_errno(id, errno);
}

void sftp_realpath(struct sftp_request *request)
{
	char path[PATH_MAX];

	if (sftp_path(request, path))
		answer_resolved(request->id, path);
}

/* `~`, `~/name`, `~user/name`; anything else as it is. */
void sftp_expand_path(struct sftp_request *request)
{
	char path[PATH_MAX], expanded[2 * PATH_MAX], *rest;
	const struct passwd *found;

	if (!sftp_path(request, path))
		return;
	if (path[0] != '~') {
		answer_resolved(request->id, path);
		return;
	}
	rest = strchr(path, '/');
	if (rest)
		*rest++ = 0;
	found = path[1] ? getpwnam(path + 1) : getpwuid(getuid());
	if (!found) {
		sftp_status(request->id, FX_NO_SUCH_FILE, "No such user");
		return;
	}
	if (snprintf(expanded, sizeof(expanded), "%s/%s", found->pw_dir, rest ? rest : "") >= PATH_MAX)
		sftp_errno(request->id, ENAMETOOLONG);
	else
		answer_resolved(request->id, expanded);
}

static void on_two_paths(struct sftp_request *request, int (*operation)(const char *, const char *))
{
	char first[PATH_MAX], second[PATH_MAX];

	if (sftp_path(request, first) && sftp_path(request, second))
		sftp_result(request->id, operation(first, second));
}

/*
 * Never onto something that is there (§6.5). Where the file system cannot promise that in one step (old kernels,
 * some network file systems), a file is linked and unlinked, which cannot overwrite either; a folder is looked for.
 */
static int rename_new(const char *from, const char *to)
{
	struct stat found;

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (lstat(from, &found) < 0)
		return -1;
	if (S_ISREG(found.st_mode))
		return link(from, to) < 0 ? -1 : unlink(from);
	if (lstat(to, &found) == 0) {
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

void sftp_rename(struct sftp_request *request)
{
	on_two_paths(request, rename_new);
}

void sftp_posix_rename(struct sftp_request *request)
{
	on_two_paths(request, rename);
}

void sftp_readlink(struct sftp_request *request)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t length;

	if (!sftp_path(request, path))
		return;
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0) {
		sftp_errno(request->id, errno);
		return;
	}
	target[length] = 0;
	sftp_name_answer(request->id, target);
}

/* The target comes first: so does OpenSSH's server read it, against the draft, and so every client writes it. */
void sftp_symlink(struct sftp_request *request)
{
	on_two_paths(request, symlink);
}

void sftp_hardlink(struct sftp_request *request)
{
	on_two_paths(request, link);
}
