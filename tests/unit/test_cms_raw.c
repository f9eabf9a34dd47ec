/* SPDX-License-Identifier: Apache-2.0 */
/* Bare RSA signatures of stock bundles: one padding, by pinned keys of a fair size, counted once. */
#include "tests/unit/test_certs.h"

#include <errno.h>

#include <openssl/rsa.h>

#include "crypto/cms.h"

#define CONTENT "software = { version = \"1.0\"; };\n"

static struct agent_context *ctx;
static struct temp_dir dir;
static EVP_PKEY *key, *other;

static void pub_write(const char *name, EVP_PKEY *pkey)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir.path, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PUBKEY(f, pkey), 1);
	fclose(f);
}

static int setup(void **state)
{
	temp_dir_make(&dir);
	assert_int_equal(agent_context_new(&ctx), 0);
	key = EVP_RSA_gen(2048);
	other = EVP_RSA_gen(2048);
	pub_write("vendor.pub", key);
	return 0;
}

static int teardown(void **state)
{
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	ctx = agent_context_unref(ctx);
	temp_dir_remove(&dir);
	return 0;
}

/* As "openssl dgst -sign" makes it; @saltlen of PSS. */
static size_t sign(EVP_PKEY *pkey, const char *md, int padding, int saltlen, uint8_t ret_sig[512])
{
	EVP_MD_CTX *md_ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	size_t size = 512;

	assert_int_equal(EVP_DigestSignInit_ex(md_ctx, &pctx, md, NULL, NULL, pkey, NULL), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, padding), 1);
	if (padding == RSA_PKCS1_PSS_PADDING)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, saltlen), 1);
	assert_int_equal(EVP_DigestSign(md_ctx, ret_sig, &size, (const uint8_t *)CONTENT, strlen(CONTENT)), 1);
	EVP_MD_CTX_free(md_ctx);
	return size;
}

static int verify(enum cms_raw raw, const void *sig, size_t size, const char *content, unsigned n_min, struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	struct cms_signers signers = { 0 };
	int r = cms_trust_load(ctx, dir.path, &trust, err);

	if (r == 0)
		r = cms_verify_raw(trust, raw, sig, size, content, strlen(content), n_min, &signers, err);
	assert_int_equal(signers.n, r == 0 ? 1 : 0);
	if (r == 0) {
		uint8_t pinned[CMS_TRUST_KEYS_MAX][DIGEST_SIZE];
		int n = cms_trust_keys(trust, true, pinned, NULL), found = 0;

		for (int i = 0; i < n; i++)
			found += memcmp(pinned[i], signers.keys[0], DIGEST_SIZE) == 0;
		assert_int_equal(found, 1);
		assert_true(cms_trust_keys(trust, false, pinned, NULL) < n);
	}
	return r;
}

static void each_padding_is_accepted_where_it_is_the_policy_and_nowhere_else(void **state)
{
	static const struct {
		int padding, saltlen;
		enum cms_raw raw;
	} rows[] = {
		{ RSA_PKCS1_PADDING, 0, CMS_RAW_RSA },
		{ RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_MAX, CMS_RAW_RSA_PSS }, /* as the tools around SWUpdate */
		{ RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST, CMS_RAW_RSA_PSS },
		{ RSA_PKCS1_PSS_PADDING, 0, CMS_RAW_RSA_PSS },
	};
	uint8_t sig[512];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		size_t size = sign(key, "SHA256", rows[i].padding, rows[i].saltlen, sig);

		assert_int_equal(verify(rows[i].raw, sig, size, CONTENT, 1, NULL), 0);
		assert_int_equal(verify(rows[i].raw == CMS_RAW_RSA ? CMS_RAW_RSA_PSS : CMS_RAW_RSA, sig, size, CONTENT, 1, &err), -EKEYREJECTED);
		assert_non_null(strstr(agent_error_message(err), rows[i].raw == CMS_RAW_RSA ? "RSA-PSS" : "bare RSA signature"));
		assert_error(&err, -EKEYREJECTED, "update.signature");
	}
}

