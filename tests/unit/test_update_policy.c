/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <time.h>

#include "agentd/core/update_policy.h"
#include "base/file.h"

#define DAY_S 86400

static struct temp_dir dir;

static struct policy policy_new(void)
{
	struct policy p = { .dir_fd = dir.fd, .n_postpone_max = 3, .postpone_total_s = 168 * 3600, .default_mode = POLICY_AUTOMATIC };

	return p;
}

static int setup(void **state)
{
	temp_dir_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(&dir);
	return 0;
}

#define MANIFEST "00000000000000000000000000000000000000000000000000000000000000a1"
#define OTHER "00000000000000000000000000000000000000000000000000000000000000a2"

static int looked(struct policy *p, const char *release, const char *manifest)
{
	return policy_looked(p, &(struct policy_found){ .release_id = release, .version = "2.0", .kind = "security", .advisory = "mends a hole",
			     .manifest_sha256 = manifest, .security_version = 7 }, NULL);
}

static void wait_for_release(struct policy *p, const char *release)
{
	assert_int_equal(policy_announce(p, "https://x/1.swu", "", NULL), 1);
	assert_int_equal(looked(p, release, MANIFEST), 0);
}

/* 2026-11-23 is a Monday. */
static struct tm at(const char *text)
{
	struct tm tm = { 0 };

	assert_int_equal(sscanf(text, "%d %d:%d", &tm.tm_wday, &tm.tm_hour, &tm.tm_min), 3);
	return tm;
}

static void windows_are_days_and_times(void **state)
{
	static const struct {
		const char *window, *when;
		bool is_open;
	} rows[] = {
		{ "mon-fri 02:00-04:00", "1 02:00", true },   { "mon-fri 02:00-04:00", "1 04:00", false }, { "mon-fri 02:00-04:00", "0 03:00", false },
		{ "mon-fri 02:00-04:00", "5 03:59", true },   { "sat,sun 22:00-06:00", "6 23:00", true },  { "sat,sun 22:00-06:00", "1 05:59", true },
		{ "sat,sun 22:00-06:00", "1 06:00", false },  { "sat,sun 22:00-06:00", "6 05:00", false }, { "sat,sun 22:00-06:00", "2 05:00", false },
		{ "daily 00:00-24:00", "3 23:59", true },     { "fri-mon 10:00-11:00", "0 10:30", true },  { "fri-mon 10:00-11:00", "3 10:30", false },
		{ "daily 23:30-00:30", "4 00:29", true },     { "wed 00:00-00:01", "3 00:00", true },
	};
	static const char *const wrong[] = { "", "mon", "mon 02:00", "mon 2:00-4:00", "mon 02:00-02:00", "mon 24:00-25:00", "mon 02:60-04:00", "moo 02:00-04:00",
					     "mon- 02:00-04:00", "mon,, 02:00-04:00", "mon, 02:00-04:00", ",mon 02:00-04:00", "daily  02:00-04:00",
					     "mon 02:00-04:00 ", "mon 02.00-04:00", "mon-fri-sat 02:00-04:00", "mo 02:00-04:00", "mon 24:00-02:00" };
	struct policy_window w;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tm tm = at(rows[i].when);

		assert_int_equal(policy_window_parse(rows[i].window, &w, NULL), 0);
		if (policy_window_is_open(&w, &tm) != rows[i].is_open)
			fail_msg("\"%s\" at %s must be %s", rows[i].window, rows[i].when, rows[i].is_open ? "open" : "closed");
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct agent_error *err = NULL;

		if (policy_window_parse(wrong[i], &w, &err) == 0)
			fail_msg("\"%s\" is taken for a window", wrong[i]);
		assert_error(&err, -EINVAL, "update.windows");
	}
}

