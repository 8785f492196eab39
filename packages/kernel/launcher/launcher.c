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
 *
 * The order, and what breaks when it is changed:
 *   account, PAM account      before anything is opened: a refused log-in leaves no trace but the refusal
 *   groups, PAM credentials   groups first, or pam_group's additions are overwritten
 *   PAM session, loginuid     before the fork: the leader inherits limits, keyring, audit session id
 *   fork into the cgroup      before "ready": whoever watches the cgroup must find the leader in it
 *   "ready" … "go"            the leader waits; the caller starts watching
 *   identity, exec            after "go" only
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "account.h"
#include "audit.h"
#include "greeting.h"
#include "leader.h"
#include "pam.h"
#include "report.h"
#include "session.h"
#include "shell-environment.h"
#include "spec.h"
#include "supervise.h"
#include "terminal.h"

/* Node raises its soft limit of descriptors to the hard one; sessions get the kernel's default back. */
enum { NOFILE_SOFT = 1024 };
/* What an unprivileged pipe may grow to by default (fs.pipe-max-size); memory is taken as it fills. */
enum { BULK_PIPE = 1 << 20 };

static void leave_the_daemon(void)
{
	static const int ignored[] = { SIGHUP, SIGPIPE, SIGINT, SIGQUIT, SIGTSTP };
	struct rlimit limit;

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	setsid(); /* Ctrl-C on a daemon's own terminal is not for its sessions */
	fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
	fcntl(PTMX_FD, F_SETFD, FD_CLOEXEC); /* EBADF without a terminal */
	if (syscall(SYS_close_range, PTMX_FD + 1, ~0U, 0) < 0)
		fail("resources", errno, "close_range: %s", strerror(errno));
	umask(022);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > NOFILE_SOFT) {
		limit.rlim_cur = NOFILE_SOFT;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		warn_daemon("the daemon runs with no_new_privs: sudo will not work in this session");
}

static void open_streams(struct session *session)
{
	int pipes[3][2];

	for (int i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			fail("resources", errno, "pipes for the streams: %s", strerror(errno));
		/* A wake-up for each 64 KiB is what bulk costs; refused, it is slower. */
		fcntl(pipes[i][0], F_SETPIPE_SZ, BULK_PIPE);
		/* The leader reads its standard input and writes the other two. */
		session->streams[i] = pipes[i][i == 0 ? 0 : 1];
		session->daemon_streams[i] = pipes[i][i == 0 ? 1 : 0];
		/* A pipe belongs to its maker, and opening /dev/stderr asks the owner's permission. */
		if (fchown(session->streams[i], session->account.uid, session->account.gid) < 0)
			fail("resources", errno, "pipes for the streams: %s", strerror(errno));
	}
}

static int open_cgroup(const char *path)
{
	struct statfs fs;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		fail("cgroup", errno, "cgroup %s: %s", path, strerror(errno));
	if (fstatfs(fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
		fail("cgroup", 0, "%s is not in a cgroup2 mount", path);
	return fd;
}

/*
 * Born in its cgroup: no moment outside, and none of the milliseconds that moving a live process costs (it waits
 * for every other fork and exit of the host). Only this process has one thread, so the raw call is safe.
 */
static pid_t fork_into(const char *cgroup, int *pidfd)
{
	struct clone_args args = { 0 };
	int cgroup_fd = cgroup ? open_cgroup(cgroup) : -1;
	long pid;

	args.flags = CLONE_PIDFD | (cgroup ? CLONE_INTO_CGROUP : 0);
	args.pidfd = (uint64_t)(uintptr_t)pidfd;
	args.exit_signal = SIGCHLD;
	args.cgroup = cgroup ? (uint64_t)cgroup_fd : 0;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		fail("cgroup", errno, "cannot fork into %s: %s", cgroup ? cgroup : "the session", strerror(errno));
	if (cgroup)
		close(cgroup_fd);
	return (pid_t)pid;
}

static void prepare(struct session *session)
{
	struct spec *spec = &session->spec;

	find_account(spec, &session->account);
	check_account(&session->account);
	if (spec->terminal && unlock_terminal(session) < 0)
		fail("terminal", errno, "descriptor %d is not a ptmx: %s", PTMX_FD, strerror(errno));
	if (spec->pam_service)
		open_pam(session);
	else
		take_groups(&session->account);
}

int main(void)
{
	static struct session session;
	int report_pipe[2], go_pipe[2], pidfd = -1;
	uint32_t audit_session;
	pid_t leader;

	prctl(PR_SET_NAME, "launcher"); /* it may have been started by a path of /proc */
	atexit(take_leave); /* first in, last to run: after PAM's session has been closed */
	leave_the_daemon();
	read_spec(&session.spec);
	note_own_audit_session();
	prepare(&session);
	audit_session = take_audit_session(session.account.uid);
	prepare_greeting(&session);
	build_environment(&session);
	if (!session.spec.terminal)
		open_streams(&session);
	if (pipe2(report_pipe, O_CLOEXEC) < 0 || pipe2(go_pipe, O_CLOEXEC) < 0)
		fail("resources", errno, "pipes: %s", strerror(errno));

	leader = fork_into(session.spec.cgroup, &pidfd);
	if (leader == 0) {
		close(report_pipe[0]);
		close(go_pipe[1]);
		run_leader(&session, report_pipe[1], go_pipe[0]);
	}
	close(report_pipe[1]);
	close(go_pipe[0]);
	supervise(&session, leader, pidfd, report_pipe[0], go_pipe[1], audit_session);
	return 0; /* atexit closes PAM and takes leave */
}
