/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_LEADER_H
#define LAUNCHER_LEADER_H

#include "session.h"

enum leader_stage { STAGE_READY, STAGE_TERMINAL, STAGE_STREAMS, STAGE_IDENTITY, STAGE_EXEC };
/* The leader's words to its supervisor; end of file after READY and "go" means it has exec'd. */
struct leader_report {
	int32_t stage, error;
};
_Noreturn void run_leader(const struct session *session, int report_fd, int go_fd);

#endif
