/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loginuid and the audit session id. The kernel draws a new session id at every successful write of loginuid
 * (audit_set_loginuid); pam_loginuid skips the write when the value is right already. A daemon started from a
 * log-in would then share its own session id with every session of that user, and whoever records by it would
 * record the daemon: an id equal to ours counts as none.
 */
#define _GNU_SOURCE
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

#define UNSET UINT32_MAX

static uint32_t daemon_session = UNSET;

static uint32_t read_own(const char *path)
{
	char text[16] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return length > 0 ? (uint32_t)strtoul(text, NULL, 10) : UNSET;
}

void note_own_audit_session(void)
{
	daemon_session = read_own("/proc/self/sessionid");
}

static bool write_loginuid(uid_t uid)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", uid);
	int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
	ssize_t written = fd < 0 ? -1 : write(fd, text, (size_t)length);
	int error = errno;

	if (fd >= 0)
		close(fd);
	/* ENOENT: a kernel without CONFIG_AUDIT, which doctor speaks of. */
	if (written != length && error != ENOENT)
		warn_daemon("loginuid could not be set: %s", strerror(error));
	return written == length;
}

uint32_t take_audit_session(uid_t uid)
{
	uint32_t session = read_own("/proc/self/sessionid");

	if (session == daemon_session || read_own("/proc/self/loginuid") != uid) {
		if (!write_loginuid(uid))
			return UNSET;
		session = read_own("/proc/self/sessionid");
	}
	return session == daemon_session ? UNSET : session;
}
