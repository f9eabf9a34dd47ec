/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include <jansson.h>

#include "agentd/link/telemetry.h"

static struct telemetry example(void)
{
	return (struct telemetry){
		.serial = "GW-0001", .product = "demo:1", .version = "0.1.0", .boot_id = "00112233445566778899aabbccddeeff",
		.seq = 7, .uptime_s = UINT64_C(5000000000), .n_connects = 2, .round_trip_ms = -1,
	};
}

static void every_value_is_in_the_json(void **state)
{
	struct telemetry t = example();
	_cleanup_free_ char *text = NULL;

	assert_int_equal(telemetry_json(&t, &text), 0);
	assert_string_equal(text, "{\"serial\":\"GW-0001\",\"product\":\"demo:1\",\"seq\":7,\"uptime_s\":5000000000,\"version\":\"0.1.0\","
				  "\"boot_id\":\"00112233445566778899aabbccddeeff\",\"connects\":2,\"round_trip_ms\":null}");
}

static void text_from_the_configuration_is_escaped(void **state)
{
	struct telemetry t = example();
	_cleanup_free_ char *text = NULL;
	json_t *root;

	t.serial = "a\"b\\c\n\xc3\xa4";
	t.round_trip_ms = 12;
	assert_int_equal(telemetry_json(&t, &text), 0);
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "serial")), t.serial);
	assert_int_equal(json_integer_value(json_object_get(root, "round_trip_ms")), 12);
	json_decref(root);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
	struct telemetry t = example();
	char *text = NULL;

	t.product = "\xff";
	assert_int_equal(telemetry_json(&t, &text), -EINVAL);
	assert_null(text);
}

static void this_machine_has_a_boot_id(void **state)
{
	char id[33] = "";

	if (telemetry_boot_id(id) >= 0)
		assert_int_equal(strspn(id, "0123456789abcdef"), 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_is_in_the_json),
		cmocka_unit_test(text_from_the_configuration_is_escaped),
		cmocka_unit_test(text_that_is_not_utf8_is_refused),
		cmocka_unit_test(this_machine_has_a_boot_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
