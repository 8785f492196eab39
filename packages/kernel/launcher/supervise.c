/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's life beside the leader: words from the daemon (go, resize, signal, hangup, kill), the
 * leader's report, the leader's end. One poll, no thread, no timer.
 *
 * When the daemon goes away before "go" the leader is never let off; afterwards the terminal hangs up, and
 * this process stays until the leader has ended, for PAM and utmp.
 */
#define _GNU_SOURCE
#include "supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leader.h"
#include "records.h"
#include "report.h"

enum { WORD_MAX = 128 };

struct supervision {
	const struct session *session;
	pid_t leader;
	int pidfd, report_fd, go_fd, term_fd;
	bool daemon_here, released, hung_up;
	char line[WORD_MAX];
	size_t line_length;
};

static const char *const stages[] = {
	[STAGE_READY] = "preparation",
	[STAGE_TERMINAL] = "terminal set-up",
	[STAGE_STREAMS] = "stream set-up",
	[STAGE_IDENTITY] = "change of identity",
	[STAGE_EXEC] = "exec of the login shell",
};

static _Noreturn void fail_leader(const struct supervision *s, const struct leader_report *words)
{
	const char *code = words->stage == STAGE_EXEC ? "exec_failed" : "leader_failed";

	waitpid(s->leader, NULL, 0);
	fail(code, words->error, "%s (%s): %s", stages[words->stage], s->session->account.shell,
	     strerror(words->error));
}

/* Our copies must go, or the daemon would never read the end of the leader's output. */
static void close_streams(const struct session *session)
{
	for (int i = 0; i < 3; i++) {
		if (session->streams[i] > 2)
			close(session->streams[i]);
		if (session->daemon_streams[i] > 2)
			close(session->daemon_streams[i]);
	}
}

static void release(struct supervision *s)
{
	if (s->released)
		return;
	s->released = true;
	close_streams(s->session);
	prctl(PR_SET_DUMPABLE, 0);
	if (s->session->spec.terminal)
		record_login(s->session, s->leader);
	if (write(s->go_fd, "g", 1) != 1)
		warn_daemon("leader ended before it was let go");
	close(s->go_fd);
	s->go_fd = -1;
}

/*
 * Sent by a child with the user's identity and nothing else: a client must not be able to stop what sudo runs
 * for another user. (kill(2) looks at the real uid too, so a changed effective uid would not do.)
 */
static void send_as_user(const struct account *account, pid_t group, int number)
{
	pid_t sender = fork();

	if (sender == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		if (setresgid(account->gid, account->gid, account->gid) < 0 ||
		    setresuid(account->uid, account->uid, account->uid) < 0)
			_exit(1);
		kill(-group, number);
		_exit(0);
	}
	if (sender > 0)
		waitpid(sender, NULL, 0);
}

/* To whom Ctrl-C would go; without a terminal, to the leader's own group, as sshd does. */
static pid_t foreground_group(const struct supervision *s)
{
	pid_t group;

	if (s->session->spec.terminal && !s->hung_up && ioctl(PTMX_FD, TIOCGPGRP, &group) == 0 && group > 1)
		return group;
	return s->leader;
}

/*
 * The last reference to a master closing is what hangs a terminal up: SIGHUP and SIGCONT to leader and foreground.
 * Without a terminal there is nothing to hang up, as with sshd: the command finds its pipes closed.
 */
static void hang_up(struct supervision *s)
{
	if (s->session->spec.terminal && !s->hung_up)
		close(PTMX_FD);
	s->hung_up = true;
}

static void obey(struct supervision *s, const char *word)
{
	struct winsize size;
	int number;

	if (!strcmp(word, "go"))
		release(s);
	else if (!strcmp(word, "hangup") && s->released)
		hang_up(s);
	else if (!strcmp(word, "kill"))
		kill(-s->leader, SIGKILL);
	else if (sscanf(word, "signal %d", &number) == 1 && s->released)
		send_as_user(&s->session->account, foreground_group(s), number);
	else if (sscanf(word, "resize %hu %hu %hu %hu", &size.ws_col, &size.ws_row, &size.ws_xpixel,
			&size.ws_ypixel) == 4 && s->session->spec.terminal && !s->hung_up)
		ioctl(PTMX_FD, TIOCSWINSZ, &size);
}

/*
 * SIGTERM comes from an init that ends the whole service. Dying of it would leave PAM's session open and the
 * terminal logged in for ever; as with sshd, the user is hung up, and the end follows from that.
 */
