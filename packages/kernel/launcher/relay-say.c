/* SPDX-License-Identifier: Apache-2.0 */
/* A line from one of the relay's processes to the daemon. The words are drawn in relay.c. */
#include "relay-say.h"

#include <unistd.h>

#include "line.h"

void relay_say(const char *format, ...)
{
	char line[RELAY_LINE_MAX];
	va_list args;
	size_t length;
	ssize_t written;

	va_start(args, format);
	length = format_line(line, sizeof(line), format, args);
	va_end(args);
	/* Shorter than PIPE_BUF: lines of several processes do not mix. A daemon that is gone is told by stdin. */
	written = length ? write(STDOUT_FILENO, line, length) : 0;
	(void)written;
}
