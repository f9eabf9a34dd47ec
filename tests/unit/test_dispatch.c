/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of core: every row of operations.def x program x setup state x caller, against rules written here once more. */
#include "config.h"

#include "test.h"

#include <errno.h>

#include "agentd/core/dispatch.h"

/* The table wants handlers; none of them runs here. */
#define OP(method, handler, programs, gate, role, in, out)                                \
	int handler(struct core *core, struct op_call *call, struct agent_error **err) \
	{                                                                                 \
		return -ENOSYS;                                                           \
	}
#include "agentd/common/operations.def"
#undef OP

static const int setups[] = { SETUP_STATE_UNKNOWN, AGENT_SETUP_UNPROVISIONED, AGENT_SETUP_FACTORY, AGENT_SETUP_ACTIVE, AGENT_SETUP_RECOVERY, 77 };

static void a_row_is_found_only_by_the_programs_it_names(void **state)
{
	static const enum program programs[] = { PROG_MGMT, PROG_LINK, PROG_FETCH, PROG_INSTALL };

	for (size_t i = 0; i < n_operations; i++)
		for (size_t k = 0; k < ARRAY_SIZE(programs); k++) {
			const struct operation *op = operation_find(operations[i].method, programs[k]);

			if (operations[i].programs & programs[k])
				assert_ptr_equal(op, &operations[i]);
			else
				assert_null(op);
		}
	assert_null(operation_find("NoSuchThing", PROG_MGMT));
	assert_null(operation_find("", PROG_MGMT));
	assert_null(operation_find("keysign", PROG_LINK));
	/* Nothing that signs is offered to what parses requests of the LAN, but the leaf. */
	assert_null(operation_find("KeySign", PROG_MGMT));
	assert_null(operation_find("SessionOpen", PROG_LINK));
}

/* All that has to do with updates, by hand: a row that is not here, or is another one here, is found by who reads this. */
static void who_may_do_what_with_updates(void **state)
{
	static const struct {
		const char *method;
		unsigned programs;
		enum setup_gate gate;
		enum account_role role;
	} rows[] = {
		{ "UpdateBegin", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "UpdateFetch", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },
		{ "UpdateWait", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "UpdateStatus", PROG_MGMT, SETUP_DIAGNOSE, ACCOUNT_VIEWER },
		{ "UpdateOffer", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "UpdateApprove", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },
		{ "UpdatePostpone", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "UpdatePolicy", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },
		{ "OfferAnnounce", PROG_FETCH, SETUP_DONE, ACCOUNT_NONE },	 { "OfferWithdraw", PROG_FETCH, SETUP_DONE, ACCOUNT_NONE },
		{ "OfferStatus", PROG_FETCH, SETUP_DONE, ACCOUNT_NONE },	 { "UpdateConfirm", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },
		{ "UpdateRollback", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "UpdateCheck", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },
		{ "UpdateReboot", PROG_MGMT, SETUP_DONE, ACCOUNT_OPERATOR },	 { "RebootGet", PROG_VENDOR, SETUP_DONE, ACCOUNT_NONE },
		{ "RebootHold", PROG_VENDOR, SETUP_DONE, ACCOUNT_NONE },
		/* What unlocks something is the administrator's; what agentd-install asks for is nobody else's, and all that it may ask. */
		{ "UpdateKeySet", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },	 { "UpdateKeyRemove", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },
		{ "UpdateRecipient", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },	 { "UpdateUnwrap", PROG_INSTALL, SETUP_DONE, ACCOUNT_NONE },
		{ "UpdateKey", PROG_INSTALL, SETUP_DONE, ACCOUNT_NONE },	 { "UpdateTicketGet", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },
		{ "UpdateTicketSet", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },	 { "UpdateTicketRemove", PROG_MGMT, SETUP_DONE, ACCOUNT_ADMIN },
		{ "UpdateTicketUse", PROG_INSTALL, SETUP_DONE, ACCOUNT_NONE },
	};

	for (size_t i = 0; i < n_operations; i++) {
		const struct operation *op = &operations[i];
		size_t k = 0;

		while (k < ARRAY_SIZE(rows) && strcmp(rows[k].method, op->method) != 0)
			k++;
		if (k == ARRAY_SIZE(rows)) {
			if (strncmp(op->method, "Update", 6) == 0 || strncmp(op->method, "Offer", 5) == 0 || strncmp(op->method, "Reboot", 6) == 0 || (op->programs & PROG_INSTALL) != 0)
				fail_msg("%s: who may do that?", op->method);
			continue;
		}
		if (op->programs != rows[k].programs || op->gate != rows[k].gate || op->role != rows[k].role)
			fail_msg("%s: others may do that", op->method);
	}
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
		assert_true(rows[k].programs == 0 || operation_find(rows[k].method, rows[k].programs) != NULL);
}

static bool expected(const struct operation *op, int setup, const struct caller *caller)
{
	if (op->gate == SETUP_MUST_CHANGE && setup != AGENT_SETUP_FACTORY && setup != AGENT_SETUP_ACTIVE)
		return false;
	if (op->gate == SETUP_DONE && (setup != AGENT_SETUP_ACTIVE || (caller != NULL && caller->is_limited)))
		return false;
	if (op->gate == SETUP_DIAGNOSE && (setup == AGENT_SETUP_FACTORY || (caller != NULL && caller->is_limited)))
		return false;
	return op->role == ACCOUNT_NONE || (caller != NULL && caller->role >= op->role);
}

