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

/* The program at a link, which we may have from a pin: links know programs by number. */
static int program_of_link(int link)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(link, &info, &size) ? -1 : bpf_prog_get_fd_by_id(info.prog_id);
}

static void take_over_links(struct kernel *kernel)
{
	char name[64];

	for (size_t i = 0; i < PROGRAMS; i++) {
		int link;

		pin_name_of_link(name, sizeof(name), programs[i].name);
		link = pin_get(kernel, name);
		if (programs[i].behind)
			kernel->behind_fds[i] = pin_get(kernel, programs[i].behind);
		if (programs[i].feature == FEATURE_SYS_EXIT) {
			kernel->sys_exit_link = link;
			kernel->gate_fds[i] = kernel->sys_exit_fd;
		} else if (link >= 0) {
			kernel->gate_fds[i] = program_of_link(link);
			close(link); /* the pin holds it */
		}
		if (kernel->gate_fds[i] >= 0)
			kernel->features |= 1U << programs[i].feature;
	}
	kernel->features |= 1U << FEATURE_PINNED;
}

static int take_over(struct kernel *kernel)
{
	struct bpf_map_info info = {};
	__u32 info_size = sizeof(info);

	kernel->host_fd = pin_get(kernel, "host");
	if (kernel->host_fd < 0)
		return -ENOENT;
	for (size_t i = 0; i < MAPS; i++)
		if ((MAP_FD(kernel, i) = pin_get(kernel, kernel_maps[i].name)) < 0)
			return -ENOENT;
	kernel->sweep_fd = pin_get(kernel, "sweep");
	kernel->sys_exit_fd = pin_get(kernel, "on_sys_exit");
	if (kernel->sweep_fd < 0 || kernel->sys_exit_fd < 0)
		return -ENOENT;
	if (kernel_map_shared(kernel))
		return -ENOENT;
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
	take_over_links(kernel);
	kernel->taken_over = true;
	return 0;
}

/* Puts the program behind its gate and attaches the gate. False: it must be there, and cannot. */
static bool attach(struct kernel *kernel, struct bpf_object *object, size_t i, int cgroup_fd, bool *pinned)
{
	struct bpf_program *gate = bpf_object__find_program_by_name(object, programs[i].name);
	int link = 0, body = programs[i].body ? object_program(object, programs[i].body) : -1;
	__u32 zero = 0;
	char name[64];

	if (programs[i].behind) {
		kernel->behind_fds[i] = dup(object_map(object, programs[i].behind));
		*pinned = *pinned && !pin_set(kernel, kernel->behind_fds[i], programs[i].behind);
		if (bpf_map_update_elem(kernel->behind_fds[i], &zero, &body, BPF_ANY))
			link = -errno;
	}
	if (!link)
		link = object_attach(gate, !programs[i].body, cgroup_fd);
	if (link < 0) {
		say("%s cannot be attached: %s", programs[i].name, strerror(-link));
		return !programs[i].required;
	}
	kernel->features |= 1U << programs[i].feature;
	kernel->gate_fds[i] = dup(bpf_program__fd(gate));
	if (programs[i].feature == FEATURE_SYS_EXIT) {
		/* proven to attach; every process of the host pays for it, so not before there is a session */
		close(link);
		kernel->sys_exit_fd = kernel->gate_fds[i];
		*pinned = *pinned && !pin_set(kernel, kernel->sys_exit_fd, programs[i].name);
		return true;
	}
	pin_name_of_link(name, sizeof(name), programs[i].name);
	*pinned = *pinned && !pin_set(kernel, link, name);
	return true; /* the link stays open: without pins it is what holds the program */
}

static int start_fresh(struct kernel *kernel, const struct options *options)
{
	bool loads[PROGRAMS], pinned = kernel->pin_dir[0];
	struct bpf_object *object = object_load(options->ring_bytes, NULL, loads);
	int cgroup_fd = open(options->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!object) {
		say("the BPF object does not load: %s", strerror(errno));
		return -EOPNOTSUPP;
	}
	for (size_t i = 0; i < MAPS; i++) {
		MAP_FD(kernel, i) = dup(object_map(object, kernel_maps[i].name));
		pinned = pinned && !pin_set(kernel, MAP_FD(kernel, i), kernel_maps[i].name);
	}
	kernel->host_fd = dup(object_map(object, ".data.host"));
	if (kernel_map_shared(kernel))
		return -EIO;
	memcpy(kernel->host->wire_hash, wire_hash, sizeof(wire_hash));
	kernel->host->build = object_build();
	kernel->numbers = !object_numbers_itself();
	kernel->ring_size = options->ring_bytes;
	kernel->sweep_fd = dup(object_program(object, "sweep"));
	pinned = pinned && !pin_set(kernel, kernel->host_fd, "host") && !pin_set(kernel, kernel->sweep_fd, "sweep");

	for (size_t i = 0; i < PROGRAMS; i++) {
		if (loads[i] ? !attach(kernel, object, i, cgroup_fd, &pinned) : programs[i].required)
			return -EOPNOTSUPP;
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

static void clear(struct kernel *kernel)
{
	kernel->features = 0;
	kernel->sys_exit_link = -1;
	for (size_t i = 0; i < PROGRAMS; i++)
		kernel->gate_fds[i] = kernel->behind_fds[i] = -1;
}

int hooks_start(struct kernel *kernel, const struct options *options)
{
	int error;

	object_learn();
	memset(kernel, 0, sizeof(*kernel));
	clear(kernel);
	if (pins_prepare(kernel, options->pin_dir)) {
		error = take_over(kernel);
		if (!error)
			goto done;
		pins_remove(kernel);
		mkdir(kernel->pin_dir, 0700);
		clear(kernel);
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
