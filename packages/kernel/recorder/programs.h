/* SPDX-License-Identifier: Apache-2.0 */
/* The BPF programs by name: what each gives, and whether a session can be watched without it. */
#ifndef RECORDER_PROGRAMS_H
#define RECORDER_PROGRAMS_H

#include <stdbool.h>

enum { PROGRAMS = 13 };

struct program {
	const char *name;        /* of what is attached: a gate, or for cgroups the program itself */
	const char *body;        /* what stands behind the gate, */
	const char *behind;      /* and the map by which the gate finds it; NULL for cgroups */
	int feature;             /* enum feature */
	bool required;
	const char *tracepoint;  /* its BTF typedef where not every kernel has it: not even tried without */
};
extern const struct program programs[PROGRAMS];

#endif
