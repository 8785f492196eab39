/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_RELAY_H
#define LAUNCHER_RELAY_H

/* What the leader becomes instead of a shell. */
_Noreturn void run_relay(char *const *environment);

#endif
