/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_USER_ENVIRONMENT_H
#define LAUNCHER_USER_ENVIRONMENT_H

#include "session.h"

/* ~/.ssh/environment, read with the user's rights */
void add_user_environment(struct session *session);

#endif
