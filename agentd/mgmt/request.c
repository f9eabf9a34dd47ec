/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/service.h"
#include "base/macro.h"
#include "base/secret.h"

struct request *request_new(struct mgmt *m, struct conn *conn, const char *uri)
{
	struct request *req = calloc(1, sizeof(*req));

	if (req == NULL)
		return NULL;
	req->m = m;
	req->conn = conn;
	conn->req = req;
	req->begun_us = mgmt_now_us(m);
	req->uri_is_bad = !head_target(req, uri);
	return req;
}

void request_free(struct request *req)
{
	if (req->conn != NULL && req->conn->req == req)
		req->conn->req = NULL;
	req->slot = sd_bus_slot_unref(req->slot);
	if (req->sink != NULL)
		req->sink->gone(req);
	stream_gone(req);
	args_free(req->args);
	if (req->body != NULL)
		wipe(req->body, req->body_size);
	free(req->body);
	if (!req->reply.is_static) {
		if (req->reply.body != NULL)
			wipe(req->reply.body, req->reply.size);
		free(req->reply.body);
	}
	wipe(req, sizeof(*req));
	free(req);
}

void request_pause(struct request *req)
{
	if (req->is_suspended)
		return;
	MHD_suspend_connection(req->mhd);
	req->is_suspended = true;
}

void request_resume(struct request *req)
{
	if (!req->is_suspended)
		return;
	req->is_suspended = false;
	MHD_resume_connection(req->mhd);
	http_kick(req->m);
}

void request_abandon(struct request *req)
{
	req->stage = STAGE_DEAD;
	req->slot = sd_bus_slot_unref(req->slot);
	stream_gone(req);
	request_resume(req);
}

/* A reply was set outside libmicrohttpd's callback: see that it gets out. */
static void deliver(struct request *req)
{
	if (req->stage == STAGE_DEAD || req->in_handler || req->reply.status == 0)
		return;
	if (reply_needs_raw(req))
		reply_raw(req);
	else
		request_resume(req);
}

/* ---- core ------------------------------------------------------------------------------------------------------- */

sd_bus_message *request_plain_call_new(struct request *req, const char *member)
{
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *call = NULL;
	int r = core_message(req->m, member, &call, &err);

	if (r < 0) {
		reply_error(req, r, &err);
		return NULL;
	}
	(void)sd_bus_message_sensitive(call);	/* tokens and passwords: wiped when it is freed */
	return call;
}

sd_bus_message *request_call_new(struct request *req, const char *member)
{
	sd_bus_message *call = request_plain_call_new(req, member);
	const char *token = req->has_bearer ? req->token : req->has_cookie ? req->cookie_token : "";

	if (call != NULL && sd_bus_message_append(call, "(sus)", token, req->conn->uid, req->conn->source.text) < 0) {
		sd_bus_message_unref(call);
		reply_problem(req, "internal", NULL, "out of memory", NULL);
		return NULL;
	}
	return call;
}

static int on_core(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct request *req = userdata;
	_cleanup_error_ struct agent_error *err = NULL;
	void (*on_reply)(struct request *, sd_bus_message *) = req->on_reply;
	void (*on_error)(struct request *, int, struct agent_error **) = req->on_error;
	int r;

	req->slot = sd_bus_slot_unref(req->slot);
	if (sd_bus_message_is_method_error(message, NULL)) {
		r = peer_error_from_bus(sd_bus_message_get_error(message), -sd_bus_message_get_errno(message), &err);
		if (on_error != NULL)
			on_error(req, r, &err);
		else
			reply_error(req, r, &err);
	} else {
		on_reply(req, message);
	}
	if (req->slot == NULL && req->stage == STAGE_BODY && !req->in_handler)
		request_resume(req);
	deliver(req);
	return 0;
}

void request_call_send(struct request *req, sd_bus_message *message, uint64_t timeout_us,
		       void (*on_reply)(struct request *req, sd_bus_message *message),
		       void (*on_error)(struct request *req, int r, struct agent_error **err))
{
	_cleanup_error_ struct agent_error *err = NULL;
	int r;

	if (message == NULL)
		return;
	req->on_reply = on_reply;
	req->on_error = on_error;
	r = core_send(req->m, message, timeout_us, on_core, req, &req->slot, &err);
	sd_bus_message_unref(message);
	if (r < 0)
		reply_error(req, r, &err);
}

void request_call_end(struct request *req, sd_bus_message *call, int r, uint64_t timeout_us,
		      void (*on_reply)(struct request *req, sd_bus_message *message))
{
	if (r >= 0) {
		request_call_send(req, call, timeout_us, on_reply, NULL);
		return;
	}
	sd_bus_message_unref(call);
	reply_problem(req, "internal", NULL, "out of memory", NULL);
}

void request_call(struct request *req, const char *member, void (*on_reply)(struct request *req, sd_bus_message *message), const char *types, ...)
{
	sd_bus_message *call = request_call_new(req, member);
	va_list ap;
	int r = 0;

	if (call == NULL)
		return;
	if (types != NULL) {
		va_start(ap, types);
		r = sd_bus_message_appendv(call, types, ap);
		va_end(ap);
	}
	request_call_end(req, call, r, 0, on_reply);
}

/* ---- stages ----------------------------------------------------------------------------------------------------- */

void request_begin(struct request *req)
{
	bool is_ambiguous;

	req->stage = STAGE_WHO;
	conn_set_phase(req->conn, PHASE_CORE);
	req->route = route_find(req->method, req->path, req->param, sizeof(req->param), req->allow, sizeof(req->allow));
	/* Nobody, that is. */
	is_ambiguous = req->has_bearer && req->has_cookie;
	req->has_bad_token = req->has_bad_token || is_ambiguous;
	client_fill_token(req);
	if (!stage_limit(req))
		return;
	/* For a path or method that is not there the answer is what every stranger gets. */
	if (is_ambiguous && req->route->handler != NULL)
		reply_problem(req, "bad-request", NULL, "session cookie and Authorization in one request", NULL);
	else if (stage_who(req))
		stage_gate(req);
}

