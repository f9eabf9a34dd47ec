/* SPDX-License-Identifier: Apache-2.0 */
/* Whose keys signed what is installed, and whose may: by their digests. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>


static void spki(const struct identity *id, char ret_text[65])
{
	uint8_t *der = NULL;
	int n = i2d_PUBKEY(id->key, &der);

	assert_true(n > 0);
	sha256_text(der, (size_t)n, ret_text);
	OPENSSL_free(der);
}

static void assert_signers(struct agent_update *u, const char *first, const char *second)
{
	struct agent_update_status s;

	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	if (first == NULL) {
		assert_null(s.signers);
		return;
	}
	assert_non_null(s.signers);
	assert_int_equal(strlen(s.signers), second == NULL ? 64 : 129);
	assert_non_null(strstr(s.signers, first));
	if (second != NULL) {
		assert_non_null(strstr(s.signers, second));
		assert_int_equal(s.signers[64], ' ');
	}
}

static void those_who_signed_a_release_are_kept_with_it(void **state)
{
	struct device *d = *state;
	char signer[65], second[65];

	spki(&d->signer, signer);
	spki(&d->second, second);
	{
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_signers(u, NULL, NULL);
		assert_int_equal(install(d, u, &(struct bundle){ .two_signers = true }, 0, NULL), 0);
		assert_signers(u, signer, second);
	}
	{ /* after a restart */
		_cleanup_engine_ struct agent_update *u = engine(d);

		assert_signers(u, signer, second);
		assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
		/* A stranger's bundle changes nothing, and he is nobody. */
		assert_true(install(d, u, &(struct bundle){ .by_stranger = true }, 0, NULL) < 0);
		assert_signers(u, signer, second);
		assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 0, NULL), 0);
		assert_signers(u, signer, NULL);
	}
}

static void those_who_may_sign_are_told(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_free_ char *keys = NULL;
	struct agent_error *err = NULL;
	uint64_t version = 7;
	char text[65];
	int n = 0;

	assert_int_equal(agent_update_get_trusted_keys(u, &keys, &version, NULL), 0);
	assert_int_equal(version, 0);
	assert_int_equal(strlen(keys), 129);
	spki(&d->signer, text);
	n += strstr(keys, text) != NULL;
	spki(&d->second, text);
	n += strstr(keys, text) != NULL;
	assert_int_equal(n, 2);
	spki(&d->stranger, text);
	assert_null(strstr(keys, text));
	assert_int_equal(agent_update_get_trusted_keys(NULL, &keys, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.argument");
	assert_int_equal(agent_update_get_trusted_keys(u, NULL, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.argument");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(those_who_signed_a_release_are_kept_with_it, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(those_who_may_sign_are_told, device_setup, device_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
