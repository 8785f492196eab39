// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "recorder.h"
#include "wire-hash.h"

#define MS 1000000ULL
#define IDLE_TICK_MS 1000        /* nobody watched */
#define TICK_MS 100
/*
 * While records come: what arrives in between costs no wake-up. A sixteenth of the ring in one interval is a
 * flood, which is looked after more often.
 */
#define DRAIN_MS 8
#define FLOOD_MS 1
#define DEFAULT_RING (64u << 20)

__u64 boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void say(const char *format, ...)
{
	char line[1024];
	struct timespec now;
	struct tm utc;
	size_t at;
	va_list args;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	at = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	at += snprintf(line + at, sizeof(line) - at, ".%03ldZ recorder[%d]: ", now.tv_nsec / 1000000, getpid());
	va_start(args, format);
	at += vsnprintf(line + at, sizeof(line) - at - 1, format, args);
	va_end(args);
	if (at > sizeof(line) - 2)
		at = sizeof(line) - 2;
	line[at++] = '\n';
	if (write(STDERR_FILENO, line, at) < 0)
		return; /* nowhere left to say it */
}

static size_t ring_size_for(const char *text)
{
	unsigned long long wanted = strtoull(text, NULL, 0);
	size_t size = sysconf(_SC_PAGESIZE);

	while (size < wanted && size < (1u << 30))
		size <<= 1; /* a power of 2, of whole pages: the kernel takes no other */
	return size;
}

/* Instances on one host differ by spool directory; so do their pins. */
static const char *default_pin_dir(const char *spool_dir)
{
	static char dir[128];
	char resolved[4096];
	__u64 hash = 0xcbf29ce484222325ULL;

	if (!realpath(spool_dir, resolved))
		return "";
	for (const char *c = resolved; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/sallyport/%016llx", hash);
	return dir;
}

static const char *default_cgroup_root(void)
{
	return access("/sys/fs/cgroup/cgroup.controllers", F_OK) ? "/sys/fs/cgroup/unified" : "/sys/fs/cgroup";
}

static void usage(void)
{
	fputs("usage: recorder --socket PATH --spool DIR [--ring-bytes N] [--cgroup-root DIR]\n"
	      "                [--pin-dir DIR|none] [--instance NAME] [--log FILE] [--foreground]\n"
	      "       recorder --probe      which programs load and attach here, a JSON line each\n"
	      "       recorder --wire-hash\n", stderr);
	exit(64);
}

static void parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' }, { "spool", required_argument, NULL, 'd' },
		{ "spool-dir", required_argument, NULL, 'd' }, { "ring-bytes", required_argument, NULL, 'r' },
		{ "cgroup-root", required_argument, NULL, 'c' }, { "pin-dir", required_argument, NULL, 'p' },
		{ "log", required_argument, NULL, 'l' }, { "foreground", no_argument, NULL, 'f' },
		{ "instance", required_argument, NULL, 'i' },
		{ "probe", no_argument, NULL, 'P' }, { "wire-hash", no_argument, NULL, 'w' }, { 0 },
	};
	int option, fd;

	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (option) {
		case 's': options->socket = optarg; break;
		case 'd': options->spool_dir = optarg; break;
		case 'r': options->ring_bytes = ring_size_for(optarg); break;
		case 'c': options->cgroup_root = optarg; break;
		case 'p': options->pin_dir = strcmp(optarg, "none") ? optarg : ""; break;
		case 'f': options->foreground = true; break;
		case 'i': options->instance = optarg; break;
		case 'P': exit(kernel_probe());
		case 'w': puts(WIRE_HASH_HEX); exit(0);
		case 'l':
			fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
			if (fd < 0 || dup2(fd, STDERR_FILENO) < 0) {
				perror(optarg);
				exit(73);
			}
			break;
		default: usage();
		}
	}
	if (optind < argc || !options->socket || !options->spool_dir)
		usage();
}

/* One recorder a spool directory and instance, for as long as it lives: the lock dies with it. */
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
	return 0;
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
	struct options options = { .cgroup_root = default_cgroup_root(), .ring_bytes = DEFAULT_RING, .instance = "" };
	struct kernel kernel;
	struct epoll_event event = { .events = EPOLLIN };
	int error, epoll, signals, synced;
	sigset_t blocked;

	prctl(PR_SET_NAME, "recorder"); /* it may have been started by a path of /proc */
	parse(argc, argv, &options);
	if (!options.foreground)
		setsid(); /* EPERM: a group leader already */
	umask(077);
	error = lock_spool_dir(options.spool_dir, options.instance);
	if (error) {
		say("spool directory %s: %s", options.spool_dir,
		    error == -EWOULDBLOCK ? "another recorder serves it" : strerror(-error));
		return error == -EWOULDBLOCK ? 75 : 73;
	}
	if (!options.pin_dir)
		options.pin_dir = default_pin_dir(options.spool_dir);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, NULL); /* before the thread, which inherits it */
	privilege_protect();

	epoll = epoll_create1(EPOLL_CLOEXEC);
	signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	synced = sync_start();
	error = kernel_start(&kernel, &options);
	if (error)
		return 69;
	error = ring_start(&kernel);
	error = error ?: sessions_start(&kernel, &options);
	error = error ?: privilege_drop();
	error = error ?: control_start(options.socket, epoll, &kernel);
	if (error) {
		say("cannot start: %s", strerror(-error));
		if (!sessions_count())
			kernel_stop(&kernel);
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
	if (control_handover)
		sessions_leave();
	control_stop();
	if (!control_handover)
		kernel_stop(&kernel);
	say(control_handover ? "left to a successor" : "stopped");
	return 0;
}
