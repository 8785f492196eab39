/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in and out, in two buffers of fixed size. A peer's number never sizes anything: it is compared with what is
 * there. Both streams are pipes, and block: whoever does not read his answers is not listened to, which is the
 * backpressure.
 */
#define _GNU_SOURCE
#include "sftp-packet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER = 4, IN_SIZE = 2 * (SFTP_PACKET_MAX + HEADER), OUT_SIZE = IN_SIZE };

static uint8_t in[IN_SIZE], out[OUT_SIZE];
static size_t in_from, in_to; /* what was read and not yet taken */
static size_t out_length; /* complete packets, and what was put of the one that was begun */
static size_t begun;

/* ── a request's fields ── */

static const uint8_t *take(struct sftp_request *request, size_t length)
{
	const uint8_t *at = request->at;

	if (request->bad || (size_t)(request->end - at) < length) {
		request->bad = true;
		return NULL;
	}
	request->at += length;
	return at;
}

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

uint8_t sftp_u8(struct sftp_request *request)
{
	const uint8_t *at = take(request, 1);

	return at ? *at : 0;
}

uint32_t sftp_u32(struct sftp_request *request)
{
	const uint8_t *at = take(request, 4);

	return at ? be32(at) : 0;
}

uint64_t sftp_u64(struct sftp_request *request)
{
	uint64_t high = sftp_u32(request);

	return high << 32 | sftp_u32(request);
}

const uint8_t *sftp_bytes(struct sftp_request *request, uint32_t *length)
{
	*length = sftp_u32(request);
	return take(request, *length);
}

/* ── input ── */

/* The rest of a packet moves to the front when the end of the buffer is near: at most one packet's worth. */
static bool read_more(void)
{
	ssize_t got;

	if (in_from > 0 && IN_SIZE - in_to < SFTP_PACKET_MAX + HEADER) {
		memmove(in, in + in_from, in_to - in_from);
		in_to -= in_from;
		in_from = 0;
	}
	sftp_flush();
	do
		got = read(STDIN_FILENO, in + in_to, IN_SIZE - in_to);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return false;
	in_to += (size_t)got;
	return true;
}

bool sftp_next(const uint8_t **packet, uint32_t *length)
{
	for (;;) {
		size_t held = in_to - in_from;

		if (held >= HEADER) {
			*length = be32(in + in_from);
			if (*length == 0 || *length > SFTP_PACKET_MAX)
				_exit(1); /* no telling where the next packet begins */
			if (held >= HEADER + *length) {
				*packet = in + in_from + HEADER;
				in_from += HEADER + *length;
				return true;
			}
		}
		if (in_from == in_to)
			in_from = in_to = 0;
		if (!read_more())
			return false;
	}
}

/* ── output ── */

void sftp_flush(void)
{
	size_t at = 0;

	while (at < out_length) {
		ssize_t written = write(STDOUT_FILENO, out + at, out_length - at);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			_exit(1); /* nobody listens any more */
		at += (size_t)written;
	}
	out_length = 0;
}

static void put(const void *bytes, size_t length)
{
	if (length > OUT_SIZE - out_length)
		abort(); /* every answer is bounded below a packet: a bug of ours */
	memcpy(out + out_length, bytes, length);
	out_length += length;
}

static void write_be32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

void sftp_put_u32(uint32_t value)
{
	uint8_t bytes[4];

	write_be32(bytes, value);
	put(bytes, sizeof(bytes));
}

void sftp_put_u64(uint64_t value)
{
	sftp_put_u32((uint32_t)(value >> 32));
	sftp_put_u32((uint32_t)value);
}

void sftp_put_string(const void *bytes, size_t length)
{
	sftp_put_u32((uint32_t)length);
	put(bytes, length);
}

void sftp_begin(enum sftp_type type, uint32_t id)
{
	uint8_t head = (uint8_t)type;

	if (OUT_SIZE - out_length < SFTP_PACKET_MAX + HEADER)
		sftp_flush();
	begun = out_length;
	sftp_put_u32(0);
	put(&head, 1);
	sftp_put_u32(id);
}

void sftp_end(void)
{
	write_be32(out + begun, (uint32_t)(out_length - begun - HEADER));
}

void sftp_forget(void)
{
	out_length = begun;
}

size_t sftp_room(void)
{
	return SFTP_PACKET_MAX - (out_length - begun - HEADER);
}

size_t sftp_mark(void)
{
	return out_length;
}

void sftp_patch_u32(size_t mark, uint32_t value)
{
	write_be32(out + mark, value);
}

uint8_t *sftp_begin_data(uint32_t id, size_t size)
{
	sftp_begin(FXP_DATA, id);
	sftp_put_u32(0);
	return size <= sftp_room() ? out + out_length : NULL;
}

void sftp_end_data(size_t size)
{
	sftp_patch_u32(out_length - 4, (uint32_t)size);
	out_length += size;
	sftp_end();
}
