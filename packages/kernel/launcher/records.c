/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utmp, wtmp and lastlog, for who(1), last(1) and lastlog(8); written for terminals only, as sshd does. And btmp
 * for lastb(1): names this host does not know.
 * All of it is best effort: a host without these files (containers have no /run/utmp) logs people in too.
 */
#define _GNU_SOURCE
#include "records.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <lastlog.h>
#include <paths.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>
#include <utmpx.h>

#include "report.h"

#ifndef _PATH_BTMP
#define _PATH_BTMP "/var/log/btmp"
#endif

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

/* A line's last four characters, the id that every log-in program uses for it: "ts/4", but "s/10". */
static const char *id_of(const struct session *session)
{
	const char *line = line_of(session);
	size_t length = strlen(line), size = sizeof(((struct utmpx *)0)->ut_id);

	return length > size ? line + length - size : line;
}

static void stamp(struct utmpx *entry)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	entry->ut_tv.tv_sec = (int32_t)now.tv_sec;
	entry->ut_tv.tv_usec = (int32_t)now.tv_usec;
}

static void set_address(struct utmpx *entry, const char *host)
{
	struct in_addr four;

	if (inet_pton(AF_INET, host, &four) == 1)
		memcpy(entry->ut_addr_v6, &four, sizeof(four));
	else
		inet_pton(AF_INET6, host, entry->ut_addr_v6);
}

static void describe(struct utmpx *entry, const struct session *session, pid_t leader, short type)
{
	memset(entry, 0, sizeof(*entry));
	entry->ut_type = type;
	entry->ut_pid = leader;
	FILL(entry->ut_line, line_of(session));
	stamp(entry);
}

static void write_utmp(const struct utmpx *entry)
{
	setutxent();
	pututxline(entry);
	endutxent();
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
		snprintf(text, size, "Last login: %s\n", date);
}

void record_login(const struct session *session, pid_t leader)
{
	struct utmpx entry;

	describe(&entry, session, leader, USER_PROCESS);
	FILL(entry.ut_id, id_of(session));
	FILL(entry.ut_user, session->account.name);
	FILL(entry.ut_host, session->spec.remote_host);
	set_address(&entry, session->spec.remote_host);
	write_utmp(&entry);
	updwtmpx(_PATH_WTMP, &entry);
	write_lastlog(session);
}

/* utmp is searched by the id; last(1) pairs the records of wtmp by their line. */
void record_logout(const struct session *session, pid_t leader)
{
	struct utmpx entry;

	describe(&entry, session, leader, DEAD_PROCESS);
	updwtmpx(_PATH_WTMP, &entry);
	FILL(entry.ut_id, id_of(session));
	set_address(&entry, session->spec.remote_host);
	write_utmp(&entry);
}

/* sshd's own conditions: never into a file that others may read, for what is typed as a name may be a password. */
void record_unknown(const struct spec *spec)
{
	struct utmpx entry = { .ut_type = LOGIN_PROCESS, .ut_pid = getpid() };
	int fd = open(_PATH_BTMP, O_WRONLY | O_APPEND | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return;
	FILL(entry.ut_line, "ssh:notty");
	FILL(entry.ut_user, spec->login);
	FILL(entry.ut_host, spec->remote_host);
	set_address(&entry, spec->remote_host);
	stamp(&entry);
	entry.ut_tv.tv_usec = 0;
	if (fstat(fd, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IXGRP | S_IRWXO)) &&
	    write(fd, &entry, sizeof(entry)) != sizeof(entry))
		warn_daemon("btmp could not be written");
	close(fd);
}