/* The clock of the wall counts: 02:30 does not come on the night in March, and comes twice on the one in October. */
static void summer_time_follows_the_rule_of_the_zone(void **state)
{
	static const struct {
		time_t when;
		int hour;
	} rows[] = {
		{ 1774745940, 1 }, /* 2026-03-29 00:59 UTC */
		{ 1774746060, 3 }, /* 01:01 UTC */
		{ 1792888200, 2 }, /* 2026-10-25 00:30 UTC */
		{ 1792891800, 2 }, /* 01:30 UTC: again */
	};
	struct tm tm;

	assert_int_equal(policy_zone_check("CET-1CEST,M3.5.0,M10.5.0/3", NULL), 0);
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(localtime_r(&rows[i].when, &tm)->tm_hour, rows[i].hour);
	unsetenv("TZ");
	tzset();
}

static void zones_are_rules_and_no_files(void **state)
{
	static const char *const right[] = { "UTC0", "CET-1", "EST5EDT,M3.2.0,M11.1.0", "<+0330>-3:30" };
	static const char *const wrong[] = { "", "UTC", "Europe/Berlin", ":Europe/Berlin", "/etc/localtime", "CE-1", "CET--1", "<+03-3" };

	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		assert_int_equal(policy_zone_check(right[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct agent_error *err = NULL;

		if (policy_zone_check(wrong[i], &err) == 0)
			fail_msg("\"%s\" is taken for a zone", wrong[i]);
		assert_error(&err, -EINVAL, "update.time_zone");
	}
}

static void the_policy_decides(void **state)
{
	static const struct {
		const char *what;
		enum policy_mode mode;
		bool is_approved, is_left, is_postponed, clock_is_set, clock_goes_back, in_window;
		enum offer_wait wait;
	} rows[] = {
		{ "automatic", POLICY_AUTOMATIC, .wait = WAIT_NOTHING },
		{ "automatic, postponed", POLICY_AUTOMATIC, .is_postponed = true, .wait = WAIT_POSTPONED },
		{ "window open", POLICY_WINDOW, .clock_is_set = true, .in_window = true, .wait = WAIT_NOTHING },
		{ "window closed", POLICY_WINDOW, .clock_is_set = true, .wait = WAIT_WINDOW },
		{ "window open, but who set the clock?", POLICY_WINDOW, .in_window = true, .wait = WAIT_CLOCK },
		{ "window open, but the clock went back", POLICY_WINDOW, .clock_is_set = true, .clock_goes_back = true, .in_window = true, .wait = WAIT_CLOCK },
		{ "window open, postponed", POLICY_WINDOW, .clock_is_set = true, .in_window = true, .is_postponed = true, .wait = WAIT_POSTPONED },
		{ "window closed, approved", POLICY_WINDOW, .clock_is_set = true, .is_approved = true, .wait = WAIT_NOTHING },
		{ "no clock, approved", POLICY_WINDOW, .is_approved = true, .wait = WAIT_NOTHING },
		{ "approval", POLICY_APPROVAL, .clock_is_set = true, .in_window = true, .wait = WAIT_APPROVAL },
		{ "approval, approved", POLICY_APPROVAL, .is_approved = true, .wait = WAIT_NOTHING },
		{ "automatic, but somebody went back from it", POLICY_AUTOMATIC, .is_left = true, .wait = WAIT_APPROVAL },
		{ "window open, but somebody went back from it", POLICY_WINDOW, .clock_is_set = true, .in_window = true, .is_left = true, .wait = WAIT_APPROVAL },
		{ "and approved it afterwards", POLICY_AUTOMATIC, .is_left = true, .is_approved = true, .wait = WAIT_NOTHING },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct policy p = policy_new();
		struct policy_now now = { .running_s = 1000, .wall_s = 2000000000, .clock_is_set = rows[i].clock_is_set, .local = at("1 03:00"),
					  .is_left = rows[i].is_left };

		wait_for_release(&p, "r-1");
		p.has_mode = true;
		p.mode = rows[i].mode;
		p.n_windows = 1;
		assert_int_equal(policy_window_parse(rows[i].in_window ? "mon 02:00-04:00" : "tue 02:00-04:00", &p.windows[0], NULL), 0);
		p.postponed_s = rows[i].is_postponed ? 5 : 0;
		p.seen_s = rows[i].clock_goes_back ? now.wall_s + 1 : now.wall_s - DAY_S;
		if (rows[i].is_approved)
			assert_int_equal(policy_approve(&p, "r-1", MANIFEST, "admin", NULL), 0);
		if (policy_decide(&p, &now) != rows[i].wait)
			fail_msg("%s: waits for \"%s\", not for \"%s\"", rows[i].what, offer_wait_name(policy_decide(&p, &now)), offer_wait_name(rows[i].wait));
	}
}

static void moves_are_those_of_the_table(void **state)
{
	/* As in docs/design/update.md. */
	static const bool may[OFFER_STATES_][OFFER_STATES_] = {
		[OFFER_NONE] = { [OFFER_ANNOUNCED] = true },
		[OFFER_ANNOUNCED] = { [OFFER_NONE] = true, [OFFER_ANNOUNCED] = true, [OFFER_WAITING] = true, [OFFER_INSTALLED] = true, [OFFER_REFUSED] = true },
		[OFFER_WAITING] = { [OFFER_NONE] = true, [OFFER_ANNOUNCED] = true, [OFFER_INSTALLING] = true, [OFFER_INSTALLED] = true, [OFFER_REFUSED] = true },
		[OFFER_INSTALLING] = { [OFFER_WAITING] = true, [OFFER_INSTALLED] = true, [OFFER_REFUSED] = true },
		[OFFER_INSTALLED] = { [OFFER_NONE] = true, [OFFER_ANNOUNCED] = true, [OFFER_WAITING] = true, [OFFER_REFUSED] = true },
		[OFFER_REFUSED] = { [OFFER_NONE] = true, [OFFER_ANNOUNCED] = true },
	};

	for (int from = 0; from < OFFER_STATES_; from++) {
		for (int to = 0; to < OFFER_STATES_; to++) {
			struct policy p = policy_new();
			struct agent_error *err = NULL;

			p.state = (enum offer_state)from;
			if (may[from][to]) {
				assert_int_equal(policy_move(&p, (enum offer_state)to, NULL), 0);
				assert_int_equal(p.state, to);
			} else {
				assert_int_equal(policy_move(&p, (enum offer_state)to, &err), -EPROTO);
				assert_error(&err, -EPROTO, "update.offer-move");
				assert_int_equal(p.state, from);
			}
		}
	}
}

static void an_action_is_approved_at_its_version(void **state)
{
	struct policy p = policy_new();
	char longer[POLICY_ACTION_MAX + 2];

	assert_false(policy_action_is_approved(&p, "", ""));
	assert_int_equal(policy_approve_action(&p, "hawkbit 5", "2.0", NULL), 0);
	assert_true(policy_action_is_approved(&p, "hawkbit 5", "2.0"));
	assert_false(policy_action_is_approved(&p, "hawkbit 5", "2.1"));
	assert_false(policy_action_is_approved(&p, "hawkbit 6", "2.0"));
	assert_false(policy_action_is_approved(&p, "index 5", "2.0"));
	/* Over a restart. */
	assert_int_equal(policy_save(&p, NULL), 0);
	p = policy_new();
	assert_int_equal(policy_load(&p, NULL), 0);
	assert_true(policy_action_is_approved(&p, "hawkbit 5", "2.0"));
	/* One at a time; nonsense takes no place. */
	assert_int_equal(policy_approve_action(&p, "hawkbit 6", "", NULL), 0);
	assert_false(policy_action_is_approved(&p, "hawkbit 5", "2.0"));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(policy_approve_action(&p, longer, "", NULL), -EINVAL);
	assert_int_equal(policy_approve_action(&p, "", "", NULL), -EINVAL);
	assert_int_equal(policy_approve_action(&p, "a\nstate=none", "", NULL), -EINVAL);
	assert_true(policy_action_is_approved(&p, "hawkbit 6", ""));
}

static void only_what_was_shown_is_approved(void **state)
{
	struct policy p = policy_new();
	struct agent_error *err = NULL;

	assert_int_equal(policy_approve(&p, "r-1", MANIFEST, "admin", &err), -ENOENT);
	assert_error(&err, -ENOENT, "update.nothing");
	wait_for_release(&p, "r-1");
	assert_int_equal(policy_approve(&p, "r-2", MANIFEST, "admin", &err), -EPERM);
	assert_error(&err, -EPERM, "update.policy");
	assert_int_equal(policy_approve(&p, "r-1", OTHER, "admin", &err), -EPERM);
	assert_error(&err, -EPERM, "update.policy");
	assert_int_equal(policy_approve(&p, "r-1", "", "admin", &err), -EPERM);
	assert_error(&err, -EPERM, "update.policy");
	assert_string_equal(p.approved_by, "");
	assert_int_equal(policy_approve(&p, "r-1", MANIFEST, "admin", NULL), 0);
	/* The same bundle from elsewhere is what was approved. */
	assert_int_equal(policy_announce(&p, "https://x/2.swu", "", NULL), 1);
	assert_int_equal(looked(&p, "r-1", MANIFEST), 0);
	assert_string_equal(p.approved_by, "admin");
	/* Another release comes before it was installed: nobody has approved that one. */
	assert_int_equal(policy_announce(&p, "https://x/3.swu", "", NULL), 1);
	assert_int_equal(looked(&p, "r-2", MANIFEST), 0);
	assert_string_equal(p.approved_by, "");
}

/* Two bundles, both signed by the right people, may have one release id. */
static void another_bundle_of_that_name_was_not_approved(void **state)
{
	static const char *const no_digests[] = { "", "a1", MANIFEST "a", "0000000000000000000000000000000000000000000000000000000000000 a1",
						  "00000000000000000000000000000000000000000000000000000000000000A1" };
	struct policy p = policy_new();

	wait_for_release(&p, "r-1");
	assert_int_equal(policy_postpone(&p, 100, NULL), 0);
	assert_int_equal(policy_approve(&p, "r-1", MANIFEST, "admin", NULL), 0);
	assert_int_equal(policy_announce(&p, "https://x/2.swu", "", NULL), 1);
	assert_int_equal(looked(&p, "r-1", OTHER), 0);
	assert_string_equal(p.approved_by, "");
	assert_string_equal(p.manifest_sha256, OTHER);
	/* It is no way to put a release off for longer, either. */
	assert_int_equal(p.n_postponed, 1);
	assert_int_equal(p.postponed_total_s, 100 * 3600);
	for (size_t i = 0; i < ARRAY_SIZE(no_digests); i++) {
		assert_int_equal(policy_announce(&p, i % 2 == 0 ? "https://x/3.swu" : "https://x/4.swu", "", NULL), 1);
		assert_int_equal(looked(&p, "r-1", no_digests[i]), -EBADMSG);
		assert_int_equal(p.state, OFFER_ANNOUNCED);
	}
}

/* A file of an agent that did not say which bundle it was: nothing is installed by an approval from then. */
static void an_offer_of_unknown_bytes_is_looked_into_again(void **state)
{
	static const char old[] = "state=waiting\nurl=https://x/1.swu\nrelease=r-1\nversion=2.0\nsecurity_version=7\napproved_by=maria\nend\n";
	struct policy p = policy_new();

	assert_int_equal(file_replace_at(dir.fd, POLICY_FILE, 0600, old, strlen(old), NULL), 0);
	assert_int_equal(policy_load(&p, NULL), 0);
	assert_int_equal(p.state, OFFER_ANNOUNCED);
	assert_string_equal(p.approved_by, "");
	assert_int_equal(looked(&p, "r-1", MANIFEST), 0);
	assert_int_equal(policy_save(&p, NULL), 0);
	p = policy_new();
	assert_int_equal(policy_load(&p, NULL), 0);
	assert_int_equal(p.state, OFFER_WAITING);
	assert_string_equal(p.manifest_sha256, MANIFEST);
}

static void postponing_is_bounded(void **state)
{
	struct policy p = policy_new();
	struct agent_error *err = NULL;

	wait_for_release(&p, "r-1");
	assert_int_equal(policy_postpone(&p, 0, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.postpone");
	assert_int_equal(policy_postpone(&p, 169, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	assert_int_equal(policy_postpone(&p, UINT64_MAX, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	assert_int_equal(policy_postpone(&p, 100, NULL), 0);
	assert_int_equal(policy_postpone(&p, 69, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	assert_int_equal(policy_postpone(&p, 1, NULL), 0);
	/* The same release under another address has the same bounds. */
	assert_int_equal(policy_announce(&p, "https://x/again.swu", "", NULL), 1);
	assert_int_equal(looked(&p, "r-1", MANIFEST), 0);
	assert_int_equal(policy_postpone(&p, 1, NULL), 0);
	assert_int_equal(policy_postpone(&p, 1, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "update.postpone");
	/* Another one begins anew. */
	assert_int_equal(policy_announce(&p, "https://x/2.swu", "", NULL), 1);
	assert_int_equal(looked(&p, "r-2", OTHER), 0);
	assert_int_equal(policy_postpone(&p, 168, NULL), 0);
}

static void what_was_said_is_there_after_a_restart(void **state)
{
	struct policy p = policy_new(), q = policy_new();

	wait_for_release(&p, "r-1");
	p.has_mode = true;
	p.mode = POLICY_WINDOW;
	assert_int_equal(policy_postpone(&p, 5, NULL), 0);
	assert_int_equal(policy_approve(&p, "r-1", MANIFEST, "maria", NULL), 0);
	p.seen_s = 1800000000;
	assert_int_equal(policy_move(&p, OFFER_INSTALLING, NULL), 0);
	assert_int_equal(policy_save(&p, NULL), 0);
	assert_int_equal(policy_load(&q, NULL), 0);
	assert_int_equal(q.state, OFFER_WAITING); /* begun, and nobody knows how it went */
	assert_int_equal(policy_mode_now(&q), POLICY_WINDOW);
	assert_string_equal(q.url, "https://x/1.swu");
	assert_string_equal(q.release_id, "r-1");
	assert_string_equal(q.kind, "security");
	assert_string_equal(q.advisory, "mends a hole");
	assert_string_equal(q.approved_by, "maria");
	assert_string_equal(q.manifest_sha256, MANIFEST);
	assert_int_equal(q.n_postponed, 1);
	assert_int_equal(q.postponed_total_s, 5 * 3600);
	assert_int_equal(q.seen_s, 1800000000);
}

static void a_damaged_file_is_said_and_changes_nothing(void **state)
{
	static const char *const wrong[] = { "state=waiting\nend\n", "state=sleeping\nend\n", "policy=never\nend\n", "n_postponed=-1\nend\n", "nonsense\nend\n",
					     "unknown=1\nend\n", "security_version=99999999999999999999\nend\n", "url=https://x\x01\nend\n" };
	_cleanup_free_ char *data = NULL;
	struct policy p = policy_new();
	struct agent_error *err = NULL;
	size_t size;

	wait_for_release(&p, "r-1");
	p.has_mode = true;
	p.mode = POLICY_APPROVAL;
	assert_int_equal(policy_save(&p, NULL), 0);
	assert_int_equal(file_read_at(dir.fd, POLICY_FILE, 8192, &data, &size, NULL), 0);
	for (size_t n = 0; n + 1 < size; n++) {
		struct policy q = policy_new();

		assert_int_equal(file_replace_at(dir.fd, POLICY_FILE, 0600, data, n, NULL), 0);
		assert_int_equal(policy_load(&q, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "update.offer");
		assert_int_equal(q.state, OFFER_NONE);
		assert_false(q.has_mode);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct policy q = policy_new();

		assert_int_equal(file_replace_at(dir.fd, POLICY_FILE, 0600, wrong[i], strlen(wrong[i]), NULL), 0);
		if (policy_load(&q, &err) != -EBADMSG)
			fail_msg("\"%s\" was read", wrong[i]);
		assert_error(&err, -EBADMSG, "update.offer");
	}
}

static void the_same_offer_is_no_news(void **state)
{
	struct policy p = policy_new();
	struct agent_error *err = NULL;

	wait_for_release(&p, "r-1");
	assert_int_equal(policy_announce(&p, "https://x/1.swu", "", NULL), 0);
	assert_int_equal(p.state, OFFER_WAITING);
	assert_int_equal(policy_announce(&p, "https://x/1.swu", "action 7", NULL), 1);
	assert_int_equal(looked(&p, "r-1", MANIFEST), 0);
	assert_int_equal(policy_move(&p, OFFER_INSTALLING, NULL), 0);
	assert_int_equal(policy_announce(&p, "https://x/2.swu", "", &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.busy");
	assert_int_equal(policy_withdraw(&p, &err), -EPROTO);
	assert_error(&err, -EPROTO, "update.offer-move");
	assert_int_equal(policy_move(&p, OFFER_INSTALLED, NULL), 0);
	assert_int_equal(policy_announce(&p, "https://x/1.swu", "action 7", NULL), 0); /* no endless loop */
	assert_int_equal(policy_announce(&p, "http://x/1.swu", "", &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.url");
	assert_int_equal(policy_announce(&p, "https://x/1 .swu", "", &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.url");
	assert_int_equal(policy_announce(&p, "https://x/3.swu", "a\nb", &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.reference");
}

static void tries_come_less_and_less_often(void **state)
{
	struct policy p = policy_new();
	struct agent_error *why = NULL;
	struct policy_now now = { .running_s = 0 };
	static const uint64_t waits[] = { 60, 120, 240, 480, 960, 1920, 3600, 3600 };

	agent_error_set(&why, -ECONNREFUSED, "fetch.connect", "nobody there");
	assert_int_equal(policy_announce(&p, "https://x/1.swu", "", NULL), 1);
	for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
		policy_put_off(&p, now.running_s, why);
		now.running_s += waits[i] - 1;
		assert_int_equal(policy_decide(&p, &now), WAIT_RETRY);
		now.running_s++;
		assert_int_equal(policy_decide(&p, &now), WAIT_NOTHING);
	}
	assert_string_equal(p.error_name, "fetch.connect");
	agent_error_free(why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_are_days_and_times),
		cmocka_unit_test(summer_time_follows_the_rule_of_the_zone),
		cmocka_unit_test(zones_are_rules_and_no_files),
		cmocka_unit_test(the_policy_decides),
		cmocka_unit_test(moves_are_those_of_the_table),
		cmocka_unit_test(only_what_was_shown_is_approved),
		cmocka_unit_test(another_bundle_of_that_name_was_not_approved),
		cmocka_unit_test_setup_teardown(an_offer_of_unknown_bytes_is_looked_into_again, setup, teardown),
		cmocka_unit_test_setup_teardown(an_action_is_approved_at_its_version, setup, teardown),
		cmocka_unit_test(postponing_is_bounded),
		cmocka_unit_test_setup_teardown(what_was_said_is_there_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_said_and_changes_nothing, setup, teardown),
		cmocka_unit_test(the_same_offer_is_no_news),
		cmocka_unit_test(tries_come_less_and_less_often),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
