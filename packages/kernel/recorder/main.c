// SPDX-License-Identifier: Apache-2.0
/*
 * The recorder: owns the BPF programs, moves records from the ring into one spool file a session, and answers on a
 * root-only socket. One thread does all of it; a second one only waits for fdatasync, a third loads programs
 * where those of another build are to be replaced. README.md has the order of parts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "ending.h"
#include "hooks.h"
#include "log.h"
#include "options.h"
#include "privilege.h"
#include "replace.h"
#include "requests.h"
#include "resume.h"
#include "ring.h"
#include "sync.h"
#include "tick.h"

#define IDLE_TICK_MS 1000        /* nobody watched */
#define TICK_MS 100
/*
 * While records come: what arrives in between costs no wake-up. A sixteenth of the ring in one interval is a
 * flood, which is looked after more often.
 */
#define DRAIN_MS 8
#define FLOOD_MS 1

/* One recorder a spool directory and instance, for as long as it lives: the lock dies with it. Its descriptor. */
static int lock_spool_dir(const char *dir, const char *instance)
{
	char path[4096];
	int fd;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/.lock%s", dir, instance);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return -errno;
	return fd;
}

/* What an epoll event is about, where it is not a client: only the addresses matter. */
static char signals_tag, synced_tag;

static void arm_ring(int epoll, int ring, bool on)
{
	struct epoll_event event = { .events = on ? EPOLLIN : 0, .data.ptr = NULL };

	epoll_ctl(epoll, EPOLL_CTL_MOD, ring, &event);
}

static bool may_stop(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info)) {
		if (!sessions_count())
			return true;
		say("%s from pid %u ignored: %u sessions are being watched", strsignal(info.ssi_signo), info.ssi_pid,
		    sessions_count());
	}
	return false;
}

/*
 * Two gaits. Asleep: epoll with the ring armed; the first record wakes us. Awake: a drain every DRAIN_MS with the
 * ring disarmed, until one finds nothing.
 */
static void run(struct kernel *kernel, int epoll, int signals)
{
	bool awake = true;
	int pace = DRAIN_MS;
	__u64 ticked = 0;

	while (!control_shutdown) {
		struct epoll_event events[32];
		int timeout = sessions_ending() ? FLOOD_MS : awake ? pace : sessions_count() ? TICK_MS : IDLE_TICK_MS;
		int n = epoll_wait(epoll, events, 32, timeout);
		__u64 now;

		for (int i = 0; i < n; i++) {
			void *tag = events[i].data.ptr;

			if (tag == &synced_tag)
				sync_collect();
			else if (tag == &signals_tag && may_stop(signals))
				return;
			else if (control_owns(tag))
				control_event(tag, events[i].events);
		}
		pace = ring_used() > kernel->ring_size / 16 ? FLOOD_MS : DRAIN_MS;
		if (ring_drain()) {
			if (!awake)
				arm_ring(epoll, kernel->ring_fd, false);
			awake = true;
		} else if (awake) {
			arm_ring(epoll, kernel->ring_fd, true);
			awake = false;
		}
		now = boottime_ns();
		if (n > 0 || awake || sessions_ending() || now - ticked >= TICK_MS * MS) {
			sessions_tick(now);
			ticked = now;
		}
		control_progress();
	}
}

int main(int argc, char **argv)
{
	struct options options;
	struct kernel kernel;
	struct epoll_event event = { .events = EPOLLIN };
	int error, lock, epoll, signals, synced;
	sigset_t blocked;

	prctl(PR_SET_NAME, "recorder"); /* it may have been started by a path of /proc */
	options_parse(argc, argv, &options);
	if (!options.foreground)
		setsid(); /* EPERM: a group leader already */
	umask(077);
	error = lock = lock_spool_dir(options.spool_dir, options.instance);
	if (error < 0) {
		say("spool directory %s: %s", options.spool_dir,
		    error == -EWOULDBLOCK ? "another recorder serves it" : strerror(-error));
		return error == -EWOULDBLOCK ? 75 : 73;
	}
	if (!options.pin_dir)
		options.pin_dir = options_default_pin_dir(options.spool_dir);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, NULL); /* before the thread, which inherits it */
	privilege_protect();

	epoll = epoll_create1(EPOLL_CLOEXEC);
	signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	synced = sync_start();
	error = hooks_start(&kernel, &options);
	if (error)
		return 69;
	error = ring_start(&kernel);
	error = error ?: resume_start(&kernel, &options);
	ending_start(&kernel);
	tick_start(&kernel);
	if (!error)
		replace_start(&kernel);
	error = error ?: privilege_drop();
	error = error ?: control_start(options.socket, epoll, &kernel);
	if (error) {
		say("cannot start: %s", strerror(-error));
		if (!sessions_count())
			hooks_stop(&kernel);
		return 71;
	}
	event.data.ptr = NULL;
	epoll_ctl(epoll, EPOLL_CTL_ADD, kernel.ring_fd, &event);
	event.data.ptr = &signals_tag;
	epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event);
	event.data.ptr = &synced_tag;
	epoll_ctl(epoll, EPOLL_CTL_ADD, synced, &event);
	arm_ring(epoll, kernel.ring_fd, false);
	say("serving %s: ring %zu KiB, features %#x, %u sessions %s", options.socket, kernel.ring_size >> 10,
	    kernel.features, sessions_count(), kernel.taken_over ? "taken over" : "");
	run(&kernel, epoll, signals);
	replace_stop();
	if (control_handover)
		resume_leave();
	control_stop();
	if (!control_handover)
		hooks_stop(&kernel);
	say(control_handover ? "left to a successor" : "stopped");
	/* /proc/PID/exe, which a successor looks at, is gone before the kernel has closed our files */
	close(lock);
	return 0;
}
