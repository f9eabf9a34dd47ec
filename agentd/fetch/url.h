/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_URL_H
#define FETCH_URL_H
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

/* Where a download comes from; only https, no user names, no fragments. */
struct url {
	char *text;	/* as given */
	char *host;	/* without brackets */
	uint16_t port;
	char *shown;	/* without the query, which may hold a token: for messages */
};

/* -EINVAL, "fetch.url": at most 2048 printable characters. The caller calls url_clear(). */
int url_parse(const char *text, struct url *ret_url, struct agent_error **err);
void url_clear(struct url *url);
/* The address of a link @link on the page @base; the caller frees it. -EINVAL "fetch.url". */
int url_resolve(const char *base, const char *link, char **ret_text, struct agent_error **err);
/* Same scheme, host and port. */
bool url_same_origin(const struct url *a, const struct url *b);

#endif
