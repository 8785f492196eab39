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
#include "shell-environment.h"

#include <paths.h>
#include <stdio.h>
#include <stdlib.h>

#include "environment.h"
#include "pam.h"
#include "user-environment.h"

/* Debian's own (sshd is built with the same two). */
#define USER_PATH "/usr/local/bin:/usr/bin:/bin:/usr/games"
#define ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
