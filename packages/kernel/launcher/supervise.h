/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SUPERVISE_H
#define LAUNCHER_SUPERVISE_H

#include "session.h"

/* From "ready" to the leader's end. */
void supervise(const struct session *session, pid_t leader, int leader_pidfd, int report_fd, int go_fd,
	       uint32_t audit_session);

#endif
