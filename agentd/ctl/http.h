/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_HTTP_H
#define CTL_HTTP_H
/* One request to agentd-mgmt over its Unix socket, and what became of it. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* Exit codes of agentctl, documented in agentctl(1). */
enum {
	CTL_OK = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_CREDENTIALS = 3,	/* not logged in, wrong password */
	CTL_REFUSED = 4,	/* role too low, or the password has to be set first */
	CTL_NOT_FOUND = 5,
	CTL_BUSY = 6,		/* rate limited or busy: try again later */
	CTL_UNREACHABLE = 7,
	CTL_UPDATE_REFUSED = 8,
	CTL_UPDATE_STALE = 9,
	CTL_UNHEALTHY = 10	/* the new release was rolled back: reboot */
};

struct ctl {
	const char *socket;
	const char *config;	/* file named by --config, or NULL */
	bool is_json;
	char *token;		/* of a session, or NULL */
	bool is_stored_token;	/* kept from an earlier login: it may be dead by now */
};

/* What a reply says; body is NULL where there was none or it is no JSON. */
struct reply {
	long status;
	long retry_after_s;	/* 0: it did not say */
	json_t *body;
};

/*
 * A body that is read while it is sent. @size_bytes is UINT64_MAX while unknown. @progress, if set, is told how much went.
 */
struct upload {
	FILE *file;
	uint64_t size_bytes;
	void (*progress)(void *userdata, uint64_t sent_bytes);
	void *userdata;
};

/*
 * Send and wait. @body is taken over and may be NULL; @upload may be NULL. Returns CTL_OK when the answer's status is 2xx,
 * otherwise an exit code, after saying on stderr (and, with --json, on stdout) what is wrong.
 */
int http_request(struct ctl *ctl, const char *method, const char *path, json_t *body, struct reply *ret_reply);
/* The same, where the answer says no more than that it is done. */
int http_do(struct ctl *ctl, const char *method, const char *path, json_t *body);
/* http_do(), and then print_done(). */
int http_done(struct ctl *ctl, const char *method, const char *path, json_t *body, const char *sentence, const char *json);
/* The body of a good answer is printed: with --json as it is, else @show tells it to people. */
int http_show(struct ctl *ctl, const char *method, const char *path, json_t *body, void (*show)(const json_t *body));
/* The same, told as the rows @fields. */
struct field;
int http_fields(struct ctl *ctl, const char *method, const char *path, json_t *body, const struct field *fields, size_t n);
/* POST, and the text that the answer calls @member goes into the file @out, or, without one, to stdout; with --json all of the answer does. */
int http_text(struct ctl *ctl, const char *path, json_t *body, const char *member, const char *out);
int http_upload(struct ctl *ctl, const char *path, const struct upload *upload, struct reply *ret_reply);
void reply_free(struct reply *reply);
/* @before NAME @after, with NAME escaped, for the caller to free; NULL: no memory. */
char *http_path(const char *before, const char *name, const char *after);
/*
 * GET an answer that comes bit by bit and has no end of its own: @take is given each bit and stops it by returning other than 0.
 * Returns CTL_OK once it has ended in whatever way, CTL_UNREACHABLE or CTL_BUSY (nothing is said: it may be worth another
 * try), or another exit code after saying what is wrong.
 */
int http_follow(struct ctl *ctl, const char *path, int (*take)(void *userdata, const char *data, size_t size), void *userdata);

/* Exit code for an HTTP status and the slug of its problem (may be NULL). */
int http_exit_code(long status, const char *slug);

#endif
