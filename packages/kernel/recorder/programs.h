/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs by name: what each gives, and whether a session can be watched without it. */
#ifndef RECORDER_PROGRAMS_H
#define RECORDER_PROGRAMS_H

#include <stdbool.h>

enum { PROGRAMS = 13 };

struct program {
	const char *name;
	int feature;             /* enum feature */
	bool required;
	bool cgroup;
	const char *tracepoint;  /* its BTF typedef where not every kernel has it: not even tried without */
};
extern const struct program programs[PROGRAMS];

#endif
