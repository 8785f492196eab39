/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "sftp-handles.h"

#include <errno.h>

#include "sftp-answer.h"

static struct sftp_handle handles[SFTP_HANDLES_MAX];
static bool places_made;

static void make_places(void)
{
	for (size_t i = 0; i < SFTP_HANDLES_MAX; i++)
		handles[i].fd = -1;
	places_made = true;
}

struct sftp_handle *sftp_new_handle(void)
{
	if (!places_made)
		make_places();
	for (size_t i = 0; i < SFTP_HANDLES_MAX; i++)
		if (handles[i].fd < 0)
			return &handles[i];
	errno = EMFILE;
	return NULL;
}

struct sftp_handle *sftp_handle(struct sftp_request *request)
{
	uint32_t length, place;
	const uint8_t *bytes = sftp_bytes(request, &length);

	if (bytes && length == 4) {
		place = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
		if (places_made && place < SFTP_HANDLES_MAX && handles[place].fd >= 0)
			return &handles[place];
	}
	if (request->bad)
		sftp_status(request->id, FX_BAD_MESSAGE, "Bad message");
	else
		sftp_status(request->id, FX_FAILURE, "No such handle");
	return NULL;
}

void sftp_handle_answer(uint32_t id, const struct sftp_handle *handle)
{
	uint32_t place = (uint32_t)(handle - handles);
	uint8_t bytes[4] = { (uint8_t)(place >> 24), (uint8_t)(place >> 16), (uint8_t)(place >> 8), (uint8_t)place };

	sftp_begin(FXP_HANDLE, id);
	sftp_put_string(bytes, sizeof(bytes));
	sftp_end();
}
