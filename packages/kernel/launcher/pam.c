/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PAM as sshd uses it after a public key: no authentication stage, then account, groups, credentials, session.
 * Everything happens in the supervisor: limits, keyring, groups and loginuid are inherited by the leader, and
 * only a root process that outlives the shell can close the session.
 */
#define _GNU_SOURCE
#include "pam.h"

#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "environment.h"
#include "report.h"

static pam_handle_t *handle;
static bool credentials, session_open;
static int last_result;
static char messages[MESSAGES_MAX];

const char *pam_messages(void)
{
	return messages;
}

static void keep_message(const char *text)
{
	static const char cut[] = "[cut here]\n";
	size_t used = strlen(messages), room = sizeof(messages) - sizeof(cut) - used;

	if (room > 1 && (size_t)snprintf(messages + used, room, "%s\n", text) >= room)
		strcat(messages, cut);
}

/* Texts are kept for the terminal; questions fail: there is nobody to ask after a certificate. */
static int converse(int count, const struct pam_message **asked, struct pam_response **answers, void *unused)
{
	(void)unused;
	for (int i = 0; i < count; i++) {
		if (asked[i]->msg_style != PAM_TEXT_INFO && asked[i]->msg_style != PAM_ERROR_MSG)
			return PAM_CONV_ERR;
		keep_message(asked[i]->msg);
	}
	*answers = calloc((size_t)count, sizeof(**answers));
	return *answers ? PAM_SUCCESS : PAM_BUF_ERR;
}

static void close_pam(void)
{
	if (session_open)
		last_result = pam_close_session(handle, PAM_SILENT);
	if (credentials)
		last_result = pam_setcred(handle, PAM_DELETE_CRED | PAM_SILENT);
	pam_end(handle, last_result);
}

static void must(int result, const char *code, const char *what)
{
	last_result = result;
	if (result != PAM_SUCCESS)
		fail(code, 0, "PAM refused the %s: %s%s%s", what, pam_strerror(handle, result),
		     *messages ? ": " : "", messages);
}

/* As with sshd: whoever has a terminal changes it there, and logs in again; without one there is no way to. */
static void demand_new_password(struct session *session)
{
	if (!session->spec.terminal)
		fail("password_expired", 0, 
		     "WARNING: Your password has expired.\nPassword change required but no TTY available.");
	session->change_password = true;
	snprintf(session->complaints, sizeof(session->complaints),
		 "WARNING: Your password has expired.\nYou must change your password now and login again!\n");
}

static void open_account(struct session *session)
{
	int result = pam_acct_mgmt(handle, 0);

	if (result == PAM_NEW_AUTHTOK_REQD) {
		demand_new_password(session);
		return;
	}
	must(result, result == PAM_ACCT_EXPIRED ? "account_expired" : "account_denied", "account");
}

/* What pam_exec and its like see: where the user came from, as with sshd, and what the operator wants them told. */
static void set_module_environment(const struct spec *spec)
{
	for (size_t i = 0; i < spec->client_env_count; i++)
		if (!strncmp(spec->client_env[i], "SSH_CONNECTION=", 15))
			must(pam_putenv(handle, spec->client_env[i]), "pam", "environment");
	for (size_t i = 0; i < spec->pam_env_count; i++)
		must(pam_putenv(handle, spec->pam_env[i]), "pam", "environment");
}

/* As with sshd after a public key: modules that cannot make credentials (pam_deny) do not end the log-in. */
static void take_credentials(void)
{
	last_result = pam_setcred(handle, PAM_ESTABLISH_CRED);
	credentials = last_result == PAM_SUCCESS;
	if (!credentials)
		warn_daemon("PAM made no credentials: %s", pam_strerror(handle, last_result));
}

void open_pam(struct session *session)
{
	static const struct pam_conv conversation = { converse, NULL };
	int result = pam_start(session->spec.pam_service, session->account.name, &conversation, &handle);

	if (result != PAM_SUCCESS)
		fail("pam", 0, "PAM service %s cannot be started", session->spec.pam_service);
	atexit(close_pam);
	must(pam_set_item(handle, PAM_RHOST, session->spec.remote_host), "pam", "remote host");
	/* Always "ssh", as with sshd: rules of pam_access and pam_time that name it hold here, too. */
	must(pam_set_item(handle, PAM_TTY, "ssh"), "pam", "terminal name");
	set_module_environment(&session->spec);
	open_account(session);
	/*
	 * pam_group adds to the groups found at this point, so they must already be the user's; afterwards the
	 * daemon's own are out of reach of everything this process forks.
	 */
	take_groups(&session->account);
	take_credentials();
	must(pam_open_session(handle, 0), "pam", "session");
	session_open = true;
}

void add_pam_environment(struct environment *env)
{
	char **entries = handle ? pam_getenvlist(handle) : NULL;

	for (char **entry = entries; entry && *entry; entry++) {
		if (strchr(*entry, '=') && !tells_origin(*entry))
			set_env_entry(env, *entry);
		free(*entry);
	}
	free(entries);
}
