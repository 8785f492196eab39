/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to the daemon. */
#ifndef LAUNCHER_REPORT_H
#define LAUNCHER_REPORT_H

void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void warn_daemon(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *code, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void take_leave(void);

#endif
