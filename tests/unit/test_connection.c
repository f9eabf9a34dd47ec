/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>

#include <agent/key.h>
#include <agent/tpm.h>

#include "base/monotonic.h"
#include "tpm/connection.h"

static struct agent_context *ctx;

static int set_up(void **state)
{
	(void)state;
	setenv("TSS2_LOG", "all+none", 1);
	return agent_context_new(&ctx);
}

static int tear_down(void **state)
{
	(void)state;
	ctx = agent_context_unref(ctx);
	return 0;
}

static void states_have_names(void **state)
{
	static const char *const names[] = { "ABSENT", "OPENING", "READY", "LOCKED_OUT", "BUSY", "CHANGED", "FAILED" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_string_equal(agent_tpm_state_name((enum agent_tpm_state)i), names[i]);
	assert_string_equal(agent_tpm_state_name((enum agent_tpm_state)99), "UNKNOWN");
	assert_int_equal(agent_tpm_get_state(NULL), AGENT_TPM_ABSENT);
}

static void arguments_are_checked(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_signer *signer = NULL;
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	struct agent_counter *counter = NULL;
	struct agent_mac *mac = NULL;
	const uint8_t *name;
	size_t n;

	(void)state;
	assert_int_equal(agent_tpm_new(ctx, "", 0x81000001, &tpm, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.tcti");
	assert_int_equal(agent_tpm_new(NULL, "swtpm", 0x81000001, &tpm, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.tcti");
	assert_int_equal(agent_tpm_new(ctx, "swtpm", 0x40000001, &tpm, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.handle");
	assert_int_equal(agent_tpm_new(ctx, "swtpm:path=/nonexistent", 0x81000001, &tpm, &err), 0);
	assert_int_equal(agent_tpm_get_srk_name(tpm, &name, &n), -ENODATA);
	assert_int_equal(agent_tpm_pin_srk(tpm, (const uint8_t *)"short", 5, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.name");
	assert_int_equal(agent_key_create(tpm, AGENT_KEY_EC_P256, AT_FDCWD, "../up", &key, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.name");
	assert_int_equal(agent_key_create(tpm, (enum agent_key_type)77, AT_FDCWD, "x", &key, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.key-type");
	assert_int_equal(agent_key_get_signer(NULL, &signer, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.argument");
	assert_int_equal(agent_tpm_counter_open(tpm, 0x01400000, AT_FDCWD, "x", 0, &counter, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.nv-index");
	assert_int_equal(agent_tpm_counter_open(tpm, 0x01bfffff, AT_FDCWD, "x", AGENT_TPM_FROM_ZERO, &counter, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.nv-index");
	assert_int_equal(agent_tpm_counter_open(tpm, 0x01800000, AT_FDCWD, "x", 1u << 9, &counter, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.argument");
	assert_int_equal(agent_tpm_mac_open(tpm, AT_FDCWD, "x", AGENT_TPM_FROM_ZERO, &mac, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tpm.argument");
	assert_int_equal(agent_tpm_get_n_commands(tpm), 0);
	assert_null(agent_tpm_unref(tpm));
}

static void names_are_plain(void **state)
{
	static const struct {
		const char *name;
		int r;
	} cases[] = {
		{ "device", 0 }, { "device-ca.2_x", 0 }, { "", -EINVAL }, { ".hidden", -EINVAL }, { "a/b", -EINVAL }, { "a b", -EINVAL },
		{ "..", -EINVAL }, { NULL, -EINVAL },
		{ "0123456789012345678901234567890123456789012345678901234567890123", 0 },
		{ "01234567890123456789012345678901234567890123456789012345678901234", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(tpm_check_name(cases[i].name, NULL), cases[i].r);
}

static void raw_tpms_are_told_from_managed_ones(void **state)
{
	static const struct {
		const char *conf;
		bool is_raw;
	} cases[] = {
		{ "swtpm", true }, { "swtpm:path=/run/x", true }, { "pcap:swtpm:port=1", true }, { "mssim", true },
		{ "device:/dev/tpm0", true }, { "libtss2-tcti-swtpm.so.0:path=x", true }, { "device", false },
		{ "device:/dev/tpmrm0", false }, { "pcap:device:/dev/tpmrm0", false }, { "tabrmd", false }, { "cmd:x swtpm", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (tcti_is_raw(cases[i].conf) != cases[i].is_raw)
			fail_msg("%s", cases[i].conf);
}

/* The agent must not spin when there is no TPM: after the second try the next ones are refused without looking. */
static void an_absent_tpm_is_not_asked_in_a_hot_loop(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tpm *tpm = NULL;
	uint64_t since_ms = monotonic_ms();
	unsigned n_refused = 0;

	(void)state;
	assert_int_equal(agent_tpm_new(ctx, "swtpm:path=/nonexistent/socket", 0x81000001, &tpm, &err), 0);
	assert_int_equal(agent_tpm_get_state(tpm), AGENT_TPM_OPENING);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(agent_tpm_open(tpm, &err), -ENODEV);
		n_refused += strstr(agent_error_message(err), "tried again in") != NULL;
		assert_error(&err, -ENODEV, "tpm.absent");
	}
	assert_int_equal(agent_tpm_get_state(tpm), AGENT_TPM_ABSENT);
	/* 250 ms, 500 ms ... between tries, however slow this machine is */
	assert_true(n_refused >= 1000 - 3 - (monotonic_ms() - since_ms) / 250);
	agent_tpm_unref(tpm);
}

static void key_type_names_go_both_ways(void **state)
{
	static const char *const names[] = { "ec-p256", "ec-p384", "rsa-2048", "rsa-3072" };
	enum agent_key_type type;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(agent_key_type_parse(names[i], &type), 0);
		assert_string_equal(agent_key_type_name(type), names[i]);
	}
	assert_int_equal(agent_key_type_parse("ec-p521", &type), -EINVAL);
	assert_int_equal(agent_key_type_parse(NULL, &type), -EINVAL);
	assert_string_equal(agent_key_type_name((enum agent_key_type)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_have_names),
		cmocka_unit_test(arguments_are_checked),
		cmocka_unit_test(names_are_plain),
		cmocka_unit_test(raw_tpms_are_told_from_managed_ones),
		cmocka_unit_test(an_absent_tpm_is_not_asked_in_a_hot_loop),
		cmocka_unit_test(key_type_names_go_both_ways),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
