/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that waits for the disk. fdatasync at most every 200 ms for a file that grew, and before the answer to
 * end().
 */
#ifndef RECORDER_SYNC_H
#define RECORDER_SYNC_H

#include "spool.h"

/* The descriptor to poll: readable when a sync is done. */
int sync_start(void);
void sync_request(struct spool *spool);
void sync_collect(void);

#endif
