/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of daemons: a bounded buffer each way; one that sends nonsense or stops reading is dropped alone. The
 * struct lives on until clients_reap.
 */
#ifndef RECORDER_CLIENTS_H
#define RECORDER_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "shared.h"

#define MAX_REQUEST 4096           /* body of the longest request, with room for later versions */

struct client {
	int fd;
	unsigned char in[sizeof(struct control_frame) + MAX_REQUEST];
	size_t in_length;
	unsigned char *out;
	size_t out_length, out_space;
	bool writing;                  /* EPOLLOUT asked for */
	bool behind;                   /* progress was skipped */
	bool dead;
};

void clients_start(int epoll);
/* Takes the descriptor, or closes it: NULL. */
struct client *clients_add(int fd);
struct client *clients_next(int *cursor);         /* cursor starts at 0; dead ones, too; NULL at the end */
void clients_reap(void);
void client_bury(struct client *client);
void client_send(struct client *client, __u32 id, __u16 type, const void *body, __u32 length);
void client_write_out(struct client *client);
/* So much waits to be read that what can be told later, once, should be. */
bool client_lags(const struct client *client);
/* What has arrived. False: the connection is over. */
bool client_receive(struct client *client);
/* The next whole frame: 1; 0: not here yet; -1: malformed. */
int client_take(struct client *client, struct control_frame *frame, unsigned char body[MAX_REQUEST]);

#endif
