/* SPDX-License-Identifier: Apache-2.0 */
/* libmicrohttpd inside our event loop: its callbacks become struct request, nothing is decided here. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>

#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/request.h"
#include "base/macro.h"

#define HEAD_POOL_BYTES (32 * KIB) /* head and read buffer of one connection */

static void run(struct mgmt *m)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	int turns = 0;

	/* Its epoll is edge-triggered: what it has not finished in one turn it does not report again. */
	do
		MHD_run(m->mhd);
	while (++turns < 64 && MHD_get_timeout(m->mhd, &timeout_ms) == MHD_YES && timeout_ms == 0);
	if (turns == 64)
		http_kick(m);
}

static int on_epoll(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	run(userdata);
	return 0;
}

static int on_defer(sd_event_source *source, void *userdata)
{
	run(userdata);
	return 0;
}

void http_kick(struct mgmt *m)
{
	if (m->mhd_defer != NULL)
		sd_event_source_set_enabled(m->mhd_defer, SD_EVENT_ONESHOT);
}

/* It tries TCP options on the socketpair and reports that they do not exist there; the rest is for debugging. */
static void on_log(void *cls, const char *fmt, va_list ap) AGENT_PRINTF(2, 0);
static void on_log(void *cls, const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = *p == '\n' && p[1] == '\0' ? '\0' : '?';
	service_log(LOG_DEBUG, "libmicrohttpd: %s", line);
}

/* Nothing is ever unescaped: a path or value means the bytes it is made of. */
static size_t on_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
	return strlen(text);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct mgmt *m = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = m->conn_starting;
		if (m->conn_starting != NULL)
			m->conn_starting->mhd_open = true;
	} else if (*socket_context != NULL) {
		conn_mhd_closed(*socket_context);
	}
}

static struct conn *conn_of(struct mgmt *m, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info == NULL ? NULL : info->socket_context;
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct mgmt *m = cls;
	struct conn *c = conn_of(m, connection);
	struct request *req;

	req = c == NULL ? NULL : request_new(m, c, uri);
	if (req == NULL && c != NULL)
		c->is_out_of_memory = true;
	return req;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_size, const char *value,
				size_t value_size)
{
	head_field(cls, name, name_size, value, value_size);
	return MHD_YES;
}

static const struct {
	unsigned status;
	const char *slug;
} head_problems[] = {
	{ 400, "bad-request" },
	{ 403, "cross-origin" },
	{ 414, "target-too-long" },
	{ 421, "wrong-host" },
	{ 431, "head-too-large" },
};

/* Where one request ends and the next begins may be read differently. */
static bool is_about_head(unsigned status)
{
	return status == 400 || status == 414 || status == 421 || status == 431;
}

static void refuse_head(struct request *req, unsigned status, const char *why)
{
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(head_problems) && head_problems[i].status != status)
		i++;
	reply_problem(req, head_problems[i].slug, NULL, why, NULL);
}

/*
 * Goes on, waits, or answers, according to where the request stands after a stage. libmicrohttpd closes after an answer that
 * comes before the end of the request; where nothing follows the head anyway, the answer waits for its next call, so that a
 * client with an old token need not shake hands again. What may be misread does close.
 */
