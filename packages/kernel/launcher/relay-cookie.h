/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_RELAY_COOKIE_H
#define LAUNCHER_RELAY_COOKIE_H

/* In a process of its own, which it is to the end. */
_Noreturn void relay_cookie(unsigned id, const char *display, const char *protocol, const char *cookie);

#endif
