/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUS_WORLD_H
#define CORE_BUS_WORLD_H
/* For test_core_bus.c: the bus of core with fakes for all that answers there, agentd-install played, and programs that ask. */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agentd/common/peer.h"
#include "agentd/core/audit.h"
#include "agentd/core/stream.h"
#include "agentd/core/bus.h"
#include "agentd/core/clock.h"
#include "agentd/core/dispatch.h"
#include "agentd/core/source.h"
#include "agentd/core/refusals.h"
#include "agentd/core/update.h"
#include "base/file.h"

static struct temp_dir dir;
static struct core core;
static struct settings settings;
static char srk_name[] = "000b00";
static char events[4096];
static int listen_fds[4], install_fd;
static enum account_role role;

/* ---- fakes ------------------------------------------------------------------------------------------------------ */

static int nop(struct op_call *call)
{
	return op_reply(call, NULL);
}

#define FAKE(name)                                                                      \
	int name(struct core *c, struct op_call *call, struct agent_error **err) \
	{                                                                               \
		return nop(call);                                                       \
	}
FAKE(op_session_check)
FAKE(op_login_check) FAKE(op_login_greet)
FAKE(op_session_close) FAKE(op_password_set) FAKE(op_status_get) FAKE(op_events_get) FAKE(op_stream_pull) FAKE(op_key_list) FAKE(op_key_create)
FAKE(op_session_list) FAKE(op_session_close_others) FAKE(op_sources_known) FAKE(op_password_check)
FAKE(op_client_open) FAKE(op_client_refused) FAKE(op_peers_throttled)
FAKE(op_account_list) FAKE(op_account_add) FAKE(op_account_role) FAKE(op_account_password) FAKE(op_account_remove) FAKE(op_factory_reset)
FAKE(op_enrol_status) FAKE(op_enrol_start) FAKE(op_enrol_secret) FAKE(op_enrol_trust)
FAKE(op_https_get) FAKE(op_https_status) FAKE(op_https_request) FAKE(op_https_install) FAKE(op_https_remove)
FAKE(op_app_sign) FAKE(op_key_allow) FAKE(op_key_csr) FAKE(op_key_public) FAKE(op_key_sign) FAKE(op_leaf_issue) FAKE(op_link_report) FAKE(op_session_open)
FAKE(op_key_import) FAKE(op_key_rotate) FAKE(op_key_rotation) FAKE(op_key_rotate_abort) FAKE(op_key_certificate)
FAKE(op_key_identity) FAKE(op_key_proved) FAKE(op_key_not_proved)
FAKE(op_key_describe) FAKE(op_key_certify) FAKE(op_tpm_quote) FAKE(op_tpm_counters) FAKE(op_tpm_ek)
FAKE(op_tpm_status) FAKE(op_tpm_doctor)
FAKE(op_seal) FAKE(op_unseal) FAKE(op_link_queues) FAKE(op_queue_list) FAKE(op_time_get) FAKE(op_time_evidence) FAKE(op_time_status)
FAKE(op_update_offer) FAKE(op_update_approve) FAKE(op_update_postpone) FAKE(op_update_policy)
FAKE(op_update_recipient) FAKE(op_update_unwrap)
FAKE(op_link_reconnect) FAKE(op_link_brokers) FAKE(op_link_usage) FAKE(op_link_budget) FAKE(op_link_status) FAKE(op_command_run) FAKE(op_command_signed) FAKE(op_update_check)
FAKE(op_offer_announce) FAKE(op_offer_withdraw) FAKE(op_offer_status) FAKE(op_source_approve)
FAKE(op_update_reboot) FAKE(op_reboot_get) FAKE(op_reboot_hold)

void clock_greet(struct core *c, sd_bus *bus) { }
void clock_signed(struct core *c, enum clock_signed what, uint64_t signed_s) { }

int64_t clock_now(const struct core *c)
{
	return 1800000000;
}

void reboots_installed(struct core *c, const char *release_id, bool is_ours) { }

void policy_left(struct core *c)
{
}

void policy_ended(struct core *c, const struct update_look *look, const struct agent_error *error)
{
	fail_msg("nothing here was begun by the policy");
}

