/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emitted = recorded + lost: what the kernel counted as emitted is either written to the spool or declared there as
 * lost.
 */
#ifndef RECORDER_LOSSES_H
#define RECORDER_LOSSES_H

#include "sessions.h"

/* Declares what was lost since the last look. `gap`: a recorder died, say so even when nothing was lost. */
bool losses_declare(struct watched *watched, __u64 now, bool gap);
void session_totals(struct watched *watched, struct control_totals *totals);
bool session_adds_up(struct watched *watched);
/* What neither disk nor counters account for went with the page cache of a host that crashed: it is lost. */
void losses_account_for_missing(struct watched *watched);

#endif
