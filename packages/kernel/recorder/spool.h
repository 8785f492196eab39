/* SPDX-License-Identifier: Apache-2.0 */
/* Spool files: one a session, append only, frames with a CRC. */
#ifndef RECORDER_SPOOL_H
#define RECORDER_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "shared.h"

struct segment {
	struct segment *next;
	unsigned char *data;
	size_t length;
};

struct spool {
	int fd;
	__u64 length;            /* bytes of the file that are whole frames */
	__u64 notified;          /* length told to the clients */
	struct segment *head, *tail;
	bool dirty;              /* written since the last fdatasync was asked for */
	bool syncing;
};

/* Where losses are counted; each is declared on its own. */
enum loss { LOSS_RING, LOSS_SPOOL, LOSS_LINEAGE, LOSS_SKIPPED, LOSS_COUNT };

/* What is on disk of a session that was found again. */
struct recovered {
	__u64 recorded[KIND_COUNT];
	__u64 declared[LOSS_COUNT][KIND_COUNT];
	__u64 last_seq;
	__u32 last_position;
	bool any;
	bool ended;
};

int spool_create(struct spool *spool, const char *dir, const __u8 *session_id);
int spool_recover(struct spool *spool, const char *dir, const __u8 *session_id, struct recovered *found);
/* Stages a frame; false: the arena is full, flush first. `own` marks the recorder's records. */
bool spool_stage(struct spool *spool, const void *record, __u32 length, __u32 position);
/* Writes what is staged. On error the file is cut back to whole frames and the caller counts what was lost. */
int spool_write(struct spool *spool);
void spool_arena_reset(void);
void spool_close(struct spool *spool);

#endif
