/* SPDX-License-Identifier: Apache-2.0 */
/* What most requests begin and end with: a path, a status. */
#ifndef LAUNCHER_SFTP_ANSWER_H
#define LAUNCHER_SFTP_ANSWER_H

#include "sftp-packet.h"

/* NUL-terminated; an empty one stands for the folder we are in. False: answered already. */
bool sftp_path(struct sftp_request *request, char path[PATH_MAX]);
bool sftp_text(struct sftp_request *request, char *text, size_t size);
void sftp_status(uint32_t id, enum sftp_status status, const char *text);
void sftp_errno(uint32_t id, int error);
/* Of an operation that says 0 or -1 and errno. */
void sftp_result(uint32_t id, int result);
void sftp_name_answer(uint32_t id, const char *name);

#endif
