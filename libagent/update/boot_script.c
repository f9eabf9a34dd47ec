/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "script": a program of the vendor keeps the state, for boot loaders we know nothing of. It is not started by us: whoever
 * writes slots starts no program. The argument is a Unix stream socket where systemd (Accept=yes) or the vendor's init runs
 * it once per connection, with its own user and sandbox and the connection as standard input and output.
 *
 *   we: "load", "end"                    it: the lines of "file", or "missing"; "end"
 *   we: "store", the lines, "end"        it: "ok" once all of it is durable; "end"
 *
 * Instead of an answer it may say "error TEXT", "end". A request without "end" must change nothing.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "update/boot.h"
#include "update/lines.h"

#define ANSWER_MS 20000	/* core waits for 30 s and more */
#define END "end\n"

/* Who may stand there decides what boots: root, or ourselves. */
static int peer_check(int fd, const char *config, struct agent_error **err)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return agent_error_set(err, -errno, "boot.read", "cannot tell who listens on %s: %s", config, strerror(errno));
	if (peer.uid != 0 && peer.uid != geteuid())
		return agent_error_set(err, -EPERM, "boot.config", "%s was opened by user %u; only root may keep the boot state", config, (unsigned)peer.uid);
	return 0;
}

static int program_open(const char *config, int *ret_fd, struct agent_error **err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int r;

	if (strlen(config) >= sizeof(address.sun_path))
		return agent_error_set(err, -EINVAL, "boot.config", "the path of the boot program's socket is longer than %zu characters", sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, config);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return agent_error_set(err, -errno, "boot.read", "cannot make a socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return agent_error_set(err, errno == ENOENT || errno == ECONNREFUSED ? -EINVAL : -errno, "boot.config",
				       "nothing answers on %s, where the vendor's boot program should be: %s", config, strerror(errno));
	r = peer_check(fd, config, err);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static int request_send(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, text, size, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* Up to and without "end". -EBADMSG: the connection ended before it, too long, a NUL. */
static int answer_read(int fd, char ret_text[LINES_FILE_MAX + 1])
{
	const int64_t deadline = (int64_t)monotonic_ms() + ANSWER_MS;
	size_t fill = 0;

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		int64_t left = deadline - (int64_t)monotonic_ms();
		ssize_t n;
		int r = left <= 0 ? 0 : poll(&wait, 1, (int)left);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ETIMEDOUT;
		n = recv(fd, ret_text + fill, LINES_FILE_MAX - fill, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		fill += (size_t)n;
		ret_text[fill] = '\0';
		if (strlen(ret_text) != fill)
			return -EBADMSG;
		if (fill >= strlen(END) && strcmp(ret_text + fill - strlen(END), END) == 0 && (fill == strlen(END) || ret_text[fill - strlen(END) - 1] == '\n')) {
			ret_text[fill - strlen(END)] = '\0';
			return 0;
		}
	}
}

/* What the program said, if that is not an error. @error is boot.read or boot.write. */
static int converse(const char *config, const char *verb, const char *lines, char ret_answer[LINES_FILE_MAX + 1], const char *error, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r = program_open(config, &fd, err);

	if (r < 0)
		return r;
	r = request_send(fd, verb, strlen(verb));
	if (r == 0)
		r = request_send(fd, lines, strlen(lines));
	if (r == 0)
		r = request_send(fd, END, strlen(END));
	if (r < 0)
		return agent_error_set(err, r, error, "cannot talk to the boot program on %s: %s", config, strerror(-r));
	r = answer_read(fd, ret_answer);
	if (r == -EBADMSG)
		return agent_error_set(err, -EIO, error, "the boot program on %s ended without a whole answer", config);
	if (r < 0)
		return agent_error_set(err, r, error, "no answer of the boot program on %s: %s", config, strerror(-r));
	if (strncmp(ret_answer, "error", 5) == 0) {
		ret_answer[strcspn(ret_answer, "\n")] = '\0';
		return agent_error_set(err, -EIO, error, "the boot program on %s says: %s", config, ret_answer);
	}
	return 0;
}

static int script_load(const char *config, struct boot_state *ret_state, struct agent_error **err)
{
	char answer[LINES_FILE_MAX + 1], what[160];
	int r = converse(config, "load\n", "", answer, "boot.read", err);

	if (r < 0)
		return r;
	if (strcmp(answer, "missing\n") == 0)
		return agent_error_set(err, -ENOENT, "boot.missing", "the boot program on %s has no state yet", config);
	snprintf(what, sizeof(what), "boot program on %s", config);
	return boot_text_parse(answer, what, ret_state, err);
}

static int script_store(const char *config, const struct boot_state *state, struct agent_error **err)
{
	char answer[LINES_FILE_MAX + 1];
	_cleanup_free_ char *lines = NULL;
	struct boot_state now = { 0 };
	size_t size = 0;
	int r = boot_text_print(state, &lines, &size, err);

	if (r == 0)
		r = converse(config, "store\n", lines, answer, "boot.write", err);
	if (r == 0 && strcmp(answer, "ok\n") != 0)
		r = agent_error_set(err, -EIO, "boot.write", "the boot program on %s did not say that the state is stored", config);
	if (r == 0)
		r = script_load(config, &now, err);
	if (r == 0 && !boot_state_is_equal(&now, state))
		r = agent_error_set(err, -EIO, "boot.write", "the boot program on %s does not hold what it was given", config);
	return r;
}

/* A socket is connected to, not opened: Landlock has no rule for that. */
static int script_paths(const char *config, agent_update_path_fn fn, void *userdata, struct agent_error **err)
{
	return 0;
}

const struct boot_backend boot_script = { .name = "script", .load = script_load, .store = script_store, .paths = script_paths };
