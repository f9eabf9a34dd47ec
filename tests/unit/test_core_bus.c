/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Core's connections and its part in an update, over real sockets in one event loop: agentd-mgmt, agentd-link and
 * agentd-install are played here; accounts, event log and TPM thread are fakes.
 */
#include "config.h"

#include "core_bus_world.h"

static void whoever_asks_for_something_off_his_list_is_cut_off_and_written_down(void **state)
{
	static const struct {
		const char *socket_name, *interface, *method, *types;
	} cases[] = {
		{ "core-mgmt.sock", BUS_CORE, "KeySign", "" },
		{ "core-mgmt.sock", BUS_CORE, "LoginCheck", "" },
		{ "vendor.sock", BUS_CORE, "LoginCheck", "" },
		{ "login.sock", BUS_CORE, "SessionOpen", "" },
		{ "login.sock", BUS_CORE, "StatusGet", "" },
		{ "login.sock", BUS_CORE, "LoginCheck", "" },
		{ "core-mgmt.sock", BUS_CORE, "SetupGet", "" },
		{ "core-mgmt.sock", BUS_CORE, "NoSuchThing", "" },
		{ "core-link.sock", BUS_CORE, "SessionOpen", "" },
		{ "core-link.sock", BUS_CORE, "UpdateBegin", "" },
		{ "core-link.sock", BUS_INSTALL, "Begin", "" },
		{ "core-link.sock", "org.freedesktop.DBus.Introspectable", "Introspect", "" },
		{ "core-link.sock", BUS_CORE, "KeyPublic", "" }, /* no argument where the row has one */
		{ "core-link.sock", BUS_CORE, "AppSign", "" },
		{ "vendor.sock", BUS_CORE, "LeafIssue", "" },
		{ "vendor.sock", BUS_CORE, "KeyAllow", "" },
		{ "vendor.sock", BUS_CORE, "LinkReport", "" },
		{ "vendor.sock", BUS_CORE, "KeySign", "" },
		{ "vendor.sock", "org.freedesktop.DBus.Peer", "Ping", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct program_fake *p = program_start(cases[i].socket_name);

		events[0] = '\0';
		call(p, cases[i].interface, cases[i].method, cases[i].types);
		assert_string_equal(events, "agent.peer_refused ");
		assert_true(sd_bus_is_open(p->bus) <= 0);
		program_end(p);
	}
}

static void session_comes_before_gate_and_gate_before_role(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	core.setup = AGENT_SETUP_FACTORY;
	role = ACCOUNT_VIEWER;
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", "bad", BUS_NO_UID, "ip:192.0.2.1", (uint64_t)0);
	assert_string_equal(p->error, "session.required");
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "setup.password-change-required");
	core.setup = AGENT_SETUP_ACTIVE;
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "session.role");
	/* In the log, and not once more for each further try. */
	assert_string_equal(events, "role.refused ");
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "session.role");
	call(p, BUS_CORE, "RoleRefused", "(sus)s", WHO, "POST /v1/update");
	assert_string_equal(p->error, "");
	assert_string_equal(events, "role.refused ");
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", "good", BUS_NO_UID, "ip: x", (uint64_t)0);
	assert_string_equal(p->error, "bus.source");
	assert_string_equal(install.calls, "");
	program_end(p);
}

/* Its uid is root's, and root may set the first password on the socket: not so the person in front of a login prompt. */
static void a_login_program_is_nobody_by_its_uid(void **state)
{
	struct program_fake *p = program_start("login.sock");

	call(p, BUS_CORE, "PasswordSet", "(sus)ss", "", (uint32_t)0, "tty:ttyS0", "", "walnut ferry 93 lantern");
	assert_string_equal(p->error, "session.required");
	call(p, BUS_CORE, "PasswordSet", "(sus)ss", "", (uint32_t)geteuid(), "unix:0", "", "walnut ferry 93 lantern");
	assert_string_equal(p->error, "session.required");
	program_end(p);
}

static void a_peer_that_leaves_before_the_answer_is_no_trouble(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "Bootstrap", "");
	program_end(p);
	assert_non_null(kept);
	op_reply(kept, "su", "active", 15u);
	kept = op_call_unref(kept);
	/* And one nobody ever answers. */
	p = program_start("core-mgmt.sock");
	call(p, BUS_CORE, "Bootstrap", "");
	kept = op_call_unref(kept);
	turn(20);
	assert_string_equal(p->error, "core.unanswered");
	program_end(p);
}

