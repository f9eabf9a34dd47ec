/* SPDX-License-Identifier: Apache-2.0 */
/* accounts.c with a real password record over a fake TPM: what is counted when, and who is who. */
#include "tests/unit/test.h"
#include "tests/unit/fake_tpm.h"

#include "agentd/core/accounts.h"
#include "base/file.h"

#define SECRET "7K2M-9QXT-04AB"
#define OWNER "correct purple kettle drum"

/* ---- surroundings of accounts.c ---- */

static unsigned n_events[EVENT_COUNT_];

void event_add(struct core *core, enum event_id id, ...)
{
	n_events[id]++;
}

int store_get_password(struct store *store, struct agent_password **ret_password, struct agent_error **err)
{
	*ret_password = store->password;
	return 0;
}

const struct agent_account *core_find_account(const struct core *core, const char *user)
{
	for (size_t i = 0; i < core->n_people; i++)
		if (strcmp(core->people[i].name, user) == 0)
			return &core->people[i];
	return NULL;
}

/* ---- fixture ---- */

struct fixture {
	struct temp_dir dir;
	struct settings settings;
	struct core core;
	struct store store;
	struct fake_counter c;
	struct fake_mac m;
	uint64_t count_seen;	/* on disk while the MAC is computed */
};

static uint64_t count_on_disk(struct fixture *f)
{
	_cleanup_free_ char *text = NULL;
	struct limit_counts counts = { .all = UINT64_MAX };
	size_t size;

	if (file_read_at(f->dir.fd, "accounts/failures", FAILURES_TEXT_MAX, &text, &size, NULL) == 0)
		assert_int_equal(failures_parse(text, size, &counts), 0);
	return counts.all;
}

static int spying_mac(void *userdata, const uint8_t *data, size_t size, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	struct fixture *f = userdata;

	f->count_seen = count_on_disk(f);
	return fake_mac_compute(&f->m, data, size, ret_mac, err);
}

static const struct agent_mac_ops spying_mac_ops = { .backend = "test", .compute = spying_mac };

static void start(struct fixture *f)
{
	assert_int_equal(accounts_start(&f->core, NULL), 0);
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	const struct agent_password_options options = { .min_length = 15, .cost = 1 };

	memset(n_events, 0, sizeof(n_events));
	temp_dir_make(&f->dir);
	assert_int_equal(mkdirat(f->dir.fd, "accounts", 0700), 0);
	f->settings.paths.state_dir = f->dir.path;
	f->core.settings = &f->settings;
	assert_int_equal(sd_event_new(&f->core.event), 0);
	f->store.accounts_fd = openat(f->dir.fd, "accounts", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(agent_counter_new(&fake_counter_ops, &f->c, &f->store.generation, NULL), 0);
	assert_int_equal(agent_mac_new(&spying_mac_ops, f, &f->store.mac, NULL), 0);
	assert_int_equal(agent_password_open(NULL, f->store.accounts_fd, f->store.generation, f->store.mac, &options, &f->store.password, NULL), 0);
	assert_int_equal(agent_password_provision(f->store.password, SECRET, strlen(SECRET), NULL), 0);
	assert_int_equal(agent_password_change(f->store.password, "admin", 1, OWNER, strlen(OWNER), NULL), 0);
	f->core.setup = AGENT_SETUP_ACTIVE;
	f->core.generation = 2;
	f->core.n_people = agent_password_get_accounts(f->store.password, f->core.people);
	*state = f;
	start(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	accounts_stop(&f->core);
	agent_password_free(f->store.password);
	agent_mac_unref(f->store.mac);
	agent_counter_unref(f->store.generation);
	close(f->store.accounts_fd);
	sd_event_unref(f->core.event);
	temp_dir_remove(&f->dir);
	test_free(f);
	return 0;
}

/* One whole try; the errno, -EDQUOT if it was not admitted. */
static int try_password(struct fixture *f, const char *source, bool is_local, const uint8_t *cookie_id, const char *user, const char *password)
{
	struct account_try try = { .uid = is_local ? 1000 : BUS_NO_UID };
	int r;

	snprintf(try.user, sizeof(try.user), "%s", user);
	snprintf(try.source, sizeof(try.source), "%s", source);
	assert_int_equal(secret_copy(&try.password, password, strlen(password)), 0);
	limits_identify(f->core.accounts->limits, source, is_local ? LIMIT_ROOT : LIMIT_STRANGER, cookie_id, accounts_now_us(), &try.who);
	r = account_try_admit(&f->core, &try, NULL);
	if (r == 0) {
		r = account_try_run(f->core.accounts, &f->store, &try, NULL);
		account_try_settle(&f->core, &try);
	}
	account_try_clear(&f->core, &try);
	return r;
}

static void a_try_is_on_disk_before_it_is_compared(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", "wrong"), -EACCES);
	assert_true(f->count_seen == 1);
	assert_true(count_on_disk(f) == 1);
	assert_int_equal(account_failures(&f->core), 1);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", OWNER), 0);
	assert_true(f->count_seen == 2);
	assert_true(count_on_disk(f) == 0);
	assert_int_equal(account_failures(&f->core), 0);
	assert_int_equal(n_events[EVENT_SESSION_FAILED], 1);
}

static void a_wrong_user_fails_like_a_wrong_password(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "", OWNER), -EACCES);
	assert_true(count_on_disk(f) == 1);
	assert_int_equal(account_failures(&f->core), 1);
}