static bool type_is(const char *value, const char *type)
{
	size_t n = strlen(type);

	if (strncasecmp(value, type, n) != 0)
		return false;
	value += n;
	value += strspn(value, " ");
	if (*value == '\0')
		return true;
	if (*value++ != ';')
		return false;
	value += strspn(value, " ");
	return strcasecmp(value, "charset=utf-8") == 0 || strcasecmp(value, "charset=\"utf-8\"") == 0;
}

/* Who and gate are done: now the caller may learn what is wrong with the rest, and the body may come. */
void stage_passed(struct request *req)
{
	const struct route *route = req->route;
	_cleanup_error_ struct agent_error *err = NULL;
	bool has_body = req->is_chunked || req->content_length > 0;

	if (req->allow[0] != '\0') {
		reply_problem(req, "method-not-allowed", NULL, "this path does not know the method", NULL);
		reply_header(req, "Allow", "%s", req->allow);
		return;
	}
	if (route->handler == NULL) {
		reply_problem(req, "not-found", NULL, "there is no such path", NULL);
		return;
	}
	if (query_check(req->query, route->query, &err) < 0) {
		reply_problem(req, "bad-request", agent_error_name(err), agent_error_message(err), NULL);
		return;
	}
	if (route->param != NULL && args_check_text(route->param, req->param, &err) < 0) {
		reply_problem(req, "not-found", agent_error_name(err), agent_error_message(err), NULL);
		return;
	}
	if (route->body_cap == BODY_NONE && has_body) {
		reply_problem(req, "too-large", NULL, "no body is expected here", NULL);
		return;
	}
	if (route->body_cap != BODY_NONE) {
		const char *type = route->body_cap == BODY_STREAM ? "application/octet-stream" : "application/json";

		if (!req->is_chunked && !req->has_length)
			reply_problem(req, "length-required", NULL, "Content-Length or a chunked body is needed", NULL);
		else if (!type_is(req->content_type, type))
			reply_problem(req, "unsupported-media-type", NULL, type, NULL);
		else if (route->body_cap != BODY_STREAM && req->content_length > route->body_cap)
			reply_problem(req, "too-large", NULL, "the body is larger than this path accepts", NULL);
		if (req->reply.status != 0)
			return;
	}
	if (route->body_cap == BODY_STREAM) {
		conn_set_phase(req->conn, PHASE_STREAM);
		route->handler(req);
		return;
	}
	req->in_body = true;
	req->stage = STAGE_BODY;
	conn_set_phase(req->conn, PHASE_BODY);
}

size_t request_body(struct request *req, const char *data, size_t size)
{
	char *grown;

	if (req->sink != NULL)
		return req->sink->data(req, data, size);
	if (req->body_size + size > req->route->body_cap) {
		reply_problem(req, "too-large", NULL, "the body is larger than this path accepts", NULL);
		reply_raw(req);
		return size;
	}
	/* Not realloc(): it may leave a copy of a password behind. */
	grown = malloc(req->body_size + size);
	if (grown == NULL) {
		reply_problem(req, "busy", NULL, "out of memory", NULL);
		reply_raw(req);
		return size;
	}
	if (req->body != NULL) {
		memcpy(grown, req->body, req->body_size);
		wipe(req->body, req->body_size);
		free(req->body);
	}
	memcpy(grown + req->body_size, data, size);
	req->body = grown;
	req->body_size += size;
	return size;
}

void request_end(struct request *req)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int r;

	req->in_body = false;
	req->stage = STAGE_CORE;
	conn_set_phase(req->conn, PHASE_CORE);
	if (req->sink != NULL) {
		req->sink->end(req);
		return;
	}
	if (req->route->args != NULL) {
		r = args_parse(req->body == NULL ? "" : req->body, req->body_size, req->route->args, &req->args, &err);
		if (r < 0) {
			reply_problem(req, r == -EMSGSIZE || r == -EINVAL ? "not-acceptable" : "bad-request",
				      agent_error_name(err), agent_error_message(err), NULL);
			return;
		}
	}
	req->route->handler(req);
}

/* ---- limit ------------------------------------------------------------------------------------------------------ */

static bool take(struct request *req, enum limit_class class, const void *key, size_t size)
{
	uint32_t wait_s = limit_take(req->m->limits, class, key, size, mgmt_now_us(req->m));

	if (wait_s == 0)
		return true;
	mgmt_count_limited(req->m);
	reply_problem(req, "too-many-requests", NULL, "too many requests, wait a moment", NULL);
	reply_header(req, "Retry-After", "%u", wait_s);
	return false;
}

/* A token that core has confirmed before has a budget of its own; an invented one must not buy a fresh one each time. */
bool stage_limit(struct request *req)
{
	const struct source *source = &req->conn->source;
	const char *token = req->has_bearer ? req->token : req->cookie_token;
	enum limit_class class = req->route->rate == RATE_READ ? LIMIT_READ : LIMIT_WRITE;

	if (req->route->rate == RATE_AUTH && !take(req, LIMIT_AUTH, source->key, sizeof(source->key)))
		return false;
	if (token[0] != '\0' && !req->has_bad_token && limit_session_is_known(req->m->limits, token))
		return take(req, class, token, strlen(token));
	if (req->conn->is_unix)
		return take(req, class, source->key, sizeof(source->key));
	return take(req, LIMIT_STRANGER, source->key, sizeof(source->key)) && take(req, LIMIT_STRANGERS, "", 0);
}
