/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_RELAY_SAY_H
#define LAUNCHER_RELAY_SAY_H

enum { RELAY_LINE_MAX = 512 /* either way */ };

void relay_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
