/* SPDX-License-Identifier: Apache-2.0 */
/* A line from one of the relay's processes to the daemon. The words are drawn in relay.c. */
#include "relay.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void relay_say(const char *format, ...)
{
	char line[RELAY_LINE_MAX];
	va_list args;
	int length;
	ssize_t written;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (length < 0)
		return;
	if ((size_t)length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	/* Shorter than PIPE_BUF: lines of several processes do not mix. A daemon that is gone is told by stdin. */
	written = write(STDOUT_FILENO, line, (size_t)length);
	(void)written;
}
