/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentd-script: runs the scripts of signed bundles where update.scripts allows it, for agentd-install, which starts no program itself.
 * A user of its own, no network, no privileges, files by Landlock; one script for one start of the program.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <linux/capability.h>
#include <systemd/sd-event.h>

#include "agentd/common/peer.h"
#include "agentd/common/sandbox.h"
#include "agentd/common/script_wire.h"
#include "agentd/common/service.h"
#include "agentd/script/folder.h"
#include "agentd/script/run.h"
#include "base/macro.h"

#define IDLE_US (30 * UINT64_C(1000000))
#define REQUEST_S 10	/* to send it */

struct server {
	struct service service;
	char *folder;
	uid_t peer_uid;
};

/* The request, and *ret_fd. */
static int request_read(int fd, struct script_request *ret, int *ret_fd)
{
	const struct timeval patience = { .tv_sec = REQUEST_S };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec vector = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	const struct cmsghdr *c;
	ssize_t n;

	*ret_fd = -1;
	(void)fcntl(fd, F_SETFL, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	c = n <= 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	if (n != (ssize_t)sizeof(*ret) || *ret_fd < 0 || (message.msg_flags & MSG_CTRUNC) || ret->version != SCRIPT_WIRE_VERSION)
		return -EBADMSG;
	ret->name[sizeof(ret->name) - 1] = '\0';
	/* Only for the log. */
	for (char *p = ret->name; *p != '\0'; p++)
		*p = *p < 0x20 || *p >= 0x7f ? '?' : *p;
	return ret->name[0] == '\0' || ret->phase > SCRIPT_AFTER ? -EBADMSG : 0;
}

/* What was verified is what runs: nobody can change it any more. */
static bool is_sealed(int fd)
{
	struct stat st;

	return fcntl(fd, F_GET_SEALS) >= 0 && (fcntl(fd, F_GET_SEALS) & SCRIPT_SEALS) == SCRIPT_SEALS && fstat(fd, &st) == 0 && st.st_size > 0 &&
	       st.st_size <= SCRIPT_SIZE_MAX;
}

static void serve(struct server *p, int fd)
{
	struct script_answer answer = { .version = SCRIPT_WIRE_VERSION, .end = SCRIPT_REFUSED };
	_cleanup_close_ int script_fd = -1;
	struct script_request request;

	if (request_read(fd, &request, &script_fd) < 0) {
		service_log(LOG_WARNING, "a request that cannot be read was refused");
		strcpy(answer.line, "the request cannot be read");
	} else if (!is_sealed(script_fd)) {
		service_log(LOG_WARNING, "%s was refused: it is not sealed", request.name);
		strcpy(answer.line, "the script is not sealed");
	} else {
		folder_clear(p->folder);
		service_log(LOG_NOTICE, "%s runs, %s the images are written", request.name, request.phase == SCRIPT_AFTER ? "after" : "before");
		run_script(p->service.settings, p->folder, &request, script_fd, fd, &answer);
		service_log(LOG_NOTICE, "%s is over", request.name);
	}
	(void)send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct server *p = userdata;
	_cleanup_close_ int fd = -1;

	if (peer_accept_from(listen_fd, p->peer_uid, &fd) < 0)
		return 0;
	serve(p, fd);
	/* The next one starts with a fresh program. */
	return sd_event_exit(p->service.event, 0);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *p = userdata;

	return sd_event_exit(p->service.event, 0);
}

/* We give up: who waits hears so now. Else the service manager would start us for them again and again. */
static int refuse_all(int listen_fd, int code)
{
	struct pollfd waits = { .fd = listen_fd, .events = POLLIN };
	int fd;

	while (poll(&waits, 1, 0) > 0 && (fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	return code;
}

/* All processes of our user end with a script: that user must be nobody else's. */
static int check_user(struct server *p)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	const struct passwd *user = getpwnam("agentd-script");

	if (user == NULL || user->pw_uid != geteuid() || user->pw_uid == 0) {
		service_log(LOG_ERR, "scripts run only as the user agentd-script, which belongs to this program alone");
		return -EPERM;
	}
	/* With a capability to signal others the end of a script would be the end of everything. */
	if (syscall(SYS_capget, &header, data) < 0 || (data[0].effective | data[1].effective | data[0].permitted | data[1].permitted) != 0) {
		service_log(LOG_ERR, "scripts run only without any capability");
		return -EPERM;
	}
	user = getpwnam("agentd-install");
	if (user == NULL || user->pw_uid == geteuid()) {
		service_log(LOG_ERR, "there is no user agentd-install, so nobody could ask for a script");
		return -EPERM;
	}
	p->peer_uid = user->pw_uid;
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server p = { 0 };
	int listen_fd, r;

	service_start(&p.service, "agentd-script", "Runs the scripts of signed bundles, where update.scripts allows it.", argc, argv);
	listen_fd = service_listen_fd("script");
	if (listen_fd < 0) {
		service_log(LOG_ERR, "the socket \"script\" was not handed over; the service manager or agentd --supervise starts this program");
		return EXIT_CODE_USAGE;
	}
	if (strcmp(p.service.settings->update.scripts, "run") != 0) {
		service_log(LOG_ERR, "update.scripts is \"%s\": no scripts are run", p.service.settings->update.scripts);
		return refuse_all(listen_fd, EXIT_CODE_CONFIG);
	}
	if (check_user(&p) < 0)
		return refuse_all(listen_fd, EXIT_CODE_NOPERM);
	if (asprintf(&p.folder, "%s/script", p.service.settings->paths.run_dir) < 0)
		return EXIT_CODE_OS;
	/* What a killed one left behind. */
	run_kill_all();
	r = sandbox_enter(SANDBOX_SCRIPT, p.service.settings, NULL, 0, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s", agent_error_message(err));
		/* A kernel without Landlock has it no more at the next try. */
		return refuse_all(listen_fd, r == -EOPNOTSUPP ? EXIT_CODE_CONFIG : EXIT_CODE_OS);
	}
	r = sd_event_add_io(p.service.event, NULL, listen_fd, EPOLLIN, on_connection, &p);
	if (r >= 0)
		r = sd_event_add_time_relative(p.service.event, NULL, CLOCK_MONOTONIC, IDLE_US, 0, on_idle, &p);
	if (r >= 0)
		r = service_run(&p.service);
	service_stop(&p.service);
	free(p.folder);
	return r < 0 ? EXIT_CODE_OS : 0;
}
