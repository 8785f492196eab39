/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The specification: a 4-byte big-endian length, then that many bytes of NUL-terminated "key=value" strings.
 * An unknown key is an error, not a thing to skip: daemon and launcher are built together, and a requirement
 * silently ignored here would be a session with less than was asked for.
 */
#define _GNU_SOURCE
#include "spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

static void read_all(void *buffer, size_t length)
{
	char *at = buffer;

	while (length > 0) {
		ssize_t got = read(CONTROL_FD, at, length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			_exit(1); /* the daemon is gone: nobody to tell */
		at += got;
		length -= (size_t)got;
	}
}

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

static bool parse_modes(struct spec *spec, const char *hex)
{
	size_t length = strlen(hex) / 2;

	if (strlen(hex) % 2 || length > MODES_MAX)
		return false;
	for (size_t i = 0; i < length; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		spec->modes[i] = (unsigned char)(high << 4 | low);
	}
	spec->modes_length = length;
	return true;
}

static bool parse_size(struct spec *spec, const char *text)
{
	struct winsize *size = &spec->size;

	return sscanf(text, "%hu %hu %hu %hu", &size->ws_col, &size->ws_row, &size->ws_xpixel, &size->ws_ypixel) == 4;
}

static bool add_client_env(struct spec *spec, const char *entry)
{
	const char *equals = strchr(entry, '=');

	/* A few slots are kept for the account's own variables and PAM's. */
	if (!equals || equals == entry || spec->client_env_count >= ENV_MAX / 2)
		return false;
	spec->client_env[spec->client_env_count++] = entry;
	return true;
}

static bool add_pam_env(struct spec *spec, const char *entry)
{
	const char *equals = strchr(entry, '=');

	if (!equals || equals == entry || spec->pam_env_count >= PAM_ENV_MAX)
		return false;
	spec->pam_env[spec->pam_env_count++] = entry;
	return true;
}

static bool parse_field(struct spec *spec, const char *key, const char *value)
{
	const struct {
		const char *key;
		const char **target;
	} strings[] = {
		{ "login", &spec->login },
		{ "command", &spec->command },
		{ "cgroup", &spec->cgroup },
		{ "pam_service", &spec->pam_service },
		{ "remote_host", &spec->remote_host },
		{ "term", &spec->term },
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		if (!strcmp(key, strings[i].key)) {
			*strings[i].target = value;
			return true;
		}
	}
	if (!strcmp(key, "env"))
		return add_client_env(spec, value);
	if (!strcmp(key, "pam_env"))
		return add_pam_env(spec, value);
	if (!strcmp(key, "user_env"))
		return spec->read_user_env = true;
	if (!strcmp(key, "relay"))
		return spec->relay = true;
	if (!strcmp(key, "sftp"))
		return spec->sftp = true;
	if (!strcmp(key, "modes"))
		return parse_modes(spec, value);
	if (!strcmp(key, "size")) {
		spec->terminal = true;
		return parse_size(spec, value);
	}
	return false;
}

void read_spec(struct spec *spec)
{
	unsigned char head[4];
	uint32_t length;
	char *text, *end;

	read_all(head, sizeof(head));
	length = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
	if (length == 0 || length > SPEC_MAX)
		fail("bad_spec", 0, "specification of %u bytes, at most %d", length, SPEC_MAX);
	text = malloc(length);
	if (!text)
		fail("resources", errno, "no memory for the specification");
	read_all(text, length);
	if (text[length - 1] != 0)
		fail("bad_spec", 0, "specification does not end in NUL");

	spec->remote_host = "";
	spec->term = "";
	for (end = text + length; text < end; text += strlen(text) + 1) {
		char *next = text, *key = strsep(&next, "=");

		if (!next || !parse_field(spec, key, next))
			fail("bad_spec", 0, "specification field not understood: %.64s", key);
		text = next;
	}
	if (!spec->login || !*spec->login)
		fail("bad_spec", 0, "specification names no login");
}
