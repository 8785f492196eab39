/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in and out, and the numbers of the protocol (draft-ietf-secsh-filexfer-02). */
#ifndef LAUNCHER_SFTP_PACKET_H
#define LAUNCHER_SFTP_PACKET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

uint8_t sftp_u8(struct sftp_request *request);
uint32_t sftp_u32(struct sftp_request *request);
uint64_t sftp_u64(struct sftp_request *request);
const uint8_t *sftp_bytes(struct sftp_request *request, uint32_t *length);
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

#endif
