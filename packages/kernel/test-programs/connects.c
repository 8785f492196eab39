/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connects a socket and says how it went, as one JSON line.
 *   connects tcp|udp ADDRESS PORT [nonblock] [BYTES-TO-SEND]
 *   connects send ADDRESS PORT COUNT     datagrams by sendto, without a connect
 *   connects flood ADDRESS PORT COUNT    TCP connections one after the other, each reset at once
 *   connects unix PATH                   @NAME for the abstract name space
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t address_of(const char *text, int port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *v4 = (void *)ss;
	struct sockaddr_in6 *v6 = (void *)ss;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return 0;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return sizeof(*v6);
}

static int local_port(int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t length = sizeof(ss);

	getsockname(fd, (struct sockaddr *)&ss, &length);
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
					      : ((struct sockaddr_in *)&ss)->sin_port);
}

/* The real outcome of a connect that said EINPROGRESS. */
static int wait_for_outcome(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t length = sizeof(error);

	poll(&poll_fd, 1, 5000);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error;
}

static int send_datagrams(const char *address, int port, int count)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t length = address_of(address, port, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM, 0), sent = 0;

	for (int i = 0; i < count; i++)
		sent += sendto(fd, "x", 1, 0, (struct sockaddr *)&ss, length) == 1;
	printf("{\"pid\":%d,\"sent\":%d}\n", getpid(), sent);
	return 0;
}

static int flood(const char *address, int port, int count)
{
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: the ports must not run out */
	struct sockaddr_storage ss = { 0 };
	socklen_t length = address_of(address, port, &ss);
	int done = 0;

	for (int i = 0; i < count; i++) {
		int fd = socket(ss.ss_family, SOCK_STREAM, 0);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		done += connect(fd, (struct sockaddr *)&ss, length) == 0;
		close(fd);
	}
	printf("{\"pid\":%d,\"done\":%d}\n", getpid(), done);
	return 0;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + strlen(path);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	int error = connect(fd, (struct sockaddr *)&address, length) < 0 ? errno : 0;
	printf("{\"pid\":%d,\"first\":%d,\"errno\":%d,\"port\":0}\n", getpid(), error, error);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_storage ss = { 0 };
	int nonblock = argc > 4 && !strcmp(argv[4], "nonblock");
	int bytes = argc > 5 ? atoi(argv[5]) : 0;
	int first = 0, outcome = 0;

	if (argc == 3 && !strcmp(argv[1], "unix"))
		return connect_unix(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_datagrams(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "flood"))
		return flood(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc < 4)
		return 2;
	socklen_t length = address_of(argv[2], atoi(argv[3]), &ss);
	int type = strcmp(argv[1], "udp") ? SOCK_STREAM : SOCK_DGRAM;
	int fd = socket(ss.ss_family, type | (nonblock ? SOCK_NONBLOCK : 0), 0);
	if (length == 0 || fd < 0)
		return 2;
	if (connect(fd, (struct sockaddr *)&ss, length) < 0)
		first = outcome = errno;
	if (first == EINPROGRESS)
		outcome = wait_for_outcome(fd);
	/* Asked while the socket still has its port; a failed connect gives it back. */
	int port = local_port(fd);
	for (int i = 0; outcome == 0 && i < bytes; i++)
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			break;
	printf("{\"pid\":%d,\"first\":%d,\"errno\":%d,\"port\":%d}\n", getpid(), first, outcome, port);
	return 0;
}
