/* SPDX-License-Identifier: Apache-2.0 */
/* What works on paths. */
#ifndef LAUNCHER_SFTP_NAMES_H
#define LAUNCHER_SFTP_NAMES_H

#include "sftp-packet.h"

void sftp_stat(struct sftp_request *request);
void sftp_lstat(struct sftp_request *request);
void sftp_setstat(struct sftp_request *request);
void sftp_remove(struct sftp_request *request);
void sftp_mkdir(struct sftp_request *request);
void sftp_rmdir(struct sftp_request *request);
void sftp_realpath(struct sftp_request *request);
void sftp_rename(struct sftp_request *request);
void sftp_readlink(struct sftp_request *request);
void sftp_symlink(struct sftp_request *request);
void sftp_posix_rename(struct sftp_request *request);
void sftp_hardlink(struct sftp_request *request);
void sftp_lsetstat(struct sftp_request *request);
void sftp_expand_path(struct sftp_request *request);

#endif
