/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/fetch/lookout.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/tls.h>

#include "agentd/fetch/http.h"
#include "agentd/fetch/token.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/secret.h"
#include "base/thread.h"

#define CALL_TIMEOUT_S 120	/* all of one request; a slow modem needs seconds for 256 KiB */

DEFINE_CLEANUP(struct http *, http_free)

struct lookout {
	const struct settings *settings;
	struct device device;
	unsigned n_failures;
	char *base, *ca_file, *cert_file, *cert_pem;
	const struct tls_policy *policy;
	struct agent_signer *signer;
	struct agent_time *time;
	int notify_fd;
	atomic_bool is_aborted, is_done;
	pthread_t thread;
	/* Thread only until is_done. */
	struct http *http;
	char authorization[TOKEN_HEADER_SIZE];
	struct source_result result;
	struct lookout_time time_there;	/* at: */
	uint64_t time_at_s;		/* CLOCK_BOOTTIME */
};

char *source_base(const struct settings *settings)
{
	const char *id = settings->hawkbit.controller[0] != '\0' ? settings->hawkbit.controller : settings->device.serial;
	const char *url = settings->hawkbit.url;
	int n = (int)strlen(url);
	char *base;

	if (strcmp(settings->source.kind, "hawkbit") != 0)
		return strdup(settings->source.index_url);
	while (n > 0 && url[n - 1] == '/')
		n--;
	return asprintf(&base, "%.*s/%s/controller/v1/%s", n, url, settings->hawkbit.tenant, id) < 0 ? NULL : base;
}

static int collect(void *userdata, const void *data, size_t size, struct agent_error **err)
{
	struct wire_answer *out = userdata;
	char *longer;

	if (size > BODY_BYTES_MAX - out->size)
		return agent_error_set(err, -EMSGSIZE, "source.json", "the server's answer has more than %d bytes", BODY_BYTES_MAX);
	longer = realloc(out->body, out->size + size + 1);
	if (longer == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	memcpy(longer + out->size, data, size);
	out->body = longer;
	out->size += size;
	out->body[out->size] = '\0';
	return 0;
}

/* A server whose certificate is not valid at the time that it tells is wrong about that time. */
static void note_time(struct lookout *l, const struct http_answer *answer, uint64_t asked_at_s)
{
	int64_t begin_s = 0, end_s = 0;

	if (agent_tls_check_time(http_tls(l->http), &begin_s, &end_s, NULL) < 0 || begin_s <= 0 || end_s <= 0)
		return;
	l->time_there.begin_s = (uint64_t)agent_tls_signed_time(http_tls(l->http));
	l->time_there.end_s = (uint64_t)end_s;
	if (answer->is_cached || answer->date_s < l->time_there.begin_s || answer->date_s > l->time_there.end_s)
		return;
	l->time_there.date_s = answer->date_s;
	l->time_at_s = running_s();
	l->time_there.off_s = l->time_at_s - asked_at_s;
}

/* hawkbit.c and index.c ask one server only; this makes sure. */
static int call(void *userdata, const char *method, const char *text, const char *body, struct wire_answer *ret_answer, struct agent_error **err)
{
	struct lookout *l = userdata;
	_cleanup_(url_clear) struct url url = { 0 }, base = { 0 };
	struct http_answer answer = { 0 };
	struct http_options options = {
		.ca_file = l->ca_file, .policy = l->policy, .cert_file = l->cert_file, .cert_pem = l->cert_pem, .signer = l->signer,
		.connect_timeout_s = (unsigned)l->settings->fetch.connect_timeout_s, .is_aborted = &l->is_aborted, .time = l->time,
	};
	struct http_request request = {
		.method = method, .url = &url, .body = body, .timeout_s = CALL_TIMEOUT_S,
		.authorization = l->authorization[0] != '\0' ? l->authorization : NULL, .sink = collect, .userdata = ret_answer,
	};
	uint64_t begin_s;
	int r;

	*ret_answer = (struct wire_answer){ 0 };
	r = url_parse(text, &url, err);
	if (r >= 0)
		r = url_parse(l->base, &base, err);
	if (r < 0)
		return r;
	if (!url_same_origin(&url, &base))
		return agent_error_set(err, -EPERM, "source.link", "%s is another server than %s", url.shown, base.shown);
	if (l->http == NULL) {
		r = http_new(&base, &options, &l->http, err);
		if (r < 0)
			return r;
	}
	begin_s = running_s();
	r = http_do(l->http, &request, &answer, err);
	if (r < 0) {
		free(TAKE_PTR(ret_answer->body));
		ret_answer->size = 0;
		return r;
	}
	note_time(l, &answer, begin_s);
	ret_answer->status = answer.status;
	ret_answer->retry_after_s = answer.retry_after_s;
	return 0;
}

static void look(struct lookout *l)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const struct settings *s = l->settings;
	struct wire wire = { .call = call, .userdata = l };
	struct source_options options = {
		.base = l->base, .distribution = s->hawkbit.distribution, .dir = s->paths.link_dir,
		.poll_min_s = (uint64_t)s->source.poll_min_s, .poll_max_s = (uint64_t)s->source.poll_max_s, .poll_s = (uint64_t)s->source.poll_s,
		.n_failures = l->n_failures,
	};

	if (options.poll_max_s < options.poll_min_s)
		options.poll_max_s = options.poll_min_s;
	if (strcmp(s->source.kind, "hawkbit") != 0) {
		index_look(&options, &l->device, &wire, &l->result);
		return;
	}
	if (s->hawkbit.token_file[0] != '\0' && token_read(s->hawkbit.token_file, l->authorization, &err) < 0) {
		source_fail(&options, &l->result, 0, "%s", agent_error_message(err));
		return;
	}
	hawkbit_look(&options, &l->device, &wire, &l->result);
}

