/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_PROBE_H
#define RECORDER_PROBE_H

/* What would work here, a JSON line a program. The exit status: 1 when something required would not. */
int probe(void);

#endif
