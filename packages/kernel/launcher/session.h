/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of the session that is being made: what the daemon asks for, and what became of it. */
#ifndef LAUNCHER_SESSION_H
#define LAUNCHER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

enum {
	CONTROL_FD = 3,
	PTMX_FD = 4,
	/* The kernel takes 128 KiB a string (MAX_ARG_STRLEN); the rest is environment. */
	SPEC_MAX = 256 * 1024,
	ENV_MAX = 512,
	MODES_MAX = 1024,
	/* For PAM modules: what the operator has said, with the user's traits filled in. */
	PAM_ENV_MAX = 64,
	/* What PAM modules may say to the user before the shell; a motd of two screens is 4 KiB. */
	MESSAGES_MAX = 16 * 1024,
	GREETING_MAX = 2 * MESSAGES_MAX,
};

struct environment {
	char *entries[ENV_MAX + 1];
	size_t count;
};

/* What the daemon asks for; strings point into one buffer that is never freed. */
struct spec {
	const char *login;
	const char *command; /* NULL: interactive log-in shell */
	bool relay; /* no shell at all: relay.c */
	bool sftp; /* nor here: sftp.c */
	const char *cgroup; /* NULL: stay where we are */
	const char *pam_service; /* NULL: no PAM */
	const char *remote_host;
	bool terminal;
	const char *term;
	struct winsize size;
	unsigned char modes[MODES_MAX]; /* RFC 4254 §8 */
	size_t modes_length;
	const char *client_env[ENV_MAX]; /* NAME=VALUE */
	size_t client_env_count;
	const char *pam_env[PAM_ENV_MAX]; /* NAME=VALUE */
	size_t pam_env_count;
	bool read_user_env; /* ~/.ssh/environment counts */
};

struct account {
	char *name, *home, *shell;
	uid_t uid;
	gid_t gid;
};

struct session {
	struct spec spec;
	struct account account;
	struct environment env;
	char tty_path[32]; /* empty without a terminal */
	gid_t tty_group;
	mode_t tty_mode;
	char greeting[GREETING_MAX]; /* written by the leader before the shell: to its output, */
	char complaints[1024]; /* and to its standard error */
	bool change_password; /* passwd(1) instead of the shell */
	int streams[3]; /* leader's stdin, stdout, stderr without a terminal */
	int daemon_streams[3]; /* the other ends, for the daemon to open through /proc */
};

#endif
