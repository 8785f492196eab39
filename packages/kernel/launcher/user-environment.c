/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ~/.ssh/environment (sshd(8), FILES): NAME=VALUE lines, # begins a comment line. Read with the user's rights: a
 * link to a file that only root may read must not end up in the user's environment. And ~/.tsh/environment, where
 * the documented system looks; it wins.
 */
#define _GNU_SOURCE
#include "user-environment.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "environment.h"

enum { FILE_MAX_BYTES = 64 * 1024, VARIABLES_MAX = 100 };

static const char *const files[] = { ".ssh/environment", ".tsh/environment" };

/* Not following FIFOs and devices: a log-in must not wait for what the user wrote into a home. */
static char *read_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *text = NULL;
	struct stat st;
	ssize_t length;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (text = malloc(FILE_MAX_BYTES + 1))) {
		length = read(fd, text, FILE_MAX_BYTES);
		text[length > 0 ? length : 0] = 0;
	}
	close(fd);
	return text;
}

/*
 * fsuid and fsgid alone, with the groups taken before: the process stays root to everybody else. The kernel makes
 * it undumpable for that, and then the daemon could not open its pipes through /proc where it lacks CAP_SYS_PTRACE.
 */
static char *read_as(const struct account *account, const char *path)
{
	char *text;

	setfsgid(account->gid);
	setfsuid(account->uid);
	text = read_regular(path);
	setfsuid(0);
	setfsgid(0);
	prctl(PR_SET_DUMPABLE, 1);
	return text;
}

static void complain(struct session *session, const char *format, ...)
{
	size_t used = strlen(session->complaints);
	va_list args;

	va_start(args, format);
	vsnprintf(session->complaints + used, sizeof(session->complaints) - used, format, args);
	va_end(args);
}

/* False: as many as there may be. */
static bool add_line(struct session *session, const char *path, size_t number, char *line)
{
	static size_t added;

	line += strspn(line, " \t");
	if (!*line || *line == '#' || *line == '=')
		return true;
	if (!strchr(line, '=')) {
		complain(session, "Bad line %zu in %.200s\n", number, path);
		return true;
	}
	if (added == VARIABLES_MAX) {
		complain(session, "Too many lines in %.200s\n", path);
		return false;
	}
	added++;
	set_env_entry(&session->env, line);
	return true;
}

void add_user_environment(struct session *session)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[4096], *text, *rest, *line;
		size_t number = 1;

		snprintf(path, sizeof(path), "%s/%s", session->account.home, files[i]);
		rest = text = read_as(&session->account, path);
		while ((line = strsep(&rest, "\n")) && add_line(session, path, number, line))
			number++;
		free(text);
	}
}
