/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/macro.h"

#define URL_MAX 2048

static void curl_freep(char **p)
{
	curl_free(*p);
}
#define _cleanup_curl_ _cleanup_(curl_freep)
DEFINE_CLEANUP(CURLU *, curl_url_cleanup)

static int refuse(struct agent_error **err, const char *why)
{
	return agent_error_set(err, -EINVAL, "fetch.url", "that address cannot be used: %s", why);
}

void url_clear(struct url *url)
{
	free(url->text);
	free(url->host);
	free(url->shown);
	*url = (struct url){ 0 };
}

static int fill(struct url *url, const char *text, const char *host, const char *port, const char *path)
{
	size_t n = strlen(host);
	const char *show_port = strcmp(port, "443") == 0 ? "" : port;

	url->text = strdup(text);
	url->host = n >= 2 && host[0] == '[' ? strndup(host + 1, n - 2) : strdup(host);
	url->port = (uint16_t)strtoul(port, NULL, 10);
	if (asprintf(&url->shown, "https://%s%s%s%s", host, show_port[0] == '\0' ? "" : ":", show_port, path) < 0)
		url->shown = NULL;
	return url->text == NULL || url->host == NULL || url->shown == NULL ? -ENOMEM : 0;
}

int url_parse(const char *text, struct url *ret_url, struct agent_error **err)
{
	_cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
	_cleanup_curl_ char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *user = NULL, *fragment = NULL;
	_cleanup_(url_clear) struct url url = { 0 };

	if (u == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	if (strlen(text) > URL_MAX)
		return refuse(err, "it is longer than 2048 characters");
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return refuse(err, "it has characters that must be percent-encoded");
	if (strncasecmp(text, "https://", 8) != 0 || text[8] == '/')
		return refuse(err, "it does not begin with https://");
	if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK || strcmp(scheme, "https") != 0 ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK || host[0] == '\0' ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK || strcmp(port, "0") == 0 ||
	    curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return refuse(err, "it is malformed");
	if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		return refuse(err, "it holds a user name; the device identifies itself by its certificate");
	if (curl_url_get(u, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_OK)
		return refuse(err, "it has a #fragment");
	if (fill(&url, text, host, port, path) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	*ret_url = url;
	url = (struct url){ 0 };
	return 0;
}

int url_resolve(const char *base, const char *link, char **ret_text, struct agent_error **err)
{
	_cleanup_(curl_url_cleanupp) CURLU *u = curl_url();
	_cleanup_curl_ char *text = NULL;

	if (u == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK || curl_url_set(u, CURLUPART_URL, link, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return refuse(err, "it is no link");
	*ret_text = strdup(text);
	return *ret_text == NULL ? agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory") : 0;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return strcasecmp(a->host, b->host) == 0 && a->port == b->port;
}
