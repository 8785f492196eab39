/* SPDX-License-Identifier: Apache-2.0 */
/* Records on their way to the spools: staged in the arena during a drain, written at its end. */
#ifndef RECORDER_STAGING_H
#define RECORDER_STAGING_H

#include "sessions.h"

void staging_start(struct kernel *kernel);
/* The kernel's record goes to its spool. Flushes when the arena is full. */
void session_stage(struct watched *watched, const struct record_header *record, __u32 length, __u32 position);
/* A record of the recorder's own, and the header of one. */
void staging_own(struct watched *watched, const void *record, __u32 length, __u32 position);
void staging_describe(struct watched *watched, struct record_header *h, __u32 length, __u8 type, __u8 kind);
void staging_watch(struct watched *watched);
void staging_write(void);                         /* everything staged, to disk */

#endif
