/* SPDX-License-Identifier: Apache-2.0 */
/* agentd-fetch: downloads, and looks at the source of updates, on core's request; started by its socket, leaves when idle. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>

#include <curl/curl.h>
#include <systemd/sd-bus.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/common/told_time.h"
#include "agentd/fetch/download.h"
#include "agentd/fetch/est.h"
#include "agentd/fetch/est_bus.h"
#include "agentd/fetch/look_bus.h"
#include "agentd/fetch/lookout.h"
#include "agentd/fetch/sign_request.h"
#include "agentd/fetch/token.h"
#include "base/macro.h"
#include "base/secret.h"

#define IDLE_US (30 * 1000000ull)
#define KEY_NAME "device"	/* the one key core lets us use; and while a new one is on trial, that */
#define KEY_NAME_MAX 48

DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)

struct fetch;

/* What core asked for and waits for: one download, one look at the source of updates, one talk to the EST server. Each may need signatures meanwhile. */
struct job {
	struct fetch *fetch;
	const char *name;
	sd_bus_message *call;
	sd_bus_slot *pending;	/* KeyIdentity, KeyPublic or KeySign */
	char *cert_pem;		/* of our key, if core keeps it; NULL: cert_file */
	struct sign_desk *desk;
	/* Of a download. */
	int socket_fd;
	bool is_of_source;
	struct download *download;
	/* Of a look. */
	struct device device;
	uint32_t n_failures;
	struct lookout *lookout;
	/* Of a talk to the EST server; its certificate is in cert_pem, its key may be one on trial. */
	struct est *est;
	char key[KEY_NAME_MAX + 1];
	unsigned n_signatures;
	bool is_proof;	/* EST_PROVE */
};

enum { JOB_DOWNLOAD, JOB_LOOK, JOB_EST, JOBS_ };

struct fetch {
	struct service service;
	int listen_fd, notify_fd;
	uint32_t core_uid;
	sd_event_source *listen, *notify, *idle;
	sd_bus *core;
	struct agent_time *time; /* as core tells it */
	char *ca_file, *cert_file;
	struct tls_policy policy, est_policy;
	struct job jobs[JOBS_];
};

static bool is_idle(const struct fetch *f)
{
	for (size_t i = 0; i < JOBS_; i++)
		if (f->jobs[i].call != NULL)
			return false;
	return true;
}

static void idle_again(struct fetch *f)
{
	if (!is_idle(f))
		return;
	(void)sd_event_source_set_time_relative(f->idle, IDLE_US);
	(void)sd_event_source_set_enabled(f->idle, SD_EVENT_ONESHOT);
	service_status("idle");
}

/* Give up what is under way; nobody is answered. */
static void clear_job(struct job *job)
{
	job->pending = sd_bus_slot_unref(job->pending);
	if (job->desk != NULL)
		sign_desk_close(job->desk);
	job->download = download_free(job->download);
	job->lookout = lookout_free(job->lookout);
	job->est = est_free(job->est);
	job->desk = sign_desk_free(job->desk);
	job->call = sd_bus_message_unref(job->call);
	free(TAKE_PTR(job->cert_pem));
	job->key[0] = '\0';
	job->n_signatures = 0;
	job->is_proof = false;
	if (job->socket_fd >= 0)
		close(job->socket_fd);
	job->socket_fd = -1;
	idle_again(job->fetch);
}

static void answered(struct job *job, int r)
{
	if (r < 0)
		service_log(LOG_WARNING, "cannot answer agentd: %s", strerror(-r));
	/* The answer first: the end of the socket alone would look like a short bundle. */
	(void)sd_bus_flush(job->fetch->core);
	clear_job(job);
}

static void fail(struct job *job, int r, struct agent_error **err)
{
	service_log(LOG_WARNING, "%s failed: %s (%s)", job->name, agent_error_message(*err), agent_error_name(*err));
	answered(job, peer_reply_error(job->call, r, err));
}

static void finish_download(struct job *job, int r, uint64_t n_bytes, struct agent_error **err)
{
	if (r < 0) {
		fail(job, r, err);
		return;
	}
	service_log(LOG_INFO, "downloaded %" PRIu64 " bytes", n_bytes);
	answered(job, sd_bus_reply_method_return(job->call, "t", n_bytes));
}

