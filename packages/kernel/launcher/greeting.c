/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands above the first prompt, as sshd prints it: PAM's texts (pam_motd among them), the last log-in, and
 * without PAM the message of the day. A command gets none of it, nor does whoever has a ~/.hushlogin. Without a
 * terminal only PAM's texts are shown. Read here, in the supervisor, so that the shell's record begins with its exec.
 */
#define _GNU_SOURCE
#include "greeting.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pam.h"
#include "records.h"

/* What does not fit is left out. */
static void add(struct session *session, const char *text)
{
	size_t used = strlen(session->greeting);

	snprintf(session->greeting + used, sizeof(session->greeting) - used, "%s", text);
}

static void add_file(struct session *session, const char *path)
{
	char text[MESSAGES_MAX / 2];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = 0;
	add(session, text);
}

static bool is_quiet(const struct session *session)
{
	char hush[4096];

	snprintf(hush, sizeof(hush), "%s/.hushlogin", session->account.home);
	return session->spec.command || session->spec.relay || session->spec.sftp || access(hush, F_OK) == 0;
}

void prepare_greeting(struct session *session)
{
	char last[256] = "";

	if (is_quiet(session))
		return;
	add(session, pam_messages());
	if (!session->spec.terminal)
		return;
	describe_last_login(session, last, sizeof(last));
	add(session, last);
	if (session->spec.pam_service)
		return;
	add_file(session, "/run/motd.dynamic");
	add_file(session, "/etc/motd");
}
