/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_GREETING_H
#define LAUNCHER_GREETING_H

#include "session.h"

/* What stands above the first prompt. */
void prepare_greeting(struct session *session);

#endif