static void finish_look(struct job *job, const struct source_result *result)
{
	sd_bus_message *reply = NULL;
	int r;

	if (result->has_failed)
		service_log(LOG_NOTICE, "update source: %s", result->detail);
	r = sd_bus_message_new_method_return(job->call, &reply);
	if (r >= 0)
		r = look_append_result(reply, result);
	if (r >= 0)
		r = sd_bus_send(job->fetch->core, reply, NULL);
	sd_bus_message_unref(reply);
	answered(job, r);
}

static void finish_est(struct job *job, int r, const struct est_result *result, struct agent_error **err)
{
	sd_bus_message *reply = NULL;

	if (r < 0) {
		fail(job, job->is_proof ? est_read_failure(r, job->n_signatures > 0, err) : r, err);
		return;
	}
	r = sd_bus_message_new_method_return(job->call, &reply);
	if (r >= 0)
		r = est_append_result(reply, result, job->n_signatures > 0);
	if (r >= 0)
		r = sd_bus_send(job->fetch->core, reply, NULL);
	sd_bus_message_unref(reply);
	answered(job, r);
}

/* Token and certificate are for the server of the source, also when the bundle lies elsewhere. */
static int options_of_source(struct job *job, struct download_options *options, char **ret_home, char token[TOKEN_HEADER_SIZE], struct agent_error **err)
{
	const struct settings *s = job->fetch->service.settings;
	int r;

	*ret_home = source_base(s);
	if (*ret_home == NULL)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory");
	options->home = *ret_home;
	options->may_leave = true;
	if (strcmp(s->source.kind, "hawkbit") != 0 || s->hawkbit.token_file[0] == '\0')
		return 0;
	r = token_read(s->hawkbit.token_file, token, err);
	options->authorization = token;
	return r;
}

static int begin_download(struct job *job, struct download_options *options, struct agent_error **err)
{
	_cleanup_free_ char *home = NULL;
	char token[TOKEN_HEADER_SIZE] = "";
	int r;

	if (sd_bus_message_rewind(job->call, true) < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "%s cannot be read", job->name);
	if (job->is_of_source)
		r = sd_bus_message_read(job->call, "st", &options->url, &options->size);
	else
		r = sd_bus_message_read(job->call, "s", &options->url);
	if (r < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "%s cannot be read", job->name);
	options->socket_fd = job->socket_fd;
	r = job->is_of_source ? options_of_source(job, options, &home, token, err) : 0;
	if (r >= 0)
		r = download_start(options, &job->download, err);
	wipe(token, sizeof(token));
	if (r >= 0)
		service_status("downloading");
	return r;
}

static int begin_est(struct job *job, struct agent_signer *signer, struct agent_error **err)
{
	const struct settings *s = job->fetch->service.settings;
	struct est_options options = {
		.signer = signer, .dir = s->paths.link_dir, .url = s->est.url, .connect_timeout_s = (unsigned)s->fetch.connect_timeout_s,
		.time = job->fetch->time, .notify_fd = job->fetch->notify_fd, .policy = &job->fetch->est_policy,
	};
	const char *key;
	int r = est_read_call(job->call, &options, &key, err);

	options.cert_pem = job->cert_pem;
	job->is_proof = options.kind == EST_PROVE;
	if (job->is_proof && s->est.prove_url[0] != '\0') {
		options.prove_url = s->est.prove_url;
		options.ca_file = job->fetch->ca_file;
		options.policy = &job->fetch->policy;
	}
	return r < 0 ? r : est_start(&options, &job->est, err);
}

