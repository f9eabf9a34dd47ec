/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of an index: which of the bundles that it names is taken, and when none is. */
#include "tests/unit/source_world.h"

static const char *index_text;

static int on_index(void *userdata, const char *method, const char *url, const char *body, struct wire_answer *out, struct agent_error **err)
{
	*out = (struct wire_answer){ 0 };
	return answer(out, 200, "%s", index_text);
}

static void look_at_index(void)
{
	const struct wire wire = { .call = on_index };
	const struct source_options options = {
		.base = "https://files.test/gw/index.json", .distribution = "", .dir = dir.path, .poll_min_s = 10, .poll_max_s = 600, .poll_s = 100,
	};

	source_result_clear(&result);
	index_look(&options, &device, &wire, &result);
}

#define BUNDLE(version, security, product) \
	"{\"url\":\"" version ".swu\",\"version\":\"" version "\",\"release-id\":\"r" version "\",\"security-version\":" security ",\"products\":[\"" product "\"]}"
#define INDEX(list) "{\"profile\":\"agent-index-1\",\"bundles\":[" list "]}"

static int set_up(void **state)
{
	source_world_make();
	return 0;
}

static void the_newest_bundle_for_this_device_is_taken(void **state)
{
	device.floor = 2;
	index_text = INDEX(BUNDLE("1.9", "2", "gw:1") "," BUNDLE("1.10", "2", "gw:1") "," BUNDLE("3.0", "2", "other:1") "," BUNDLE("4.0", "1", "gw:1"));
	look_at_index();
	assert_true(result.has_offer);
	assert_string_equal(result.action, "r1.10");
	assert_string_equal(result.bundle.url, "https://files.test/gw/1.10.swu");
}

static void an_index_never_leads_back(void **state)
{
	strcpy(device.version, "2.0");
	index_text = INDEX(BUNDLE("1.9", "0", "gw:1") "," BUNDLE("2.0", "0", "gw:1"));
	look_at_index();
	assert_false(result.has_offer);
	assert_string_equal(result.state, "idle");
}

static void a_release_of_an_index_that_fell_back_is_not_taken_again(void **state)
{
	index_text = INDEX(BUNDLE("2.0", "0", "gw:1"));
	look_at_index();
	assert_true(result.has_offer);
	strcpy(device.action, "r2.0");
	outcome("");
	is_now("trying", "a", "b", "r2.0");
	strcpy(device.version, "2.0");
	look_at_index();
	assert_string_equal(result.state, "installed");
	device.has_outcome = false;
	is_now("failed", "a", "b", "r2.0");
	strcpy(device.failed_release_id, "r2.0");
	look_at_index();
	assert_string_equal(result.told, "failure");
	assert_string_equal(result.state, "refused");
	look_at_index();
	assert_false(result.has_offer || result.has_told);
	index_text = INDEX(BUNDLE("2.1", "0", "gw:1"));
	look_at_index();
	assert_true(result.has_offer);
}

static void a_bad_index_is_refused(void **state)
{
	static const char *const cases[] = { "{}", "{\"profile\":\"agent-index-2\",\"bundles\":[]}", INDEX("{}"), INDEX("7"),
					     INDEX("{\"url\":\"a\",\"version\":\"1\",\"release-id\":\"\",\"security-version\":1,\"products\":[]}") };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		index_text = cases[i];
		look_at_index();
		assert_true(result.has_failed);
	}
}

static void versions_are_compared_as_people_do(void **state)
{
	static const char *const rising[] = { "1", "1.0", "1.2", "1.10", "1.10-rc1", "2.0", "2026.9.1", "2026.11.0", "2026.11.1" };

	for (size_t i = 0; i < ARRAY_SIZE(rising); i++)
		for (size_t k = 0; k < ARRAY_SIZE(rising); k++) {
			int order = body_compare_versions(rising[i], rising[k]);

			assert_int_equal(order < 0 ? -1 : order > 0, i < k ? -1 : i > k);
		}
	assert_int_equal(body_compare_versions("1.010", "1.10"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, source_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_newest_bundle_for_this_device_is_taken),
		TEST(an_index_never_leads_back),
		TEST(a_release_of_an_index_that_fell_back_is_not_taken_again),
		TEST(a_bad_index_is_refused),
		cmocka_unit_test(versions_are_compared_as_people_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
