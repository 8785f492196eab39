/* SPDX-License-Identifier: Apache-2.0 */
/* ATTRS of the protocol. */
#ifndef LAUNCHER_SFTP_ATTRIBUTES_H
#define LAUNCHER_SFTP_ATTRIBUTES_H

#include <sys/stat.h>

#include "sftp-packet.h"

/* §5 */
struct sftp_attributes {
	uint32_t flags;
	uint64_t size;
	uint32_t uid, gid, mode, atime, mtime;
};
enum { ATTR_SIZE = 1, ATTR_OWNER = 2, ATTR_MODE = 4, ATTR_TIMES = 8 };

struct sftp_attributes sftp_attributes(struct sftp_request *request);
void sftp_put_stat(const struct stat *stat);
void sftp_attrs_answer(uint32_t id, int result, const struct stat *stat);
int sftp_apply_path(const char *path, const struct sftp_attributes *attributes);
int sftp_apply_link(const char *path, const struct sftp_attributes *attributes);
int sftp_apply_file(int fd, const struct sftp_attributes *attributes);
/* One string of the names of these ids, four bytes each; an empty one where there is none. */
void sftp_put_names(const uint8_t *ids, uint32_t length, bool is_group);
void sftp_long_name(char *text, size_t size, const char *name, const struct stat *stat);

#endif
