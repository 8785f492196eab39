/* SPDX-License-Identifier: Apache-2.0 */
/* What OpenSSH added. */
#ifndef LAUNCHER_SFTP_EXTENSIONS_H
#define LAUNCHER_SFTP_EXTENSIONS_H

#include "sftp-packet.h"

void sftp_extended(struct sftp_request *request);
void sftp_put_extensions(void);

#endif
