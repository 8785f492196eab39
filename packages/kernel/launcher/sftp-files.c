/* SPDX-License-Identifier: Apache-2.0 */
/* What works on an open file. */
#define _GNU_SOURCE
#include "sftp-files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sftp-answer.h"
#include "sftp-attributes.h"
#include "sftp-handles.h"
#include "sftp-packet.h"

enum { PART = 1 << 30 }; /* below what one copy_file_range takes */
/* §6.3 */
enum { OPEN_READ = 1, OPEN_WRITE = 2, OPEN_APPEND = 4, OPEN_CREATE = 8, OPEN_TRUNCATE = 16, OPEN_EXCLUSIVE = 32 };

static int open_flags(uint32_t asked)
{
	int flags = O_CLOEXEC | O_NOCTTY;

	if ((asked & (OPEN_READ | OPEN_WRITE)) == (OPEN_READ | OPEN_WRITE))
		flags |= O_RDWR;
	else
		flags |= asked & OPEN_WRITE ? O_WRONLY : O_RDONLY;
	flags |= asked & OPEN_APPEND ? O_APPEND : 0;
	flags |= asked & OPEN_CREATE ? O_CREAT : 0;
	flags |= asked & OPEN_TRUNCATE ? O_TRUNC : 0;
	flags |= asked & OPEN_EXCLUSIVE ? O_EXCL : 0;
	return flags;
}

void sftp_open(struct sftp_request *request)
{
	char path[PATH_MAX];
	struct sftp_attributes attributes;
	struct sftp_handle *handle;
	uint32_t asked;

	if (!sftp_path(request, path))
		return;
	asked = sftp_u32(request);
	attributes = sftp_attributes(request);
	if (request->bad) {
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
		return;
	}
	handle = sftp_new_handle();
	if (handle)
		handle->fd = open(path, open_flags(asked), attributes.flags & ATTR_MODE ? attributes.mode & 07777 : 0666);
	if (!handle || handle->fd < 0) {
		sftp_errno(request->id, errno);
		return;
	}
	handle->folder = NULL;
	handle->append = asked & OPEN_APPEND;
	sftp_handle_answer(request->id, handle);
}

void sftp_close(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	int result;

	if (!handle)
		return;
	result = handle->folder ? closedir(handle->folder) : close(handle->fd);
	handle->fd = -1;
	handle->folder = NULL;
	sftp_result(request->id, result);
}

void sftp_read(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	uint64_t offset;
	uint32_t length;
	uint8_t *room;
	ssize_t got;

	if (!handle)
		return;
	offset = sftp_u64(request);
	length = sftp_u32(request);
	if (request->bad) {
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
		return;
	}
	if (length > SFTP_DATA_MAX)
		length = SFTP_DATA_MAX;
	room = sftp_begin_data(request->id, length);
	do
		got = room ? pread(handle->fd, room, length, (off_t)offset) : -1;
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == ESPIPE) /* a pipe, a terminal: what comes next */
		got = read(handle->fd, room, length);
	if (got > 0) {
		sftp_end_data((size_t)got);
		return;
	}
	sftp_forget();
	if (got == 0 && length > 0)
		sftp_status(request->id, FX_EOF, "End of file");
	else if (got == 0)
		sftp_status(request->id, FX_FAILURE, "Nothing to read");
	else
		sftp_errno(request->id, errno);
}

/* A disk that is nearly full takes part of it: the rest says why. */
static int write_all(const struct sftp_handle *handle, const uint8_t *bytes, size_t length, off_t offset)
{
	while (length > 0) {
		ssize_t written = handle->append ? write(handle->fd, bytes, length) :
						   pwrite(handle->fd, bytes, length, offset);

		if (written < 0 && errno == ESPIPE)
			written = write(handle->fd, bytes, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		bytes += written;
		offset += written;
		length -= (size_t)written;
	}
	return 0;
}

void sftp_write(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	const uint8_t *bytes;
	uint64_t offset;
	uint32_t length;

	if (!handle)
		return;
	offset = sftp_u64(request);
	bytes = sftp_bytes(request, &length);
	if (!bytes)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_result(request->id, write_all(handle, bytes, length, (off_t)offset));
}

void sftp_fstat(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	struct stat stat;

	if (handle)
		sftp_attrs_answer(request->id, fstat(handle->fd, &stat), &stat);
}

void sftp_fsetstat(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);
	struct sftp_attributes attributes;

	if (!handle)
		return;
	attributes = sftp_attributes(request);
	if (request->bad)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_result(request->id, sftp_apply_file(handle->fd, &attributes));
}

void sftp_fsync(struct sftp_request *request)
{
	struct sftp_handle *handle = sftp_handle(request);

	if (handle)
		sftp_result(request->id, fsync(handle->fd));
}

/* draft-ietf-secsh-filexfer-extensions-00 §7. Length 0: to the end of the file. */
void sftp_copy_data(struct sftp_request *request)
{
	struct sftp_handle *from = sftp_handle(request), *to;
	uint64_t from_offset, length, to_offset;
	off_t in, out;
	ssize_t copied = 1;
	uint64_t left;

	if (!from)
		return;
	from_offset = sftp_u64(request);
	length = sftp_u64(request);
	to = sftp_handle(request);
	if (!to)
		return;
	to_offset = sftp_u64(request);
	if (request->bad || (from == to && (length == 0 || (from_offset < to_offset + length &&
							      to_offset < from_offset + length)))) {
		sftp_status(request->id, FX_FAILURE, "The places overlap");
		return;
	}
	in = (off_t)from_offset;
	out = (off_t)to_offset;
	left = length ? length : UINT64_MAX;
	while (left > 0 && copied != 0) {
		copied = copy_file_range(from->fd, &in, to->fd, &out, left < PART ? (size_t)left : PART, 0);
		if (copied < 0 && errno != EINTR)
			break;
		left -= copied > 0 ? (uint64_t)copied : 0;
	}
	if (copied < 0)
		sftp_errno(request->id, errno);
	else if (copied == 0 && length)
		sftp_status(request->id, FX_EOF, "End of file");
	else
		sftp_status(request->id, FX_OK, "Success");
}