const char *policy_waits_for(const struct core *c)
{
	return NULL;
}

bool policy_approved(const struct core *c, const char *action, const char *version)
{
	return false;
}

int policy_append(struct core *c, sd_bus_message *m)
{
	return 0;
}

static struct op_call *kept;

int op_bootstrap(struct core *c, struct op_call *call, struct agent_error **err)
{
	kept = op_call_ref(call); /* answered later, or never */
	return 0;
}

int op_setup_get(struct core *c, struct op_call *call, struct agent_error **err)
{
	return op_reply(call, "s", core_setup_name(c));
}

const char *core_setup_name(const struct core *c)
{
	return "active";
}

int account_resolve(struct core *c, const char *token, uint32_t uid, const char *source, struct caller *ret_caller, struct agent_error **err)
{
	if (strcmp(token, "good") != 0)
		return agent_error_set(err, -EACCES, "session.required", "who are you");
	*ret_caller = (struct caller){ .user = "admin", .role = role };
	return 0;
}

void event_add(struct core *c, enum event_id id, ...)
{
	const char *key, *value;
	va_list ap;

	strcat(events, event_types[id].name);
	va_start(ap, id);
	while ((key = va_arg(ap, const char *)) != NULL)
		if ((value = va_arg(ap, const char *)) != NULL && strcmp(key, "error") == 0)
			sprintf(events + strlen(events), "(%s)", value);
	va_end(ap);
	strcat(events, " ");
}

void stream_wake(struct core *c) { }

void source_ended(struct core *c, const struct agent_error *error) { }

void source_wake(struct core *c) { }

int source_append(struct core *c, sd_bus_message *m)
{
	return 0;
}

bool audit_knows_fallback(struct core *c, const char *release_id)
{
	return false;
}

void service_log(int priority, const char *fmt, ...) { }

int service_listen_fd(const char *name)
{
	return listen_fds[strcmp(name, "core-mgmt") == 0 ? 0 : strcmp(name, "core-link") == 0 ? 1 : strcmp(name, "core-login") == 0 ? 3 : 2];
}

/* The TPM thread: runs the job at once, tells of it in the next round of the loop. */
static uint64_t floor_counter, trust_counter, tickets_counter;
static int counter_result;

static int counter_get(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	*ret_value = *(uint64_t *)userdata;
	return 0;
}

static int counter_increment(void *userdata, uint64_t *ret_value, struct agent_error **err)
{
	if (counter_result < 0)
		return agent_error_set(err, counter_result, "tpm.io", "as told");
	*ret_value = ++*(uint64_t *)userdata;
	return 0;
}

struct fake_job {
	const struct job_ops *ops;
	void *data;
	int r;
	struct agent_error *err;
};

static int on_job(sd_event_source *source, void *userdata)
{
	struct fake_job *job = userdata;

	job->ops->done(&core, job->data, job->r, &job->err);
	job->ops->free(job->data);
	agent_error_free(job->err);
	free(job);
	return 0;
}

int worker_submit(struct worker *worker, enum worker_priority priority, const struct job_ops *ops, void *data, unsigned timeout_s,
		  struct agent_error **err)
{
	static const struct agent_counter_ops counter_ops = { .get = counter_get, .increment = counter_increment };
	struct fake_job *job = calloc(1, sizeof(*job));
	struct store store = { .floor_value = floor_counter, .trust_value = trust_counter, .tickets_value = tickets_counter, .keys_fd = dir.fd };

	job->ops = ops;
	job->data = data;
	assert_int_equal(agent_counter_new(&counter_ops, &floor_counter, &store.floor, NULL), 0);
	assert_int_equal(agent_counter_new(&counter_ops, &trust_counter, &store.trust, NULL), 0);
	assert_int_equal(agent_counter_new(&counter_ops, &tickets_counter, &store.tickets, NULL), 0);
	job->r = ops->run(&store, data, &job->err);
	agent_counter_unref(store.floor);
	agent_counter_unref(store.trust);
	agent_counter_unref(store.tickets);
	assert_true(sd_event_add_defer(core.event, NULL, on_job, job) >= 0);
	return 0;
}

/* ---- agentd-install, played ------------------------------------------------------------------------------------- */