static enum MHD_Result settle(struct request *req, bool is_head)
{
	switch (req->stage) {
	case STAGE_WHO:
	case STAGE_CORE:
		if (!req->is_suspended) {
			MHD_suspend_connection(req->mhd);
			req->is_suspended = true;
			req->is_head_shown_again = req->stage == STAGE_WHO;
		}
		return MHD_YES;
	case STAGE_REPLIED:
		if (is_head && !req->is_chunked && req->content_length == 0 && !is_about_head(req->reply.status))
			return MHD_YES;
		return reply_queue(req);
	case STAGE_DEAD:
		return MHD_NO;
	case STAGE_HEAD:
	case STAGE_BODY:
		break;
	}
	return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_size, void **context)
{
	struct request *req = *context;
	enum MHD_Result result;
	unsigned status;
	const char *why;
	bool is_head;

	if (req == NULL || req->stage == STAGE_DEAD)
		return MHD_NO;
	req->in_handler = true;
	/* After a wait for core in the first call the head is shown once more, and the body is still to come. */
	is_head = req->stage == STAGE_HEAD || req->is_head_shown_again;
	req->is_head_shown_again = false;
	if (req->stage == STAGE_HEAD) {
		req->mhd = connection;
		req->method = method_from_text(method);
		snprintf(req->method_text, sizeof(req->method_text), "%s", req->method == METHOD_OTHER ? "other" : method);
		MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_field, req);
		why = head_check(req, version, &status);
		conn_expect_body(req->conn, req->is_chunked ? UINT64_MAX : req->content_length);
		if (why != NULL)
			refuse_head(req, status, why);
		else
			request_begin(req);
	} else if (req->stage == STAGE_BODY && *data_size > 0) {
		*data_size -= request_body(req, data, *data_size);
	} else if (req->stage == STAGE_BODY && !is_head && !req->is_suspended) {
		request_end(req);
	}
	result = settle(req, is_head);
	req->in_handler = false;
	return result;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
	struct request *req = *context;
	struct conn *c;

	if (req == NULL)
		return;
	c = req->conn;
	request_free(req);
	*context = NULL;
	/* Otherwise it closes now; the phase says what the client was waiting for. */
	if (c != NULL && c->state == CONN_OPEN && !c->out_eof && code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		conn_set_phase(c, PHASE_IDLE);
}

int http_start(struct mgmt *m, struct agent_error **err)
{
	const union MHD_DaemonInfo *info;
	int r;

	m->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
				  on_request, m,
				  MHD_OPTION_EXTERNAL_LOGGER, on_log, m,
				  MHD_OPTION_NOTIFY_CONNECTION, on_connection, m,
				  MHD_OPTION_NOTIFY_COMPLETED, on_completed, m,
				  MHD_OPTION_URI_LOG_CALLBACK, on_uri, m,
				  MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, m,
				  MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_POOL_BYTES,
				  MHD_OPTION_CONNECTION_LIMIT, (unsigned)m->settings->mgmt.max_connections + 64,
				  MHD_OPTION_CONNECTION_TIMEOUT, 0u, /* deadlines are ours, conn.c */
				  MHD_OPTION_STRICT_FOR_CLIENT, 1,
				  MHD_OPTION_END);
	if (m->mhd == NULL)
		return agent_error_set(err, -EIO, "mgmt.start", "libmicrohttpd does not start");
	info = MHD_get_daemon_info(m->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL || info->epoll_fd < 0)
		return agent_error_set(err, -EIO, "mgmt.start", "libmicrohttpd was built without epoll");
	r = sd_event_add_io(m->event, &m->mhd_io, info->epoll_fd, EPOLLIN, on_epoll, m);
	/* What has come so far is dealt with before more is let in. */
	if (r >= 0)
		r = sd_event_source_set_priority(m->mhd_io, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_add_defer(m->event, &m->mhd_defer, on_defer, m);
	if (r >= 0)
		r = sd_event_source_set_priority(m->mhd_defer, SD_EVENT_PRIORITY_IMPORTANT);
	if (r < 0)
		return agent_error_set(err, r, "mgmt.start", "cannot watch libmicrohttpd: %s", strerror(-r));
	return 0;
}

void http_stop(struct mgmt *m)
{
	m->mhd_io = sd_event_source_disable_unref(m->mhd_io);
	m->mhd_defer = sd_event_source_disable_unref(m->mhd_defer);
	if (m->mhd != NULL) {
		MHD_run(m->mhd);	/* let resumed connections go before the daemon does */
		MHD_stop_daemon(m->mhd);
	}
	m->mhd = NULL;
}
