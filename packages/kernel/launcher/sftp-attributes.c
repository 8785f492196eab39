/* SPDX-License-Identifier: Apache-2.0 */
/* The ATTRS structure (§5): read, written, applied; and the line of `ls -l` that every name comes with. */
#define _GNU_SOURCE
#include "sftp-attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sftp-answer.h"
#include "sftp-packet.h"

enum { PEOPLE = 32, NAME_WIDTH = 32, HALF_A_YEAR = 365 * 24 * 3600 / 2 };

struct sftp_attributes sftp_attributes(struct sftp_request *request)
{
	struct sftp_attributes found = { .flags = sftp_u32(request) };

	if (found.flags & ATTR_SIZE)
		found.size = sftp_u64(request);
	if (found.flags & ATTR_OWNER) {
		found.uid = sftp_u32(request);
		found.gid = sftp_u32(request);
	}
	if (found.flags & ATTR_MODE)
		found.mode = sftp_u32(request);
	if (found.flags & ATTR_TIMES) {
		found.atime = sftp_u32(request);
		found.mtime = sftp_u32(request);
	}
	return found; /* extended pairs stand last, and none is known */
}

void sftp_put_stat(const struct stat *stat)
{
	sftp_put_u32(ATTR_SIZE | ATTR_OWNER | ATTR_MODE | ATTR_TIMES);
	sftp_put_u64((uint64_t)stat->st_size);
	sftp_put_u32(stat->st_uid);
	sftp_put_u32(stat->st_gid);
	sftp_put_u32(stat->st_mode);
	sftp_put_u32((uint32_t)stat->st_atime);
	sftp_put_u32((uint32_t)stat->st_mtime);
}

void sftp_attrs_answer(uint32_t id, int result, const struct stat *stat)
{
	if (result < 0) {
		sftp_errno(id, errno);
		return;
	}
	sftp_begin(FXP_ATTRS, id);
	sftp_put_stat(stat);
	sftp_end();
}

static void times_of(const struct sftp_attributes *attributes, struct timespec times[2])
{
	times[0] = (struct timespec){ .tv_sec = attributes->atime };
	times[1] = (struct timespec){ .tv_sec = attributes->mtime };
}

/*
 * In this order: truncating changes the time, and giving a file away takes the right to change the rest. The first
 * that fails is told, the rest is tried all the same, as OpenSSH's server does.
 */
int sftp_apply_path(const char *path, const struct sftp_attributes *attributes)
{
	struct timespec times[2];
	int error = 0;

	if (attributes->flags & ATTR_SIZE && truncate(path, (off_t)attributes->size) < 0 && !error)
		error = errno;
	if (attributes->flags & ATTR_MODE && chmod(path, attributes->mode & 07777) < 0 && !error)
		error = errno;
	times_of(attributes, times);
	if (attributes->flags & ATTR_TIMES && utimensat(AT_FDCWD, path, times, 0) < 0 && !error)
		error = errno;
	if (attributes->flags & ATTR_OWNER && chown(path, attributes->uid, attributes->gid) < 0 && !error)
		error = errno;
	errno = error;
	return error ? -1 : 0;
}

int sftp_apply_file(int fd, const struct sftp_attributes *attributes)
{
	struct timespec times[2];
	int error = 0;

	if (attributes->flags & ATTR_SIZE && ftruncate(fd, (off_t)attributes->size) < 0 && !error)
		error = errno;
	if (attributes->flags & ATTR_MODE && fchmod(fd, attributes->mode & 07777) < 0 && !error)
		error = errno;
	times_of(attributes, times);
	if (attributes->flags & ATTR_TIMES && futimens(fd, times) < 0 && !error)
		error = errno;
	if (attributes->flags & ATTR_OWNER && fchown(fd, attributes->uid, attributes->gid) < 0 && !error)
		error = errno;
	errno = error;
	return error ? -1 : 0;
}

