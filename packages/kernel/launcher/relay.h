/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's parts: relay.c hears the daemon and listens, relay-stream.c is one connection, relay-cookie.c asks
 * xauth, relay-say.c answers. */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>

enum {
	RELAY_PATH_MAX = 107, /* sun_path without its NUL */
	RELAY_LINE_MAX = 512, /* either way */
};

void relay_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Each in a process of its own, which it is to the end. */
_Noreturn void relay_connect_tcp(unsigned id, const char *host, unsigned port);
_Noreturn void relay_connect_unix(unsigned id, const char *path);
_Noreturn void relay_incoming(unsigned listener, int socket, unsigned port, const char *address);
_Noreturn void relay_cookie(unsigned id, const char *display, const char *protocol, const char *cookie);

#endif
