/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentd-install: bundle bytes in from a pipe, slot out. Serves Install1 to core on the socket "install", started on
 * demand, and leaves when nobody has been connected for a while.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>
#include <unistd.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/install/install.h"
#include "base/macro.h"

#define IDLE_US (30 * UINT64_C(1000000))
#define PEERS_MAX 4	/* core, and its next life while the old one still closes */

struct server {
	struct service service;
	struct installer *installer;
	sd_event_source *idle;
	uid_t peer_uid;
	sd_bus *peers[PEERS_MAX];
	sd_bus_message *begin;	/* the call that waits for the end of the installation */
};

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static int append_status(sd_bus_message *m, const struct install_status *s)
{
	const struct {
		const char *key, *text;
	} texts[] = {
		{ "stage", s->stage }, { "booted_slot", s->booted_slot }, { "target_slot", s->target_slot },
		{ "version", s->version }, { "release_id", s->release_id }, { "failed_release_id", s->failed_release_id },
		{ "manifest_sha256", s->manifest_sha256 },
		{ "offer_release_id", s->offer_release_id }, { "offer_version", s->offer_version }, { "offer_kind", s->offer_kind },
		{ "offer_advisory", s->offer_advisory }, { "offer_manifest_sha256", s->offer_manifest_sha256 },
		{ "signers", s->signers }, { "trusted_keys", s->trusted_keys },
	};
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "done_bytes", s->done_bytes }, { "total_bytes", s->total_bytes }, { "security_version", s->security_version },
		{ "tries_left", s->n_tries_left }, { "offer_security_version", s->offer_security_version }, { "offer_bytes", s->offer_bytes },
		{ "trust_version", s->trust_version }, { "signed_s", s->signed_s },
	};
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(texts); i++)
		r = peer_append_string(m, texts[i].key, texts[i].text[0] == '\0' ? NULL : texts[i].text);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(numbers); i++)
		r = peer_append_u64(m, numbers[i].key, numbers[i].value);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int reply_status(struct server *p, sd_bus_message *call, struct agent_error **err)
{
	sd_bus_message *reply = NULL;
	struct install_status status;
	int r = installer_get_status(p->installer, &status, err);

	if (r < 0)
		return r;
	r = sd_bus_message_new_method_return(call, &reply);
	if (r >= 0)
		r = append_status(reply, &status);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_set(err, r, "bus.reply", "cannot answer: %s", strerror(-r)) : 1;
}

static void on_progress(void *userdata, const char *stage, uint64_t done_bytes, uint64_t total_bytes)
{
	struct server *p = userdata;

	service_status("%s: %llu of %llu bytes", stage, (unsigned long long)done_bytes, (unsigned long long)total_bytes);
	if (p->begin != NULL)
		sd_bus_emit_signal(sd_bus_message_get_bus(p->begin), BUS_PATH, BUS_INSTALL, "Progress", "stt", stage, done_bytes, total_bytes);
}

static void on_done(void *userdata, int r, struct agent_error **err)
{
	struct server *p = userdata;
	sd_bus_message *call = TAKE_PTR(p->begin);

	/* By its name: others are cancelled, too: by core when it stops. */
	if (r < 0 && *err != NULL && strcmp(agent_error_name(*err), UPDATE_LOOKED) == 0) {
		*err = agent_error_free(*err);
		r = 0; /* a look, and its answer is what was seen */
	} else if (r < 0)
		service_log(LOG_WARNING, "installation failed: %s (%s)", agent_error_message(*err), agent_error_name(*err));
	else
		service_log(LOG_NOTICE, "installed; the new slot is tried at the next boot");
	service_status("idle");
	if (call != NULL) {
		if (r >= 0)
			r = reply_status(p, call, err);
		if (r < 0)
			peer_reply_error(call, r, err);
		sd_bus_message_unref(call);
	}
	*err = agent_error_free(*err);
}