static struct {
	sd_bus *bus;
	sd_bus_message *begin;
	int fd;
	uint64_t floor;
	uint64_t confirm_floor;
	uint64_t trust_floor;	/* of the last Begin */
	uint64_t trust_version; /* that it reports */
	char ticket[64], device[64];	/* of the last Begin */
	uint64_t tickets_used;
	bool holds_check;
	sd_bus_message *check;		/* CheckTicket that waits for install_check_ends() */
	char calls[256];
	int n_connections;
	bool refuses;
} install;

static int install_report(sd_bus_message *call, const char *stage)
{
	sd_bus_message *m = NULL;
	int r;

	assert_true(sd_bus_message_new_method_return(call, &m) >= 0);
	sd_bus_message_open_container(m, 'a', "{sv}");
	peer_append_string(m, "stage", stage);
	peer_append_string(m, "target_slot", "b");
	peer_append_string(m, "something new", "skipped");
	peer_append_u64(m, "security_version", 7);
	peer_append_u64(m, "trust_version", install.trust_version);
	sd_bus_message_close_container(m);
	r = sd_bus_send(install.bus, m, NULL);
	sd_bus_message_unref(m);
	return r;
}

static int check_reply(sd_bus_message *call)
{
	return sd_bus_reply_method_return(call, "stt", "r-old", UINT64_C(3), UINT64_C(4102444800)) < 0 ? -1 : 1;
}

static int on_install(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *member = sd_bus_message_get_member(m);
	uint8_t type;

	sd_bus_message_get_type(m, &type);
	if (type != SD_BUS_MESSAGE_METHOD_CALL || strcmp(member, "Ping") == 0)
		return 0;
	strcat(install.calls, member);
	strcat(install.calls, " ");
	if (strcmp(member, "Begin") == 0) {
		const char *release_id, *manifest, *ticket, *device;
		int fd, looks_only;
		uint64_t now;

		assert_true(sd_bus_message_read(m, "htttbsssst", &fd, &install.floor, &install.trust_floor, &now, &looks_only, &release_id, &manifest, &ticket,
						&device, &install.tickets_used) > 0);
		snprintf(install.ticket, sizeof(install.ticket), "%s", ticket);
		snprintf(install.device, sizeof(install.device), "%s", device);
		assert_false(looks_only);
		assert_string_equal(release_id, "");
		assert_string_equal(manifest, "");
		install.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		install.begin = sd_bus_message_ref(m);
		return 1;
	}
	if (strcmp(member, "CheckTicket") == 0) {
		struct agent_error *err = NULL;
		const char *text, *device;
		uint64_t trust, now;

		assert_true(sd_bus_message_read(m, "ssttt", &text, &device, &install.tickets_used, &trust, &now) > 0);
		if (install.holds_check) {
			install.check = sd_bus_message_ref(m);
			return 1;
		}
		if (strcmp(text, "good") == 0)
			return check_reply(m);
		agent_error_set(&err, -EPERM, "update.ticket-device", "for somebody else");
		return peer_reply_error(m, -EPERM, &err) < 0 ? -1 : 1;
	}
	if (strcmp(member, "Status") == 0)
		return install_report(m, "trying") < 0 ? -1 : 1;
	if (strcmp(member, "Confirm") == 0)
		return sd_bus_reply_method_return(m, "t", install.confirm_floor) < 0 ? -1 : 1;
	return sd_bus_reply_method_return(m, NULL) < 0 ? -1 : 1;
}

static int on_install_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	uint32_t uid;
	int client;

	if (peer_accept(fd, &client, &uid) < 0)
		return 0;
	install.n_connections++;
	sd_bus_close_unref(install.bus);
	assert_int_equal(peer_serve(client, &install.bus, NULL), 0);
	assert_true(sd_bus_add_filter(install.bus, NULL, on_install, NULL) >= 0);
	assert_true(sd_bus_attach_event(install.bus, core.event, 0) >= 0);
	return 0;
}

/* ---- frame ------------------------------------------------------------------------------------------------------ */

static int listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", dir.path, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static sd_event_source *install_source;

