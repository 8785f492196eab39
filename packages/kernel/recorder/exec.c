// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel hands over an exec's whole environment, because searching it there costs the verifier more than
 * it is worth. Only allow-listed keys go to disk.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <string.h>

#include "exec.h"

static const char *const allowed[] = { "LD_PRELOAD=", "LD_AUDIT=", "LD_LIBRARY_PATH=", "SSH_" };
static const char *const loaders[] = { "ld-linux", "ld-musl", "ld.so", "ld64.so", "ld-2." };

static bool is_allowed(const char *entry, size_t length)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		size_t prefix = strlen(allowed[i]);

		if (length >= prefix && !memcmp(entry, allowed[i], prefix))
			return true;
	}
	return false;
}

static size_t filter_environment(char *to, const char *from, size_t length)
{
	size_t kept = 0;

	for (size_t at = 0; at < length;) {
		size_t entry = strnlen(from + at, length - at);

		if (is_allowed(from + at, entry)) {
			memcpy(to + kept, from + at, entry);
			to[kept + entry] = 0;
			kept += entry + 1;
		}
		at += entry + 1;
	}
	return kept;
}

static bool is_loader(const char *path, size_t length)
{
	const char *slash = memrchr(path, '/', length);
	const char *name = slash ? slash + 1 : path;
	size_t rest = path + length - name;

	for (size_t i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++)
		if (rest >= strlen(loaders[i]) && !memcmp(name, loaders[i], strlen(loaders[i])))
			return true;
	return false;
}

static __u32 put(unsigned char *record, __u32 at, __u16 tag, const void *value, __u32 length)
{
	struct tlv tlv = { .tag = tag, .length = length };
	__u32 padded = (length + 7) & ~7U;

	memcpy(record + at, &tlv, sizeof(tlv));
	memmove(record + at + sizeof(tlv), value, length);
	memset(record + at + sizeof(tlv) + length, 0, padded - length);
	return at + sizeof(tlv) + padded;
}

/* `to` holds WIRE_MAX_RECORD. A TLV that does not fit its record is left out, and with it all behind it. */
__u32 exec_rewrite(struct record_exec *to, const struct record_exec *from, __u32 length)
{
	const unsigned char *in = (const unsigned char *)from;
	unsigned char *out = (unsigned char *)to;
	static char environment[65536];
	__u32 at = sizeof(*from), end = sizeof(*to);

	memcpy(to, from, sizeof(*to));
	while (at + sizeof(struct tlv) <= length) {
		const struct tlv *tlv = (const void *)(in + at);
		const void *value = tlv + 1;

		if (tlv->length > length - at - sizeof(*tlv))
			break;
		if (tlv->tag == TLV_ENV_RAW) {
			size_t kept = tlv->length > sizeof(environment) - 1
					      ? 0 : filter_environment(environment, value, tlv->length);

			if (kept)
				end = put(out, end, TLV_ENV, environment, kept);
		} else {
			if (tlv->tag == TLV_EXE && is_loader(value, tlv->length))
				to->flags |= EXEC_FLAG_LD_EXEC;
			end = put(out, end, tlv->tag, value, tlv->length);
		}
		at += sizeof(*tlv) + ((tlv->length + 7) & ~7U);
	}
	to->h.length = end;
	return end;
}
