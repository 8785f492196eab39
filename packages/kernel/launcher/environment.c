/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of the shell, in sshd's order; later wins:
 *   what the daemon let through from the client, with SSH_CLIENT and SSH_CONNECTION
 *   USER LOGNAME HOME PATH SHELL, MAIL without PAM (with it, pam_mail decides), TZ of the daemon
 *   SSH_TTY TERM with a terminal
 *   PAM's (pam_env: /etc/environment, /etc/default/locale), except the names that say where the user came from
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Debian's own (sshd is built with the same two). */
#define USER_PATH "/usr/local/bin:/usr/bin:/bin:/usr/games"
#define ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void set_env_entry(struct environment *env, const char *entry)
{
	size_t name_length = (size_t)(strchr(entry, '=') - entry) + 1;
	char *copied = strdup(entry);
	size_t at = 0;

	while (at < env->count && strncmp(env->entries[at], entry, name_length))
		at++;
	if (!copied || at == ENV_MAX)
		fail("resources", copied ? E2BIG : ENOMEM, "environment is too large");
	if (at == env->count)
		env->count++;
	else
		free(env->entries[at]);
	env->entries[at] = copied;
}

void set_env(struct environment *env, const char *name, const char *value)
{
	char *entry;

	if (asprintf(&entry, "%s=%s", name, value) < 0)
		fail("resources", ENOMEM, "no memory for the environment");
	set_env_entry(env, entry);
	free(entry);
}

static void set_account_env(struct environment *env, const struct account *account)
{
	set_env(env, "USER", account->name);
	set_env(env, "LOGNAME", account->name);
	set_env(env, "HOME", account->home);
	set_env(env, "PATH", account->uid == 0 ? ROOT_PATH : USER_PATH);
	set_env(env, "SHELL", account->shell);
}

static void set_mail(struct environment *env, const struct account *account)
{
	char mail[512];

	snprintf(mail, sizeof(mail), "%s/%s", _PATH_MAILDIR, account->name);
	set_env(env, "MAIL", mail);
}

void build_environment(struct session *session)
{
	struct environment *env = &session->env;
	const char *zone = getenv("TZ");

	for (size_t i = 0; i < session->spec.client_env_count; i++)
		set_env_entry(env, session->spec.client_env[i]);
	set_account_env(env, &session->account);
	if (!session->spec.pam_service)
		set_mail(env, &session->account);
	if (zone)
		set_env(env, "TZ", zone);
	if (session->spec.terminal) {
		set_env(env, "SSH_TTY", session->tty_path);
		if (*session->spec.term)
			set_env(env, "TERM", session->spec.term);
	}
	add_pam_environment(env);
}
