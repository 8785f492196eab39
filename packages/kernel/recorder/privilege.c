// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "privilege.h"

/*
 * Kept after start, and why:
 *   CAP_BPF              map look-ups and updates where kernel.unprivileged_bpf_disabled is set, running the
 *                        sweep program, attaching the system-call hook with the first session
 *   CAP_PERFMON          the same attach: tracing programs ask for it
 *   CAP_DAC_READ_SEARCH  open_by_handle_at: the only way from a cgroup id to its directory (to freeze it)
 * Files (spool, cgroup.freeze, pins) are owned by root, which we stay.
 */
static const int kept[] = { CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH };

int privilege_protect(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (fd < 0 || write(fd, "-999", 4) != 4)
		say("cannot protect from the OOM killer: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return 0;
}

int privilege_drop(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};

	for (int cap = 0; cap <= 63; cap++) {
		bool keep = false;

		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			keep = keep || kept[i] == cap;
		if (!keep && prctl(PR_CAPBSET_READ, cap) == 1)
			prctl(PR_CAPBSET_DROP, cap);
	}
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		data[kept[i] / 32].effective |= 1U << (kept[i] % 32);
		data[kept[i] / 32].permitted |= 1U << (kept[i] % 32);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_capset, &header, data))
		return -errno;
	return 0;
}
