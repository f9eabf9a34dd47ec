/* SPDX-License-Identifier: Apache-2.0 */
/* agentd-fetch: downloads on core's request; started by its socket, leaves when idle. */
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
#include "agentd/fetch/download.h"
#include "agentd/fetch/sign_request.h"
#include "base/macro.h"

#define IDLE_US (30 * 1000000ull)
#define KEY_NAME "device"	/* the one key core lets us use */

DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)

struct fetch {
	struct service service;
	int listen_fd, notify_fd;
	uint32_t core_uid;
	sd_event_source *listen, *notify, *idle;
	sd_bus *core;
	char *ca_file, *cert_file;

	/* The download under way. */
	sd_bus_message *call;
	sd_bus_slot *pending;	/* KeyIdentity, KeyPublic or KeySign */
	char *cert_pem;		/* of our key, if core keeps it; NULL: cert_file */
	int socket_fd;
	struct sign_desk *desk;
	struct download *download;
};

static void idle_again(struct fetch *f)
{
	(void)sd_event_source_set_time_relative(f->idle, IDLE_US);
	(void)sd_event_source_set_enabled(f->idle, SD_EVENT_ONESHOT);
}

/* Give up what is under way; nobody is answered. */
static void clear_job(struct fetch *f)
{
	f->pending = sd_bus_slot_unref(f->pending);
	if (f->desk != NULL)
		sign_desk_close(f->desk);
	f->download = download_free(f->download);
	f->desk = sign_desk_free(f->desk);
	f->call = sd_bus_message_unref(f->call);
	free(TAKE_PTR(f->cert_pem));
	if (f->socket_fd >= 0)
		close(f->socket_fd);
	f->socket_fd = -1;
	idle_again(f);
}

static void finish(struct fetch *f, int r, uint64_t n_bytes, struct agent_error **err)
{
	if (r < 0) {
		service_log(LOG_WARNING, "download failed: %s (%s)", agent_error_message(*err), agent_error_name(*err));
		r = peer_reply_error(f->call, r, err);
	} else {
		service_log(LOG_INFO, "downloaded %" PRIu64 " bytes", n_bytes);
		r = sd_bus_reply_method_return(f->call, "t", n_bytes);
	}
	if (r < 0)
		service_log(LOG_WARNING, "cannot answer agentd: %s", strerror(-r));
	/* The answer first: the end of the socket alone would look like a short bundle. */
	(void)sd_bus_flush(f->core);
	clear_job(f);
	service_status("idle");
}

static int begin_download(struct fetch *f, const uint8_t *spki, size_t spki_size, struct agent_error **err)
{
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	struct download_options options = {
		.ca_file = f->ca_file, .connect_timeout_s = (unsigned)f->service.settings->fetch.connect_timeout_s,
		.socket_fd = f->socket_fd, .notify_fd = f->notify_fd,
	};
	int r;

	if (sd_bus_message_rewind(f->call, true) < 0 || sd_bus_message_read(f->call, "s", &options.url) < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "Download needs an address and a socket");
	if (spki != NULL) {
		r = sign_desk_new(f->notify_fd, &f->desk);
		if (r < 0)
			return agent_error_set(err, r, "fetch.memory", "out of memory");
		r = sign_desk_signer(f->desk, spki, spki_size, &signer, err);
		if (r < 0)
			return r;
		options.cert_file = f->cert_pem == NULL ? f->cert_file : NULL;
		options.cert_pem = f->cert_pem;
		options.signer = signer;
	}
	r = download_start(&options, &f->download, err);
	if (r >= 0)
		service_status("downloading");
	return r;
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
	struct fetch *f = userdata;
	const void *spki;
	size_t size;
	int r;

	f->pending = sd_bus_slot_unref(f->pending);
	r = read_bytes(m, &spki, &size, &err);
	if (r >= 0)
		r = begin_download(f, spki, size, &err);
	if (r < 0)
		finish(f, r, 0, &err);
	return 0;
}

static int on_signature(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = userdata;
	const void *sig = NULL;
	size_t size = 0;
	int r;

	f->pending = sd_bus_slot_unref(f->pending);
	r = read_bytes(m, &sig, &size, &err);
	sign_desk_answer(f->desk, r, sig, size, &err);
	return 0;
}

static void ask_signature(struct fetch *f, const struct sign_request *request)
{
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *m = NULL;
	uint64_t timeout_us = ((uint64_t)f->service.settings->tpm.sign_timeout_s + 5) * 1000000;
	int r;

	r = sd_bus_message_new_method_call(f->core, &m, NULL, BUS_PATH, BUS_CORE, "KeySign");
	if (r >= 0)
		r = sd_bus_message_append(m, "suu", KEY_NAME, (uint32_t)request->scheme, (uint32_t)request->hash);
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', request->digest, request->digest_size);
	if (r >= 0)
		r = sd_bus_call_async(f->core, &f->pending, m, on_signature, f, timeout_us);
	sd_bus_message_unref(m);
	if (r < 0) {
		agent_error_set(&err, r, "bus.lost", "agentd cannot be asked for a signature: %s", strerror(-r));
		sign_desk_answer(f->desk, r, NULL, 0, &err);
	}
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = userdata;
	struct sign_request request;
	uint64_t count, n_bytes = 0;
	int result = 0;

	if (read(fd, &count, sizeof(count)) < 0)
		return 0;
	if (f->desk != NULL && f->pending == NULL && sign_desk_take(f->desk, &request))
		ask_signature(f, &request);
	if (f->download != NULL && download_is_done(f->download, &result, &n_bytes, &err))
		finish(f, result, n_bytes, &err);
	return 0;
}

