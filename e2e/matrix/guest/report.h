/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest's programs tell the host what they did: lines on the serial console (see guest.ts). */
#ifndef MATRIX_REPORT_H
#define MATRIX_REPORT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One write a line: programs that share the console never cut each other's lines. */
#define report(topic, ...)                                                                   \
	do {                                                                                 \
		char line_[1024];                                                            \
		int at_ = snprintf(line_, sizeof(line_) - 1, "@matrix %s ", topic);          \
		at_ += snprintf(line_ + at_, sizeof(line_) - 1 - (size_t)at_, __VA_ARGS__);  \
		if (at_ > (int)sizeof(line_) - 2)                                            \
			at_ = sizeof(line_) - 2;                                             \
		line_[at_] = '\n';                                                           \
		if (write(1, line_, (size_t)at_ + 1) < 0)                                    \
			_exit(98);                                                           \
	} while (0)

/* A step that must work for the evidence to mean anything. */
#define must(what)                                                                           \
	do {                                                                                 \
		if (!(what)) {                                                               \
			report("failed", "%s:%d: %s: %s", __FILE__, __LINE__, #what, strerror(errno)); \
			_exit(97);                                                           \
		}                                                                            \
	} while (0)

#endif
