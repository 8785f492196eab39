/* SPDX-License-Identifier: Apache-2.0 */
/* What works on open files. */
#ifndef LAUNCHER_SFTP_FILES_H
#define LAUNCHER_SFTP_FILES_H

#include "sftp-packet.h"

void sftp_open(struct sftp_request *request);
void sftp_close(struct sftp_request *request);
void sftp_read(struct sftp_request *request);
void sftp_write(struct sftp_request *request);
void sftp_fstat(struct sftp_request *request);
void sftp_fsetstat(struct sftp_request *request);
void sftp_fsync(struct sftp_request *request);
void sftp_copy_data(struct sftp_request *request);

#endif
