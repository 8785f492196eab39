/* SPDX-License-Identifier: Apache-2.0 */
#include "line.h"

#include <stdio.h>

size_t format_line(char *line, size_t size, const char *format, va_list args)
{
	int wanted = vsnprintf(line, size - 1, format, args);
	size_t length = (size_t)wanted;

	if (wanted < 0)
		return 0;
	if (length > size - 2)
		length = size - 2;
	line[length] = '\n';
	return length + 1;
}