static int begin(struct job *job, const uint8_t *spki, size_t spki_size, struct agent_error **err)
{
	struct fetch *f = job->fetch;
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	const char *cert_file = NULL;
	int r;

	if (spki != NULL) {
		r = sign_desk_new(f->notify_fd, &job->desk);
		if (r < 0)
			return agent_error_set(err, r, "fetch.memory", "out of memory");
		r = sign_desk_signer(job->desk, spki, spki_size, &signer, err);
		if (r < 0)
			return r;
		cert_file = job->cert_pem == NULL ? f->cert_file : NULL;
	}
	if (job == &f->jobs[JOB_EST])
		return begin_est(job, signer, err);
	if (job == &f->jobs[JOB_LOOK])
		return lookout_start(&(struct lookout_options){
			.settings = f->service.settings, .device = &job->device, .n_failures = job->n_failures, .ca_file = f->ca_file, .policy = &f->policy,
			.cert_file = cert_file, .cert_pem = job->cert_pem, .signer = signer, .notify_fd = f->notify_fd, .time = f->time,
		}, &job->lookout, err);
	return begin_download(job, &(struct download_options){
		.ca_file = f->ca_file, .policy = &f->policy, .cert_file = cert_file, .cert_pem = job->cert_pem, .signer = signer, .notify_fd = f->notify_fd,
		.time = f->time, .connect_timeout_s = (unsigned)f->service.settings->fetch.connect_timeout_s,
	}, err);
}

static int read_bytes(sd_bus_message *m, const void **ret_data, size_t *ret_size, struct agent_error **err)
{
	int r;

	if (sd_bus_message_is_method_error(m, NULL))
		return peer_error_from_bus(sd_bus_message_get_error(m), -sd_bus_message_get_errno(m), err);
	r = sd_bus_message_read_array(m, 'y', ret_data, ret_size);
	if (r < 0 || *ret_size == 0)
		return agent_error_set(err, -EPROTO, "bus.protocol", "agentd answered with something else than bytes");
	return 0;
}

static int on_public_key(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = userdata;
	const void *spki;
	size_t size;
	int r;

	job->pending = sd_bus_slot_unref(job->pending);
	r = read_bytes(m, &spki, &size, &err);
	if (r >= 0)
		r = begin(job, spki, size, &err);
	if (r < 0)
		fail(job, r, &err);
	return 0;
}

static int on_signature(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = userdata;
	const void *sig = NULL;
	size_t size = 0;
	int r;

	job->pending = sd_bus_slot_unref(job->pending);
	r = read_bytes(m, &sig, &size, &err);
	if (r >= 0)
		job->n_signatures++;
	sign_desk_answer(job->desk, r, sig, size, &err);
	return 0;
}

static const char *key_of(const struct job *job)
{
	return job->key[0] != '\0' ? job->key : KEY_NAME;
}

static void ask_signature(struct job *job, const struct sign_request *request)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = job->fetch;
	sd_bus_message *m = NULL;
	uint64_t timeout_us = ((uint64_t)f->service.settings->tpm.sign_timeout_s + 5) * 1000000;
	int r;

	r = sd_bus_message_new_method_call(f->core, &m, NULL, BUS_PATH, BUS_CORE, "KeySign");
	if (r >= 0)
		r = sd_bus_message_append(m, "suu", key_of(job), (uint32_t)request->scheme, (uint32_t)request->hash);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', request->digest, request->digest_size);
	if (r >= 0)
		r = sd_bus_call_async(f->core, &job->pending, m, on_signature, job, timeout_us);
	sd_bus_message_unref(m);
	if (r < 0) {
		agent_error_set(&err, r, "bus.lost", "agentd cannot be asked for a signature: %s", strerror(-r));
		sign_desk_answer(job->desk, r, NULL, 0, &err);
	}
}

/* What a server whose certificate was checked says of the time. */
static void tell_time(struct fetch *f, const struct lookout *lookout)
{
	struct lookout_time t;

	lookout_get_time(lookout, &t);
	if (t.begin_s != 0)
		(void)sd_bus_call_method_async(f->core, NULL, NULL, BUS_PATH, BUS_CORE, "TimeEvidence", NULL, NULL, "stt", "handshake", t.begin_s, t.end_s);
	if (t.date_s != 0)
		(void)sd_bus_call_method_async(f->core, NULL, NULL, BUS_PATH, BUS_CORE, "TimeEvidence", NULL, NULL, "stt", "date", t.date_s, t.off_s);
}

