/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: one process a session, root. It prepares a log-in as sshd would (account, PAM, terminal,
 * identity), holds the process that will become the shell back until it is told "go", and stays as its parent.
 *
 *   Node ── fd 3, control socket ── supervisor (this program) ── fork ── leader (becomes the shell)
 *     └──── fd 4, ptmx master ─────────┘ (with a terminal; without one: three pipes made here)
 *
 * The supervisor knows no session id, no role and no recorder: what must happen between "ready" and "go" is
 * the caller's. It reads fd 3 only, and trusts nobody but root: the socket's other end is the daemon.
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <pwd.h>
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

/* spec.c */
void read_spec(struct spec *spec);
/* account.c */
void find_account(const struct spec *spec, struct account *account);
void check_account(const struct account *account);
void take_groups(const struct account *account);
/* environment.c */
void set_env(struct environment *env, const char *name, const char *value);
void set_env_entry(struct environment *env, const char *entry);
bool tells_origin(const char *entry);
void build_environment(struct session *session);
/* user-environment.c: ~/.ssh/environment, read with the user's rights */
void add_user_environment(struct session *session);
/* greeting.c: what stands above the first prompt */
void prepare_greeting(struct session *session);
/* pam.c: nothing happens unless open_pam was called */
void open_pam(struct session *session);
void add_pam_environment(struct environment *env);
const char *pam_messages(void);
/* audit.c: the audit session id, or UINT32_MAX for none of our own */
void note_own_audit_session(void);
uint32_t take_audit_session(uid_t uid);
/* terminal.c */
int unlock_terminal(struct session *session);
void apply_modes(struct termios *tio, const unsigned char *modes, size_t length);
int take_terminal(const struct session *session);
/* leader.c */
enum leader_stage { STAGE_READY, STAGE_TERMINAL, STAGE_STREAMS, STAGE_IDENTITY, STAGE_EXEC };
/* The leader's words to its supervisor; end of file after READY and "go" means it has exec'd. */
struct leader_report {
	int32_t stage, error;
};
_Noreturn void run_leader(const struct session *session, int report_fd, int go_fd);
/* relay.c: what the leader becomes instead of a shell */
_Noreturn void run_relay(char *const *environment);
/* sftp.c: the same, for files */
_Noreturn void run_sftp(const struct account *account);
/* records.c: utmp, wtmp, lastlog, btmp */
void describe_last_login(const struct session *session, char *text, size_t size);
void record_login(const struct session *session, pid_t leader);
void record_logout(const struct session *session, pid_t leader);
void record_unknown(const struct spec *spec);
/* report.c: lines to the daemon */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void warn_daemon(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *code, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void take_leave(void);
/* supervise.c: from "ready" to the leader's end */
void supervise(const struct session *session, pid_t leader, int leader_pidfd, int report_fd, int go_fd,
	       uint32_t audit_session);

#endif