static void connections_and_calls_are_bounded(void **state)
{
	struct program_fake *p[6];
	struct op_call *calls[64];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = program_start("core-link.sock");
		turn(10);
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		call(p[i], BUS_CORE, "SetupGet", "");
		if (i < 4)
			assert_string_equal(p[i]->error, "");
		else
			assert_string_not_equal(p[i]->error, "");
	}
	for (size_t i = 0; i < ARRAY_SIZE(p); i++)
		program_end(p[i]);
	p[0] = program_start("core-mgmt.sock");
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		call(p[0], BUS_CORE, "Bootstrap", "");
		calls[i] = kept;
	}
	assert_int_equal(p[0]->n_answers, 0);
	call(p[0], BUS_CORE, "Bootstrap", "");
	assert_string_equal(p[0]->error, "core.busy");
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		op_reply(calls[i], "su", "active", 15u);
		op_call_unref(calls[i]);
	}
	turn(100);
	assert_int_equal(p[0]->n_answers, 65);
	kept = NULL;
	program_end(p[0]);
}

static void applications_come_in_within_limits(void **state)
{
	struct program_fake *p[4];

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = program_start("vendor.sock");
		call(p[i], BUS_CORE, "SetupGet", "");
		if (i < 3)
			assert_string_equal(p[i]->error, "");
		else
			assert_string_not_equal(p[i]->error, "");
	}
	program_end(p[3]);
	/* One that left makes room. */
	program_end(p[0]);
	p[0] = program_start("vendor.sock");
	call(p[0], BUS_CORE, "SetupGet", "");
	assert_string_equal(p[0]->error, "");
	/* The setup gate is closed for what changes state. */
	core.setup = AGENT_SETUP_FACTORY;
	call(p[0], BUS_CORE, "AppSign", "ssay", "app", "c", 1u, 7u);
	assert_string_equal(p[0]->error, "setup.password-change-required");
	core.setup = AGENT_SETUP_ACTIVE;
	/* Over the rate: refused, and the connection lives. On a busy machine the calls themselves may be slow. */
	for (int i = 0; i < 1000 && strcmp(p[0]->error, "vendor.rate") != 0; i++)
		call(p[0], BUS_CORE, "SetupGet", "");
	assert_string_equal(p[0]->error, "vendor.rate");
	assert_non_null(strstr(events, "peer.throttled"));
	assert_true(sd_bus_is_open(p[0]->bus) > 0);
	for (size_t i = 0; i < 3; i++)
		program_end(p[i]);
}

static struct program_fake *begin_update(void)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)1000);
	assert_string_equal(p->error, "");
	assert_true(p->fd >= 0);
	turn(20);
	assert_non_null(install.begin);
	assert_int_equal(install.floor, 3);
	return p;
}

static void bytes_go_from_the_sender_to_install_and_the_waiter_hears_the_end(void **state)
{
	struct program_fake *p = begin_update(), *other = program_start("core-mgmt.sock");
	char text[6] = "";

	assert_int_equal(write(p->fd, "hello", 5), 5);
	assert_int_equal(read(install.fd, text, 5), 5);
	assert_string_equal(text, "hello");
	call(other, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(other->error, "update.busy");
	call(other, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	assert_string_equal(other->error, "update.busy");
	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id + 1);
	assert_string_equal(p->error, "update.id");
	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id);
	assert_int_equal(p->n_answers, 2);
	assert_true(install_report(install.begin, "trying") >= 0);
	turn(30);
	assert_int_equal(p->n_answers, 3);
	assert_string_equal(p->error, "");
	assert_string_equal(events, "update.begun update.installed ");
	/* Asked again later, the answer is the same. */
	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id);
	assert_string_equal(p->error, "");
	program_end(other);
	program_end(p);
}

static void a_refused_bundle_ends_with_its_reason(void **state)
{
	struct program_fake *p = begin_update();
	struct agent_error *err = NULL;

	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id);
	agent_error_set(&err, -EKEYREJECTED, "update.signature", "not signed by anybody we know");
	assert_true(peer_reply_error(install.begin, -EKEYREJECTED, &err) >= 0);
	turn(30);
	assert_string_equal(p->error, "update.signature");
	assert_non_null(strstr(events, "update.refused(update.signature)"));
	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id);
	assert_string_equal(p->error, "update.signature");
	program_end(p);
}