static void nobody_gets_past_the_gate_in_any_combination(void **state)
{
	size_t n_open = 0, n_shut = 0;

	for (size_t i = 0; i < n_operations; i++)
		for (size_t s = 0; s < ARRAY_SIZE(setups); s++)
			for (int who = -1; who <= ACCOUNT_ADMIN * 2 + 1; who++) {
				struct caller caller = { .role = (enum account_role)(who / 2), .is_limited = who % 2 == 1 };
				const struct caller *c = who < 0 ? NULL : &caller;
				struct agent_error *err = NULL;
				int r = operation_check(&operations[i], setups[s], c, &err);

				assert_int_equal(r >= 0, expected(&operations[i], setups[s], c));
				assert_int_equal(r < 0, err != NULL);
				agent_error_free(err);
				if (r >= 0)
					n_open++;
				else
					n_shut++;
			}
	assert_true(n_open > 0);
	assert_true(n_shut > n_open);
}

static void refusals_say_why(void **state)
{
	static const struct {
		int setup;
		enum account_role role;
		bool is_limited;
		int errnum;
		const char *name;
	} cases[] = {
		{ AGENT_SETUP_FACTORY, ACCOUNT_ADMIN, false, -EKEYEXPIRED, "setup.password-change-required" },
		{ AGENT_SETUP_ACTIVE, ACCOUNT_ADMIN, true, -EKEYEXPIRED, "setup.password-change-required" },
		{ AGENT_SETUP_FACTORY, ACCOUNT_VIEWER, false, -EKEYEXPIRED, "setup.password-change-required" },
		{ AGENT_SETUP_RECOVERY, ACCOUNT_ADMIN, false, -ENOKEY, "setup.recovery" },
		{ AGENT_SETUP_UNPROVISIONED, ACCOUNT_ADMIN, false, -ENOKEY, "setup.unprovisioned" },
		{ SETUP_STATE_UNKNOWN, ACCOUNT_ADMIN, false, -ENODEV, "tpm.absent" },
		{ AGENT_SETUP_ACTIVE, ACCOUNT_VIEWER, false, -EPERM, "session.role" },
		{ AGENT_SETUP_ACTIVE, ACCOUNT_NONE, false, -EPERM, "session.role" },
	};
	const struct operation *op = operation_find("UpdateBegin", PROG_MGMT);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct caller caller = { .role = cases[i].role, .is_limited = cases[i].is_limited };
		struct agent_error *err = NULL;

		assert_int_equal(operation_check(op, cases[i].setup, &caller, &err), cases[i].errnum);
		assert_error(&err, cases[i].errnum, cases[i].name);
	}
}

static void only_these_rows_are_open_before_the_password_is_set(void **state)
{
	static const char *const open[] = { "Bootstrap", "LoginGreet", "LoginCheck", "SessionOpen", "SessionCheck", "SessionClose", "PasswordCheck", "PasswordSet", "KeyIdentity", "KeyPublic",
					    "KeySign", "LeafIssue", "SetupGet", "LinkReport", "LinkBrokers", "LinkUsage", "LinkBudget", "LinkQueues", "ClientRefused", "PeersThrottled", "SourcesKnown",
					    "TimeGet", "TimeEvidence" };
	size_t n = 0;

	for (size_t i = 0; i < n_operations; i++) {
		struct caller caller = { .role = ACCOUNT_ADMIN };
		bool is_listed = false;

		for (size_t k = 0; k < ARRAY_SIZE(open); k++)
			is_listed |= strcmp(open[k], operations[i].method) == 0;
		assert_int_equal(operation_check(&operations[i], AGENT_SETUP_FACTORY, &caller, NULL) >= 0, is_listed);
		n += is_listed;
	}
	assert_int_equal(n, ARRAY_SIZE(open));
}

static void rows_with_an_account_begin_with_the_caller(void **state)
{
	for (size_t i = 0; i < n_operations; i++)
		if (operations[i].role != ACCOUNT_NONE)
			assert_int_equal(strncmp(operations[i].in, "(sus)", 5), 0);
}

static void sources_are_short_printable_words(void **state)
{
	char longest[CALLER_SOURCE_MAX + 2];

	memset(longest, 'x', sizeof(longest));
	longest[CALLER_SOURCE_MAX] = '\0';
	assert_true(source_is_valid("ip:192.0.2.7"));
	assert_true(source_is_valid("unix:1000"));
	assert_true(source_is_valid(longest));
	longest[CALLER_SOURCE_MAX] = 'x';
	longest[CALLER_SOURCE_MAX + 1] = '\0';
	assert_false(source_is_valid(longest));
	assert_false(source_is_valid(""));
	assert_false(source_is_valid("ip:1 2"));
	assert_false(source_is_valid("ip:\n"));
	assert_false(source_is_valid("ip:\xc3\xa4"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_is_found_only_by_the_programs_it_names),
		cmocka_unit_test(who_may_do_what_with_updates),
		cmocka_unit_test(nobody_gets_past_the_gate_in_any_combination),
		cmocka_unit_test(refusals_say_why),
		cmocka_unit_test(only_these_rows_are_open_before_the_password_is_set),
		cmocka_unit_test(rows_with_an_account_begin_with_the_caller),
		cmocka_unit_test(sources_are_short_printable_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