static void *work(void *userdata)
{
	struct lookout *l = userdata;
	uint64_t one = 1;

	look(l);
	l->http = http_free(l->http);
	wipe(l->authorization, sizeof(l->authorization));
	atomic_store(&l->is_done, true);
	if (write(l->notify_fd, &one, sizeof(one)) < 0)
		return NULL;	/* full: it rings already */
	return NULL;
}

static void release(struct lookout *l)
{
	if (l == NULL)
		return;
	source_result_clear(&l->result);
	agent_signer_unref(l->signer);
	free(l->base);
	free(l->ca_file);
	free(l->cert_file);
	free(l->cert_pem);
	free(l);
}
DEFINE_CLEANUP(struct lookout *, release)

int lookout_start(const struct lookout_options *options, struct lookout **ret_lookout, struct agent_error **err)
{
	_cleanup_(releasep) struct lookout *l = calloc(1, sizeof(*l));
	int r;

	if (l == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	l->settings = options->settings;
	l->device = *options->device;
	l->n_failures = options->n_failures;
	l->notify_fd = options->notify_fd;
	l->time = options->time;
	l->policy = options->policy;
	l->signer = agent_signer_ref(options->signer);
	l->base = source_base(options->settings);
	l->ca_file = strdup(options->ca_file);
	l->cert_file = options->cert_file == NULL ? NULL : strdup(options->cert_file);
	l->cert_pem = options->cert_pem == NULL ? NULL : strdup(options->cert_pem);
	if (l->base == NULL || l->ca_file == NULL || (options->cert_file != NULL && l->cert_file == NULL) ||
	    (options->cert_pem != NULL && l->cert_pem == NULL))
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	r = thread_start(&l->thread, NULL, work, l);
	if (r < 0)
		return agent_error_set(err, r, "fetch.thread", "cannot start a thread: %s", strerror(-r));
	*ret_lookout = TAKE_PTR(l);
	return 0;
}

bool lookout_is_done(struct lookout *l, struct source_result **ret_result)
{
	if (!atomic_load(&l->is_done))
		return false;
	*ret_result = &l->result;
	return true;
}

void lookout_get_time(const struct lookout *l, struct lookout_time *ret_time)
{
	*ret_time = l->time_there;
	if (ret_time->date_s != 0)
		ret_time->date_s += running_s() - l->time_at_s;
}

struct lookout *lookout_free(struct lookout *l)
{
	if (l == NULL)
		return NULL;
	atomic_store(&l->is_aborted, true);
	pthread_join(l->thread, NULL);
	release(l);
	return NULL;
}
