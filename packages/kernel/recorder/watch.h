/* SPDX-License-Identifier: Apache-2.0 */
/* A session begins to be watched, and ceases to. */
#ifndef RECORDER_WATCH_H
#define RECORDER_WATCH_H

#include "options.h"
#include "sessions.h"

void watch_start(struct kernel *kernel, const struct options *options);
/* 0, or -errno and why, to be shown. */
int session_watch(const struct control_watch *request, struct control_watched *answer, const char **why);
/* No program finds it from here on. */
void session_unpublish(struct watched *watched);
/* Gone; with the last one the system-call hook. */
void session_forget(struct watched *watched);

#endif
