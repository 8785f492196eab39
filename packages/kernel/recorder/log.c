// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

__u64 boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void say(const char *format, ...)
{
	char line[1024];
	struct timespec now;
	struct tm utc;
	size_t at;
	va_list args;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	at = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	at += snprintf(line + at, sizeof(line) - at, ".%03ldZ recorder[%d]: ", now.tv_nsec / 1000000, getpid());
	va_start(args, format);
	at += vsnprintf(line + at, sizeof(line) - at - 1, format, args);
	va_end(args);
	if (at > sizeof(line) - 2)
		at = sizeof(line) - 2;
	line[at++] = '\n';
	if (write(STDERR_FILENO, line, at) < 0)
		return; /* nowhere left to say it */
}