static void install_killed_in_the_middle_ends_the_update_and_the_next_one_starts(void **state)
{
	struct program_fake *p = begin_update();

	call(p, BUS_CORE, "UpdateWait", "(sus)t", WHO, p->id);
	install.begin = sd_bus_message_unref(install.begin);
	sd_bus_close(install.bus);
	turn(40);
	assert_int_equal(p->n_answers, 2);
	assert_string_equal(p->error, "bus.lost");
	assert_non_null(strstr(events, "update.refused(bus.lost)"));
	close(p->fd);
	p->fd = -1;
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "");
	program_end(p);
}

static void nothing_is_installed_without_a_floor(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	core.has_floor = false;
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "update.floor");
	core.has_floor = true;
	core.has_trust = false;
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "update.trust-floor");
	assert_string_equal(install.calls, "");
	program_end(p);
}

/* The file first, then the counter; and while the counter is behind, nothing is installed. */
static void others_sign_and_the_tpm_keeps_it_before_the_next_bundle(void **state)
{
	struct program_fake *p = begin_update();

	assert_int_equal(install.trust_floor, 0);
	install.trust_version = 2;
	counter_result = -EIO;
	assert_true(install_report(install.begin, "trying") >= 0);
	turn(30);
	assert_int_equal(core.trust, 0);
	assert_null(strstr(events, "update.signers"));
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "update.busy");
	turn(10);
	counter_result = 0;
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	turn(30);
	assert_int_equal(trust_counter, 2);
	assert_int_equal(core.trust, 2);
	assert_non_null(strstr(events, "update.signers"));
	/* Far ahead, of a folder that stands for many changes: in turns. Nothing brings it down. */
	install.trust_version = 2500;
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	turn(60);
	install.trust_version = 0;
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	turn(30);
	assert_int_equal(core.trust, 2500);
	/* A date, or an agentd-install that somebody else drives: the TPM does not count up to it. */
	install.trust_version = 20261122;
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	turn(60);
	assert_string_equal(p->error, "update.report");
	assert_int_equal(trust_counter, 2500);
	program_end(p);
}

/* ---- service tickets -------------------------------------------------------------------------------------------- */

static char use_error[128];
static int use_result;

static int on_used(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_error_ struct agent_error *err = NULL;

	use_error[0] = '\0';
	if (sd_bus_message_is_method_error(reply, NULL)) {
		peer_error_from_bus(sd_bus_message_get_error(reply), -sd_bus_message_get_errno(reply), &err);
		snprintf(use_error, sizeof(use_error), "%s", agent_error_name(err));
		use_result = agent_error_errno(err);
	}
	return 1;
}

/* As agentd-install asks in the middle of an installation. */
static const char *install_asks(const char *method)
{
	strcpy(use_error, "no answer");
	use_result = 0;
	assert_true(sd_bus_call_method_async(install.bus, NULL, NULL, BUS_PATH, BUS_CORE, method, on_used, NULL, NULL) >= 0);
	turn(30);
	return use_error;
}

static const char *ticket_use(void)
{
	return install_asks("UpdateTicketUse");
}

/* Here there is none: who gets as far as that would have got it. */
static void the_key_of_images_is_for_one_installation_and_once(void **state)
{
	struct program_fake *p = begin_update();

	assert_string_equal(install_asks("UpdateKey"), "update.key");
	assert_int_equal(use_result, -ENOKEY);
	assert_string_equal(install_asks("UpdateKey"), "update.key");
	assert_int_equal(use_result, -EPERM);
	assert_true(install_report(install.begin, "trying") >= 0);
	turn(30);
	assert_string_equal(install_asks("UpdateKey"), "update.key");
	assert_int_equal(use_result, -EPERM);
	/* Nobody else asks at all. */
	call(p, BUS_CORE, "UpdateKey", "");
	assert_non_null(strstr(events, "agent.peer_refused"));
	program_end(p);
}

