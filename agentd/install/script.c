/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/install/script.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agentd/common/script_wire.h"
#include "base/macro.h"

#define EXTRA_S 60	/* over the script's own time: start of the program, end of all it left behind */

static int failed(const char *name, const char *what, int error, struct agent_error **err)
{
	return agent_error_set(err, -error, "update.script", "script %s: %s: %s", name, what, strerror(error));
}

/* Bytes that nobody can change from here on, us included. */
static int seal(const struct agent_update_script *script, int *ret_fd, struct agent_error **err)
{
	_cleanup_close_ int fd = memfd_create("script", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return failed(script->name, "no memory for it", errno, err);
	if (write(fd, script->text, script->size) != (ssize_t)script->size || fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, SCRIPT_SEALS) < 0)
		return failed(script->name, "cannot be sealed", errno == 0 ? EIO : errno, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int program_open(const struct settings *settings, const char *name, int *ret_fd, struct agent_error **err)
{
	const struct timeval patience = { .tv_sec = settings->update.script_timeout_s + EXTRA_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/" SCRIPT_SOCKET, settings->paths.run_dir);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return failed(name, "path of the socket", ENAMETOOLONG, err);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return failed(name, "no socket", errno, err);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return agent_error_set(err, -errno, "update.script", "script %s: agentd-script does not answer on %s: %s", name, address.sun_path, strerror(errno));
	/* Whoever made the socket listens: the service manager or the supervisor. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0)
		return failed(name, "root did not make the socket of agentd-script", EPERM, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int request_send(int fd, const struct agent_update_script *script, int script_fd, struct agent_error **err)
{
	struct script_request request = { .version = SCRIPT_WIRE_VERSION, .phase = script->is_after ? SCRIPT_AFTER : SCRIPT_BEFORE,
					  .has_argument = script->argument != NULL };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec vector = { .iov_base = &request, .iov_len = sizeof(request) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	snprintf(request.name, sizeof(request.name), "%s", script->name);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &script_fd, sizeof(int));
	if (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof(request))
		return failed(script->name, "agentd-script cannot be asked", errno, err);
	return 0;
}

static int answer_judge(const struct settings *settings, const char *name, const struct script_answer *a, struct agent_error **err)
{
	const char *when = a->line[0] == '\0' ? "" : ", last line: ";

	switch ((enum script_end)a->end) {
	case SCRIPT_EXITED:
		if (a->value == 0)
			return 0;
		return agent_error_set(err, -EPERM, "update.script", "script %s ended with status %" PRId32 "%s%s", name, a->value, when, a->line);
	case SCRIPT_SIGNALLED:
		return agent_error_set(err, -EPERM, "update.script", "script %s was ended by signal %" PRId32 "%s%s", name, a->value, when, a->line);
	case SCRIPT_TIMEOUT:
		return agent_error_set(err, -EPERM, "update.script", "script %s took longer than update.script_timeout_s, %" PRId64 " s%s%s", name,
				       settings->update.script_timeout_s, when, a->line);
	case SCRIPT_FULL:
		return agent_error_set(err, -EPERM, "update.script", "script %s wrote more into its scratch folder than it may, or shut a part of it%s%s",
				       name, when, a->line);
	case SCRIPT_STOPPED:
		return agent_error_set(err, -EPERM, "update.script", "script %s was ended, as agentd-script was told to stop%s%s", name, when, a->line);
	case SCRIPT_REFUSED:
		break;
	}
	return agent_error_set(err, -EPERM, "update.script", "script %s was not run: %s", name, a->line);
}

int script_run(const struct settings *settings, const struct agent_update_script *script, struct agent_error **err)
{
	_cleanup_close_ int script_fd = -1, fd = -1;
	struct script_answer answer;
	ssize_t n;
	int r;

	if (script->size > SCRIPT_SIZE_MAX)
		return failed(script->name, "its size", EFBIG, err);
	r = seal(script, &script_fd, err);
	if (r == 0)
		r = program_open(settings, script->name, &fd, err);
	if (r == 0)
		r = request_send(fd, script, script_fd, err);
	if (r < 0)
		return r;
	n = recv(fd, &answer, sizeof(answer), MSG_WAITALL);
	if (n != (ssize_t)sizeof(answer) || answer.version != SCRIPT_WIRE_VERSION)
		return agent_error_set(err, -EIO, "update.script", "script %s: agentd-script ended without an answer; its log says why", script->name);
	answer.line[sizeof(answer.line) - 1] = '\0';
	return answer_judge(settings, script->name, &answer, err);
}
