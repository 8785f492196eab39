/* SPDX-License-Identifier: Apache-2.0 */
/* utmp, wtmp, lastlog, btmp */
#ifndef LAUNCHER_RECORDS_H
#define LAUNCHER_RECORDS_H

#include "session.h"

void describe_last_login(const struct session *session, char *text, size_t size);
void record_login(const struct session *session, pid_t leader);
void record_logout(const struct session *session, pid_t leader);
void record_unknown(const struct spec *spec);

#endif