static void a_ticket_goes_with_one_installation_and_the_counter_rises_when_it_is_used(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "bad");
	turn(30);
	assert_string_equal(p->error, "update.ticket-device");
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	assert_string_equal(p->error, "");
	assert_string_equal(events, "update.ticket_refused(update.ticket-device) update.ticket_given ");
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(p->error, "");
	assert_string_equal(install.ticket, "good");
	assert_string_equal(install.device, "000b00");
	assert_int_equal(install.tickets_used, 0);
	/* The TPM says no: the ticket is not used up, and may not be asked for again in this installation. */
	counter_result = -EIO;
	assert_string_equal(ticket_use(), "tpm.io");
	counter_result = 0;
	assert_string_equal(ticket_use(), "update.ticket");
	assert_int_equal(tickets_counter, 0);
	assert_true(install_report(install.begin, "trying") >= 0);
	turn(30);
	install.begin = sd_bus_message_unref(install.begin);
	close(install.fd);
	/* Outside of an installation. */
	assert_string_equal(ticket_use(), "update.ticket");
	close(p->fd);
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(install.ticket, "good");
	assert_string_equal(ticket_use(), "");
	assert_int_equal(tickets_counter, 1);
	assert_int_equal(core.tickets, 1);
	assert_non_null(strstr(events, "update.ticket_used"));
	assert_string_equal(ticket_use(), "update.ticket");
	assert_int_equal(tickets_counter, 1);
	assert_true(install_report(install.begin, "trying") >= 0);
	turn(30);
	install.begin = sd_bus_message_unref(install.begin);
	close(install.fd);
	close(p->fd);
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(install.ticket, "");
	program_end(p);
}

static void a_ticket_that_was_taken_back_lets_nothing_in(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(install.ticket, "good");
	call(p, BUS_CORE, "UpdateTicketRemove", "(sus)", WHO);
	assert_string_equal(ticket_use(), "update.ticket");
	assert_int_equal(tickets_counter, 0);
	assert_non_null(strstr(events, "update.ticket_removed"));
	program_end(p);
}

/* agentd-install compared the ticket with what the counter was when it began: raised by whomever since then, it is another use. */
static void a_ticket_is_used_at_the_count_that_the_installation_began_with(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_int_equal(install.tickets_used, 0);
	core.tickets = tickets_counter = 1; /* an attempt of before that the TPM finished late */
	assert_string_equal(ticket_use(), "update.ticket-used");
	assert_int_equal(tickets_counter, 1);
	assert_null(strstr(events, "update.ticket_used"));
	program_end(p);
}