static void what_could_not_be_found_out_is_not_counted(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", "wrong"), -EACCES);
	f->m.fail = -EIO;
	for (int i = 0; i < 20; i++)
		assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", "wrong"), -EIO);
	/* A TPM that says -EACCES is no wrong password. */
	f->m.fail = -EACCES;
	for (int i = 0; i < 20; i++)
		try_password(f, "ip:192.0.2.1", false, NULL, "admin", "wrong");
	f->m.fail = 0;
	assert_true(count_on_disk(f) == 1);
	assert_int_equal(account_failures(&f->core), 1);
	assert_int_equal(n_events[EVENT_SESSION_FAILED], 1);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", OWNER), 0);
}

static void a_restart_goes_on_counting(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 10; i++) {
		char source[32];

		snprintf(source, sizeof(source), "ip:192.0.2.%d", i);
		assert_int_equal(try_password(f, source, false, NULL, "admin", "wrong"), -EACCES);
	}
	accounts_stop(&f->core);
	start(f);
	assert_int_equal(account_failures(&f->core), 10);
	assert_int_equal(try_password(f, "ip:192.0.2.100", false, NULL, "admin", OWNER), -EDQUOT);
}

static void a_count_that_cannot_be_read_keeps_strangers_out(void **state)
{
	struct fixture *f = *state;

	accounts_stop(&f->core);
	assert_int_equal(file_replace_at(f->dir.fd, "accounts/failures", 0600, "rubbish", 7, NULL), 0);
	start(f);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", OWNER), -EDQUOT);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, (const uint8_t *)"a device cookie", "admin", OWNER), 0);
	assert_int_equal(n_events[EVENT_STRANGERS_OPENED], 1);
	assert_false(limits_is_closed(f->core.accounts->limits));
	assert_true(count_on_disk(f) == 0);
}

static void a_count_that_cannot_be_written_stops_strangers_but_not_the_owner(void **state)
{
	struct fixture *f = *state;

	/* A folder where the temp file should go: fails for root, too. */
	assert_int_equal(mkdirat(f->dir.fd, "accounts/.failures.tmp", 0700), 0);
	assert_true(try_password(f, "ip:192.0.2.1", false, NULL, "admin", OWNER) < 0);
	assert_int_equal(account_failures(&f->core), 0);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, (const uint8_t *)"a device cookie", "admin", OWNER), 0);
	assert_int_equal(try_password(f, "unix:1000", true, NULL, "admin", OWNER), 0);
	assert_int_equal(try_password(f, "unix:1000", true, NULL, "admin", "wrong"), -EACCES);
	assert_int_equal(account_failures(&f->core), 1);
}

/* Who is counted as what: only a program of root may speak of a terminal. */
static void callers_are_counted_by_what_the_kernel_says(void **state)
{
	struct fixture *f = *state;
	static const struct {
		struct caller caller;
		enum limit_bucket bucket;
	} rows[] = {
		{ { .source = "ip:192.0.2.1", .uid = BUS_NO_UID, .program = PROG_MGMT }, LIMIT_STRANGER },
		{ { .source = "tty:ttyS0", .uid = BUS_NO_UID, .program = PROG_MGMT }, LIMIT_STRANGER },
		{ { .source = "tty:ttyS0", .uid = BUS_NO_UID, .program = PROG_LOGIN }, LIMIT_CONSOLE },
		{ { .source = "ip:192.0.2.1", .uid = BUS_NO_UID, .program = PROG_LOGIN }, LIMIT_STRANGER },
		{ { .source = "unix:54321", .uid = 54321, .program = PROG_LOGIN }, LIMIT_USER },
		{ { .source = "unix:54321", .uid = 54321, .program = PROG_MGMT }, LIMIT_USER },
		{ { .source = "unix:0", .uid = 0, .program = PROG_MGMT }, LIMIT_ROOT },
	};
	struct limit_who http, ssh;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct limit_who w;

		account_identify(f->core.accounts, &rows[i].caller, NULL, &w);
		assert_int_equal(w.bucket, rows[i].bucket);
	}
	/* One address is one source, by whatever door it comes. */
	account_identify(f->core.accounts, &rows[0].caller, NULL, &http);
	account_identify(f->core.accounts, &rows[3].caller, NULL, &ssh);
	assert_true(http.key == ssh.key);
}

