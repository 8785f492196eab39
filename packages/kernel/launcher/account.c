/* SPDX-License-Identifier: Apache-2.0 */
/* Who logs in, and whether the host lets him: the checks sshd makes besides PAM's. */
#define _GNU_SOURCE
#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "records.h"
#include "report.h"

static char *copy(const char *text)
{
	char *copied = strdup(text);

	if (!copied)
		fail("resources", errno, "no memory for the account");
	return copied;
}

/* Copied out of libc's static buffer: PAM modules call getpwnam() themselves. */
void find_account(const struct spec *spec, struct account *account)
{
	const char *login = spec->login;
	struct passwd *entry;

	errno = 0;
	entry = getpwnam(login);
	if (!entry && errno && errno != ENOENT && errno != ESRCH)
		fail("account_lookup", errno, "cannot look up user %s: %s", login, strerror(errno));
	if (!entry) {
		record_unknown(spec);
		fail("unknown_user", 0, "no such user on this host: %s", login);
	}
	account->name = copy(entry->pw_name);
	account->home = copy(entry->pw_dir);
	account->shell = copy(*entry->pw_shell ? entry->pw_shell : "/bin/sh");
	account->uid = entry->pw_uid;
	account->gid = entry->pw_gid;
}

/* nologin(5): the file's text is what the user is told. */
static void check_nologin(const struct account *account)
{
	static const char *const paths[] = { "/etc/nologin", "/var/run/nologin" };

	if (account->uid == 0)
		return;
	for (size_t i = 0; i < 2; i++) {
		char text[1024];
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ssize_t length;

		if (fd < 0 && errno == ENOENT)
			continue;
		length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		text[length > 0 ? length : 0] = 0;
		fail("nologin", 0, "%s", *text ? text : "log-ins are disabled (/etc/nologin)");
	}
}

static void check_shell(const struct account *account)
{
	struct stat st;

	if (stat(account->shell, &st) < 0)
		fail("shell_missing", errno, "login shell %s of %s: %s", account->shell, account->name, strerror(errno));
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		fail("shell_missing", EACCES, "login shell %s of %s is not executable", account->shell, account->name);
}

/* In days since 1970, -1 for never. PAM checks it too, but its stacks tend to answer without a reason. */
static void check_expiry(const struct account *account)
{
	struct spwd *shadow = getspnam(account->name);

	if (shadow && shadow->sp_expire >= 0 && time(NULL) / 86400 >= shadow->sp_expire)
		fail("account_expired", 0, "account %s has expired", account->name);
}

void check_account(const struct account *account)
{
	check_nologin(account);
	check_shell(account);
	check_expiry(account);
}

void take_groups(const struct account *account)
{
	if (initgroups(account->name, account->gid) < 0)
		fail("identity", errno, "groups of %s: %s", account->name, strerror(errno));
}