static int catch_termination(void)
{
	sigset_t termination;

	sigemptyset(&termination);
	sigaddset(&termination, SIGTERM);
	sigprocmask(SIG_BLOCK, &termination, NULL);
	return signalfd(-1, &termination, SFD_CLOEXEC);
}

static void hang_up_for_good(struct supervision *s)
{
	if (s->released) {
		hang_up(s);
		/* Nobody will ever read its pipes again: a command that only computes is told too. */
		if (!s->session->spec.terminal)
			kill(-s->leader, SIGHUP);
		return;
	}
	kill(s->leader, SIGKILL); /* blocked before exec: it has run nothing of the user's */
	if (s->go_fd >= 0)
		close(s->go_fd);
	s->go_fd = -1;
}

static void daemon_left(struct supervision *s)
{
	s->daemon_here = false;
	hang_up_for_good(s);
}

static void hear_termination(struct supervision *s)
{
	struct signalfd_siginfo info;

	if (read(s->term_fd, &info, sizeof(info)) != sizeof(info))
		return;
	/* A daemon that lives on still holds the terminal's master: closing ours would hang up nobody. */
	if (s->released) {
		kill(-foreground_group(s), SIGHUP);
		kill(-s->leader, SIGHUP);
	}
	hang_up_for_good(s);
}

static void hear_daemon(struct supervision *s)
{
	char bytes[512];
	ssize_t got = read(CONTROL_FD, bytes, sizeof(bytes));

	if (got < 0 && errno == EINTR)
		return;
	if (got <= 0) {
		daemon_left(s);
		return;
	}
	for (ssize_t i = 0; i < got; i++) {
		if (bytes[i] != '\n') {
			/* A longer line than any word we know ends up unknown, not overflowing. */
			if (s->line_length < WORD_MAX - 1)
				s->line[s->line_length++] = bytes[i];
			continue;
		}
		s->line[s->line_length] = 0;
		s->line_length = 0;
		obey(s, s->line);
	}
}

static bool read_report(int fd, struct leader_report *words)
{
	ssize_t got;

	do
		got = read(fd, words, sizeof(*words));
	while (got < 0 && errno == EINTR);
	return got == sizeof(*words);
}

/* End of file after "go": exec closed the pipe (or a SIGKILL did, which the leader's end will tell). */
static void hear_leader(struct supervision *s)
{
	struct leader_report words;

	if (read_report(s->report_fd, &words))
		fail_leader(s, &words);
	close(s->report_fd);
	s->report_fd = -1;
	if (s->released)
		report("exec");
}

static void await_ready(const struct supervision *s, uint32_t audit_session)
{
	const struct session *session = s->session;
	struct leader_report words = { STAGE_READY, ECHILD };
	char audit[16] = "-";

	if (!read_report(s->report_fd, &words) || words.stage != STAGE_READY)
		fail_leader(s, &words);
	if (audit_session != UINT32_MAX)
		snprintf(audit, sizeof(audit), "%u", audit_session);
	report("ready %d %d %s %u %u %s %d %d %d", s->leader, getpid(), audit, session->account.uid,
	       session->account.gid, *session->tty_path ? session->tty_path : "-", session->daemon_streams[0],
	       session->daemon_streams[1], session->daemon_streams[2]);
}

static void report_end(int status)
{
	const char *name;

	if (WIFEXITED(status)) {
		report("exit %d", WEXITSTATUS(status));
		return;
	}
	name = sigabbrev_np(WTERMSIG(status));
	report("signal %s %d", name ? name : "UNKNOWN", WCOREDUMP(status) ? 1 : 0);
}

void supervise(const struct session *session, pid_t leader, int leader_pidfd, int report_fd, int go_fd,
	       uint32_t audit_session)
{
	struct supervision s = {
		.session = session, .leader = leader, .pidfd = leader_pidfd,
		.report_fd = report_fd, .go_fd = go_fd, .daemon_here = true, .term_fd = catch_termination(),
	};
	int status;

	await_ready(&s, audit_session);
	for (;;) {
		struct pollfd polled[] = {
			{ s.daemon_here ? CONTROL_FD : -1, POLLIN, 0 },
			{ s.report_fd, POLLIN, 0 },
			{ s.pidfd, POLLIN, 0 },
			{ s.term_fd, POLLIN, 0 },
		};

		if (poll(polled, 4, -1) < 0)
			continue;
		if (polled[3].revents)
			hear_termination(&s);
		if (polled[0].revents)
			hear_daemon(&s);
		if (polled[1].revents)
			hear_leader(&s);
		else if (polled[2].revents)
			break;
	}
	waitpid(leader, &status, 0);
	report_end(status);
	if (s.released && session->spec.terminal)
		record_logout(session, leader);
}
