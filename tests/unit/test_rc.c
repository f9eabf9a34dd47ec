/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <tss2/tss2_tpm2_types.h>

#include "tpm/rc.h"

static void codes_seen_in_the_field_have_their_class(void **state)
{
	static const struct {
		TSS2_RC rc;
		enum rc_class class;
	} cases[] = {
		{ 0, RC_OK },
		{ 0x922, RC_RETRY },	    /* RETRY */
		{ 0x90a, RC_RETRY },	    /* TESTING */
		{ 0x908, RC_RETRY },	    /* YIELDED */
		{ 0x920, RC_RETRY },	    /* NV_RATE */
		{ 0xc0922, RC_RETRY },	    /* through a resource manager */
		{ 0xa000a, RC_REINIT },	    /* TCTI I/O error */
		{ 0xa0008, RC_REINIT },
		{ 0x70007, RC_REINIT },	    /* ESYS bad sequence: poisoned by an I/O error */
		{ 0x910, RC_REINIT },	    /* stale handle after a reset */
		{ 0x918, RC_REINIT },
		{ 0x184, RC_REINIT },	    /* stale handle behind tpm2-abrmd */
		{ 0xb0001, RC_REINIT },
		{ 0x1c4, RC_OTHER },	    /* a parameter's value */
		{ 0x902, RC_RESOURCE },
		{ 0x903, RC_RESOURCE },
		{ 0x905, RC_RESOURCE },
		{ 0x901, RC_RESOURCE },	    /* CONTEXT_GAP */
		{ 0x14b, RC_NO_SPACE },
		{ 0x14c, RC_OTHER },	    /* NV_DEFINED: the caller's business */
		{ 0x921, RC_LOCKOUT },
		{ 0x98e, RC_AUTH },	    /* session 1 */
		{ 0xa8e, RC_AUTH },	    /* session 2 */
		{ 0x9a2, RC_AUTH },
		{ 0xc09a2, RC_AUTH },
		{ 0x18b, RC_HANDLE },	    /* handle 1 */
		{ 0x28b, RC_HANDLE },	    /* handle 2 */
		{ 0x1df, RC_INTEGRITY },    /* parameter 1 */
		{ 0x100, RC_NOT_STARTED },
		{ 0x101, RC_FATAL },
		{ 0x7001b, RC_ANSWER },	    /* response HMAC */
		{ 0x70011, RC_ANSWER },
		{ 0x90006, RC_ANSWER },	    /* cannot be unmarshalled */
		{ 0x1d5, RC_OTHER },
		{ 0xfffff, RC_OTHER },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (rc_classify(cases[i].rc) != cases[i].class)
			fail_msg("0x%x: class %d, wanted %d", cases[i].rc, rc_classify(cases[i].rc), cases[i].class);
}

static void the_number_of_a_handle_or_session_does_not_matter(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < 16; n++) {
		assert_int_equal(rc_classify(TPM2_RC_AUTH_FAIL | n << 8), RC_AUTH);
		assert_int_equal(rc_classify(TPM2_RC_BAD_AUTH | n << 8), RC_AUTH);
		assert_int_equal(rc_classify(TPM2_RC_HANDLE | n << 8), RC_HANDLE);
		assert_int_equal(rc_classify(TPM2_RC_INTEGRITY | TPM2_RC_P | n << 8), RC_INTEGRITY);
	}
}

static void every_code_has_a_class(void **state)
{
	(void)state;
	for (uint32_t layer = 0; layer < 16; layer++)
		for (uint32_t code = 0; code < 0x1000; code++)
			assert_in_range(rc_classify(layer << 16 | code), RC_OK, RC_OTHER);
}

static void only_codes_of_the_tpm_mean_the_command_did_not_run(void **state)
{
	(void)state;
	assert_true(rc_is_from_tpm(0x910));
	assert_true(rc_is_from_tpm(0xc0910));
	assert_false(rc_is_from_tpm(0xa000a));
	assert_false(rc_is_from_tpm(0x70007));
	assert_false(rc_is_from_tpm(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_seen_in_the_field_have_their_class),
		cmocka_unit_test(the_number_of_a_handle_or_session_does_not_matter),
		cmocka_unit_test(every_code_has_a_class),
		cmocka_unit_test(only_codes_of_the_tpm_mean_the_command_did_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
