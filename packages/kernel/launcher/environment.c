/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of the shell, in sshd's order; later wins:
 *   what the daemon let through from the client
 *   USER LOGNAME HOME PATH SHELL, MAIL without PAM (with it, pam_mail decides), TZ of the daemon, TERM
 *   ~/.ssh/environment, where the node permits it
 *   PAM's (pam_env: /etc/environment, /etc/default/locale)
 *   SSH_CLIENT SSH_CONNECTION SSH_TTY: where the user came from is nobody else's to say
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

bool tells_origin(const char *entry)
{
	static const char *const names[] = { "SSH_CLIENT=", "SSH_CONNECTION=", "SSH_AUTH_INFO" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strncmp(entry, names[i], strlen(names[i])))
			return true;
	return false;
}

static void set_client_env(struct environment *env, const struct spec *spec, bool origin)
{
	for (size_t i = 0; i < spec->client_env_count; i++)
		if (tells_origin(spec->client_env[i]) == origin)
			set_env_entry(env, spec->client_env[i]);
}

void build_environment(struct session *session)
{
	struct environment *env = &session->env;
	const struct spec *spec = &session->spec;
	const char *zone = getenv("TZ");

	set_client_env(env, spec, false);
	set_account_env(env, &session->account);
	if (!spec->pam_service)
		set_mail(env, &session->account);
	if (zone)
		set_env(env, "TZ", zone);
	if (spec->terminal && *spec->term)
		set_env(env, "TERM", spec->term);
	if (spec->read_user_env)
		add_user_environment(session);
	add_pam_environment(env);
	set_client_env(env, spec, true);
	if (spec->terminal)
		set_env(env, "SSH_TTY", session->tty_path);
}
