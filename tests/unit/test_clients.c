/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/unit/test.h"

#include "agentd/common/settings.h"
#include "agentd/core/accounts.h"
#include "agentd/core/clients.h"

static uint64_t now_us = 1000000;

uint64_t accounts_now_us(void)
{
	return now_us;
}

#define SPKI_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SPKI_B "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"

static void the_first_row_that_fits_counts(void **state)
{
	char *rows[] = { (char *)"viewer cn:monitor", (char *)"admin spki:" SPKI_A, (char *)"operator dns:a.example", (char *)"admin cn:monitor",
			 (char *)"viewer cn:with space", (char *)"admin cn:", NULL };
	struct settings settings = { .mgmt.client_roles = rows };
	struct core core = { .settings = &settings };
	char *names[] = { (char *)"dns:b.example", (char *)"dns:a.example", NULL }, *tricks[] = { (char *)"cn:monitor", (char *)"spki:" SPKI_A, NULL };

	assert_int_equal(clients_role(&core, SPKI_B, "monitor", NULL), ACCOUNT_VIEWER);
	assert_int_equal(clients_role(&core, SPKI_A, "", NULL), ACCOUNT_ADMIN);
	assert_int_equal(clients_role(&core, SPKI_A, "monitor", NULL), ACCOUNT_VIEWER);
	assert_int_equal(clients_role(&core, SPKI_B, "other", names), ACCOUNT_OPERATOR);
	assert_int_equal(clients_role(&core, SPKI_B, "with space", NULL), ACCOUNT_VIEWER);
	assert_int_equal(clients_role(&core, SPKI_B, "Monitor", NULL), ACCOUNT_NONE);
	assert_int_equal(clients_role(&core, SPKI_B, "monitor2", NULL), ACCOUNT_NONE);
	assert_int_equal(clients_role(&core, SPKI_B, "a.example", NULL), ACCOUNT_NONE);
	assert_int_equal(clients_role(&core, SPKI_B, "", NULL), ACCOUNT_NONE);
	/* a name is a name only */
	assert_int_equal(clients_role(&core, SPKI_B, "", tricks), ACCOUNT_NONE);
	settings.mgmt.client_roles = NULL;
	assert_int_equal(clients_role(&core, SPKI_A, "monitor", names), ACCOUNT_NONE);
}

static void a_token_is_good_for_a_while_and_for_one_certificate(void **state)
{
	struct core core = { .setup = AGENT_SETUP_ACTIVE };
	struct caller caller = { .uid = 7 };
	char token[TOKEN_TEXT_SIZE], again[TOKEN_TEXT_SIZE], others[8][TOKEN_TEXT_SIZE], spki[65];

	assert_false(clients_find(&core, SPKI_A, &caller));
	assert_int_equal(clients_add(&core, SPKI_A, "moni\ntor", ACCOUNT_VIEWER, token, NULL), 0);
	assert_true(clients_find(&core, token, &caller));
	assert_int_equal(caller.role, ACCOUNT_VIEWER);
	assert_string_equal(caller.user, "cert:moni?tor");
	assert_int_equal(caller.uid, 7);
	assert_int_equal(caller.session_id, 0);
	/* a new one takes the place of the old one */
	assert_int_equal(clients_add(&core, SPKI_A, "monitor", ACCOUNT_VIEWER, again, NULL), 0);
	assert_false(clients_find(&core, token, &caller));
	assert_true(clients_find(&core, again, &caller));
	/* use keeps it alive, idleness ends it */
	now_us += UINT64_C(899) * 1000000;
	assert_true(clients_find(&core, again, &caller));
	now_us += UINT64_C(899) * 1000000;
	assert_true(clients_find(&core, again, &caller));
	now_us += UINT64_C(900) * 1000000;
	assert_false(clients_find(&core, again, &caller));
	/* when all places are taken the least recently used one goes */
	for (int i = 0; i < 8; i++) {
		now_us++;
		snprintf(spki, sizeof(spki), "%064d", i);
		assert_int_equal(clients_add(&core, spki, "", ACCOUNT_ADMIN, others[i], NULL), 0);
	}
	now_us++;
	assert_true(clients_find(&core, others[0], &caller));
	now_us++;
	assert_int_equal(clients_add(&core, SPKI_A, "", ACCOUNT_VIEWER, again, NULL), 0);
	assert_true(clients_find(&core, others[0], &caller));
	assert_false(clients_find(&core, others[1], &caller));
	assert_false(clients_find(&core, "", &caller));
	clients_free(&core);
	assert_false(clients_find(&core, others[0], &caller));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_row_that_fits_counts),
		cmocka_unit_test(a_token_is_good_for_a_while_and_for_one_certificate),
	};

	return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
