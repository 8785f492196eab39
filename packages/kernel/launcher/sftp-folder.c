/* SPDX-License-Identifier: Apache-2.0 */
/* Open folders: as many names an answer as fit, so that 100,000 files take a few hundred of them. */
#define _GNU_SOURCE
#include "sftp-folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp-answer.h"
#include "sftp-attributes.h"
#include "sftp-handles.h"
#include "sftp-packet.h"

enum {
	/* Clients keep an answer whole: enough to be quick, little enough for the smallest of them. */
	ANSWER_MAX = 64 * 1024,
	LONG_MAX_SIZE = NAME_MAX + 160,
};

void sftp_opendir(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct sftp_handle *handle;
	DIR *folder;

	if (!sftp_path(request, path))
		return;
	handle = sftp_new_handle();
	folder = handle ? opendir(path) : NULL;
	if (!folder) {
		sftp_errno(request->id, errno);
		return;
	}
	*handle = (struct sftp_handle){ .fd = dirfd(folder), .folder = folder };
	sftp_handle_answer(request->id, handle);
}

static void put_entry(int folder, const char *name)
{
	char line[LONG_MAX_SIZE];
	struct stat stat;

	sftp_put_string(name, strlen(name));
	/* Gone since it was listed, or not ours to look at: the name is all there is. */
	if (fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) < 0) {
		sftp_put_string(name, strlen(name));
		sftp_put_u32(0);
		return;
	}
	sftp_long_name(line, sizeof(line), name, &stat);
	sftp_put_string(line, strlen(line));
	sftp_put_stat(&stat);
}

void sftp_readdir(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	const struct dirent *entry;
	uint32_t count = 0;
	size_t mark;

	if (!handle)
		return;
	if (!handle->folder) {
		sftp_errno(request->id, ENOTDIR);
		return;
	}
	sftp_begin(FXP_NAME, request->id);
	mark = sftp_mark();
	sftp_put_u32(0);
	errno = 0;
	while (SFTP_PACKET_MAX - sftp_room() < ANSWER_MAX && (errno = 0, entry = readdir(handle->folder))) {
		put_entry(handle->fd, entry->d_name);
		count++;
	}
	if (count > 0) {
		sftp_patch_u32(mark, count);
		sftp_end();
		return;
	}
	sftp_forget();
	if (errno)
		sftp_errno(request->id, errno);
	else
		sftp_status(request->id, FX_EOF, "End of file");
}
