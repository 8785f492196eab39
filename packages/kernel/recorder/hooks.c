// SPDX-License-Identifier: Apache-2.0
/*
 * Attaches the programs and pins all of it, so that the kernel goes on counting and filling the ring while no
 * recorder runs. A recorder that finds such pins and shares their layouts (wire hash) takes them over instead of
 * loading anew.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"
#include "hooks.h"
#include "log.h"
#include "object.h"
#include "pins.h"
#include "wire-hash.h"

static const unsigned char wire_hash[32] = WIRE_HASH_BYTES;

static bool any_session(struct kernel *kernel)
{
	for (size_t i = 0; i < MAX_SESSIONS; i++)
		if (kernel->sessions[i].state == SESSION_LIVE)
			return true;
	return false;
}

static void remember_program(struct kernel *kernel, int fd)
{
	kernel->program_fds[kernel->program_count++] = fd;
}

static int take_over(struct kernel *kernel)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);
	int host_fd = pin_get(kernel, "host");
	char name[64];

	if (host_fd < 0)
		return -ENOENT;
	for (size_t i = 0; i < MAPS; i++)
		if ((MAP_FD(kernel, i) = pin_get(kernel, kernel_maps[i].name)) < 0)
			return -ENOENT;
	kernel->sweep_fd = pin_get(kernel, "sweep");
	kernel->sys_exit_fd = pin_get(kernel, "on_sys_exit");
	if (kernel->sweep_fd < 0 || kernel->sys_exit_fd < 0)
		return -ENOENT;
	if (kernel_map_shared(kernel, host_fd))
		return -ENOENT;
	close(host_fd);
	if (memcmp(kernel->host->wire_hash, wire_hash, sizeof(wire_hash))) {
		say("the pins at %s are of another version: not taken over", kernel->pin_dir);
		return -ESTALE;
	}
	if (!any_session(kernel))
		return -ENOENT; /* nothing to save: a fresh start takes the ring size asked for */
	if (bpf_obj_get_info_by_fd(kernel->ring_fd, &info, &info_size))
		return -errno;
	kernel->ring_size = info.max_entries;
	kernel->numbers = !object_numbers_itself();
	for (size_t i = 0; i < PROGRAMS; i++) {
		int link;

		pin_name_of_link(name, sizeof(name), programs[i].name);
		link = pin_get(kernel, name);
		if (link < 0)
			continue;
		kernel->features |= 1U << programs[i].feature;
		if (programs[i].feature == FEATURE_SYS_EXIT)
			kernel->sys_exit_link = link;
		else
			close(link); /* the pin holds it */
	}
	kernel->features |= 1U << FEATURE_PINNED | 1U << FEATURE_SYS_EXIT;
	remember_program(kernel, kernel->sys_exit_fd);
	kernel->taken_over = true;
	return 0;
}

static int start_fresh(struct kernel *kernel, const struct options *options)
{
	bool loads[PROGRAMS], pinned = kernel->pin_dir[0];
	struct bpf_object *object = object_load(options->ring_bytes, loads);
	int host_fd, cgroup_fd = open(options->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[64];

	if (!object) {
		say("the BPF object does not load: %s", strerror(errno));
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < MAPS; i++) {
		MAP_FD(kernel, i) = dup(bpf_object__find_map_fd_by_name(object, kernel_maps[i].name));
		pinned = pinned && !pin_set(kernel, MAP_FD(kernel, i), kernel_maps[i].name);
	}
	host_fd = bpf_object__find_map_fd_by_name(object, ".data.host");
	if (kernel_map_shared(kernel, host_fd))
		return -EIO;
	memcpy(kernel->host->wire_hash, wire_hash, sizeof(wire_hash));
	kernel->numbers = !object_numbers_itself();
	kernel->ring_size = options->ring_bytes;
	kernel->sweep_fd = dup(bpf_program__fd(bpf_object__find_program_by_name(object, "sweep")));
	pinned = pinned && !pin_set(kernel, host_fd, "host") && !pin_set(kernel, kernel->sweep_fd, "sweep");

	for (size_t i = 0; i < PROGRAMS; i++) {
		struct bpf_program *program = bpf_object__find_program_by_name(object, programs[i].name);
		int link = loads[i] ? object_attach(program, programs[i].cgroup, cgroup_fd) : -EINVAL;

		if (object_lacks(i))
			continue;
		if (link < 0) {
			say("%s cannot be attached: %s", programs[i].name, strerror(-link));
			if (programs[i].required)
				return -EOPNOTSUPP;
			continue;
		}
		kernel->features |= 1U << programs[i].feature;
		remember_program(kernel, dup(bpf_program__fd(program)));
		if (programs[i].feature == FEATURE_SYS_EXIT) {
			/* proven to attach; every process of the host pays for it, so not before there is a session */
			close(link);
			kernel->sys_exit_fd = kernel->program_fds[kernel->program_count - 1];
			pinned = pinned && !pin_set(kernel, kernel->sys_exit_fd, programs[i].name);
			continue;
		}
		pin_name_of_link(name, sizeof(name), programs[i].name);
		pinned = pinned && !pin_set(kernel, link, name);
		/* stays open: without pins it is what holds the program */
	}
	if (cgroup_fd >= 0)
		close(cgroup_fd);
	if (kernel->pin_dir[0] && !pinned) {
		say("cannot pin under %s: %s", kernel->pin_dir, strerror(errno));
		pins_remove(kernel);
		kernel->pin_dir[0] = 0;
	}
	if (pinned)
		kernel->features |= 1U << FEATURE_PINNED;
	bpf_object__close(object); /* what we need of it we duplicated */
	return 0;
}

int hooks_start(struct kernel *kernel, const struct options *options)
{
	int error;

	object_learn();
	memset(kernel, 0, sizeof(*kernel));
	kernel->sys_exit_link = -1;
	if (pins_prepare(kernel, options->pin_dir)) {
		error = take_over(kernel);
		if (!error)
			goto done;
		pins_remove(kernel);
		mkdir(kernel->pin_dir, 0700);
		kernel->features = 0;
		kernel->program_count = 0;
	}
	error = start_fresh(kernel, options);
	if (error)
		return error;
done:
	error = kernel_sweep(kernel, SWEEP_HOST, 0);
	if (error)
		say("the sweep program cannot run: %s", strerror(-error));
	return error;
}

void hooks_stop(struct kernel *kernel)
{
	calls_watch(kernel, false);
	pins_remove(kernel);
}
