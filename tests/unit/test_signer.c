/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <openssl/ec.h>

#include "tests/unit/software_signer.h"

static void every_key_type_is_recognised_from_its_public_key(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_EC_P384, AGENT_KEY_RSA_2048, AGENT_KEY_RSA_3072 };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct software_key key;
		struct agent_signer *signer = software_signer(&key, types[i]);
		const uint8_t *spki;
		size_t size;

		assert_non_null(signer);
		assert_int_equal(agent_signer_get_type(signer), types[i]);
		assert_string_equal(agent_signer_get_backend(signer), "test");
		agent_signer_get_public(signer, &spki, &size);
		assert_true(size > 90);
		assert_null(agent_signer_unref(signer));
		assert_int_equal(key.n_frees, 1);
	}
}

static void refuse(EVP_PKEY *pkey, int n_extra, int compressed)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_signer *signer = NULL;
	uint8_t spki[2048] = { 0 }, *p = spki;
	int n;

	if (compressed)
		assert_int_equal(EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"), 1);
	n = i2d_PUBKEY(pkey, &p);
	assert_true(n > 0);
	assert_int_equal(agent_signer_new(&software_ops, NULL, spki, (size_t)(n + n_extra), &signer, &err), -EINVAL);
	assert_error(&err, -EINVAL, "signer.key");
	assert_null(signer);
	EVP_PKEY_free(pkey);
}

static void other_curves_sizes_and_encodings_are_refused(void **state)
{
	refuse(EVP_EC_gen("P-521"), 0, 0);
	refuse(EVP_EC_gen("secp256k1"), 0, 0);
	refuse(EVP_RSA_gen(1024), 0, 0);
	refuse(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), 0, 0);
	refuse(EVP_EC_gen("P-256"), 1, 0);	/* trailing byte */
	refuse(EVP_EC_gen("P-256"), -1, 0);	/* truncated */
	refuse(EVP_EC_gen("P-256"), 0, 1);
}

static void a_point_off_the_curve_an_empty_and_a_huge_key_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_signer *signer = NULL;
	uint8_t spki[1025] = { 0x30 }, *p = spki;
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	int n = i2d_PUBKEY(pkey, &p);

	spki[n - 1] ^= 1;
	assert_int_equal(agent_signer_new(&software_ops, NULL, spki, (size_t)n, &signer, &err), -EINVAL);
	assert_error(&err, -EINVAL, "signer.key");
	assert_int_equal(agent_signer_new(&software_ops, NULL, spki, 0, &signer, &err), -EINVAL);
	assert_error(&err, -EINVAL, "signer.key");
	assert_int_equal(agent_signer_new(&software_ops, NULL, spki, sizeof(spki), &signer, &err), -EINVAL);
	assert_error(&err, -EINVAL, "signer.key");
	assert_int_equal(agent_signer_new(NULL, NULL, spki, 1, &signer, NULL), -EINVAL);
	EVP_PKEY_free(pkey);
}

static void a_signature_verifies_with_the_public_key(void **state)
{
	struct software_key key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256);
	uint8_t digest[32] = { 1, 2, 3 }, sig[AGENT_SIGNATURE_MAX];
	EVP_PKEY_CTX *ctx;
	size_t size = 0;

	assert_int_equal(agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest, sizeof(digest), sig, &size, NULL), 0);
	ctx = EVP_PKEY_CTX_new(key.pkey, NULL);
	assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
	assert_int_equal(EVP_PKEY_verify(ctx, sig, size, digest, sizeof(digest)), 1);
	EVP_PKEY_CTX_free(ctx);
	agent_signer_unref(signer);
}

static void wrong_scheme_or_digest_never_reaches_the_backend(void **state)
{
	static const struct {
		enum agent_key_type type;
		enum agent_sign_scheme scheme;
		enum agent_hash hash;
		size_t digest_size;
		const char *name;
	} rows[] = {
		{ AGENT_KEY_EC_P256, AGENT_SIGN_RSA_PSS, AGENT_HASH_SHA256, 32, "signer.scheme" },
		{ AGENT_KEY_RSA_2048, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, 32, "signer.scheme" },
		{ AGENT_KEY_EC_P256, (enum agent_sign_scheme)9, AGENT_HASH_SHA256, 32, "signer.scheme" },
		{ AGENT_KEY_EC_P256, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, 31, "signer.digest" },
		{ AGENT_KEY_EC_P256, AGENT_SIGN_ECDSA, AGENT_HASH_SHA384, 32, "signer.digest" },
		{ AGENT_KEY_EC_P256, AGENT_SIGN_ECDSA, (enum agent_hash)0, 0, "signer.digest" },
	};
	uint8_t digest[64] = { 0 }, sig[AGENT_SIGNATURE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct software_key key;
		struct agent_signer *signer = software_signer(&key, rows[i].type);
		size_t size = 77;

		assert_int_equal(agent_signer_sign(signer, rows[i].scheme, rows[i].hash, digest, rows[i].digest_size, sig, &size, &err),
				 -EINVAL);
		assert_error(&err, -EINVAL, rows[i].name);
		assert_int_equal(size, 77);
		assert_int_equal(key.n_signs, 0);
		agent_signer_unref(signer);
	}
}

static void the_backend_s_error_comes_through(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct software_key key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256);
	uint8_t digest[32] = { 0 }, sig[AGENT_SIGNATURE_MAX];
	size_t size;

	key.fail_with = -EIO;
	assert_int_equal(agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest, 32, sig, &size, &err), -EIO);
	assert_error(&err, -EIO, "test.broken");
	agent_signer_unref(signer);
}

static int oversized_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
			  uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	*ret_size = *(size_t *)userdata;
	return 0;
}

static void an_impossible_signature_size_is_the_backend_s_fault(void **state)
{
	static const struct agent_signer_ops ops = { .backend = "test", .sign = oversized_sign };
	static size_t sizes[] = { 0, AGENT_SIGNATURE_MAX + 1 };
	uint8_t digest[32] = { 0 }, sig[AGENT_SIGNATURE_MAX], *spki = NULL;
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	int n = i2d_PUBKEY(pkey, &spki);

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_signer *signer = NULL;
		size_t size;

		assert_int_equal(agent_signer_new(&ops, &sizes[i], spki, (size_t)n, &signer, NULL), 0);
		assert_int_equal(agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest, 32, sig, &size, &err), -EIO);
		assert_error(&err, -EIO, "signer.backend");
		agent_signer_unref(signer);
	}
	OPENSSL_free(spki);
	EVP_PKEY_free(pkey);
}

static void the_last_reference_frees_the_backend_once(void **state)
{
	struct software_key key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256);

	assert_ptr_equal(agent_signer_ref(signer), signer);
	agent_signer_unref(signer);
	assert_int_equal(key.n_frees, 0);
	agent_signer_unref(signer);
	assert_int_equal(key.n_frees, 1);
	assert_null(agent_signer_unref(NULL));
	assert_null(agent_signer_ref(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_type_is_recognised_from_its_public_key),
		cmocka_unit_test(other_curves_sizes_and_encodings_are_refused),
		cmocka_unit_test(a_point_off_the_curve_an_empty_and_a_huge_key_are_refused),
		cmocka_unit_test(a_signature_verifies_with_the_public_key),
		cmocka_unit_test(wrong_scheme_or_digest_never_reaches_the_backend),
		cmocka_unit_test(the_backend_s_error_comes_through),
		cmocka_unit_test(an_impossible_signature_size_is_the_backend_s_fault),
		cmocka_unit_test(the_last_reference_frees_the_backend_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
