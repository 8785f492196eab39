// SPDX-License-Identifier: Apache-2.0
/*
 * The new programs are loaded with the maps of the old ones and put in their places one by one: behind its gate each,
 * those of cgroups by BPF_LINK_UPDATE (5.7). Each of these is one store for the kernel, so that an event is handled by
 * the old program or by the new one. Both go on with the same sessions, sequence numbers and ring. The gates stay as
 * they are: when a build's differ, that is told. A recorder that dies in the middle leaves host.build 0, and its
 * successor begins anew.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "object.h"
#include "pins.h"
#include "replace.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool stopped;

/* What the programs share with those before and with us; scratch memory is each build's own. */
static struct bpf_object *load_beside(const struct kernel *kernel, bool *loads)
{
	struct object_map maps[MAPS + PROGRAMS + 2] = {};
	size_t n = 0;

	for (size_t i = 0; i < MAPS; i++)
		maps[n++] = (struct object_map){ kernel_maps[i].name, MAP_FD(kernel, i) };
	for (size_t i = 0; i < PROGRAMS; i++)
		if (kernel->behind_fds[i] >= 0)
			maps[n++] = (struct object_map){ programs[i].behind, kernel->behind_fds[i] };
	maps[n++] = (struct object_map){ ".data.host", kernel->host_fd };
	return object_load(kernel->ring_size, maps, loads);
}

static bool same_code(int one, int other)
{
	struct bpf_prog_info a = {}, b = {};
	__u32 size = sizeof(a);

	return !bpf_obj_get_info_by_fd(one, &a, &size) && (size = sizeof(b), !bpf_obj_get_info_by_fd(other, &b, &size)) &&
	       !memcmp(a.tag, b.tag, sizeof(a.tag));
}

static int replace_of_cgroup(struct kernel *kernel, const struct program *program, int fd)
{
	char name[64];
	int link, error = 0;

	pin_name_of_link(name, sizeof(name), program->name);
	link = pin_get(kernel, name);
	if (link < 0 || bpf_link_update(link, fd, NULL))
		error = -errno;
	if (link >= 0)
		close(link);
	return error;
}

/* 0: what runs there is ours. */
static int replace_one(struct kernel *kernel, struct bpf_object *object, size_t i)
{
	int body = programs[i].body ? object_program(object, programs[i].body) : -1;
	int gate = object_program(object, programs[i].name);
	__u32 zero = 0;

	if (!programs[i].body)
		return replace_of_cgroup(kernel, &programs[i], gate);
	if (bpf_map_update_elem(kernel->behind_fds[i], &zero, &body, BPF_ANY))
		return -errno;
	return same_code(gate, kernel->gate_fds[i]) ? 0 : -ESTALE;
}

static void replace_all(struct kernel *kernel, struct bpf_object *object, const bool *loads)
{
	__u32 foreign = 0;
	int sweep = object_program(object, "sweep");

	kernel->host->build = 0;
	for (size_t i = 0; i < PROGRAMS; i++) {
		int error = -EOPNOTSUPP;

		if (kernel->gate_fds[i] < 0)
			continue; /* it was not attached before */
		if (loads[i])
			error = replace_one(kernel, object, i);
		if (error)
			say("%s of the build before stays%s until no session is watched: %s", programs[i].name,
			    error == -ESTALE ? " at the gate" : "", strerror(-error));
		foreign += error != 0;
	}
	pin_remove(kernel, "sweep");
	pin_set(kernel, sweep, "sweep");
	dup3(sweep, kernel->sweep_fd, O_CLOEXEC); /* the other thread may be about to run it */
	if (!foreign)
		kernel->host->build = object_build();
	kernel->foreign_programs = foreign;
	say("programs of this build run in the place of those before; %u of the others stay", foreign);
}

static void *replace(void *of)
{
	struct kernel *kernel = of;
	bool loads[PROGRAMS];
	struct bpf_object *object = load_beside(kernel, loads);

	pthread_mutex_lock(&lock);
	if (!object)
		say("the programs of the build before stay until no session is watched: ours do not load");
	else if (!stopped)
		replace_all(kernel, object, loads);
	pthread_mutex_unlock(&lock);
	bpf_object__close(object);
	return NULL;
}

void replace_start(struct kernel *kernel)
{
	pthread_t thread;

	if (!kernel->taken_over || kernel->host->build == object_build())
		return;
	for (size_t i = 0; i < PROGRAMS; i++)
		kernel->foreign_programs += kernel->gate_fds[i] >= 0;
	say("%u programs of another build go on until ours are loaded", kernel->foreign_programs);
	if (pthread_create(&thread, NULL, replace, kernel))
		say("they stay: no thread");
}

void replace_stop(void)
{
	pthread_mutex_lock(&lock);
	stopped = true;
	pthread_mutex_unlock(&lock);
}
