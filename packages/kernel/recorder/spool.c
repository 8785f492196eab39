// SPDX-License-Identifier: Apache-2.0
/* Frames of one drain are staged in a fixed arena in ring order and written with one writev a session. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#include "log.h"
#include "spool.h"
#include "wire-hash.h"

#define ARENA_BYTES (4u << 20)
#define SEGMENTS 16384
#define IOV_BATCH 512

static const unsigned char wire_hash[32] = WIRE_HASH_BYTES;
static unsigned char arena[ARENA_BYTES] __attribute__((aligned(8)));
static size_t arena_used;
static struct segment segments[SEGMENTS];
static size_t segments_used;

static __u32 padded(__u32 length)
{
	return (length + 7) & ~7U;
}

static void spool_path(char *to, size_t size, const char *dir, const __u8 *id)
{
	snprintf(to, size,
		 "%s/%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x.spool", dir, id[0], id[1],
		 id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13], id[14],
		 id[15]);
}

int spool_create(struct spool *spool, const char *dir, const __u8 *session_id)
{
	struct spool_header header = { .magic = SPOOL_MAGIC, .version = WIRE_VERSION, .header_length = sizeof(header) };
	char path[4200];

	memset(spool, 0, sizeof(*spool));
	memcpy(header.wire_hash, wire_hash, sizeof(header.wire_hash));
	memcpy(header.session_id, session_id, SESSION_ID_LEN);
	spool_path(path, sizeof(path), dir, session_id);
	spool->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (spool->fd < 0)
		return -errno;
	if (write(spool->fd, &header, sizeof(header)) != sizeof(header)) {
		int error = errno ? -errno : -ENOSPC;

		close(spool->fd);
		unlink(path);
		return error;
	}
	spool->length = sizeof(header);
	spool->dirty = true;
	return 0;
}

static void count_recovered(struct recovered *found, const struct record_header *h, __u32 position)
{
	const struct record_lost *lost = (const void *)h;
	enum loss loss;

	switch (h->type) {
	case RECORD_LOST:
		loss = lost->cause == LOST_SPOOL_WRITE ? LOSS_SPOOL
		       : lost->cause == LOST_LINEAGE_FULL ? LOSS_LINEAGE
		       : lost->cause == LOST_UNKNOWN ? LOSS_SKIPPED : LOSS_RING;
		found->declared[loss][h->kind % KIND_COUNT] += lost->count;
		break;
	case RECORD_WATCH:
		break;
	case RECORD_END:
		found->ended = true;
		break;
	default:
		found->recorded[h->kind % KIND_COUNT]++;
		found->last_position = position;
		found->any = true;
		if (h->seq > found->last_seq)
			found->last_seq = h->seq;
	}
}

/* Reads the whole file once, counts, and cuts off what a dying recorder wrote half. */
int spool_recover(struct spool *spool, const char *dir, const __u8 *session_id, struct recovered *found)
{
	static unsigned char record[WIRE_MAX_RECORD];
	struct spool_header header;
	struct spool_frame frame;
	struct stat file;
	char path[4200];
	FILE *stream;

	memset(spool, 0, sizeof(*spool));
	memset(found, 0, sizeof(*found));
	spool_path(path, sizeof(path), dir, session_id);
	spool->fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (spool->fd < 0)
		return -errno;
	stream = fdopen(dup(spool->fd), "r");
	if (!stream || fread(&header, sizeof(header), 1, stream) != 1 || header.magic != SPOOL_MAGIC ||
	    memcmp(header.session_id, session_id, SESSION_ID_LEN)) {
		if (stream)
			fclose(stream);
		close(spool->fd);
		return -EBADMSG;
	}
	spool->length = sizeof(header);
	while (fread(&frame, sizeof(frame), 1, stream) == 1) {
		if (frame.magic != SPOOL_FRAME_MAGIC || frame.length < sizeof(struct record_header) ||
		    padded(frame.length) > sizeof(record) || fread(record, padded(frame.length), 1, stream) != 1 ||
		    crc32(0, record, frame.length) != frame.crc32)
			break;
		count_recovered(found, (void *)record, frame.position);
		spool->length += sizeof(frame) + padded(frame.length);
	}
	fclose(stream);
	if (!fstat(spool->fd, &file) && (__u64)file.st_size != spool->length) {
		say("spool %s: %lld bytes of a torn frame cut off", path, (long long)(file.st_size - spool->length));
		if (ftruncate(spool->fd, spool->length))
			say("spool %s: %s", path, strerror(errno));
	}
	spool->dirty = true;
	return 0;
}

bool spool_stage(struct spool *spool, const void *record, __u32 length, __u32 position)
{
	struct spool_frame frame = {
		.magic = SPOOL_FRAME_MAGIC, .length = length, .crc32 = crc32(0, record, length), .position = position,
	};
	size_t space = sizeof(frame) + padded(length);
	unsigned char *at = arena + arena_used;

	if (space > ARENA_BYTES - arena_used)
		return false;
	if (!spool->tail || spool->tail->data + spool->tail->length != at) {
		struct segment *fresh;

		if (segments_used == SEGMENTS)
			return false;
		fresh = &segments[segments_used++];
		*fresh = (struct segment){ .data = at };
		if (spool->tail)
			spool->tail->next = fresh;
		else
			spool->head = fresh;
		spool->tail = fresh;
	}
	memcpy(at, &frame, sizeof(frame));
	memcpy(at + sizeof(frame), record, length);
	memset(at + sizeof(frame) + length, 0, padded(length) - length);
	spool->tail->length += space;
	arena_used += space;
	return true;
}

static int write_all(int fd, struct iovec *iov, int count)
{
	while (count) {
		ssize_t written = writev(fd, iov, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written ? -errno : -ENOSPC;
		while (count && (size_t)written >= iov->iov_len) {
			written -= iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (char *)iov->iov_base + written;
			iov->iov_len -= written;
		}
	}
	return 0;
}

int spool_write(struct spool *spool)
{
	struct iovec iov[IOV_BATCH];
	size_t total = 0;
	int error = 0;

	for (struct segment *segment = spool->head; segment && !error;) {
		int count = 0;

		for (; segment && count < IOV_BATCH; segment = segment->next) {
			iov[count++] = (struct iovec){ segment->data, segment->length };
			total += segment->length;
		}
		error = write_all(spool->fd, iov, count);
	}
	spool->head = spool->tail = NULL;
	if (error) {
		if (ftruncate(spool->fd, spool->length))
			say("a spool cannot be cut back: %s", strerror(errno));
		return error;
	}
	spool->length += total;
	spool->dirty = true;
	return 0;
}

void spool_arena_reset(void)
{
	arena_used = segments_used = 0;
}

void spool_close(struct spool *spool)
{
	if (spool->fd >= 0)
		close(spool->fd);
	spool->fd = -1;
}
