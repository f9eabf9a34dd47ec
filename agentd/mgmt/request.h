/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_REQUEST_H
#define MGMT_REQUEST_H
/*
 * One HTTP request on its way through the stages: head policy, route, limit, who, gate, body, endpoint, reply.
 * A stage goes on or sets a finished reply; a stage that asks core returns and is continued from the event loop.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <microhttpd.h>
#include <systemd/sd-bus.h>

#include <agent/error.h>
#include <agent/password.h>

#include "agentd/common/args.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/route.h"

/* Where a streamed body goes. */
struct body_sink {
	/* Bytes used of @size; fewer means the sink called request_pause(). */
	size_t (*data)(struct request *req, const char *data, size_t size);
	void (*end)(struct request *req);
	void (*gone)(struct request *req);	/* the request ends, whatever happened; must tolerate being called after end */
};

struct reply {
	unsigned status;	/* 0: none yet */
	char *body;		/* owned unless is_static */
	size_t size;
	const char *type;
	const char *problem;	/* its slug, NULL for a success */
	bool is_static, is_page, is_stream;	/* is_stream: the body is what stream_read() gives */
	char headers[8][2][384];
	size_t n_headers;
};

enum request_stage {
	STAGE_HEAD,	/* libmicrohttpd has not called with the head yet */
	STAGE_WHO,	/* core is asked before the body may come */
	STAGE_BODY,
	STAGE_CORE,	/* the endpoint waits for core */
	STAGE_REPLIED,
	STAGE_DEAD	/* the connection was taken away */
};

#define PATH_MAX_BYTES 256
#define TOKEN_MAX_BYTES 128

struct request {
	struct mgmt *m;
	struct conn *conn;
	struct MHD_Connection *mhd;
	enum request_stage stage;
	bool is_suspended, in_handler;
	bool is_head_shown_again; /* libmicrohttpd repeats its first call after a suspension in it */

	int method;
	char method_text[12];
	char path[PATH_MAX_BYTES + 1], query[PATH_MAX_BYTES + 1];
	bool uri_is_bad;	/* too long or with bytes that are not allowed */
	bool uri_is_long;
	const struct route *route;
	char param[65];
	char allow[64];

	/* head */
	char host[256], origin[300], content_type[64];
	char token[TOKEN_MAX_BYTES + 1], cookie_token[TOKEN_MAX_BYTES + 1], device_cookie[256];
	char fetch_site[24], last_event_id[24];
	bool is_asked_again;
	bool is_by_certificate;	/* the token is the one of the client certificate, client.c */
	bool has_bearer, has_cookie, has_x_agentd, has_length, is_chunked, has_host, has_origin, has_bad_token;
	uint64_t content_length;
	unsigned n_fields, n_type, n_auth, n_cookie, n_te, n_expect;
	const char *head_error;	/* why the head is refused, NULL if it is not */

	/* who */
	char role[16], scope[12], user[AGENT_ACCOUNT_NAME_MAX + 1];
	bool is_known;		/* core has confirmed the caller */
	bool in_body;		/* the head is accepted, the body not read to its end */
	bool is_logged;

	/* body */
	char *body;
	size_t body_size;
	json_t *args;
	struct stream *stream;
	const struct body_sink *sink;
	void *sink_data;

	sd_bus_slot *slot;
	void (*on_reply)(struct request *req, sd_bus_message *message);
	void (*on_error)(struct request *req, int r, struct agent_error **err);
	struct reply reply;
	uint64_t begun_us;
};

/* request.c */
struct request *request_new(struct mgmt *m, struct conn *conn, const char *uri);
void request_free(struct request *req);
/* The head is parsed: goes through the stages up to the gate. Afterwards a reply is set, or stage is STAGE_WHO or STAGE_BODY. */
void request_begin(struct request *req);
/* @size bytes of body; returns how many were used. */
size_t request_body(struct request *req, const char *data, size_t size);
void request_end(struct request *req);
/* Lets libmicrohttpd call again. */
void request_resume(struct request *req);
/* Stop reading the body until request_resume(). */
void request_pause(struct request *req);
/* The connection goes away under the request. */
void request_abandon(struct request *req);

/* limit.c's and who.c's and gate.c's part in request_begin(); false when a reply was set. */
bool stage_limit(struct request *req);
bool stage_who(struct request *req);
void stage_who_ask(struct request *req);
void stage_gate(struct request *req);
void stage_passed(struct request *req);

