// SPDX-License-Identifier: Apache-2.0
/*
 * The consumer. Not libbpf's: the consumer position moves only after the frames are in the spool files, so a
 * recorder killed at any moment leaves the next one everything that is not on disk.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exec.h"
#include "ring.h"
#include "staging.h"
#include "throttle.h"

struct ring_counts ring_counts;

static volatile unsigned long *consumer_page, *producer_page;
static const unsigned char *data;
static size_t mask;
static unsigned long position; /* read up to here; the shared one lags until the flush */

static unsigned long load_acquire(volatile unsigned long *from)
{
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

int ring_start(struct kernel *kernel)
{
	long page = sysconf(_SC_PAGESIZE);
	void *at;

	mask = kernel->ring_size - 1;
	at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, kernel->ring_fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	consumer_page = at;
	/* the kernel maps the data twice in a row: a record never wraps */
	at = mmap(NULL, page + 2 * kernel->ring_size, PROT_READ, MAP_SHARED, kernel->ring_fd, page);
	if (at == MAP_FAILED)
		return -errno;
	producer_page = at;
	data = (unsigned char *)at + page;
	position = *consumer_page;
	return 0;
}

__u64 ring_position(void)
{
	return position;
}

__u64 ring_used(void)
{
	return load_acquire(producer_page) - position;
}

void ring_flush(void)
{
	staging_write();
	spool_arena_reset();
	__atomic_store_n(consumer_page, position, __ATOMIC_RELEASE);
	/* before the next look at the ring: the kernel's "does he wait for this one?" reads what we just wrote */
	atomic_thread_fence(memory_order_seq_cst);
}

static void take(const struct record_header *h, __u32 length)
{
	static unsigned char rewritten[WIRE_MAX_RECORD] __attribute__((aligned(8)));
	struct watched *watched;

	if (length < sizeof(*h)) {
		ring_counts.orphans++;
		return;
	}
	if (h->type == RECORD_IDLE) {
		session_idle(h->session);
		return;
	}
	watched = session_by_ref(h->session);
	if (!watched) {
		ring_counts.orphans++;
		return;
	}
	if (h->type == RECORD_EXEC && length >= sizeof(struct record_exec)) {
		length = exec_rewrite((void *)rewritten, (const void *)h, length);
		h = (const void *)rewritten;
	}
	session_stage(watched, h, length, (__u32)position);
}

/*
 * Everything the ring holds, at most `limit` bytes of it a call: the caller has clients to answer. Occupancy is
 * looked at along the way, so that a throttled session stops while there is still room.
 */
size_t ring_drain(void)
{
	unsigned long end = load_acquire(producer_page);
	unsigned long since_flush = position, began = position;
	size_t records = 0;

	throttle((double)(end - position) / (mask + 1));
	while (position < end && position - began <= mask) {
		const unsigned char *at = data + (position & mask);
		__u32 header = __atomic_load_n((const __u32 *)at, __ATOMIC_ACQUIRE);
		__u32 length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
			take((const void *)(at + BPF_RINGBUF_HDR_SZ), length);
			records++;
		}
		position += (BPF_RINGBUF_HDR_SZ + length + 7) & ~7UL;
		ring_counts.bytes += length;
		if (position - since_flush > (mask + 1) / 8) { /* give room back before the end of a long drain */
			ring_flush();
			since_flush = position;
		}
		end = load_acquire(producer_page);
	}
	ring_counts.records += records;
	if (position != since_flush || records)
		ring_flush();
	throttle((double)ring_used() / (mask + 1));
	return records;
}
