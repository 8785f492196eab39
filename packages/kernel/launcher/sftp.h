/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SFTP server's parts: sftp.c reads requests and names who answers them; sftp-packet.c is bytes in and out;
 * sftp-attributes.c the ATTRS of the protocol; sftp-files.c what works on open files, sftp-names.c on paths,
 * sftp-folder.c on open folders, sftp-extensions.c what OpenSSH added.
 */
#ifndef SFTP_H
#define SFTP_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
	/* As OpenSSH: nothing longer is read or written. The daemon's parser holds clients to the same. */
	SFTP_PACKET_MAX = 256 * 1024,
	SFTP_DATA_MAX = SFTP_PACKET_MAX - 1024,
	SFTP_HANDLES_MAX = 512,
};

/* draft-ietf-secsh-filexfer-02 §3 */
enum sftp_type {
	FXP_INIT = 1,
	FXP_VERSION,
	FXP_OPEN,
	FXP_CLOSE,
	FXP_READ,
	FXP_WRITE,
	FXP_LSTAT,
	FXP_FSTAT,
	FXP_SETSTAT,
	FXP_FSETSTAT,
	FXP_OPENDIR,
	FXP_READDIR,
	FXP_REMOVE,
	FXP_MKDIR,
	FXP_RMDIR,
	FXP_REALPATH,
	FXP_STAT,
	FXP_RENAME,
	FXP_READLINK,
	FXP_SYMLINK,
	FXP_STATUS = 101,
	FXP_HANDLE,
	FXP_DATA,
	FXP_NAME,
	FXP_ATTRS,
	FXP_EXTENDED = 200,
	FXP_EXTENDED_REPLY,
};

/* §7 */
enum sftp_status {
	FX_OK,
	FX_EOF,
	FX_NO_SUCH_FILE,
	FX_PERMISSION_DENIED,
	FX_FAILURE,
	FX_BAD_MESSAGE,
	FX_OP_UNSUPPORTED = 8,
};

/* A request being read. A field that is cut short leaves `bad`, and everything read after it empty. */
struct sftp_request {
	const uint8_t *at, *end;
	uint32_t id;
	bool bad;
};

/* §5 */
struct sftp_attributes {
	uint32_t flags;
	uint64_t size;
	uint32_t uid, gid, mode, atime, mtime;
};
enum { ATTR_SIZE = 1, ATTR_OWNER = 2, ATTR_MODE = 4, ATTR_TIMES = 8 };

struct sftp_handle {
	int fd; /* -1: a free place */
	DIR *folder; /* owns fd */
	bool append;
};

/* sftp-packet.c */
uint8_t sftp_u8(struct sftp_request *request);
uint32_t sftp_u32(struct sftp_request *request);
uint64_t sftp_u64(struct sftp_request *request);
const uint8_t *sftp_bytes(struct sftp_request *request, uint32_t *length);
/* NUL-terminated; an empty one stands for the folder we are in. False: answered already. */
bool sftp_path(struct sftp_request *request, char path[PATH_MAX]);
bool sftp_text(struct sftp_request *request, char *text, size_t size);
/* False when input has ended. Waits for more only after everything said so far has been sent. */
bool sftp_next(const uint8_t **packet, uint32_t *length);
void sftp_begin(enum sftp_type type, uint32_t id);
void sftp_put_u32(uint32_t value);
void sftp_put_u64(uint64_t value);
void sftp_put_string(const void *bytes, size_t length);
void sftp_end(void);
/* How much the packet that was begun can still take. */
size_t sftp_room(void);
/* Room for `size` bytes of file, right behind the header: no copy is made of them. */
uint8_t *sftp_begin_data(uint32_t id, size_t size);
void sftp_end_data(size_t size);
/* Behind a packet that was begun and is not to be: nothing of it is sent. */
void sftp_forget(void);
size_t sftp_mark(void);
void sftp_patch_u32(size_t mark, uint32_t value);
void sftp_flush(void);

/* sftp.c */
void sftp_status(uint32_t id, enum sftp_status status, const char *text);
void sftp_errno(uint32_t id, int error);
/* Of an operation that says 0 or -1 and errno. */
void sftp_result(uint32_t id, int result);
void sftp_name_answer(uint32_t id, const char *name);

/* sftp-attributes.c */
struct sftp_attributes sftp_attributes(struct sftp_request *request);
void sftp_put_stat(const struct stat *stat);
void sftp_attrs_answer(uint32_t id, int result, const struct stat *stat);
int sftp_apply_path(const char *path, const struct sftp_attributes *attributes);
int sftp_apply_link(const char *path, const struct sftp_attributes *attributes);
int sftp_apply_file(int fd, const struct sftp_attributes *attributes);
/* One string of the names of these ids, four bytes each; an empty one where there is none. */
void sftp_put_names(const uint8_t *ids, uint32_t length, bool is_group);
void sftp_long_name(char *text, size_t size, const char *name, const struct stat *stat);

/* sftp-files.c */
struct sftp_handle *sftp_handle(struct sftp_request *request);
struct sftp_handle *sftp_new_handle(void);
void sftp_handle_answer(uint32_t id, const struct sftp_handle *handle);
void sftp_open(struct sftp_request *request);
void sftp_close(struct sftp_request *request);
void sftp_read(struct sftp_request *request);
void sftp_write(struct sftp_request *request);
void sftp_fstat(struct sftp_request *request);
void sftp_fsetstat(struct sftp_request *request);
void sftp_fsync(struct sftp_request *request);
void sftp_copy_data(struct sftp_request *request);

/* sftp-folder.c */
void sftp_opendir(struct sftp_request *request);
void sftp_readdir(struct sftp_request *request);

/* sftp-names.c */
void sftp_stat(struct sftp_request *request);
void sftp_lstat(struct sftp_request *request);
void sftp_setstat(struct sftp_request *request);
void sftp_remove(struct sftp_request *request);
void sftp_mkdir(struct sftp_request *request);
void sftp_rmdir(struct sftp_request *request);
void sftp_realpath(struct sftp_request *request);
void sftp_rename(struct sftp_request *request);
void sftp_readlink(struct sftp_request *request);
void sftp_symlink(struct sftp_request *request);
void sftp_posix_rename(struct sftp_request *request);
void sftp_hardlink(struct sftp_request *request);
void sftp_lsetstat(struct sftp_request *request);
void sftp_expand_path(struct sftp_request *request);

/* sftp-extensions.c */
void sftp_extended(struct sftp_request *request);
void sftp_put_extensions(void);

#endif