/* The answer of agentd-install to a ticket comes when it is not wanted any more, or when an installation has begun. */
static void a_ticket_that_is_looked_at_is_not_kept_over_what_happens_meanwhile(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock"), *other = program_start("core-mgmt.sock");

	install.holds_check = true;
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	assert_non_null(install.check);
	call(other, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	assert_string_equal(other->error, "update.busy");
	call(other, BUS_CORE, "UpdateTicketRemove", "(sus)", WHO);
	assert_string_equal(other->error, "");
	install_check_ends();
	assert_string_equal(p->error, "update.ticket");
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	call(other, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(install.ticket, "");
	install_check_ends();
	assert_string_equal(p->error, "update.busy");
	assert_null(strstr(events, "update.ticket_given"));
	assert_string_equal(ticket_use(), "update.ticket");
	program_end(other);
	program_end(p);
}

static void no_ticket_without_a_counter_a_clock_or_an_administrator(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	core.has_tickets = false;
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	assert_string_equal(p->error, "update.ticket-counter");
	core.has_tickets = true;
	assert_int_equal(agent_time_new(&core.time, NULL), 0); /* knows the build only */
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	assert_string_equal(p->error, "update.ticket-clock");
	assert_string_equal(install.calls, "");
	core.time = agent_time_unref(core.time);
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	turn(30);
	assert_string_equal(p->error, "");
	/* Nobody vouches for the clock any more: the installation goes on, and without the ticket. */
	assert_int_equal(agent_time_new(&core.time, NULL), 0);
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	turn(30);
	assert_string_equal(install.ticket, "");
	assert_string_equal(ticket_use(), "update.ticket");
	core.time = agent_time_unref(core.time);
	role = ACCOUNT_OPERATOR;
	call(p, BUS_CORE, "UpdateTicketSet", "(sus)s", WHO, "good");
	assert_string_not_equal(p->error, "");
	call(p, BUS_CORE, "UpdateTicketGet", "(sus)", WHO);
	assert_string_not_equal(p->error, "");
	program_end(p);
}

static void a_url_must_be_https_and_plain(void **state)
{
	static const char *const bad[] = { "", "http://a/b", "file:///etc/passwd", "https://a/b c", "https://a/\xc3\xa4", "HTTPS://a" };
	struct program_fake *p = program_start("core-mgmt.sock");

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		call(p, BUS_CORE, "UpdateFetch", "(sus)s", WHO, bad[i]);
		assert_string_equal(p->error, "update.url");
	}
	/* Nobody offers fetch.sock here: the reason is told, and nothing has begun. */
	call(p, BUS_CORE, "UpdateFetch", "(sus)s", WHO, "https://updates.example/a.swu");
	assert_string_equal(p->error, "bus.connect");
	call(p, BUS_CORE, "UpdateBegin", "(sus)t", WHO, (uint64_t)0);
	assert_string_equal(p->error, "");
	program_end(p);
}

static void confirm_marks_the_slot_then_raises_the_floor_then_closes_the_journal(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	install.confirm_floor = 7;
	call(p, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	turn(40);
	assert_string_equal(p->error, "");
	assert_int_equal(p->n_answers, 1);
	assert_string_equal(install.calls, "Confirm ConfirmDone Status ");
	assert_int_equal(floor_counter, 7);
	assert_int_equal(core.floor, 7);
	assert_string_equal(events, "update.floor_raised update.confirmed ");
	/* Again, as after a power cut before ConfirmDone: nothing is raised twice. */
	call(p, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	turn(40);
	assert_string_equal(p->error, "");
	assert_int_equal(floor_counter, 7);
	program_end(p);
}

static void a_floor_that_cannot_rise_leaves_the_journal_open(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	install.confirm_floor = 7;
	counter_result = -EIO;
	call(p, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	turn(40);
	assert_string_equal(p->error, "tpm.io");
	assert_string_equal(install.calls, "Confirm ");
	assert_int_equal(core.floor, 3);
	counter_result = 0;
	install.confirm_floor = 3 + 1001;
	call(p, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	turn(40);
	assert_string_equal(p->error, "update.floor");
	assert_int_equal(floor_counter, 3);
	/* And nothing is stuck. */
	install.confirm_floor = 4;
	call(p, BUS_CORE, "UpdateConfirm", "(sus)", WHO);
	turn(40);
	assert_string_equal(p->error, "");
	program_end(p);
}

static void the_connection_to_install_is_given_back_after_use(void **state)
{
	struct program_fake *p = program_start("core-mgmt.sock");

	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	assert_string_equal(p->error, "");
	assert_int_equal(install.n_connections, 1);
	for (int i = 0; i < 700 && sd_bus_is_open(install.bus) > 0; i++)
		sd_event_run(core.event, 10000);
	assert_true(sd_bus_is_open(install.bus) <= 0);
	call(p, BUS_CORE, "UpdateStatus", "(sus)", WHO);
	assert_string_equal(p->error, "");
	assert_int_equal(install.n_connections, 2);
	program_end(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whoever_asks_for_something_off_his_list_is_cut_off_and_written_down),
		T(a_login_program_is_nobody_by_its_uid),
		T(session_comes_before_gate_and_gate_before_role),
		T(a_peer_that_leaves_before_the_answer_is_no_trouble),
		T(connections_and_calls_are_bounded),
		T(applications_come_in_within_limits),
		T(bytes_go_from_the_sender_to_install_and_the_waiter_hears_the_end),
		T(a_refused_bundle_ends_with_its_reason),
		T(install_killed_in_the_middle_ends_the_update_and_the_next_one_starts),
		T(nothing_is_installed_without_a_floor),
		T(others_sign_and_the_tpm_keeps_it_before_the_next_bundle),
		T(the_key_of_images_is_for_one_installation_and_once),
		T(a_ticket_goes_with_one_installation_and_the_counter_rises_when_it_is_used),
		T(a_ticket_that_was_taken_back_lets_nothing_in),
		T(a_ticket_is_used_at_the_count_that_the_installation_began_with),
		T(a_ticket_that_is_looked_at_is_not_kept_over_what_happens_meanwhile),
		T(no_ticket_without_a_counter_a_clock_or_an_administrator),
		T(a_url_must_be_https_and_plain),
		T(confirm_marks_the_slot_then_raises_the_floor_then_closes_the_journal),
		T(a_floor_that_cannot_rise_leaves_the_journal_open),
		T(the_connection_to_install_is_given_back_after_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
