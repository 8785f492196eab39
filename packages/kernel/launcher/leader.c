/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that becomes the shell. Born in the session's cgroup with the user's groups, PAM's limits and
 * loginuid; until "go" it is root and runs nothing. The same pid goes through all of it, so that whoever is
 * told to watch it before "go" sees the shell's own exec.
 */
#define _GNU_SOURCE
#include "leader.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relay.h"
#include "sftp.h"
#include "terminal.h"

enum { REPORT_FD = 3 };

static void say(int report_fd, enum leader_stage stage, int error)
{
	struct leader_report words = { stage, error };
	/* Smaller than PIPE_BUF: whole or not at all. A dead supervisor is found by the read of "go". */
	ssize_t written = write(report_fd, &words, sizeof(words));

	(void)written;
}

static _Noreturn void give_up(int report_fd, enum leader_stage stage)
{
	say(report_fd, stage, errno);
	_exit(255);
}

static void take_streams(const struct session *session, int report_fd)
{
	if (setsid() < 0)
		give_up(report_fd, STAGE_STREAMS);
	if (session->spec.terminal) {
		if (take_terminal(session) < 0)
			give_up(report_fd, STAGE_TERMINAL);
		return;
	}
	for (int fd = 0; fd < 3; fd++)
		if (dup2(session->streams[fd], fd) < 0)
			give_up(report_fd, STAGE_STREAMS);
}

/* End of file means that the supervisor died or the daemon did: then nothing of the user's ever runs. */
static void wait_for_go(int go_fd)
{
	char word;
	ssize_t got;

	do
		got = read(go_fd, &word, 1);
	while (got < 0 && errno == EINTR);
	if (got != 1)
		_exit(255);
}

/* Down to the user for good. Groups were taken before the fork, where NSS may still be asked. */
static void become(const struct account *account, int report_fd)
{
	if (setresgid(account->gid, account->gid, account->gid) < 0 ||
	    setresuid(account->uid, account->uid, account->uid) < 0)
		give_up(report_fd, STAGE_IDENTITY);
	if (account->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) {
		errno = EPERM;
		give_up(report_fd, STAGE_IDENTITY);
	}
}

/* Node ignores SIGPIPE, and the supervisor ignores more; a shell starts with none of that. */
static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number <= SIGRTMAX; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A daemon protected from the OOM killer must not make its users' processes immune. */
static void drop_oom_protection(void)
{
	char text[16] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0 && atoi(text) < 0 && pwrite(fd, "0", 1, 0) < 0)
		fprintf(stderr, "oom_score_adj: %s\n", strerror(errno));
	close(fd);
}

/* At most what a pipe takes (64 KiB) with nobody reading yet. */
static void put(int fd, const char *text)
{
	size_t length = strlen(text);
	ssize_t written = 0;

	while (length > 0 && (written = write(fd, text, length)) > 0) {
		text += written;
		length -= (size_t)written;
	}
}

/* As the user: root may not be able to enter a home on NFS. Standard error is the user's terminal. */
static void enter_home(const struct account *account)
{
	if (chdir(account->home) == 0)
		return;
	fprintf(stderr, "Could not chdir to home directory %s: %s\n", account->home, strerror(errno));
	if (chdir("/") < 0)
		_exit(255);
}

/* Everything but 0–2 goes; the report pipe is moved to 3 and closes by itself when exec succeeds. */
static int close_rest(int report_fd)
{
	int moved = fcntl(report_fd, F_DUPFD_CLOEXEC, 64);

	if (moved < 0 || dup3(moved, REPORT_FD, O_CLOEXEC) < 0)
		return -1;
	return (int)syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0);
}

static _Noreturn void exec_shell(const struct session *session, int report_fd)
{
	const char *shell = session->account.shell;
	const char *slash = strrchr(shell, '/');
	const char *name = slash ? slash + 1 : shell;
	char *const *env = session->env.entries;
	char dashed[256];

	if (session->change_password) {
		char *const argv[] = { "passwd", NULL };

		execve("/usr/bin/passwd", argv, env);
	} else if (session->spec.command) {
		char *const argv[] = { (char *)name, "-c", (char *)session->spec.command, NULL };

		execve(shell, argv, env);
	} else {
		char *const argv[] = { dashed, NULL };

		snprintf(dashed, sizeof(dashed), "-%s", name);
		execve(shell, argv, env);
	}
	give_up(report_fd, STAGE_EXEC);
}

void run_leader(const struct session *session, int report_fd, int go_fd)
{
	close(CONTROL_FD); /* the daemon must see the supervisor's end close, not ours */
	prctl(PR_SET_DUMPABLE, 0);
	take_streams(session, report_fd);
	drop_oom_protection();
	say(report_fd, STAGE_READY, 0);
	wait_for_go(go_fd);

	/* Watched from here on: what opens no file leaves no record in front of the shell's own exec. */
	reset_signals();
	become(&session->account, report_fd);
	if (session->spec.relay || session->spec.sftp) {
		if (session->spec.sftp)
			enter_home(&session->account);
		if (close_rest(report_fd) < 0)
			give_up(report_fd, STAGE_EXEC);
		close(REPORT_FD); /* the supervisor takes it for the exec, which does not come */
		if (session->spec.sftp)
			run_sftp(&session->account);
		run_relay(session->env.entries);
	}
	put(STDOUT_FILENO, session->greeting);
	put(STDERR_FILENO, session->complaints);
	enter_home(&session->account);
	fflush(stderr);
	if (close_rest(report_fd) < 0)
		give_up(report_fd, STAGE_EXEC);
	exec_shell(session, REPORT_FD);
}
