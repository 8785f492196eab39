/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded BPF object, made fit for the kernel that runs: patched, told its facts, loaded as far as it loads. */
#ifndef RECORDER_OBJECT_H
#define RECORDER_OBJECT_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>

#include "programs.h"
#include "shared.h"

/* Once, before anything else: what of this kernel the programs must be told before they load. */
void object_learn(void);
/* No atomic fetch (5.10): records are not numbered by the kernel. */
bool object_numbers_itself(void);
/* Its tracepoint does not exist here. */
bool object_lacks(size_t program);
struct bpf_object *object_open(void);
/* Small: for a look at whether a program loads. */
void object_size_maps(struct bpf_object *object, size_t ring_bytes, bool small);
void object_load_only(struct bpf_object *object, const bool *wanted);
/* A map that exists already, in the place of one of the object's. */
struct object_map { const char *name; int fd; };
/*
 * What loads of it, which `loads` says. `maps`, to a name of NULL, or NULL for none, are taken instead of new ones. NULL:
 * nothing of it.
 */
struct bpf_object *object_load(size_t ring_bytes, const struct object_map *maps, bool *loads);
int object_program(struct bpf_object *object, const char *name);
int object_map(struct bpf_object *object, const char *name);
/* Of the embedded bytes; never 0. */
__u64 object_build(void);
/* A link's descriptor, or -errno. The descriptor (or its pin) keeps it attached. */
int object_attach(struct bpf_program *program, bool cgroup, int cgroup_fd);

#endif
