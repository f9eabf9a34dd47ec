/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal pair that looks like /dev/tpm0 to the TCTI for devices: what is written to it goes to a software TPM, whose
 * answer comes back after a pause.
 *
 *   pty_relay LINK SWTPM-SOCKET [DELAY-MS]	LINK becomes a symbolic link to the terminal
 *
 * Runs until it is killed; then the device is gone, as if its driver were unloaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 4096

/* TPM 2.0 Part 1, 18: tag, size of all, code */
static size_t frame_size(const uint8_t *head)
{
	return (size_t)head[2] << 24 | (size_t)head[3] << 16 | (size_t)head[4] << 8 | head[5];
}

/* -1 at the end or on an error. EIO: nobody has the terminal open now. */
static int read_frame(int fd, uint8_t *frame, size_t *ret_size)
{
	struct timespec nap = { .tv_nsec = 2000000 };
	size_t n = 0, wanted = 10;

	while (n < wanted) {
		ssize_t got = read(fd, frame + n, wanted - n);

		if (got < 0 && errno == EIO) {
			n = 0; /* half a command of somebody who left */
			wanted = 10;
			nanosleep(&nap, NULL);
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		n += (size_t)got;
		if (n >= 10 && wanted == 10) {
			wanted = frame_size(frame);
			if (wanted < 10 || wanted > FRAME_MAX)
				return -1;
		}
	}
	*ret_size = n;
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* One connection per command, so that tools get between. */
static int ask(const char *path, uint8_t *frame, size_t *size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && write_all(fd, frame, *size) == 0)
		r = read_frame(fd, frame, size);
	if (fd >= 0)
		close(fd);
	return r;
}

int main(int argc, char **argv)
{
	unsigned long delay_ms = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	struct timespec delay = { .tv_sec = (time_t)(delay_ms / 1000), .tv_nsec = (long)(delay_ms % 1000) * 1000000 };
	uint8_t frame[FRAME_MAX];
	struct termios mode;
	int master, slave;
	size_t size;

	if (argc < 3) {
		fputs("usage: pty_relay LINK SWTPM-SOCKET [DELAY-MS]\n", stderr);
		return 2;
	}
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) {
		perror("pty_relay: no terminal");
		return 1;
	}
	/* Our controlling terminal, so that it cannot become that of whoever opens it: its end would be a SIGHUP there. */
	(void)setsid();
	slave = open(ptsname(master), O_RDWR | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &mode) < 0) {
		perror("pty_relay: terminal");
		return 1;
	}
	cfmakeraw(&mode);
	if (tcsetattr(slave, TCSANOW, &mode) < 0) {
		perror("pty_relay: raw mode");
		return 1;
	}
	/* Its own slave stays open: the mode is kept, and no client's close ends the pair. */
	(void)unlink(argv[1]);
	if (chmod(ptsname(master), 0666) < 0 || symlink(ptsname(master), argv[1]) < 0) {
		perror("pty_relay: link");
		return 1;
	}
	while (read_frame(master, frame, &size) == 0) {
		if (ask(argv[2], frame, &size) < 0) {
			static const uint8_t failed[10] = { 0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1 }; /* TPM_RC_FAILURE */

			memcpy(frame, failed, sizeof(failed));
			size = sizeof(failed);
		}
		while (nanosleep(&delay, &delay) < 0 && errno == EINTR)
			;
		delay = (struct timespec){ .tv_sec = (time_t)(delay_ms / 1000), .tv_nsec = (long)(delay_ms % 1000) * 1000000 };
		if (write_all(master, frame, size) < 0)
			break;
	}
	return 0;
}
