/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_SFTP_H
#define LAUNCHER_SFTP_H

#include "session.h"

/* What the leader becomes instead of a shell, for files. */
_Noreturn void run_sftp(const struct account *account);

#endif