static int ask_public_key(struct fetch *f, struct agent_error **err)
{
	int r;

	if (f->cert_pem == NULL && access(f->cert_file, F_OK) < 0)
		return begin_download(f, NULL, 0, err);	/* no certificate for it: an open server */
	r = sd_bus_call_method_async(f->core, &f->pending, NULL, BUS_PATH, BUS_CORE, "KeyPublic", on_public_key, f, "s", KEY_NAME);
	return r < 0 ? agent_error_set(err, r, "bus.lost", "agentd cannot be asked for the key: %s", strerror(-r)) : 0;
}

/* Once the key was rotated, core keeps the certificate that goes with it: the file is of the first one. */
static int on_identity(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = userdata;
	const char *pem = "";
	int r = 0;

	f->pending = sd_bus_slot_unref(f->pending);
	if (sd_bus_message_is_method_error(m, NULL))
		service_log(LOG_NOTICE, "agentd does not say which certificate to use: %s", sd_bus_message_get_error(m)->message);
	else if (sd_bus_message_read(m, "sssss", &pem, NULL, NULL, NULL, NULL) < 0)
		r = agent_error_set(&err, -EPROTO, "bus.protocol", "agentd's answer about our certificate cannot be used");
	if (r >= 0 && pem[0] != '\0' && (f->cert_pem = strdup(pem)) == NULL)
		r = agent_error_set(&err, -ENOMEM, "fetch.memory", "out of memory");
	if (r >= 0)
		r = ask_public_key(f, &err);
	if (r < 0)
		finish(f, r, 0, &err);
	return 0;
}

static int take_call(struct fetch *f, sd_bus_message *m, struct agent_error **err)
{
	const char *url;
	int fd, r;

	if (f->call != NULL)
		return agent_error_set(err, -EBUSY, "fetch.busy", "one download at a time");
	if (sd_bus_message_read(m, "sh", &url, &fd) < 0)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "Download needs an address and a socket");
	f->socket_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (f->socket_fd < 0)
		return agent_error_set(err, -errno, "fetch.pipe", "the socket cannot be used: %m");
	f->call = sd_bus_message_ref(m);
	(void)sd_event_source_set_enabled(f->idle, SD_EVENT_OFF);
	r = sd_bus_call_method_async(f->core, &f->pending, NULL, BUS_PATH, BUS_CORE, "KeyIdentity", on_identity, f, "s", KEY_NAME);
	return r < 0 ? agent_error_set(err, r, "bus.lost", "agentd cannot be asked for the key: %s", strerror(-r)) : 0;
}

static int on_download(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct fetch *f = userdata;
	int r;

	r = take_call(f, m, &err);
	if (r >= 0)
		return 1;	/* answered at the end */
	if (f->call == m)
		clear_job(f);
	service_log(LOG_WARNING, "download refused: %s (%s)", agent_error_message(err), agent_error_name(err));
	return peer_error_reply(ret_error, r, &err);
}

static const sd_bus_vtable fetch_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Download", "sh", "t", on_download, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static int on_core_lost(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct fetch *f = userdata;

	clear_job(f);
	sd_bus_detach_event(f->core);
	f->core = sd_bus_close_unref(f->core);
	(void)sd_event_source_set_enabled(f->listen, SD_EVENT_ON);
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
	uint32_t uid;
	int fd, r;

	r = peer_accept(listen_fd, &fd, &uid);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (uid != f->core_uid) {
		service_log(LOG_WARNING, "uid %" PRIu32 " has no business here: only uid %" PRIu32 " (agentd) may ask", uid, f->core_uid);
		close(fd);
		return 0;
	}
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

	return f->call != NULL ? 0 : sd_event_exit(f->service.event, 0);
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
	if (f->ca_file == NULL || f->cert_file == NULL || f->notify_fd < 0)
		return agent_error_set(err, -ENOMEM, "fetch.memory", "out of memory or descriptors");
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
	struct fetch f = { .listen_fd = -1, .notify_fd = -1, .socket_fd = -1 };
	int r;

	service_start(&f.service, "agentd-fetch", "Downloads over HTTPS on behalf of agentd.", argc, argv);
	r = set_up(&f, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s", agent_error_message(err));
		return r == -ENOENT ? EXIT_CODE_USAGE : EXIT_CODE_OS;
	}
	r = service_run(&f.service);
	clear_job(&f);
	if (f.core != NULL)
		sd_bus_flush_close_unref(f.core);
	sd_event_source_unref(f.listen);
	sd_event_source_unref(f.notify);
	sd_event_source_unref(f.idle);
	close(f.notify_fd);
	free(f.ca_file);
	free(f.cert_file);
	curl_global_cleanup();
	service_stop(&f.service);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