static void look_at_job(struct job *job)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const struct est_result *est_result;
	struct source_result *result;
	struct sign_request request;
	uint64_t n_bytes = 0;
	int r = 0;

	if (job->desk != NULL && job->pending == NULL && sign_desk_take(job->desk, &request))
		ask_signature(job, &request);
	if (job->download != NULL && download_is_done(job->download, &r, &n_bytes, &err))
		finish_download(job, r, n_bytes, &err);
	else if (job->lookout != NULL && lookout_is_done(job->lookout, &result)) {
		tell_time(job->fetch, job->lookout);
		finish_look(job, result);
	} else if (job->est != NULL && est_is_done(job->est, &r, &est_result, &err))
		finish_est(job, r, est_result, &err);
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct fetch *f = userdata;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return 0;
	for (size_t i = 0; i < JOBS_; i++)
		look_at_job(&f->jobs[i]);
	return 0;
}

static int ask_public_key(struct job *job, struct agent_error **err)
{
	struct fetch *f = job->fetch;
	int r;

	if (job->cert_pem == NULL && access(f->cert_file, F_OK) < 0)
		return begin(job, NULL, 0, err);	/* no certificate for it: an open server */
	r = sd_bus_call_method_async(f->core, &job->pending, NULL, BUS_PATH, BUS_CORE, "KeyPublic", on_public_key, job, "s", key_of(job));
	return r < 0 ? agent_error_set(err, r, "bus.lost", "agentd cannot be asked for the key: %s", strerror(-r)) : 0;
}

/* Once the key was rotated, core keeps the certificate that goes with it: the file is of the first one. */
static int on_identity(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = userdata;
	const char *pem = "";
	int r = 0;

	job->pending = sd_bus_slot_unref(job->pending);
	if (sd_bus_message_is_method_error(m, NULL))
		service_log(LOG_NOTICE, "agentd does not say which certificate to use: %s", sd_bus_message_get_error(m)->message);
	else if (sd_bus_message_read(m, "sssss", &pem, NULL, NULL, NULL, NULL) < 0)
		r = agent_error_set(&err, -EPROTO, "bus.protocol", "agentd's answer about our certificate cannot be used");
	if (r >= 0 && pem[0] != '\0' && (job->cert_pem = strdup(pem)) == NULL)
		r = agent_error_set(&err, -ENOMEM, "fetch.memory", "out of memory");
	if (r >= 0)
		r = ask_public_key(job, &err);
	if (r < 0)
		fail(job, r, &err);
	return 0;
}

/* The call is answered when the job is over. */
static int take_call(struct job *job, sd_bus_message *m, struct agent_error **err)
{
	struct fetch *f = job->fetch;
	int r;

	job->call = sd_bus_message_ref(m);
	(void)sd_event_source_set_enabled(f->idle, SD_EVENT_OFF);
	r = sd_bus_call_method_async(f->core, &job->pending, NULL, BUS_PATH, BUS_CORE, "KeyIdentity", on_identity, job, "s", KEY_NAME);
	return r < 0 ? agent_error_set(err, r, "bus.lost", "agentd cannot be asked for the key: %s", strerror(-r)) : 0;
}

static int refuse(struct job *job, sd_bus_message *m, int r, struct agent_error **err, sd_bus_error *ret_error)
{
	if (job->call == m)
		clear_job(job);
	service_log(LOG_WARNING, "%s refused: %s (%s)", job->name, agent_error_message(*err), agent_error_name(*err));
	return peer_error_reply(ret_error, r, err);
}

static int take_download(struct job *job, sd_bus_message *m, bool is_of_source, struct agent_error **err)
{
	int fd, r;

	if (job->call != NULL)
		return agent_error_set(err, -EBUSY, "fetch.busy", "one download at a time");
	r = is_of_source ? sd_bus_message_read(m, "sth", NULL, NULL, &fd) : sd_bus_message_read(m, "sh", NULL, &fd);
	if (r < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "a download needs an address and a socket");
	job->socket_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (job->socket_fd < 0)
		return agent_error_set(err, -errno, "fetch.pipe", "the socket cannot be used: %m");
	job->is_of_source = is_of_source;
	return take_call(job, m, err);
}

static int on_download(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = &((struct fetch *)userdata)->jobs[JOB_DOWNLOAD];
	int r = take_download(job, m, strcmp(sd_bus_message_get_member(m), "DownloadOffer") == 0, &err);

	return r >= 0 ? 1 : refuse(job, m, r, &err, ret_error);
}

