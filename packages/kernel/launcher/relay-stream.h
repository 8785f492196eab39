/* SPDX-License-Identifier: Apache-2.0 */
/* Each in a process of its own, which it is to the end. */
#ifndef LAUNCHER_RELAY_STREAM_H
#define LAUNCHER_RELAY_STREAM_H

enum { RELAY_PATH_MAX = 107 /* sun_path without its NUL */ };

_Noreturn void relay_connect_tcp(unsigned id, const char *host, unsigned port);
_Noreturn void relay_connect_unix(unsigned id, const char *path);
_Noreturn void relay_incoming(unsigned listener, int socket, unsigned port, const char *address);

#endif
