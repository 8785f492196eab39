/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "report.h"

/* Notifications are few (progress comes at most every some ms); older ones fall out. */
#define MAX_KEPT 4096
static struct { int type; unsigned char session_id[SESSION_ID_LEN]; } kept[MAX_KEPT];
static int kept_count;

static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Returns 0 at the deadline, and when the recorder hung up. */
static int read_exactly(int fd, void *into, size_t length, long long deadline)
{
	char *at = into;
	while (length > 0) {
		long long left = deadline - now_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			return 0;
		ssize_t n = read(fd, at, length);
		if (n <= 0)
			return 0;
		at += n;
		length -= (size_t)n;
	}
	return 1;
}

static int read_frame(int fd, struct frame *frame, long long deadline)
{
	if (!read_exactly(fd, &frame->head, sizeof(frame->head), deadline))
		return 0;
	must(frame->head.length <= sizeof(frame->body));
	must(frame->head.version == WIRE_VERSION);
	return read_exactly(fd, frame->body, frame->head.length, deadline);
}

static void keep(const struct frame *frame)
{
	if (kept_count == MAX_KEPT)
		memmove(kept, kept + 1, sizeof(kept[0]) * (size_t)--kept_count);
	kept[kept_count].type = frame->head.type;
	/* Every notification starts with the session's id. */
	memcpy(kept[kept_count++].session_id, frame->body, SESSION_ID_LEN);
}

int control_connect(const char *path, int timeout_ms, struct control_hello *hello)
{
	static struct frame frame;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	long long deadline = now_ms() + timeout_ms;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		if (now_ms() > deadline)
			return -1;
		poll(NULL, 0, 20);
	}
	if (!read_frame(fd, &frame, deadline) || frame.head.type != CONTROL_HELLO)
		return -1;
	memcpy(hello, frame.body, sizeof(*hello));
	return fd;
}

void control_call(int fd, int type, const void *body, unsigned int length, void *answer, unsigned int answer_length)
{
	static struct frame frame;
	static __u32 id;
	long long deadline = now_ms() + 60000;
	struct control_frame head = { .length = length, .type = (__u16)type, .version = WIRE_VERSION, .id = ++id };
	must(write(fd, &head, sizeof(head)) == (ssize_t)sizeof(head));
	must(length == 0 || write(fd, body, length) == (ssize_t)length);
	do {
		must(read_frame(fd, &frame, deadline));
		if (frame.head.id == 0)
			keep(&frame);
	} while (frame.head.id != id);
	if (frame.head.type == CONTROL_ERROR) {
		struct control_error *error = (void *)frame.body;
		report("failed", "request %d: error %d: %s", type, error->error, error->message);
		_exit(97);
	}
	must(frame.head.length >= answer_length);
	if (answer_length > 0)
		memcpy(answer, frame.body, answer_length);
}

int control_await(int fd, int type, const unsigned char *session_id, int timeout_ms)
{
	static struct frame frame;
	long long deadline = now_ms() + timeout_ms;
	for (int i = 0; ; i++) {
		if (i == kept_count) {
			if (!read_frame(fd, &frame, deadline))
				return -1;
			keep(&frame);
			i = kept_count - 1;
		}
		if (kept[i].type == type && memcmp(kept[i].session_id, session_id, SESSION_ID_LEN) == 0)
			return 0;
	}
}