static int setup(void **state)
{
	temp_dir_make(&dir);
	memset(&core, 0, sizeof(core));
	memset(&install, 0, sizeof(install));
	install.fd = -1;
	settings.paths.run_dir = dir.path;
	events[0] = '\0';
	core.settings = &settings;
	core.setup = AGENT_SETUP_ACTIVE;
	core.has_floor = true;
	core.floor = floor_counter = 3;
	core.has_trust = true;
	core.trust = trust_counter = 0;
	core.has_tickets = true;
	core.tickets = tickets_counter = 0;
	core.srk_name = srk_name;
	core.keys_fd = dir.fd;
	counter_result = 0;
	role = ACCOUNT_ADMIN;
	assert_true(sd_event_new(&core.event) >= 0);
	listen_fds[0] = listen_at("core-mgmt.sock");
	listen_fds[1] = listen_at("core-link.sock");
	listen_fds[2] = listen_at("vendor.sock");
	listen_fds[3] = listen_at("login.sock");
	settings.vendor.max_connections = 3;
	settings.vendor.calls_per_s = 1;
	settings.vendor.burst = 10;
	install_fd = listen_at("install.sock");
	assert_true(sd_event_add_io(core.event, &install_source, install_fd, EPOLLIN, on_install_connection, NULL) >= 0);
	assert_int_equal(bus_start(&core, NULL), 0);
	assert_int_equal(bus_open(&core, NULL), 0);
	assert_int_equal(updates_start(&core, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	bus_stop(&core);
	updates_stop(&core);
	role_refusals_free(&core);
	sd_event_source_disable_unref(install_source);
	sd_bus_message_unref(install.begin);
	if (install.fd >= 0)
		close(install.fd);
	sd_bus_close_unref(install.bus);
	close(install_fd);
	core.event = sd_event_unref(core.event);
	temp_dir_remove(&dir);
	return 0;
}

static void turn(int n)
{
	for (int i = 0; i < n; i++)
		sd_event_run(core.event, 2000);
}

/* The answer to a ticket that install.holds_check kept back: it is good. */
static void install_check_ends(void)
{
	assert_non_null(install.check);
	assert_int_equal(check_reply(install.check), 1);
	install.check = sd_bus_message_unref(install.check);
	turn(30);
}

/* A program, and the outcome of its last call. */
struct program_fake {
	sd_bus *bus;
	int n_answers;
	char error[64];
	uint64_t id;
	int fd;
	char stage[32];
};

static struct program_fake *program_start(const char *socket_name)
{
	struct program_fake *p = calloc(1, sizeof(*p));

	p->fd = -1;
	assert_int_equal(peer_connect(dir.path, socket_name, &p->bus, NULL), 0);
	assert_true(sd_bus_attach_event(p->bus, core.event, 0) >= 0);
	return p;
}

static void program_end(struct program_fake *p)
{
	sd_bus_close_unref(p->bus);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
	turn(20);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct agent_error *err = NULL;
	struct program_fake *p = userdata;

	p->n_answers++;
	p->error[0] = '\0';
	if (sd_bus_message_is_method_error(m, NULL)) {
		peer_error_from_bus(sd_bus_message_get_error(m), -sd_bus_message_get_errno(m), &err);
		snprintf(p->error, sizeof(p->error), "%s", agent_error_name(err));
		agent_error_free(err);
	} else if (sd_bus_message_has_signature(m, "th")) {
		int fd;

		sd_bus_message_read(m, "th", &p->id, &fd);
		p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	return 1;
}

/* Start a call; the answer comes while turn() runs. */
static void call(struct program_fake *p, const char *interface, const char *method, const char *types, ...)
{
	sd_bus_message *m = NULL;
	va_list ap;

	assert_true(sd_bus_message_new_method_call(p->bus, &m, NULL, BUS_PATH, interface, method) >= 0);
	va_start(ap, types);
	if (types[0] != '\0')
		assert_true(sd_bus_message_appendv(m, types, ap) >= 0);
	va_end(ap);
	if (sd_bus_call_async(p->bus, NULL, m, on_answer, p, 0) < 0)
		strcpy(p->error, "cut off");
	sd_bus_message_unref(m);
	turn(30);
}

#define WHO "good", BUS_NO_UID, "ip:192.0.2.1"

#endif
