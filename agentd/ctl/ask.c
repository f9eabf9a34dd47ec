/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "agentd/ctl/ask.h"
#include "base/macro.h"

#define LINE_MAX_BYTES 1024

/* One line without its newline. Byte by byte, so that nothing of the next line is swallowed. */
static int read_line(int fd, struct secret *ret_line)
{
	int r = secret_alloc(ret_line, LINE_MAX_BYTES);

	while (r == 0) {
		char c;
		ssize_t n = read(fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 1 && c == 3 && isatty(fd))	/* ^C, see prompt() */
			return -EINTR;
		if (n == 0 || c == '\n')
			return n == 0 && ret_line->size == 0 ? -ENODATA : 0;
		if (ret_line->size == LINE_MAX_BYTES - 1)
			return -EMSGSIZE;
		ret_line->data[ret_line->size++] = (uint8_t)c;
	}
	return r;
}

static int prompt(const char *question, struct secret *ret_line)
{
	_cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios before, quiet;
	sigset_t stop, old;
	int r;

	if (tty < 0) {
		fputs("agentctl: there is no terminal to ask on; use --stdin\n", stderr);
		return -ENOTTY;
	}
	if (tcgetattr(tty, &before) < 0)
		return -errno;
	quiet = before;
	quiet.c_lflag &= (tcflag_t) ~(ECHO);
	quiet.c_lflag |= ECHONL;
	quiet.c_lflag &= (tcflag_t) ~(ISIG);
	quiet.c_cc[VEOL] = before.c_cc[VINTR];	/* ^C ends the line, so that the echo comes back before we leave */
	/* Signals from elsewhere wait until the echo is back. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_BLOCK, &stop, &old);
	tcsetattr(tty, TCSAFLUSH, &quiet);	/* before the question: an answer typed at once must not be thrown away */
	dprintf(tty, "%s: ", question);
	r = read_line(tty, ret_line);
	tcsetattr(tty, TCSAFLUSH, &before);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

int ask_secret(bool is_stdin, const char *question, struct secret *ret_line)
{
	int r = is_stdin ? read_line(STDIN_FILENO, ret_line) : prompt(question, ret_line);

	if (r == -ENODATA)
		fprintf(stderr, "agentctl: %s: nothing was entered\n", question);
	else if (r == -EMSGSIZE)
		fprintf(stderr, "agentctl: %s: longer than any password may be\n", question);
	else if (r == -EINTR)
		fputs("agentctl: given up; nothing was changed\n", stderr);
	else if (r < 0 && r != -ENOTTY)
		fprintf(stderr, "agentctl: %s: %s\n", question, strerror(-r));
	return r;
}

void say_where_from(const char *what)
{
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "agentctl: paste the %s in PEM form, then Ctrl-D at the beginning of a line\n", what);
}

json_t *secret_json(const struct secret *secret)
{
	return json_stringn((const char *)secret->data, secret->size);
}
