/* SPDX-License-Identifier: Apache-2.0 */
/* A line of text, as the daemon reads it: bounded, with its end. */
#ifndef LINE_H
#define LINE_H

#include <stdarg.h>
#include <stddef.h>

/* What does not fit is cut. The length with the line feed; 0 where the format is wrong. No NUL follows. */
size_t format_line(char *line, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

#endif
