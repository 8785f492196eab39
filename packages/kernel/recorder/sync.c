// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "sync.h"

static pthread_mutex_t sync_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sync_wanted = PTHREAD_COND_INITIALIZER;
static struct spool *sync_queue[MAX_SESSIONS], *sync_done[MAX_SESSIONS]; /* a spool stands in one of them, once */
static size_t sync_queued, sync_finished;
static int sync_event = -1;

static void *sync_thread(void *unused)
{
	for (;;) {
		struct spool *batch[MAX_SESSIONS];
		size_t count;
		__u64 one = 1;

		pthread_mutex_lock(&sync_lock);
		while (!sync_queued)
			pthread_cond_wait(&sync_wanted, &sync_lock);
		count = sync_queued;
		memcpy(batch, sync_queue, count * sizeof(*batch));
		sync_queued = 0;
		pthread_mutex_unlock(&sync_lock);
		for (size_t i = 0; i < count; i++)
			if (fdatasync(batch[i]->fd))
				say("fdatasync of a spool: %s", strerror(errno));
		pthread_mutex_lock(&sync_lock);
		memcpy(sync_done + sync_finished, batch, count * sizeof(*batch));
		sync_finished += count;
		pthread_mutex_unlock(&sync_lock);
		if (write(sync_event, &one, sizeof(one)) < 0)
			say("eventfd: %s", strerror(errno));
	}
	return NULL;
}

int sync_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	sync_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	if (sync_event < 0 || pthread_create(&thread, &attr, sync_thread, NULL))
		return -1;
	return sync_event;
}

void sync_request(struct spool *spool)
{
	if (spool->syncing)
		return;
	spool->syncing = true;
	spool->dirty = false;
	pthread_mutex_lock(&sync_lock);
	sync_queue[sync_queued++] = spool;
	pthread_cond_signal(&sync_wanted);
	pthread_mutex_unlock(&sync_lock);
}

void sync_collect(void)
{
	__u64 count;

	if (read(sync_event, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&sync_lock);
	for (size_t i = 0; i < sync_finished; i++)
		sync_done[i]->syncing = false;
	sync_finished = 0;
	pthread_mutex_unlock(&sync_lock);
}
