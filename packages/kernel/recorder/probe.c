// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "object.h"
#include "probe.h"

int probe(void)
{
	int cgroup_fd = open("/sys/fs/cgroup/unified", O_RDONLY | O_DIRECTORY), missing = 0;

	if (cgroup_fd < 0)
		cgroup_fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
	object_learn();
	for (size_t i = 0; i < PROGRAMS; i++) {
		struct bpf_object *object = object_open();
		struct bpf_prog_info info = {};
		__u32 info_size = sizeof(info);
		struct bpf_program *program;
		int error = -ENOMEM, link;
		const char *stage = "open";
		bool only[PROGRAMS] = {};

		only[i] = true;
		if (object) {
			object_size_maps(object, 4096, true);
			object_load_only(object, only);
			stage = "load";
			error = bpf_object__load(object);
			if (!error) {
				stage = "attach";
				program = bpf_object__find_program_by_name(object, programs[i].name);
				bpf_obj_get_info_by_fd(object_program(object, programs[i].body ?: programs[i].name), &info,
						       &info_size);
				link = object_attach(program, !programs[i].body, cgroup_fd);
				error = link < 0 ? link : 0;
				if (link >= 0)
					close(link);
			}
			bpf_object__close(object);
		}
		printf("{\"program\":\"%s\",\"required\":%s,\"ok\":%s", programs[i].name,
		       programs[i].required ? "true" : "false", error ? "false" : "true");
		if (info.verified_insns)
			printf(",\"verified_instructions\":%u", info.verified_insns);
		if (error)
			printf(",\"stage\":\"%s\",\"error\":\"%s\"", stage, strerror(-error));
		printf("}\n");
		missing += error && programs[i].required;
	}
	return missing ? 1 : 0;
}