static void a_hundred_failures_are_said_once(void **state)
{
	static const char at_99[] = "agentd-failures 2\nall 99\nstranger 90\ncookie 9\nuser 0\nroot 0\nconsole 0\n";
	struct fixture *f = *state;

	accounts_stop(&f->core);
	assert_int_equal(file_replace_at(f->dir.fd, "accounts/failures", 0600, at_99, strlen(at_99), NULL), 0);
	start(f);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, (const uint8_t *)"a device cookie", "admin", "wrong"), -EACCES);
	assert_int_equal(n_events[EVENT_STRANGERS_CLOSED], 1);
	assert_int_equal(try_password(f, "ip:192.0.2.1", false, (const uint8_t *)"a device cookie", "admin", "wrong"), -EACCES);
	assert_int_equal(n_events[EVENT_STRANGERS_CLOSED], 1);
	assert_true(count_on_disk(f) == 101);
}

static void refusals_tell_how_long_to_wait(void **state)
{
	struct fixture *f = *state;
	struct account_try try = { .uid = BUS_NO_UID, .source = "ip:192.0.2.1" };
	struct agent_error *err = NULL;

	for (int i = 0; i < 3; i++)
		assert_int_equal(try_password(f, "ip:192.0.2.1", false, NULL, "admin", "wrong"), -EACCES);
	assert_int_equal(n_events[EVENT_BACKOFF_ENTERED], 1);
	limits_identify(f->core.accounts->limits, try.source, LIMIT_STRANGER, NULL, accounts_now_us(), &try.who);
	assert_int_equal(account_try_admit(&f->core, &try, &err), -EDQUOT);
	assert_non_null(strstr(agent_error_message(err), "(retry-after=1)"));
	assert_error(&err, -EDQUOT, "session.limited");
}

static void a_caller_is_known_by_token_or_by_uid(void **state)
{
	struct fixture *f = *state;
	const struct session session = { .user = "admin", .source = "ip:192.0.2.1", .role = ACCOUNT_ADMIN, .uid = BUS_NO_UID, .since = 2 };
	struct caller caller;
	struct agent_error *err = NULL;
	char token[TOKEN_TEXT_SIZE];
	uint64_t expires_s;

	assert_int_equal(account_resolve(&f->core, "", BUS_NO_UID, "ip:192.0.2.1", &caller, &err), -EACCES);
	assert_error(&err, -EACCES, "session.required");
	assert_int_equal(account_resolve(&f->core, "", 54321, "unix:54321", &caller, NULL), -EACCES);
	assert_int_equal(account_resolve(&f->core, "", 0, "unix:0", &caller, NULL), 0);
	assert_int_equal(caller.role, ACCOUNT_ADMIN);
	assert_true(caller.session_id == 0);
	assert_int_equal(account_resolve(&f->core, "", (uint32_t)geteuid(), "unix:x", &caller, NULL), 0);

	assert_int_equal(account_open_session(&f->core, &session, token, &expires_s, NULL), 0);
	assert_int_equal(expires_s, SESSION_IDLE_S);
	assert_int_equal(account_resolve(&f->core, token, BUS_NO_UID, "ip:192.0.2.1", &caller, NULL), 0);
	assert_string_equal(caller.user, "admin");
	assert_true(caller.session_id != 0);
	assert_false(caller.is_limited);
	/* A dead token is refused from root as well. */
	token[0] = token[0] == 'A' ? 'B' : 'A';
	assert_int_equal(account_resolve(&f->core, token, 0, "unix:0", &caller, NULL), -EACCES);
}

static void a_changed_account_ends_its_sessions(void **state)
{
	struct fixture *f = *state;
	const struct session session = { .user = "admin", .source = "ip:192.0.2.1", .role = ACCOUNT_ADMIN, .since = 2 };
	struct caller caller;
	char tokens[3][TOKEN_TEXT_SIZE];
	uint64_t expires_s;

	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		assert_int_equal(account_open_session(&f->core, &session, tokens[i], &expires_s, NULL), 0);
		assert_int_equal(account_resolve(&f->core, tokens[i], BUS_NO_UID, "ip:192.0.2.1", &caller, NULL), 0);
	}
	f->core.people[0].since = 3;
	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++)
		assert_int_equal(account_resolve(&f->core, tokens[i], BUS_NO_UID, "ip:192.0.2.1", &caller, NULL), -EACCES);
	f->core.people[0].since = 2;	/* and they do not come back */
	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++)
		assert_int_equal(account_resolve(&f->core, tokens[i], BUS_NO_UID, "ip:192.0.2.1", &caller, NULL), -EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_try_is_on_disk_before_it_is_compared, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wrong_user_fails_like_a_wrong_password, setup, teardown),
		cmocka_unit_test_setup_teardown(what_could_not_be_found_out_is_not_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restart_goes_on_counting, setup, teardown),
		cmocka_unit_test_setup_teardown(a_count_that_cannot_be_read_keeps_strangers_out, setup, teardown),
		cmocka_unit_test_setup_teardown(a_count_that_cannot_be_written_stops_strangers_but_not_the_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(callers_are_counted_by_what_the_kernel_says, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hundred_failures_are_said_once, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals_tell_how_long_to_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_caller_is_known_by_token_or_by_uid, setup, teardown),
		cmocka_unit_test_setup_teardown(a_changed_account_ends_its_sessions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
