/* SPDX-License-Identifier: Apache-2.0 */
/* Open files and folders. A handle is the number of a place in one table, four bytes. */
#ifndef LAUNCHER_SFTP_HANDLES_H
#define LAUNCHER_SFTP_HANDLES_H

#include <dirent.h>

#include "sftp-packet.h"

struct sftp_handle {
	int fd; /* -1: a free place */
	DIR *folder; /* owns fd */
	bool append;
};

/* NULL: answered already. */
struct sftp_handle *sftp_handle(struct sftp_request *request);
struct sftp_handle *sftp_new_handle(void);
void sftp_handle_answer(uint32_t id, const struct sftp_handle *handle);

#endif
