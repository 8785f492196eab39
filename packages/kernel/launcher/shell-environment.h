/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SHELL_ENVIRONMENT_H
#define LAUNCHER_SHELL_ENVIRONMENT_H

#include "session.h"

void build_environment(struct session *session);

#endif