/* What the loop asks of core for the worker. */
static const char *const questions[QUESTIONS_] = { [QUESTION_KEY] = "UpdateKey", [QUESTION_UNWRAP] = "UpdateUnwrap", [QUESTION_TICKET] = "UpdateTicketUse" };

static int take_answer(struct server *p, enum install_question question, sd_bus_message *reply)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const void *data = NULL;
	size_t size = 0;
	int r = 0;

	(void)sd_bus_message_sensitive(reply); /* wiped when it goes */
	if (sd_bus_message_is_method_error(reply, NULL))
		r = peer_error_from_bus(sd_bus_message_get_error(reply), -sd_bus_message_get_errno(reply), &err);
	else if (question != QUESTION_TICKET && (r = sd_bus_message_read_array(reply, 'y', &data, &size)) < 0)
		agent_error_set(&err, r, "update.key", "agentd sent a key that cannot be read");
	installer_answer(p->installer, question, data, size, r, &err);
	return 1;
}

static int on_key(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	return take_answer(userdata, QUESTION_KEY, reply);
}

static int on_unwrapped(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	return take_answer(userdata, QUESTION_UNWRAP, reply);
}

static int on_ticket_used(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	return take_answer(userdata, QUESTION_TICKET, reply);
}

static int append_recipient(sd_bus_message *m, const struct agent_recipient *x)
{
	int r = sd_bus_message_open_container(m, 'r', "ayayayuu");

	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', x->key_id, sizeof(x->key_id));
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', x->point, sizeof(x->point));
	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', x->wrapped, x->wrapped_size);
	if (r >= 0)
		r = sd_bus_message_append(m, "uu", x->kdf_bits, x->wrap_bits);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_recipients(sd_bus_message *m, const struct agent_recipient *recipients, size_t n)
{
	int r = sd_bus_message_open_container(m, 'a', "(ayayayuu)");

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = append_recipient(m, &recipients[i]);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static void on_ask(void *userdata, enum install_question question, const struct agent_recipient *recipients, size_t n)
{
	static const sd_bus_message_handler_t answers[QUESTIONS_] = { [QUESTION_KEY] = on_key, [QUESTION_UNWRAP] = on_unwrapped, [QUESTION_TICKET] = on_ticket_used };
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *m = NULL;
	struct server *p = userdata;
	sd_bus *bus = p->begin == NULL ? NULL : sd_bus_message_get_bus(p->begin);
	int r = bus == NULL ? -ENOTCONN : sd_bus_message_new_method_call(bus, &m, NULL, BUS_PATH, BUS_CORE, questions[question]);

	if (r >= 0 && question == QUESTION_UNWRAP)
		r = append_recipients(m, recipients, n);
	if (r >= 0)
		r = sd_bus_call_async(bus, NULL, m, answers[question], p, INSTALL_ANSWER_S * UINT64_C(1000000));
	sd_bus_message_unref(m);
	if (r < 0) {
		agent_error_set(&err, r, "update.answer", "agentd cannot be asked in the middle of the installation: %s", strerror(-r));
		installer_answer(p->installer, question, NULL, 0, r, &err);
	}
}

static int method_begin(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server *p = userdata;
	struct install_order order = { 0 };
	const char *release_id, *manifest, *ticket, *device;
	int fd, own_fd, looks_only, r;

	r = sd_bus_message_read(call, "htttbsssst", &fd, &order.floor, &order.trust_floor, &order.now_s, &looks_only, &release_id, &manifest, &ticket,
				&device, &order.tickets_used);
	if (r < 0)
		return r;
	if (strlen(release_id) >= sizeof(order.release_id) || strlen(manifest) >= sizeof(order.manifest_sha256) || strlen(device) >= sizeof(order.device))
		return -EINVAL;
	order.looks_only = looks_only != 0;
	strcpy(order.release_id, release_id);
	strcpy(order.manifest_sha256, manifest);
	strcpy(order.device, device);
	if (ticket[0] != '\0' && (order.ticket = strdup(ticket)) == NULL)
		return -ENOMEM;
	own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r = own_fd < 0 ? -errno : 0;
	if (r < 0)
		agent_error_set(&err, r, "update.start", "cannot take over the bundle: %s", strerror(-r));
	else
		r = installer_begin(p->installer, own_fd, &order, &err);
	free(order.ticket);
	if (r < 0)
		return peer_error_reply(ret_error, r, &err);
	p->begin = sd_bus_message_ref(call);
	return 1;
}

static int method_status(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int r = reply_status(userdata, call, &err);

	return r < 0 ? peer_error_reply(ret_error, r, &err) : r;
}

static int method_check_ticket(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_ticket_facts facts;
	struct install_order order = { 0 };
	struct server *p = userdata;
	const char *text, *device;
	int r = sd_bus_message_read(call, "ssttt", &text, &device, &order.tickets_used, &order.trust_floor, &order.now_s);

	if (r < 0)
		return r;
	if (strlen(device) >= sizeof(order.device))
		return -EINVAL;
	strcpy(order.device, device);
	r = installer_check_ticket(p->installer, text, &order, &facts, &err);
	return r < 0 ? peer_error_reply(ret_error, r, &err) :
		       sd_bus_reply_method_return(call, "stt", facts.release_id, facts.security_version, facts.not_after_s);
}

static int method_confirm(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server *p = userdata;
	uint64_t floor = 0;
	int r = installer_confirm(p->installer, &floor, &err);

	return r < 0 ? peer_error_reply(ret_error, r, &err) : sd_bus_reply_method_return(call, "t", floor);
}

static int method_confirm_done(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server *p = userdata;
	int r = installer_confirm_done(p->installer, &err);

	return r < 0 ? peer_error_reply(ret_error, r, &err) : sd_bus_reply_method_return(call, NULL);
}

static int method_rollback(sd_bus_message *call, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server *p = userdata;
	uint64_t floor;
	int r = sd_bus_message_read(call, "t", &floor);

	if (r < 0)
		return r;
	r = installer_rollback(p->installer, floor, &err);
	return r < 0 ? peer_error_reply(ret_error, r, &err) : sd_bus_reply_method_return(call, NULL);
}

static const sd_bus_vtable install_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Begin", "htttbsssst", "a{sv}", method_begin, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Status", "", "a{sv}", method_status, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("CheckTicket", "ssttt", "stt", method_check_ticket, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Confirm", "", "t", method_confirm, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ConfirmDone", "", "", method_confirm_done, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Rollback", "t", "", method_rollback, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL("Progress", "stt", 0),
	SD_BUS_VTABLE_END
};

/* ---- connections ------------------------------------------------------------------------------------------------ */

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *p = userdata;

	return sd_event_exit(p->service.event, 0);
}

/* Armed only while nobody is connected: then no call can be lost by leaving. */
static void watch_idle(struct server *p)
{
	bool is_idle = !installer_is_running(p->installer);

	for (size_t i = 0; i < PEERS_MAX; i++)
		is_idle = is_idle && p->peers[i] == NULL;
	p->idle = sd_event_source_disable_unref(p->idle);
	if (is_idle && sd_event_add_time_relative(p->service.event, &p->idle, CLOCK_MONOTONIC, IDLE_US, 0, on_idle, p) < 0)
		sd_event_exit(p->service.event, 0);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	struct server *p = userdata;
	sd_bus *bus = sd_bus_message_get_bus(m);

	if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Local", "Disconnected") <= 0)
		return 0;
	if (p->begin != NULL && sd_bus_message_get_bus(p->begin) == bus) {
		/* Nobody waits for this any more, and its pipe may never end: leave, the next start undoes it. */
		service_log(LOG_WARNING, "agentd went away during an installation");
		return sd_event_exit(p->service.event, 0);
	}
	for (size_t i = 0; i < PEERS_MAX; i++) {
		if (p->peers[i] != bus)
			continue;
		p->peers[i] = NULL;
		sd_bus_detach_event(bus);
		sd_bus_close(bus);
		sd_bus_unref(bus);
	}
	watch_idle(p);
	return 1;
}

static int add_peer(struct server *p, int fd, struct agent_error **err)
{
	sd_bus *bus = NULL;
	size_t i = 0;
	int r;

	while (i < PEERS_MAX && p->peers[i] != NULL)
		i++;
	if (i == PEERS_MAX) {
		close(fd);
		return agent_error_set(err, -EBUSY, "bus.peers", "more than %d connections", PEERS_MAX);
	}
	r = peer_serve(fd, &bus, err);
	if (r < 0)
		return r;
	r = sd_bus_add_object_vtable(bus, NULL, BUS_PATH, BUS_INSTALL, install_vtable, p);
	if (r >= 0)
		r = sd_bus_add_filter(bus, NULL, on_message, p);
	if (r >= 0)
		r = sd_bus_attach_event(bus, p->service.event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0) {
		sd_bus_close_unref(bus);
		return agent_error_set(err, r, "bus.serve", "cannot serve a connection: %s", strerror(-r));
	}
	p->peers[i] = bus;
	return 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server *p = userdata;
	int fd;

	if (peer_accept_from(listen_fd, p->peer_uid, &fd) < 0)
		return 0;
	if (add_peer(p, fd, &err) < 0)
		service_log(LOG_WARNING, "%s", agent_error_message(err));
	watch_idle(p);
	return 0;
}

/* Core has its own user where we have ours; in a tree of one plain user everyone has the same. */
static uid_t core_uid(void)
{
	const struct passwd *own = getpwnam("agentd-install");
	uid_t own_uid = own == NULL ? (uid_t)-1 : own->pw_uid;
	const struct passwd *core;

	if (own_uid != geteuid())
		return geteuid();
	core = getpwnam("agentd");
	return core == NULL ? geteuid() : core->pw_uid;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct server p = { 0 };
	int listen_fd, r;

	service_start(&p.service, "agentd-install", "Writes signed update bundles into the inactive slot.", argc, argv);
	listen_fd = service_listen_fd("install");
	if (listen_fd < 0) {
		service_log(LOG_ERR, "the socket \"install\" was not handed over; the service manager or agentd --supervise starts this program");
		return EXIT_CODE_USAGE;
	}
	p.peer_uid = core_uid();
	r = installer_new(p.service.event, p.service.settings,
			  &(struct installer_hooks){ .progress = on_progress, .done = on_done, .ask = on_ask, .userdata = &p }, &p.installer, &err);
	if (r >= 0)
		r = sandbox_enter_install(p.service.settings, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s", agent_error_message(err));
		return EXIT_CODE_OS;
	}
	/* Without a boot environment there is nothing to settle; whoever asks for something gets the same explanation. */
	r = installer_settle(p.installer, &err);
	if (r < 0)
		service_log(LOG_WARNING, "%s (%s)", agent_error_message(err), agent_error_name(err));
	r = sd_event_add_io(p.service.event, NULL, listen_fd, EPOLLIN, on_connection, &p);
	if (r >= 0) {
		watch_idle(&p);
		r = service_run(&p.service);
	}
	/* The worker cannot be stopped halfway through a write; the journal says what the next start has to undo. */
	if (installer_is_running(p.installer))
		_exit(r < 0 ? EXIT_CODE_OS : 0);
	for (size_t i = 0; i < PEERS_MAX; i++)
		if (p.peers[i] != NULL) {
			sd_bus_detach_event(p.peers[i]);
			sd_bus_flush_close_unref(p.peers[i]);
		}
	sd_event_source_disable_unref(p.idle);
	installer_free(p.installer);
	service_stop(&p.service);
	return r < 0 ? EXIT_CODE_OS : 0;
}
