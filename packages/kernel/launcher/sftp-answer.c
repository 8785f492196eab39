/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "sftp-answer.h"

#include <errno.h>
#include <string.h>

void sftp_status(uint32_t id, enum sftp_status status, const char *text)
{
	sftp_begin(FXP_STATUS, id);
	sftp_put_u32(status);
	sftp_put_string(text, strlen(text));
	sftp_put_string("", 0); /* language */
	sftp_end();
}

static enum sftp_status status_of(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case EBADF:
	case ELOOP:
		return FX_NO_SUCH_FILE;
	case EPERM:
	case EACCES:
	case EFAULT:
		return FX_PERMISSION_DENIED;
	case ENOSYS:
	case EOPNOTSUPP:
		return FX_OP_UNSUPPORTED;
	default:
		return FX_FAILURE;
	}
}

void sftp_errno(uint32_t id, int error)
{
	sftp_status(id, status_of(error), strerror(error));
}

void sftp_result(uint32_t id, int result)
{
	if (result < 0)
		sftp_errno(id, errno);
	else
		sftp_status(id, FX_OK, "Success");
}

void sftp_name_answer(uint32_t id, const char *name)
{
	sftp_begin(FXP_NAME, id);
	sftp_put_u32(1);
	sftp_put_string(name, strlen(name));
	sftp_put_string(name, strlen(name));
	sftp_put_u32(0); /* no attributes */
	sftp_end();
}

bool sftp_path(struct sftp_request *request, char path[PATH_MAX])
{
	if (!sftp_text(request, path, PATH_MAX)) {
		if (request->bad)
			sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
		else
			sftp_errno(request->id, ENAMETOOLONG);
		return false;
	}
	if (!*path)
		strcpy(path, ".");
	return true;
}

bool sftp_text(struct sftp_request *request, char *text, size_t size)
{
	uint32_t length;
	const uint8_t *bytes = sftp_bytes(request, &length);

	if (!bytes || length >= size || memchr(bytes, 0, length))
		return false;
	memcpy(text, bytes, length);
	text[length] = 0;
	return true;
}
