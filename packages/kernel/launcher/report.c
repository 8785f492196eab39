/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines to the daemon:
 *   ready <leader> <supervisor> <audit session|-> <uid> <gid> <terminal path|-> <stdin> <stdout> <stderr>
 *   warn <text>      error <code> <errno> <text>      exec      exit <status>      signal <name> <core: 0|1>
 * Text is the last field; a byte that would break the line is written as \xHH.
 */
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "line.h"
#include "session.h"

enum { LINE_MAX_BYTES = 4096 };

static void send_line(const char *line, size_t length)
{
	while (length > 0) {
		/* A daemon that died is noticed by the poll on the socket, not here. */
		ssize_t sent = send(CONTROL_FD, line, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		line += sent;
		length -= (size_t)sent;
	}
}

static size_t escape(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + 5 < size; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x20 || byte == '\\' || byte == 0x7f)
			used += (size_t)snprintf(out + used, size - used, "\\x%02x", byte);
		else
			out[used++] = *text;
	}
	out[used] = 0;
	return used;
}

void report(const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, format);
	send_line(line, format_line(line, sizeof(line), format, args));
	va_end(args);
}

/*
 * The last act: say that no more comes, then read until the daemon has closed too. Exiting at once would answer
 * a word that is just on its way ("resize") with EPIPE, for which Node destroys the socket, and the line that told
 * the exit status with it.
 */
void take_leave(void)
{
	char ignored[256];
	ssize_t got;

	shutdown(CONTROL_FD, SHUT_WR);
	do
		got = read(CONTROL_FD, ignored, sizeof(ignored));
	while (got > 0 || (got < 0 && errno == EINTR));
}

void warn_daemon(const char *format, ...)
{
	char text[LINE_MAX_BYTES / 8], escaped[LINE_MAX_BYTES / 2];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	escape(escaped, sizeof(escaped), text);
	report("warn %s", escaped);
}

void fail(const char *code, int error, const char *format, ...)
{
	char text[LINE_MAX_BYTES / 2], escaped[LINE_MAX_BYTES - 256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	escape(escaped, sizeof(escaped), text);
	report("error %s %d %s", code, error, escaped);
	exit(1); /* runs atexit handlers: an opened PAM session is closed, leave is taken */
}
