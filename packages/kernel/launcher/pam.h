/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing happens unless open_pam was called. */
#ifndef LAUNCHER_PAM_H
#define LAUNCHER_PAM_H

#include "session.h"

void open_pam(struct session *session);
void add_pam_environment(struct environment *env);
const char *pam_messages(void);

#endif
