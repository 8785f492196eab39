/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon may ask for, and the answers. */
#ifndef RECORDER_REQUESTS_H
#define RECORDER_REQUESTS_H

#include "clients.h"
#include "kernel.h"

void requests_start(struct kernel *kernel);
void requests_hello(struct client *client);
/* False: not a request of this protocol. */
bool requests_handle(struct client *client, const struct control_frame *frame, const void *body);
extern bool control_shutdown;                     /* a client asked, and it was granted */
extern bool control_handover;                     /* and another recorder goes on with what is pinned */

#endif
