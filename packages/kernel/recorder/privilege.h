/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RECORDER_PRIVILEGE_H
#define RECORDER_PRIVILEGE_H

/* OOM score, signals. */
int privilege_protect(void);
int privilege_drop(void);

#endif
