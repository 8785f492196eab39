/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line says. */
#ifndef RECORDER_OPTIONS_H
#define RECORDER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct options {
	const char *socket;
	const char *spool_dir;
	const char *cgroup_root;
	const char *pin_dir;     /* "" = do not pin */
	const char *instance;    /* "" or one that differs from that of another recorder on the same spool directory */
	size_t ring_bytes;
	bool foreground;
};

/* Fills it or ends the program; --probe and --wire-hash are answered here. */
void options_parse(int argc, char **argv, struct options *options);
/* For options.pin_dir where nothing was said; the spool directory must exist. */
const char *options_default_pin_dir(const char *spool_dir);

#endif
