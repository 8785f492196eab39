/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utmp, wtmp and lastlog, for who(1), last(1) and lastlog(8); written for terminals only, as sshd does.
 * All of it is best effort: a host without these files (containers have no /run/utmp) logs people in too.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <lastlog.h>
#include <paths.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>
#include <utmpx.h>

/* utmp's fields are padded with NULs and need no terminator. */
static void fill(char *field, size_t size, const char *text)
{
	memset(field, 0, size);
	memcpy(field, text, strnlen(text, size));
}
#define FILL(field, text) fill(field, sizeof(field), text)

static const char *line_of(const struct session *session)
{
	return session->tty_path + strlen("/dev/");
}

static void describe(struct utmpx *entry, const struct session *session, pid_t leader, short type)
{
	struct timeval now;

	memset(entry, 0, sizeof(*entry));
	entry->ut_type = type;
	entry->ut_pid = leader;
	FILL(entry->ut_line, line_of(session));
	/* "ts/4" for pts/4: the id every other log-in program uses for this line. */
	FILL(entry->ut_id, line_of(session) + 1);
	gettimeofday(&now, NULL);
	entry->ut_tv.tv_sec = (int32_t)now.tv_sec;
	entry->ut_tv.tv_usec = (int32_t)now.tv_usec;
}

static void write_records(const struct utmpx *entry)
{
	setutxent();
	pututxline(entry);
	endutxent();
	updwtmpx(_PATH_WTMP, entry);
}

static void write_lastlog(const struct session *session)
{
	struct lastlog last;
	int fd = open(_PATH_LASTLOG, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	memset(&last, 0, sizeof(last));
	last.ll_time = (int32_t)time(NULL);
	FILL(last.ll_line, line_of(session));
	FILL(last.ll_host, session->spec.remote_host);
	/* A sparse file: one record a uid. */
	if (pwrite(fd, &last, sizeof(last), (off_t)session->account.uid * (off_t)sizeof(last)) < 0)
		warn_daemon("lastlog could not be written");
	close(fd);
}

/* What sshd prints above the prompt; silent for a first log-in and where ~/.hushlogin asks for it. */
void describe_last_login(const struct session *session, char *text, size_t size)
{
	struct lastlog last;
	int fd = open(_PATH_LASTLOG, O_RDONLY | O_CLOEXEC);
	off_t at = (off_t)session->account.uid * (off_t)sizeof(last);
	bool found = fd >= 0 && pread(fd, &last, sizeof(last), at) == sizeof(last) && last.ll_time != 0;
	time_t when = found ? last.ll_time : 0;
	char date[64];

	if (fd >= 0)
		close(fd);
	if (!found)
		return;
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", localtime(&when));
	if (last.ll_host[0])
		snprintf(text, size, "Last login: %s from %.*s\n", date, (int)sizeof(last.ll_host), last.ll_host);
	else
		snprintf(text, size, "Last login: %s on %.*s\n", date, (int)sizeof(last.ll_line), last.ll_line);
}

void record_login(const struct session *session, pid_t leader)
{
	struct utmpx entry;
	struct in_addr four;

	describe(&entry, session, leader, USER_PROCESS);
	FILL(entry.ut_user, session->account.name);
	FILL(entry.ut_host, session->spec.remote_host);
	if (inet_pton(AF_INET, session->spec.remote_host, &four) == 1)
		memcpy(entry.ut_addr_v6, &four, sizeof(four));
	else
		inet_pton(AF_INET6, session->spec.remote_host, entry.ut_addr_v6);
	entry.ut_session = leader;
	write_records(&entry);
	write_lastlog(session);
}

void record_logout(const struct session *session, pid_t leader)
{
	struct utmpx entry;

	describe(&entry, session, leader, DEAD_PROCESS);
	write_records(&entry);
}
