/* SPDX-License-Identifier: Apache-2.0 */
/* What OpenSSH added to the protocol (its PROTOCOL file, section 4), and the table that says who answers. */
#define _GNU_SOURCE
#include "sftp-extensions.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "sftp-answer.h"
#include "sftp-attributes.h"
#include "sftp-files.h"
#include "sftp-handles.h"
#include "sftp-names.h"
#include "sftp-packet.h"

enum {
	/* Our two streams, standard error, and what NSS may hold. */
	DESCRIPTORS_KEPT = 8,
	/* Users and groups in one question: their names fit an answer. */
	IDS_MAX = 2048,
};

static void put_statvfs(uint32_t id, int result, const struct statvfs *found)
{
	if (result < 0) {
		sftp_errno(id, errno);
		return;
	}
	sftp_begin(FXP_EXTENDED_REPLY, id);
	sftp_put_u64(found->f_bsize);
	sftp_put_u64(found->f_frsize);
	sftp_put_u64(found->f_blocks);
	sftp_put_u64(found->f_bfree);
	sftp_put_u64(found->f_bavail);
	sftp_put_u64(found->f_files);
	sftp_put_u64(found->f_ffree);
	sftp_put_u64(found->f_favail);
	sftp_put_u64(found->f_fsid);
	sftp_put_u64((found->f_flag & ST_RDONLY ? 1 : 0) | (found->f_flag & ST_NOSUID ? 2 : 0));
	sftp_put_u64(found->f_namemax);
	sftp_end();
}

static void path_statvfs(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct statvfs found;

	if (sftp_path(request, path))
		put_statvfs(request->id, statvfs(path, &found), &found);
}

static void file_statvfs(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	struct statvfs found;

	if (handle)
		put_statvfs(request->id, fstatvfs(handle->fd, &found), &found);
}

static void limits(struct sftp_request *request)
{
	struct rlimit files = { SFTP_HANDLES_MAX + DESCRIPTORS_KEPT, 0 };
	uint64_t handles = SFTP_HANDLES_MAX;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < SFTP_HANDLES_MAX + DESCRIPTORS_KEPT)
		handles = files.rlim_cur > DESCRIPTORS_KEPT ? files.rlim_cur - DESCRIPTORS_KEPT : 1;
	sftp_begin(FXP_EXTENDED_REPLY, request->id);
	sftp_put_u64(SFTP_PACKET_MAX);
	sftp_put_u64(SFTP_DATA_MAX);
	sftp_put_u64(SFTP_DATA_MAX);
	sftp_put_u64(handles);
	sftp_end();
}

static void names_by_id(struct sftp_request *request)
{
	uint32_t users_length, groups_length;
	const uint8_t *users = sftp_bytes(request, &users_length);
	const uint8_t *groups = sftp_bytes(request, &groups_length);

	if (request->bad || users_length % 4 || groups_length % 4) {
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
		return;
	}
	if (users_length / 4 > IDS_MAX || groups_length / 4 > IDS_MAX) {
		sftp_status(request->id, FX_FAILURE, "Too many at once");
		return;
	}
	sftp_begin(FXP_EXTENDED_REPLY, request->id);
	sftp_put_names(users, users_length, false);
	sftp_put_names(groups, groups_length, true);
	sftp_end();
}

static const struct {
	const char *name, *version;
	void (*answer)(struct sftp_request *request);
} extensions[] = {
	{ "posix-rename@openssh.com", "1", sftp_posix_rename },
	{ "statvfs@openssh.com", "2", path_statvfs },
	{ "fstatvfs@openssh.com", "2", file_statvfs },
	{ "hardlink@openssh.com", "1", sftp_hardlink },
	{ "fsync@openssh.com", "1", sftp_fsync },
	{ "lsetstat@openssh.com", "1", sftp_lsetstat },
	{ "limits@openssh.com", "1", limits },
	{ "expand-path@openssh.com", "1", sftp_expand_path },
	{ "copy-data", "1", sftp_copy_data },
	{ "users-groups-by-id@openssh.com", "1", names_by_id },
};

void sftp_put_extensions(void)
{
	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		sftp_put_string(extensions[i].name, strlen(extensions[i].name));
		sftp_put_string(extensions[i].version, strlen(extensions[i].version));
	}
}

void sftp_extended(struct sftp_request *request)
{
	char name[64];

	if (sftp_text(request, name, sizeof(name)))
		for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
			if (!strcmp(name, extensions[i].name)) {
				extensions[i].answer(request);
				return;
			}
	if (request->bad)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_status(request->id, FX_OP_UNSUPPORTED, "Operation unsupported");
}
