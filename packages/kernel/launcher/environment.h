/* SPDX-License-Identifier: Apache-2.0 */
/* A set of variables; later wins. */
#ifndef LAUNCHER_ENVIRONMENT_H
#define LAUNCHER_ENVIRONMENT_H

#include "session.h"

void set_env(struct environment *env, const char *name, const char *value);
void set_env_entry(struct environment *env, const char *entry);
/* Where the user came from is nobody's to say but the daemon's. */
bool tells_origin(const char *entry);

#endif