static void other_content_other_keys_other_digests_and_any_changed_byte_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	uint8_t sig[512];
	size_t size = sign(other, "SHA256", RSA_PKCS1_PADDING, 0, sig);

	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signature");
	/* A second pinned key is tried as well. */
	pub_write("second.pub", other);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, NULL), 0);
	size = sign(key, "SHA1", RSA_PKCS1_PADDING, 0, sig);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, NULL), -EKEYREJECTED);
	size = sign(key, "SHA512", RSA_PKCS1_PADDING, 0, sig);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, NULL), -EKEYREJECTED);
	size = sign(key, "SHA256", RSA_PKCS1_PADDING, 0, sig);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT "x", 1, NULL), -EKEYREJECTED);
	for (size_t i = 0; i < size; i += 5) {
		sig[i] ^= 1;
		assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, NULL), -EKEYREJECTED);
		sig[i] ^= 1;
	}
	for (size_t n = 0; n < size; n += 17)
		assert_int_equal(verify(CMS_RAW_RSA, sig, n, CONTENT, 1, NULL), -EKEYREJECTED);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size + 1, CONTENT, 1, NULL), -EKEYREJECTED);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, NULL), 0);
}

static void jetkvm_1262_no_signature_and_no_policy_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	uint8_t sig[512];
	size_t size = sign(key, "SHA256", RSA_PKCS1_PADDING, 0, sig);

	assert_int_equal(verify(CMS_RAW_RSA, "", 0, CONTENT, 1, NULL), -EKEYREJECTED);
	assert_int_equal(verify(CMS_RAW_NONE, sig, size, CONTENT, 1, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.policy");
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 0, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.policy");
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 2, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
}

static void a_device_with_certificates_alone_takes_no_bare_signature(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct identity ca = certs_make("Update CA", NULL, SPEC_CA);
	uint8_t sig[512];
	size_t size = sign(key, "SHA256", RSA_PKCS1_PADDING, 0, sig);

	assert_int_equal(unlinkat(dir.fd, "vendor.pub", 0), 0);
	certs_write(&dir, "ca.pem", ca.cert);
	assert_int_equal(verify(CMS_RAW_RSA, sig, size, CONTENT, 1, &err), -ENOKEY);
	assert_error(&err, -ENOKEY, "update.trust");
	identity_free(&ca);
}

static void weak_and_foreign_keys_refuse_the_folder_by_name(void **state)
{
	EVP_PKEY *keys[] = { EVP_RSA_gen(1024), EVP_EC_gen("P-256"), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		assert_non_null(keys[i]);
		pub_write("odd.pub", keys[i]);
		assert_int_equal(verify(CMS_RAW_RSA, "x", 1, CONTENT, 1, &err), -EBADMSG);
		assert_non_null(strstr(agent_error_message(err), "odd.pub"));
		assert_error(&err, -EBADMSG, "update.trust");
		EVP_PKEY_free(keys[i]);
	}
}

static void signed_data_is_told_from_a_bare_signature(void **state)
{
	static const uint8_t oid[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };
	struct identity id = certs_make("Signer", NULL, SPEC_SIGNER);
	uint8_t bytes[24] = { 0x30, 0x82, 0x01, 0x00 };
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &id, &size);

	assert_true(cms_is_signed_data(der, size));
	assert_true(cms_is_signed_data("-----BEGIN CMS-----", 19));
	assert_false(cms_is_signed_data("", 0));
	assert_false(cms_is_signed_data("----", 4));
	assert_false(cms_is_signed_data(bytes, sizeof(bytes)));
	for (size_t skip = 1; skip <= 8; skip++) {
		memset(bytes + 1, 0, sizeof(bytes) - 1);
		memcpy(bytes + skip, oid, sizeof(oid));
		assert_int_equal(cms_is_signed_data(bytes, sizeof(bytes)), skip >= 2 && skip <= 6);
		assert_false(cms_is_signed_data(bytes, skip + sizeof(oid) - 1)); /* cut off */
		bytes[0] = 0x31;
		assert_false(cms_is_signed_data(bytes, sizeof(bytes)));
		bytes[0] = 0x30;
	}
	OPENSSL_free(der);
	identity_free(&id);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(each_padding_is_accepted_where_it_is_the_policy_and_nowhere_else),
		T(other_content_other_keys_other_digests_and_any_changed_byte_are_refused),
		T(jetkvm_1262_no_signature_and_no_policy_are_refused),
		T(a_device_with_certificates_alone_takes_no_bare_signature),
		T(weak_and_foreign_keys_refuse_the_folder_by_name),
		T(signed_data_is_told_from_a_bare_signature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
