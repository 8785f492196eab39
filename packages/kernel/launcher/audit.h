/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_AUDIT_H
#define LAUNCHER_AUDIT_H

#include <stdint.h>
#include <sys/types.h>

/* The audit session id, or UINT32_MAX for none of our own. */
void note_own_audit_session(void);
uint32_t take_audit_session(uid_t uid);

#endif
