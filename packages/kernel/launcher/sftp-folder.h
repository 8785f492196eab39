/* SPDX-License-Identifier: Apache-2.0 */
/* What works on open folders. */
#ifndef LAUNCHER_SFTP_FOLDER_H
#define LAUNCHER_SFTP_FOLDER_H

#include "sftp-packet.h"

void sftp_opendir(struct sftp_request *request);
void sftp_readdir(struct sftp_request *request);

#endif
