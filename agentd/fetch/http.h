/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_HTTP_H
#define FETCH_HTTP_H
/* HTTPS to one server: our TLS profile on a libcurl handle. Used in one thread; nothing is followed, nothing is retried. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <agent/signer.h>
#include <agent/time.h>

#include "agentd/common/tls_policy.h"
#include "agentd/fetch/url.h"

struct http_options {
	const char *ca_file;	      /* NULL: the server is not checked. Only for what is checked by other means afterwards; nothing secret may be sent */
	const struct tls_policy *policy; /* with ca_file; or NULL */
	const char *cert_file;	      /* or NULL */
	const char *cert_pem;	      /* the certificate itself, instead of the file; or NULL */
	struct agent_signer *signer;  /* NULL: no client certificate */
	unsigned connect_timeout_s;
	struct agent_time *time;      /* for the dates of certificates; referenced */
	const atomic_bool *is_aborted; /* makes a transfer end within a second */
};

/* What the head of an answer said. */
struct http_answer {
	long status;
	uint64_t retry_after_s;	     /* 0: not said */
	uint64_t date_s;	     /* what time it is there; 0: not said */
	char content_type[64];	     /* lower case, without parameters; "" */
	bool is_cached;		     /* out of a cache: the date is the one of when it was put there (RFC 9111 section 5.1) */
};

/* Takes body bytes of any answer. Negative ends the transfer: *err is the reason. */
typedef int (*http_sink)(void *userdata, const void *data, size_t size, struct agent_error **err);

struct http_request {
	const char *method;
	const struct url *url;
	const char *authorization; /* value of the header, or NULL */
	const char *body;	   /* or NULL */
	const char *content_type;  /* of it; NULL: JSON */
	bool is_base64;		   /* say so in Content-Transfer-Encoding: EST before RFC 8951 */
	unsigned timeout_s;	   /* of all */
	http_sink sink;
	void *userdata;
};

/*
 * Seconds to wait by a Retry-After header (RFC 9110 section 10.2.3): a number, or a date, which counts from the server's own
 * @date_s, since our clock may be wrong. "": not sent. 0: nothing that can be used. At most a day.
 */
uint64_t http_read_retry_after(const char *value, uint64_t date_s);

struct agent_tls;
struct curl_slist;
struct http;

/* A date of RFC 9110 section 5.6.7 in the form that senders must use; 0 if it is none. */
uint64_t http_date_parse(const char *text);
/* For the server of @url; options are lent. tls.*, fetch.memory, fetch.options */
int http_new(const struct url *url, const struct http_options *options, struct http **ret_http, struct agent_error **err);
struct http *http_free(struct http *http);
/* For a download, which has ranges and callbacks of its own: the handle and the profile, lent. */
void *http_handle(struct http *http);
struct agent_tls *http_tls(struct http *http);
/*
 * Why a transfer ended with libcurl's @code after @n_bytes, as precisely as anybody knows: it was given up, the reason of a callback (*local_err, which is
 * taken; or NULL), TLS, or what libcurl says; fetch.*, tls.*. *ret_may_pass, or NULL: is it one of those after which it is worth going on? Unchanged
 * where that is not known.
 */
int http_explain(struct http *http, int code, const struct url *url, uint64_t n_bytes, struct agent_error **local_err, bool *ret_may_pass,
		 struct agent_error **err);
/* -ECANCELED fetch.canceled */
int http_canceled(struct agent_error **err);
/* Lines of a head, which may hold secrets: wiped when the list goes. A line has at most 511 bytes. -ENOMEM */
int http_header_add(struct curl_slist **list, const char *name, const char *value);
void http_headers_free(struct curl_slist **list);
/* 0 whatever the status is; else why there is no whole answer: fetch.*, tls.*, the sink's. */
int http_do(struct http *http, const struct http_request *request, struct http_answer *ret_answer, struct agent_error **err);

#endif
