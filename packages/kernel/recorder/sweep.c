// SPDX-License-Identifier: Apache-2.0
/* What waited too long in the kernel's maps is told as it stands: connections pending or open, runs of failed execs. */
#include <bpf/bpf.h>
#include <stddef.h>
#include <string.h>

#include "sweep.h"

static struct kernel *kernel;

void sweep_start(struct kernel *with)
{
	kernel = with;
}

#define SWEEP_BATCH 64

/* Where an entry of either map keeps what decides. */
struct swept {
	int fd;
	size_t ktime, session;
	__u64 operation;
};

/* Up to a batch of entries of that session, or of any and old enough. Sweeps them, unless only counting. */
static size_t sweep_batch(const struct swept *map, __u64 only_session, __u64 older_than, bool only_count)
{
	union { struct exec_attempt attempt; struct connection connection; unsigned char bytes[1]; } value;
	__u64 key, next, due[SWEEP_BATCH], ktime, session;
	void *from = NULL;
	size_t found = 0;

	/* collect first: the sweep deletes, and a walk begins anew when its key is gone */
	while (found < SWEEP_BATCH && !bpf_map_get_next_key(map->fd, from, &next)) {
		key = next;
		from = &key;
		if (bpf_map_lookup_elem(map->fd, &key, &value))
			continue;
		memcpy(&ktime, value.bytes + map->ktime, sizeof(ktime));
		memcpy(&session, value.bytes + map->session, sizeof(session));
		if (only_session ? session == only_session : ktime < older_than)
			due[found++] = key;
	}
	for (size_t i = 0; i < found && !only_count; i++)
		kernel_sweep(kernel, map->operation, due[i]);
	return found;
}

static void sweep_map(const struct swept *map, __u64 only_session, __u64 older_than)
{
	for (int batch = 0; batch < MAX_CONNECTED / SWEEP_BATCH; batch++)
		if (sweep_batch(map, only_session, older_than, false) < SWEEP_BATCH)
			break;
}

static struct swept connected_map(void)
{
	return (struct swept){ kernel->connected_fd, offsetof(struct connection, started),
			       offsetof(struct connection, record.h.session), SWEEP_CLOSE };
}

static void sweep(__u64 only_session, __u64 older_than)
{
	const struct swept maps[] = {
		{ kernel->connecting_fd, offsetof(struct connection, started),
		  offsetof(struct connection, record.h.session), SWEEP_CONNECTION },
		{ kernel->exec_attempts_fd, offsetof(struct exec_attempt, h.ktime),
		  offsetof(struct exec_attempt, h.session), SWEEP_EXEC_ATTEMPT },
	};

	for (int i = 0; i < 2; i++)
		sweep_map(&maps[i], only_session, older_than);
}

void sweep_older(__u64 than)
{
	sweep(0, than);
}

void sweep_session(__u64 ref)
{
	sweep(ref, 0);
}

bool sweep_has_sockets(__u64 ref)
{
	struct swept map = connected_map();

	return sweep_batch(&map, ref, 0, true);
}

void sweep_sockets(__u64 ref)
{
	struct swept map = connected_map();

	sweep_map(&map, ref, 0);
}
