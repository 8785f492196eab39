/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What serves files to a user's client: instead of a shell, the leader becomes this. SFTP version 3
 * (draft-ietf-secsh-filexfer-02, the version OpenSSH speaks) on stdin and stdout, with the user's rights, in the
 * session's cgroup: the kernel decides what may be touched, and whoever watches the session sees it.
 *
 * It keeps no record. The daemon reads what passes in both directions and writes the audit events, out of the
 * user's reach; requests are answered one after another and in their order, which the daemon counts on.
 * Nothing is executed, so the process stays undumpable (prctl(2)): the user can end it, but neither trace it nor
 * answer in its place.
 */
#define _GNU_SOURCE
#include "sftp.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "sftp-answer.h"
#include "sftp-extensions.h"
#include "sftp-files.h"
#include "sftp-folder.h"
#include "sftp-names.h"
#include "sftp-packet.h"

enum { VERSION = 3 };

typedef void (*handler)(struct sftp_request *request);

static const handler handlers[] = {
	[FXP_OPEN] = sftp_open,		[FXP_CLOSE] = sftp_close,	[FXP_READ] = sftp_read,
	[FXP_WRITE] = sftp_write,	[FXP_LSTAT] = sftp_lstat,	[FXP_FSTAT] = sftp_fstat,
	[FXP_SETSTAT] = sftp_setstat,	[FXP_FSETSTAT] = sftp_fsetstat, [FXP_OPENDIR] = sftp_opendir,
	[FXP_READDIR] = sftp_readdir,	[FXP_REMOVE] = sftp_remove,	[FXP_MKDIR] = sftp_mkdir,
	[FXP_RMDIR] = sftp_rmdir,	[FXP_REALPATH] = sftp_realpath, [FXP_STAT] = sftp_stat,
	[FXP_RENAME] = sftp_rename,	[FXP_READLINK] = sftp_readlink, [FXP_SYMLINK] = sftp_symlink,
	[FXP_EXTENDED] = sftp_extended,
};

/* The first packet, and it alone: it carries no id. */
static void greet(const uint8_t *packet, uint32_t length)
{
	if (length < 5 || packet[0] != FXP_INIT)
		_exit(1);
	sftp_begin(FXP_VERSION, VERSION); /* where others have their id */
	sftp_put_extensions();
	sftp_end();
}

static void answer(const uint8_t *packet, uint32_t length)
{
	struct sftp_request request = { packet, packet + length, 0, false };
	uint8_t type = sftp_u8(&request);

	request.id = sftp_u32(&request);
	if (request.bad || type == FXP_INIT)
		_exit(1);
	if (type < sizeof(handlers) / sizeof(handlers[0]) && handlers[type])
		handlers[type](&request);
	else
		sftp_status(request.id, FX_OP_UNSUPPORTED, "Operation unsupported");
}

/* sshd's own server runs through the shell, so that an account whose shell lets nobody in has no files to fetch. */
static bool is_closed(const struct account *account)
{
	const char *slash = strrchr(account->shell, '/');
	const char *name = slash ? slash + 1 : account->shell;

	return !strcmp(name, "nologin") || !strcmp(name, "false");
}

void run_sftp(const struct account *account)
{
	const uint8_t *packet;
	uint32_t length;

	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "sallyport-sftp");
	signal(SIGPIPE, SIG_IGN);
	if (is_closed(account)) {
		fprintf(stderr, "This account is not available: its shell is %s.\n", account->shell);
		fflush(stderr);
		_exit(1);
	}
	tzset();
	if (!sftp_next(&packet, &length))
		_exit(0);
	greet(packet, length);
	while (sftp_next(&packet, &length))
		answer(packet, length);
	_exit(0);
}