static int on_look(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = &((struct fetch *)userdata)->jobs[JOB_LOOK];
	int r;

	if (job->call != NULL)
		r = agent_error_set(&err, -EBUSY, "fetch.busy", "one look at a time");
	else
		r = look_read_device(m, &job->device, &err);
	if (r >= 0 && sd_bus_message_read(m, "u", &job->n_failures) < 0)
		r = agent_error_set(&err, -EBADMSG, "bus.protocol", "Look needs the number of failures");
	if (r >= 0)
		r = take_call(job, m, &err);
	return r >= 0 ? 1 : refuse(job, m, r, &err, ret_error);
}

/* Core says which certificate is shown, so it is not asked. */
static int take_est(struct job *job, sd_bus_message *m, struct agent_error **err)
{
	struct est_options options = { 0 };
	const char *key;
	int r;

	if (job->call != NULL)
		return agent_error_set(err, -EBUSY, "fetch.busy", "one talk to the EST server at a time");
	job->call = sd_bus_message_ref(m);
	(void)sd_event_source_set_enabled(job->fetch->idle, SD_EVENT_OFF);
	r = est_read_call(m, &options, &key, err);
	if (r >= 0 && strlen(key) > KEY_NAME_MAX)
		r = agent_error_set(err, -EBADMSG, "bus.protocol", "no key has a name of more than %d bytes", KEY_NAME_MAX);
	if (r < 0)
		return r;
	strcpy(job->key, key);
	if (options.cert_pem == NULL)
		return begin(job, NULL, 0, err);
	job->cert_pem = strdup(options.cert_pem);
	return job->cert_pem == NULL ? agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory") : ask_public_key(job, err);
}

static int on_est(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct job *job = &((struct fetch *)userdata)->jobs[JOB_EST];
	int r = take_est(job, m, &err);

	return r >= 0 ? 1 : refuse(job, m, r, &err, ret_error);
}

static const sd_bus_vtable fetch_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Download", "sh", "t", on_download, SD_BUS_VTABLE_UNPRIVILEGED),	/* URL, socket -> bytes */
	SD_BUS_METHOD("DownloadOffer", "sth", "t", on_download, SD_BUS_VTABLE_UNPRIVILEGED),	/* URL, size or 0, socket: of the source of updates */
	SD_BUS_METHOD("Look", "a{sv}u", "a{sv}", on_look, SD_BUS_VTABLE_UNPRIVILEGED),	/* the device, failures in a row -> struct source_result */
	SD_BUS_METHOD("Est", "usssss", "a{sv}", on_est, SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE),	/* enum est_kind, anchors, certificate, secret, request, key ("": none) */
	SD_BUS_VTABLE_END,
};

static int on_core_lost(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fetch *f = userdata;

	for (size_t i = 0; i < JOBS_; i++)
		clear_job(&f->jobs[i]);
	sd_bus_detach_event(f->core);
	f->core = sd_bus_close_unref(f->core);
	(void)sd_event_source_set_enabled(f->listen, SD_EVENT_ON);
	return 0;
}

static int on_time_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fetch *f = userdata;

	(void)!told_time_take(m, f->time);
	return 0;
}

