/* SPDX-License-Identifier: Apache-2.0 */
/* Who wants to hear what happens to sessions by itself. Nobody, until somebody says so. */
#ifndef RECORDER_LISTENER_H
#define RECORDER_LISTENER_H

#include "sessions.h"

struct listener {
	void (*lost)(const struct watched *watched);       /* a loss was declared */
	void (*idle)(const struct watched *watched);       /* its last task is gone */
	void (*ended)(const struct watched *watched, const struct control_totals *totals);
};
extern struct listener listener;

#endif