/* A link itself. Linux has no mode of links, and says so. */
int sftp_apply_link(const char *path, const struct sftp_attributes *attributes)
{
	struct timespec times[2];
	int error = 0;

	if (attributes->flags & ATTR_SIZE)
		error = EINVAL;
	if (attributes->flags & ATTR_MODE &&
	    fchmodat(AT_FDCWD, path, attributes->mode & 07777, AT_SYMLINK_NOFOLLOW) < 0 && !error)
		error = errno;
	times_of(attributes, times);
	if (attributes->flags & ATTR_TIMES && utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0 && !error)
		error = errno;
	if (attributes->flags & ATTR_OWNER && lchown(path, attributes->uid, attributes->gid) < 0 && !error)
		error = errno;
	errno = error;
	return error ? -1 : 0;
}

/* ── the line of `ls -l` ── */

struct person {
	uint32_t id;
	bool known, exists;
	char name[NAME_WIDTH]; /* its number, if it does not exist */
};

/* A folder's files belong to few: a directory server is asked once for each, not once a file. */
static struct person users[PEOPLE], groups[PEOPLE];

static const struct person *person_of(uint32_t id, bool is_group)
{
	struct person *person = &(is_group ? groups : users)[id % PEOPLE];
	const struct passwd *user;
	const struct group *group;
	const char *name = NULL;

	if (person->known && person->id == id)
		return person;
	if (is_group)
		name = (group = getgrgid(id)) ? group->gr_name : NULL;
	else
		name = (user = getpwuid(id)) ? user->pw_name : NULL;
	if (name)
		snprintf(person->name, sizeof(person->name), "%s", name);
	else
		snprintf(person->name, sizeof(person->name), "%u", id);
	person->id = id;
	person->known = true;
	person->exists = name != NULL;
	return person;
}

void sftp_put_names(const uint8_t *ids, uint32_t length, bool is_group)
{
	size_t mark = sftp_mark();

	sftp_put_u32(0);
	for (; length >= 4; ids += 4, length -= 4) {
		uint32_t id = (uint32_t)ids[0] << 24 | (uint32_t)ids[1] << 16 | (uint32_t)ids[2] << 8 | ids[3];
		const struct person *person = person_of(id, is_group);

		sftp_put_string(person->name, person->exists ? strlen(person->name) : 0);
	}
	sftp_patch_u32(mark, (uint32_t)(sftp_mark() - mark - 4));
}

static void mode_text(mode_t mode, char text[11])
{
	static const char letters[] = "rwxrwxrwx";
	static const struct {
		mode_t type;
		char letter;
	} types[] = { { S_IFDIR, 'd' },	 { S_IFLNK, 'l' }, { S_IFCHR, 'c' },
		      { S_IFBLK, 'b' },	 { S_IFIFO, 'p' }, { S_IFSOCK, 's' } };

	text[0] = '-';
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((mode & S_IFMT) == types[i].type)
			text[0] = types[i].letter;
	for (int bit = 0; bit < 9; bit++)
		text[1 + bit] = mode & (0400 >> bit) ? letters[bit] : '-';
	if (mode & S_ISUID)
		text[3] = text[3] == 'x' ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = text[6] == 'x' ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = text[9] == 'x' ? 't' : 'T';
	text[10] = 0;
}

void sftp_long_name(char *text, size_t size, const char *name, const struct stat *stat)
{
	char mode[11], when[32] = "?";
	time_t age = time(NULL) - stat->st_mtime;
	struct tm parts, *local = localtime_r(&stat->st_mtime, &parts); /* unlike localtime: no stat of its own each time */

	mode_text(stat->st_mode, mode);
	if (local)
		strftime(when, sizeof(when), age >= 0 && age < HALF_A_YEAR ? "%b %e %H:%M" : "%b %e  %Y", local);
	snprintf(text, size, "%s %3lu %-8s %-8s %8llu %s %s", mode, (unsigned long)stat->st_nlink,
		 person_of(stat->st_uid, false)->name, person_of(stat->st_gid, true)->name,
		 (unsigned long long)stat->st_size, when, name);
}
