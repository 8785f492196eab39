/* SPDX-License-Identifier: Apache-2.0 */
/* The slave side of the daemon's pseudo-terminal: unlocked, owned, set up, made the controlling terminal. */
#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/*
 * Runs in the supervisor, where NSS may still be asked. 0620 and group tty let write(1) and wall(1) in, nobody
 * else; on a host without that group the terminal is the user's alone.
 */
int unlock_terminal(struct session *session)
{
	int unlock = 0, number;
	struct group *tty = getgrnam("tty");

	session->tty_group = tty ? tty->gr_gid : session->account.gid;
	session->tty_mode = tty ? 0620 : 0600;
	if (ioctl(PTMX_FD, TIOCSPTLCK, &unlock) < 0 || ioctl(PTMX_FD, TIOCGPTN, &number) < 0)
		return -1;
	snprintf(session->tty_path, sizeof(session->tty_path), "/dev/pts/%d", number);
	return 0;
}

/* RFC 4254 §8 opcodes 1–18: an index into c_cc. 11, 15 and 17 do not exist on Linux. */
static const int characters[] = {
	[1] = VINTR, [2] = VQUIT, [3] = VERASE, [4] = VKILL, [5] = VEOF, [6] = VEOL, [7] = VEOL2,
	[8] = VSTART, [9] = VSTOP, [10] = VSUSP, [12] = VREPRINT, [13] = VWERASE, [14] = VLNEXT,
	[16] = VSWTC, [18] = VDISCARD,
};

/* Opcodes 30–93: one flag each, in the member of struct termios at that offset. */
#define INPUT(op, bit) { op, offsetof(struct termios, c_iflag), bit }
#define LOCAL(op, bit) { op, offsetof(struct termios, c_lflag), bit }
#define OUTPUT(op, bit) { op, offsetof(struct termios, c_oflag), bit }
#define CONTROL(op, bit) { op, offsetof(struct termios, c_cflag), bit }
static const struct {
	unsigned char opcode;
	size_t member;
	tcflag_t bit;
} flags[] = {
	INPUT(30, IGNPAR), INPUT(31, PARMRK), INPUT(32, INPCK), INPUT(33, ISTRIP), INPUT(34, INLCR),
	INPUT(35, IGNCR), INPUT(36, ICRNL), INPUT(37, IUCLC), INPUT(38, IXON), INPUT(39, IXANY),
	INPUT(40, IXOFF), INPUT(41, IMAXBEL), INPUT(42, IUTF8),
	LOCAL(50, ISIG), LOCAL(51, ICANON), LOCAL(52, XCASE), LOCAL(53, ECHO), LOCAL(54, ECHOE),
	LOCAL(55, ECHOK), LOCAL(56, ECHONL), LOCAL(57, NOFLSH), LOCAL(58, TOSTOP), LOCAL(59, IEXTEN),
	LOCAL(60, ECHOCTL), LOCAL(61, ECHOKE), LOCAL(62, PENDIN),
	OUTPUT(70, OPOST), OUTPUT(71, OLCUC), OUTPUT(72, ONLCR), OUTPUT(73, OCRNL), OUTPUT(74, ONOCR),
	OUTPUT(75, ONLRET),
	CONTROL(90, CS7), CONTROL(91, CS8), CONTROL(92, PARENB), CONTROL(93, PARODD),
};

static void apply_flag(struct termios *tio, unsigned char opcode, bool on)
{
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		tcflag_t *member = (tcflag_t *)((char *)tio + flags[i].member);

		if (flags[i].opcode == opcode)
			*member = on ? *member | flags[i].bit : *member & ~flags[i].bit;
	}
}

/* The argument of opcodes 128 and 129 is in bits a second. An odd speed is left alone. */
static speed_t speed_of(uint32_t bits)
{
	static const struct {
		uint32_t bits;
		speed_t speed;
	} speeds[] = { { 9600, B9600 }, { 19200, B19200 }, { 38400, B38400 }, { 57600, B57600 }, { 115200, B115200 } };

	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
		if (speeds[i].bits == bits)
			return speeds[i].speed;
	return B0;
}

static void apply_mode(struct termios *tio, unsigned char opcode, uint32_t value)
{
	if (opcode < sizeof(characters) / sizeof(characters[0])) {
		/* VINTR is index 0: a gap in the table looks the same, so only opcode 1 may mean it. */
		if (opcode == 1 || characters[opcode] != 0)
			tio->c_cc[characters[opcode]] = value == 255 ? _POSIX_VDISABLE : (cc_t)value;
	} else if (opcode == 128 && speed_of(value) != B0) {
		cfsetispeed(tio, speed_of(value));
	} else if (opcode == 129 && speed_of(value) != B0) {
		cfsetospeed(tio, speed_of(value));
	} else {
		apply_flag(tio, opcode, value != 0);
	}
}

/* Opcode 0 ends; 160 and up have no defined argument, so reading stops (RFC 4254 §8). */
void apply_modes(struct termios *tio, const unsigned char *modes, size_t length)
{
	while (length >= 5 && modes[0] != 0 && modes[0] < 160) {
		apply_mode(tio, modes[0],
			   (uint32_t)modes[1] << 24 | (uint32_t)modes[2] << 16 | (uint32_t)modes[3] << 8 | modes[4]);
		modes += 5;
		length -= 5;
	}
}

/*
 * Runs in the leader, already in its own session. TIOCGPTPEER opens the slave of exactly this master: a path
 * could lead to another devpts.
 */
int take_terminal(const struct session *session)
{
	int slave = ioctl(PTMX_FD, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	struct termios tio;

	if (slave < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
		return -1;
	if (fchown(slave, session->account.uid, session->tty_group) < 0 || fchmod(slave, session->tty_mode) < 0)
		return -1;
	if (tcgetattr(slave, &tio) < 0)
		return -1;
	apply_modes(&tio, session->spec.modes, session->spec.modes_length);
	if (tcsetattr(slave, TCSANOW, &tio) < 0 || ioctl(slave, TIOCSWINSZ, &session->spec.size) < 0)
		return -1;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(slave, fd) < 0)
			return -1;
	close(slave);
	return 0;
}
