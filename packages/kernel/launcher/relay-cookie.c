/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the cookie of a forwarded display into the user's X authority file: by xauth, as sshd does, which knows the
 * file's format, its locks and $XAUTHORITY. The cookie is a secret: it goes through a pipe, never onto a command line,
 * which the session's record and every user of the host would see.
 */
#define _GNU_SOURCE
#include "relay-cookie.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay-say.h"

static const char xauth[] = "/usr/bin/xauth"; /* sshd's XAuthLocation */

static _Noreturn void answer(unsigned id, const char *failure)
{
	if (failure)
		relay_say("failed %u %s: %s", id, xauth, failure);
	else
		relay_say("done %u", id);
	_exit(0);
}

static _Noreturn void become_xauth(int script)
{
	int null = open("/dev/null", O_RDWR);

	signal(SIGPIPE, SIG_DFL);
	if (null < 0 || dup2(script, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		_exit(126);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execl(xauth, "xauth", "-q", "-", (char *)NULL);
	_exit(127);
}

_Noreturn void relay_cookie(unsigned id, const char *display, const char *protocol, const char *cookie)
{
	char script[1024];
	int length, status, ends[2];
	pid_t pid;

	if (access(xauth, X_OK) < 0)
		answer(id, strerror(errno));
	length = snprintf(script, sizeof(script), "remove %s\nadd %s %s %s\n", display, display, protocol, cookie);
	/*
	 * Smaller than a pipe holds: written before anybody reads. Not O_CLOEXEC: standard input is closed here, so the
	 * end to read may be it already, and dup2 onto itself would leave the flag.
	 */
	if (length < 0 || (size_t)length >= sizeof(script) || pipe(ends) < 0 ||
	    write(ends[1], script, (size_t)length) != length)
		answer(id, strerror(errno));
	close(ends[1]);
	pid = fork();
	if (pid == 0)
		become_xauth(ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		answer(id, strerror(errno));
	answer(id, WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "the authority file could not be written");
}
