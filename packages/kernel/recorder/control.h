/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_CONTROL_H
#define RECORDER_CONTROL_H

#include <stdbool.h>

#include "kernel.h"

/* The control socket. Every client is root (SO_PEERCRED). */
int control_start(const char *path, int epoll_fd, struct kernel *kernel);
void control_event(void *tag, __u32 events);
bool control_owns(void *tag);
/* Once a drain: a notice for each spool that grew. */
void control_progress(void);
void control_stop(void);

#endif