/* Ask core on behalf of the caller: Core1.@member with (sus), then @types as in sd_bus_message_append() (NULL: nothing). */
void request_call(struct request *req, const char *member, void (*on_reply)(struct request *req, sd_bus_message *message), const char *types, ...);
/* The parts of it. A message with (sus) already appended; NULL and a reply if core is not there. */
sd_bus_message *request_call_new(struct request *req, const char *member);
/* As above, for operations without (sus). */
sd_bus_message *request_plain_call_new(struct request *req, const char *member);
/* Takes @call: sends it if appending went well (@r >= 0), otherwise replies. */
void request_call_end(struct request *req, sd_bus_message *call, int r, uint64_t timeout_us,
		      void (*on_reply)(struct request *req, sd_bus_message *message));
/* Sends and unrefs @message. @on_reply is called with the answer; an error becomes the reply, through @on_error if given. */
void request_call_send(struct request *req, sd_bus_message *message, uint64_t timeout_us,
		       void (*on_reply)(struct request *req, sd_bus_message *message),
		       void (*on_error)(struct request *req, int r, struct agent_error **err));

/* client.c: is this a request that a client certificate speaks for; its token, if there is one already; get one */
bool client_is_asking(const struct request *req);
void client_fill_token(struct request *req);
void client_drop_token(struct request *req);
void client_present(struct request *req);

/* http.c */
int http_start(struct mgmt *m, struct agent_error **err);
void http_stop(struct mgmt *m);
/* Let libmicrohttpd work soon, from the event loop. */
void http_kick(struct mgmt *m);
/* Check of one parsed head, see head.c. Returns NULL or why it is refused; *ret_status is the status then. */
const char *head_check(struct request *req, const char *version, unsigned *ret_status);
void head_field(struct request *req, const char *name, size_t name_size, const char *value, size_t value_size);
/* Splits a request target into path and query; false if it holds a byte that we never accept. */
bool head_target(struct request *req, const char *uri);
bool origin_is_same(const char *origin, const char *host, bool is_tls);

/* reply.c */
void reply_json(struct request *req, unsigned status, json_t *json);	/* takes @json */
void reply_empty(struct request *req, unsigned status);
void reply_static(struct request *req, const char *type, const void *data, size_t size);
/* 200, and the body comes from stream_read(). */
void reply_stream(struct request *req);
/* @error is a stable dotted name or NULL; @extra (taken) are more members or NULL. */
void reply_problem(struct request *req, const char *slug, const char *error, const char *detail, json_t *extra);
/* What core answered is not what its table of operations says. */
void reply_unreadable(struct request *req);
/* The problem of a failed core call; frees *err. */
void reply_error(struct request *req, int r, struct agent_error **err);
void reply_header(struct request *req, const char *name, const char *fmt, ...) AGENT_PRINTF(3, 4);
/* Slug for an error of an endpoint, and the sentence without its "(retry-after=N)"; *ret_retry_s is N or 0. */
const char *reply_slug(const char *path, int r, const char *error_name);
uint32_t reply_retry_after(const char *message);
unsigned reply_status(const char *slug);
/* Send what is set: through libmicrohttpd, or straight to the client when the body has not been read to its end. */
enum MHD_Result reply_queue(struct request *req);
void reply_raw(struct request *req);
/* A problem past libmicrohttpd, then close; @detail is our own text, @more whole header lines or "". */
void reply_plain_problem(struct conn *c, const char *slug, const char *detail, const char *more);
/* The same to HEAD: RFC 9110 section 9.3.2, no content. */
void reply_plain_head_problem(struct conn *c, const char *slug, const char *detail, const char *more);
/* The answer to what libmicrohttpd could not parse and would answer with a page of its own. */
void reply_to_broken_head(struct conn *c, unsigned status);
/* "too short; contains the serial number" -> {"reasons":[…]}, an empty list for "". */
json_t *reply_reasons(const char *message);
/* Reply with the value at the read position of @message: as member @name, or as it is if that is NULL. */
void reply_value(struct request *req, unsigned status, const char *name, sd_bus_message *message);
/* Reply 204, where the answer says no more than that it is done. */
void reply_done(struct request *req, sd_bus_message *message);
/* Reply 200 with a{sv}, for endpoints that add nothing. */
void reply_from_dict(struct request *req, sd_bus_message *message);
/* True if the reply may not go through libmicrohttpd any more. */
bool reply_needs_raw(const struct request *req);

/* The member "next" of password-change-required. */
json_t *reply_next(const struct request *req);

/* ep_<noun>.c */
/* Content reader of libmicrohttpd (ssize_t callback) for @cls, a struct request with a stream. */
ssize_t stream_read(void *cls, uint64_t position, char *buffer, size_t max);
/* The request of a stream ends, whatever happened. */
void stream_gone(struct request *req);
/* Set-Cookie of a new session for a browser; the device cookie too if there is one. */
void session_cookies(struct request *req, const char *token, uint64_t expires_s, const char *device_cookie);

#endif
