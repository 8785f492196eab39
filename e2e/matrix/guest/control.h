/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder's control socket, spoken by a program that can wait: blocking calls, each with a deadline. */
#ifndef MATRIX_CONTROL_H
#define MATRIX_CONTROL_H

#include "wire.h"

struct frame {
	struct control_frame head;
	char body[CONTROL_MAX_BODY];
};

/* Waits until the socket is there; returns the connection. `hello` is filled. */
int control_connect(const char *path, int timeout_ms, struct control_hello *hello);

/* Sends a request and waits for its answer; notifications met on the way are kept for control_await. */
void control_call(int fd, int type, const void *body, unsigned int length, void *answer, unsigned int answer_length);

/* Waits for a notification about a session. Returns 0, or -1 when the deadline passed. */
int control_await(int fd, int type, const unsigned char *session_id, int timeout_ms);

#endif
