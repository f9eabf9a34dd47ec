/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_certs.h"

#include <errno.h>

#include <openssl/core_names.h>
#include <openssl/rsa.h>

#include "crypto/cms.h"
#include "crypto/key_identity.h"

#define CONTENT "software = { version = \"1.0\"; };\n"

static struct agent_context *ctx;
static struct temp_dir dir;
static struct identity ca;

static int setup(void **state)
{
	temp_dir_make(&dir);
	assert_int_equal(agent_context_new(&ctx), 0);
	ca = certs_make("Update CA", NULL, SPEC_CA);
	certs_write(&dir, "ca.pem", ca.cert);
	return 0;
}

static int teardown(void **state)
{
	identity_free(&ca);
	ctx = agent_context_unref(ctx);
	temp_dir_remove(&dir);
	return 0;
}

/* The same private key in another spelling, which is another SubjectPublicKeyInfo. */
static EVP_PKEY *as_compressed(EVP_PKEY *key)
{
	EVP_PKEY *copy = EVP_PKEY_dup(key);

	assert_int_equal(EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"), 1);
	return copy;
}

static EVP_PKEY *as_rsa_pss(EVP_PKEY *key)
{
	EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	OSSL_PARAM *params = NULL;
	EVP_PKEY *copy = NULL;

	assert_int_equal(EVP_PKEY_todata(key, EVP_PKEY_KEYPAIR, &params), 1);
	assert_int_equal(EVP_PKEY_fromdata_init(pctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(pctx, &copy, EVP_PKEY_KEYPAIR, params), 1);
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(pctx);
	return copy;
}

static EVP_PKEY *make_p256(void)
{
	return EVP_EC_gen("P-256");
}

static EVP_PKEY *make_p384(void)
{
	return EVP_EC_gen("P-384");
}

static EVP_PKEY *make_rsa(void)
{
	return EVP_RSA_gen(2048);
}

static EVP_PKEY *make_ed25519(void)
{
	return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

/* All of @ids over CONTENT; with a key of type RSA-PSS OpenSSL wants to be told the padding. */
static uint8_t *sign(const struct identity *const *ids, size_t n, int *ret_size)
{
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, SIGN_FLAGS | CMS_PARTIAL);
	BIO *bio = BIO_new_mem_buf(CONTENT, -1);
	uint8_t *der = NULL;

	for (size_t i = 0; i < n; i++) {
		CMS_SignerInfo *si = CMS_add1_signer(cms, ids[i]->cert, ids[i]->key, EVP_sha256(), SIGN_FLAGS | CMS_KEY_PARAM);

		assert_non_null(si);
		if (EVP_PKEY_is_a(ids[i]->key, "RSA-PSS"))
			assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(CMS_SignerInfo_get0_pkey_ctx(si), RSA_PKCS1_PSS_PADDING), 1);
	}
	assert_int_equal(CMS_final(cms, bio, NULL, SIGN_FLAGS), 1);
	*ret_size = i2d_CMS_ContentInfo(cms, &der);
	assert_true(*ret_size > 0);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	return der;
}

static int verify(const struct identity *const *ids, size_t n, unsigned n_min, struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	int size = 0, r = cms_trust_load(ctx, dir.path, &trust, err);
	uint8_t *der = sign(ids, n, &size);

	if (r == 0)
		r = cms_verify(trust, der, (size_t)size, CONTENT, strlen(CONTENT), n_min, NOW_S, NULL, err);
	OPENSSL_free(der);
	return r;
}

static void tuf_CVE_2020_6174_one_key_in_two_spellings_is_one(void **state)
{
	const struct {
		EVP_PKEY *key;
		EVP_PKEY *(*respell)(EVP_PKEY *key);
	} rows[] = { { EVP_EC_gen("P-256"), as_compressed }, { EVP_EC_gen("P-521"), as_compressed }, { EVP_RSA_gen(2048), as_rsa_pss } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		EVP_PKEY *other = rows[i].respell(rows[i].key);
		struct identity one = certs_make_with_key("One", rows[i].key, &ca, SPEC_SIGNER), two = certs_make_with_key("Two", other, &ca, SPEC_SIGNER);
		const struct identity *ids[] = { &one, &two };
		_cleanup_error_ struct agent_error *err = NULL;
		uint8_t *spki[2] = { NULL };

		/* Their keys are not the same bytes, and each is good by itself. */
		assert_true(i2d_X509_PUBKEY(X509_get_X509_PUBKEY(one.cert), &spki[0]) != i2d_X509_PUBKEY(X509_get_X509_PUBKEY(two.cert), &spki[1]));
		for (size_t k = 0; k < ARRAY_SIZE(ids); k++) {
			assert_int_equal(verify(&ids[k], 1, 1, NULL), 0);
			OPENSSL_free(spki[k]);
		}
		assert_int_equal(verify(ids, 2, 1, NULL), 0);
		assert_int_equal(verify(ids, 2, 2, &err), -EKEYREJECTED);
		assert_non_null(strstr(agent_error_message(err), "counts once"));
		assert_error(&err, -EKEYREJECTED, "update.threshold");
		identity_free(&one);
		identity_free(&two);
	}
}

static void two_keys_are_two(void **state)
{
	EVP_PKEY *(*const make[])(void) = { make_p256, make_p384, make_rsa, make_ed25519 };
	uint8_t hash[2 * ARRAY_SIZE(make)][DIGEST_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(hash); i++) {
		X509 *cert = X509_new();
		EVP_PKEY *key = make[i / 2]();

		assert_int_equal(X509_set_pubkey(cert, key), 1);
		assert_int_equal(key_identity(cert, hash[i]), 0);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(hash[i], hash[k], DIGEST_SIZE);
		EVP_PKEY_free(key);
		X509_free(cert);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tuf_CVE_2020_6174_one_key_in_two_spellings_is_one, setup, teardown),
		cmocka_unit_test(two_keys_are_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
