/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_TERMINAL_H
#define LAUNCHER_TERMINAL_H

#include "session.h"

int unlock_terminal(struct session *session);
void apply_modes(struct termios *tio, const unsigned char *modes, size_t length);
int take_terminal(const struct session *session);

#endif
