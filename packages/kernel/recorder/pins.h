/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: names in bpffs that keep maps, programs and attachments while no recorder runs. Without a directory for them
 * setting and removing do nothing.
 */
#ifndef RECORDER_PINS_H
#define RECORDER_PINS_H

#include "kernel.h"

/* Makes the directory, mounting bpffs when nothing is there. False: work without pins. */
bool pins_prepare(struct kernel *kernel, const char *dir);
/* All of them, and the directory. */
void pins_remove(struct kernel *kernel);
int pin_set(struct kernel *kernel, int fd, const char *name);
int pin_get(struct kernel *kernel, const char *name);
void pin_remove(struct kernel *kernel, const char *name);
void pin_name_of_link(char *to, size_t size, const char *program);

#endif