static int serve_core(struct fetch *f, int fd, struct agent_error **err)
{
	int r;

	r = peer_serve(fd, &f->core, err);
	if (r < 0)
		return r;
	r = sd_bus_add_object_vtable(f->core, NULL, BUS_PATH, BUS_FETCH, fetch_vtable, f);
	if (r >= 0)
		r = sd_bus_match_signal(f->core, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
					on_core_lost, f);
	if (r >= 0)
		r = sd_bus_match_signal(f->core, NULL, NULL, BUS_PATH, BUS_CORE, "TimeChanged", on_time_changed, f);
	if (r >= 0)
		r = sd_bus_attach_event(f->core, f->service.event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		return 0;
	f->core = sd_bus_close_unref(f->core);
	return agent_error_set(err, r, "bus.serve", "cannot serve agentd: %s", strerror(-r));
}

/* One core, one connection: the next is accepted when it is gone. */
static int on_connection(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = userdata;
	int fd, r;

	r = peer_accept_from(listen_fd, f->core_uid, &fd);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (serve_core(f, fd, &err) < 0) {
		service_log(LOG_WARNING, "%s", agent_error_message(err));
		return 0;
	}
	(void)sd_event_source_set_enabled(f->listen, SD_EVENT_OFF);
	idle_again(f);
	return 0;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fetch *f = userdata;

	return !is_idle(f) ? 0 : sd_event_exit(f->service.event, 0);
}

/* With users of our own, core runs as "agentd"; otherwise all programs share one uid. */
static uint32_t find_core_uid(void)
{
	const struct passwd *own = getpwnam("agentd-link");
	const struct passwd *core;

	if (own == NULL || own->pw_uid != geteuid())
		return geteuid();
	core = getpwnam("agentd");
	return core == NULL ? geteuid() : core->pw_uid;
}

static int set_up(struct fetch *f, struct agent_error **err)
{
	const struct settings *settings = f->service.settings;
	struct addrinfo *list = NULL;
	int r;

	f->listen_fd = service_listen_fd("fetch");
	if (f->listen_fd < 0)
		return agent_error_set(err, f->listen_fd, "fetch.socket",
				       "no socket named \"fetch\" was handed over; agentd-fetch is started by its socket unit or by agentd --supervise");
	f->ca_file = settings_trust_path(settings, settings->fetch.ca_file, "fetch/ca.pem");
	f->cert_file = settings_trust_path(settings, "", "fetch/device.pem");
	f->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->ca_file == NULL || f->cert_file == NULL || f->notify_fd < 0 || agent_time_new(&f->time, NULL) < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory or descriptors");
	r = tls_policy_read(settings, TLS_PEER_FETCH, &f->policy, err);
	if (r >= 0)
		r = tls_policy_read(settings, TLS_PEER_EST, &f->est_policy, err);
	if (r < 0)
		return r;
	f->core_uid = find_core_uid();
	r = sd_event_add_io(f->service.event, &f->listen, f->listen_fd, EPOLLIN, on_connection, f);
	if (r >= 0)
		r = sd_event_add_io(f->service.event, &f->notify, f->notify_fd, EPOLLIN, on_notify, f);
	if (r >= 0)
		r = sd_event_add_time_relative(f->service.event, &f->idle, CLOCK_MONOTONIC, IDLE_US, 0, on_idle, f);
	if (r < 0)
		return agent_error_set(err, r, "fetch.setup", "cannot set up the event loop: %s", strerror(-r));
	/* Both load code and configuration on first use. */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return agent_error_set(err, -EIO, "fetch.setup", "libcurl does not start");
	if (getaddrinfo("localhost", NULL, NULL, &list) == 0)
		freeaddrinfo(list);
	return sandbox_enter(SANDBOX_FETCH, settings, NULL, 0, err);
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch f = {
		.listen_fd = -1, .notify_fd = -1,
		.jobs = { [JOB_DOWNLOAD] = { .name = "download", .socket_fd = -1 }, [JOB_LOOK] = { .name = "look at the update source", .socket_fd = -1 },
			  [JOB_EST] = { .name = "talk to the EST server", .socket_fd = -1 } },
	};
	int r;

	for (size_t i = 0; i < JOBS_; i++)
		f.jobs[i].fetch = &f;
	service_start(&f.service, "agentd-fetch", "Downloads over HTTPS on behalf of agentd.", argc, argv);
	r = set_up(&f, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s", agent_error_message(err));
		return r == -ENOENT ? EXIT_CODE_USAGE : EXIT_CODE_OS;
	}
	r = service_run(&f.service);
	for (size_t i = 0; i < JOBS_; i++)
		clear_job(&f.jobs[i]);
	if (f.core != NULL)
		sd_bus_flush_close_unref(f.core);
	sd_event_source_unref(f.listen);
	sd_event_source_unref(f.notify);
	sd_event_source_unref(f.idle);
	close(f.notify_fd);
	tls_policy_clear(&f.policy);
	tls_policy_clear(&f.est_policy);
	free(f.ca_file);
	free(f.cert_file);
	agent_time_unref(f.time);
	curl_global_cleanup();
	service_stop(&f.service);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
