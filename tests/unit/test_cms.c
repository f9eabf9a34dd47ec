/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures over a manifest: which forms, keys and signers are accepted, at what time, and how many of them. */
#include "tests/unit/cms_world.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

static void a_signer_issued_by_a_pinned_ca_is_accepted(void **state)
{
	unsigned n_valid = 0;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &signer, &size);

	assert_int_equal(verify_min(der, size, CONTENT, 1, NOW_S, &n_valid, NULL), 0);
	assert_int_equal(n_valid, 1);
	OPENSSL_free(der);
}

static void a_pinned_signer_needs_no_issuer_on_the_device(void **state)
{
	struct identity other_ca = certs_make("Other CA", NULL, SPEC_CA), alone = certs_make("Alone", &other_ca, SPEC_SIGNER);
	struct identity self = certs_make("Self", NULL, SPEC_SIGNER);

	refused(&alone, "update.signer", "unknown");
	certs_write(&dir, "alone.pem", alone.cert);
	accepted(&alone);
	refused(&self, "update.signer", "unknown");
	certs_write(&dir, "self.pem", self.cert);
	accepted(&self);
	identity_free(&other_ca);
	identity_free(&alone);
	identity_free(&self);
}

static void every_accepted_key_type_works(void **state)
{
	EVP_PKEY *keys[] = { EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_EC_gen("P-521"), EVP_RSA_gen(2048) };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct identity id = certs_make_with_key("Key", keys[i], &ca, SPEC_SIGNER);

		accepted(&id);
		identity_free(&id);
	}
}

static void rsa_pss_works(void **state)
{
	struct identity id = certs_make_with_key("PSS", EVP_RSA_gen(2048), &ca, SPEC_SIGNER);
	BIO *bio = BIO_new_mem_buf(CONTENT, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, SIGN_FLAGS | CMS_PARTIAL);
	CMS_SignerInfo *si = CMS_add1_signer(cms, id.cert, id.key, EVP_sha256(), SIGN_FLAGS | CMS_KEY_PARAM);
	EVP_PKEY_CTX *pctx = CMS_SignerInfo_get0_pkey_ctx(si);
	_cleanup_error_ struct agent_error *err = NULL;
	uint8_t *der = NULL;
	int size;

	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
	assert_int_equal(CMS_final(cms, bio, NULL, SIGN_FLAGS), 1);
	size = i2d_CMS_ContentInfo(cms, &der);
	assert_int_equal(verify(der, (size_t)size, &err), 0);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	identity_free(&id);
}

/* RFC 8419. OpenSSL decides: where its own CMS_verify() takes what it made, so do we; where not, it is refused and no crash. */
static void ed25519_is_accepted_where_openssl_verifies_it(void **state)
{
	struct identity id = certs_make_with_key("Ed", EVP_EC_gen("P-256"), &ca, SPEC_SIGNER);
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new_mem_buf(CONTENT, -1), *again = BIO_new_mem_buf(CONTENT, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, SIGN_FLAGS | CMS_PARTIAL);
	X509_STORE *store = X509_STORE_new();
	uint8_t *der = NULL;
	bool verifies = false;
	int size = 0;

	assert_int_equal(X509_set_pubkey(id.cert, key), 1);
	assert_true(X509_sign(id.cert, ca.key, EVP_sha256()) > 0);
	EVP_PKEY_free(id.key);
	id.key = key;
	X509_STORE_add_cert(store, ca.cert);
	if (CMS_add1_signer(cms, id.cert, id.key, EVP_sha512(), SIGN_FLAGS) != NULL && CMS_final(cms, bio, NULL, SIGN_FLAGS) == 1) {
		size = i2d_CMS_ContentInfo(cms, &der);
		assert_true(size > 0);
		verifies = CMS_verify(cms, NULL, store, again, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1;
		assert_int_equal(verify(der, (size_t)size, NULL), verifies ? 0 : -EKEYREJECTED);
	}
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	X509_STORE_free(store);
	BIO_free(bio);
	BIO_free(again);
	identity_free(&id);
	ERR_clear_error();
	if (!verifies) {
		print_message("%s has no Ed25519 in CMS\n", OpenSSL_version(OPENSSL_VERSION));
		skip();
	}
}

static void weak_and_foreign_keys_are_refused(void **state)
{
	EVP_PKEY *keys[] = { EVP_RSA_gen(1024), EVP_EC_gen("secp256k1"), EVP_EC_gen("P-224") };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct identity id = certs_make_with_key("Weak", keys[i], &ca, SPEC_SIGNER);

		refused(&id, "update.signer", "key");
		certs_write(&dir, "weak.pem", id.cert);
		refused(&id, "update.signer", "key");
		identity_free(&id);
	}
}

static void other_content_is_refused(void **state)
{
	static const char *const contents[] = { "", "x", CONTENT " ", "software = { version = \"1.1\"; };\n" };
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &signer, &size);

	for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(verify_min(der, size, contents[i], 1, NOW_S, NULL, &err), -EKEYREJECTED);
		assert_error(&err, -EKEYREJECTED, "update.signature");
	}
	OPENSSL_free(der);
}

static void any_changed_byte_and_any_cut_is_refused(void **state)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &signer, &size);

	assert_int_equal(cms_trust_load(ctx, dir.path, &trust, NULL), 0);
	for (size_t i = 0; i < size; i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		der[i] ^= 0x01;
		if (cms_verify(trust, der, size, CONTENT, strlen(CONTENT), 1, NOW_S, NULL, &err) < 0)
			assert_true(strncmp(agent_error_name(err), "update.", 7) == 0);
		else
			/* digestAlgorithms and the two version numbers: hints that nobody signs and we do not read */
			assert_true((i >= 26 && i < 44) || (der[i - 2] == 0x02 && der[i - 1] == 0x01));
		der[i] ^= 0x01;
	}
	for (size_t i = 0; i < size; i++)
		assert_int_equal(cms_verify(trust, der, i, CONTENT, strlen(CONTENT), 1, NOW_S, NULL, NULL), -EBADMSG);
	assert_int_equal(cms_verify(trust, der, size, CONTENT, strlen(CONTENT), 1, NOW_S, NULL, NULL), 0);
	OPENSSL_free(der);
}

static void malformed(const uint8_t *der, size_t size, const char *word)
{
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(verify(der, size, &err), -EBADMSG);
	if (strstr(agent_error_message(err), word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), word);
	assert_error(&err, -EBADMSG, "update.signature");
}

static void other_forms_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const struct identity *id = &signer;
	uint8_t *der, *longer;
	char *pem;
	size_t size;
	BIO *bio = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms;
	const uint8_t *p;
	long n;

	/* embedded content, equal to ours */
	der = certs_sign_with(CONTENT, &id, 1, NULL, CMS_BINARY | CMS_NOSMIMECAP, EVP_sha256(), &size);
	malformed(der, size, "detached");
	OPENSSL_free(der);

	der = certs_sign(CONTENT, &signer, &size);
	longer = test_malloc(size + 1);
	memcpy(longer, der, size);
	longer[size] = 0;
	malformed(longer, size + 1, "follow");
	test_free(longer);

	p = der;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
	assert_int_equal(PEM_write_bio_CMS(bio, cms), 1);
	n = BIO_get_mem_data(bio, &pem);
	malformed((uint8_t *)pem, (size_t)n, "PEM");
	CMS_ContentInfo_free(cms);
	/* BER: the outermost length indefinite */
	longer = test_calloc(1, size);
	assert_int_equal(der[1], 0x82);
	longer[0] = der[0];
	longer[1] = 0x80;
	memcpy(longer + 2, der + 4, size - 4);
	malformed(longer, size, "not DER");
	test_free(longer);
	OPENSSL_free(der);
	BIO_free(bio);

	malformed((const uint8_t *)"", 0, "not");
	malformed((const uint8_t *)"-----", 5, "PEM");
	bio = BIO_new_mem_buf(CONTENT, -1);
	cms = CMS_data_create(bio, CMS_BINARY);	/* another type of CMS */
	BIO_free(bio);
	der = NULL;
	n = i2d_CMS_ContentInfo(cms, &der);
	malformed(der, (size_t)n, "SignedData");
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	cms = CMS_sign(NULL, NULL, NULL, NULL, SIGN_FLAGS | CMS_PARTIAL);	/* SignedData of nobody */
	der = NULL;
	n = i2d_CMS_ContentInfo(cms, &der);
	malformed(der, (size_t)n, "nobody");
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);

	longer = test_calloc(1, CMS_MAX_BYTES + 1);
	assert_int_equal(verify(longer, CMS_MAX_BYTES + 1, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "update.signature");
	test_free(longer);
}

static void weak_digests_and_missing_attributes_are_refused(void **state)
{
	static const struct {
		unsigned flags;
		const char *digest, *word;
	} rows[] = {
		{ SIGN_FLAGS, "SHA1", "digest" },
		{ SIGN_FLAGS, "SHA224", "digest" },
		{ SIGN_FLAGS | CMS_NOATTR, "SHA256", "attributes" },
	};
	const struct identity *id = &signer;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		size_t size;
		uint8_t *der = certs_sign_with(CONTENT, &id, 1, NULL, rows[i].flags, EVP_get_digestbyname(rows[i].digest), &size);

		assert_int_equal(verify(der, size, &err), -EKEYREJECTED);
		assert_non_null(strstr(agent_error_message(err), rows[i].word));
		assert_error(&err, -EKEYREJECTED, "update.signature");
		OPENSSL_free(der);
	}
}

static void rauc_1124_each_property_of_the_signer_is_checked_and_named(void **state)
{
	const struct {
		struct cert_spec spec;
		const char *word;
	} rows[] = {
		{ { .key_usage = "digitalSignature" }, "codeSigning" },
		{ { .key_usage = "digitalSignature", .ext_key_usage = "emailProtection" }, "codeSigning" },
		{ { .key_usage = "digitalSignature", .ext_key_usage = "anyExtendedKeyUsage" }, "codeSigning" },
		{ { .key_usage = "keyEncipherment", .ext_key_usage = "codeSigning" }, "digitalSignature" },
		{ { .ext_key_usage = "codeSigning", .start_s = -20 * DAY_S, .end_s = -1 }, "expired on 2026-11-21" },
		{ { .ext_key_usage = "codeSigning", .start_s = 60, .end_s = DAY_S }, "not yet valid" },
		{ { .ext_key_usage = "codeSigning", .other_oid = "1.2.3.4.5" }, "critical" },
		{ { .ext_key_usage = "codeSigning", .digest = "SHA1" }, "weak" },
		{ { .basic_constraints = "critical,CA:TRUE", .ext_key_usage = "codeSigning" }, "CA" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct identity id = certs_make("Odd one", &ca, rows[i].spec);

		refused(&id, "update.signer", rows[i].word);
		refused(&id, "update.signer", "\"Odd one\"");
		identity_free(&id);
	}
}

static void key_usage_may_be_absent(void **state)
{
	struct identity id = certs_make("Plain", &ca, (struct cert_spec){ .ext_key_usage = "codeSigning" });

	accepted(&id);
	identity_free(&id);
}

static void an_expired_ca_is_named(void **state)
{
	struct cert_spec spec = SPEC_CA;
	struct identity old, id;

	spec.start_s = -20 * DAY_S;
	spec.end_s = -10 * DAY_S;
	old = certs_make("Old CA", NULL, spec);
	id = certs_make("Fresh signer", &old, SPEC_SIGNER);
	certs_write(&dir, "old.pem", old.cert);
	refused(&id, "update.signer", "\"Old CA\" expired");
	identity_free(&old);
	identity_free(&id);
}

static void rauc_353_the_time_is_the_caller_s_and_not_the_system_s(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &signer, &size);

	assert_int_equal(verify_min(der, size, CONTENT, 1, NOW_S + 365 * DAY_S, NULL, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signer");
	assert_int_equal(verify_min(der, size, CONTENT, 1, NOW_S - 365 * DAY_S, NULL, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signer");
	assert_int_equal(verify_min(der, size, CONTENT, 1, 0, NULL, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signer");
	OPENSSL_free(der);
}

/* SWUpdate CVE-2026-109399: the embedded intermediate completed the chain of a sibling's leaf. */
static void swupdate_CVE_2026_109399_embedded_certificates_build_no_chain(void **state)
{
	struct identity sibling = certs_make("Sibling CA", &ca, SPEC_CA), leaf = certs_make("Sibling leaf", &sibling, SPEC_SIGNER);
	const struct identity *id = &leaf;
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign_with(CONTENT, &id, 1, sibling.cert, SIGN_FLAGS, EVP_sha256(), &size);

	assert_int_equal(verify(der, size, &err), -EKEYREJECTED);
	assert_non_null(strstr(agent_error_message(err), "unknown"));
	assert_error(&err, -EKEYREJECTED, "update.signer");
	/* With the intermediate pinned it is one step, with or without the root. */
	certs_write(&dir, "sibling.pem", sibling.cert);
	assert_int_equal(verify(der, size, &err), 0);
	assert_int_equal(unlinkat(dir.fd, "ca.pem", 0), 0);
	assert_int_equal(verify(der, size, &err), 0);
	OPENSSL_free(der);
	identity_free(&sibling);
	identity_free(&leaf);
}

static void a_leaf_cannot_issue_signers(void **state)
{
	struct identity child = certs_make("Child", &signer, SPEC_SIGNER);

	certs_write(&dir, "signer.pem", signer.cert);
	refused(&child, "update.signer", "Release signer");
	identity_free(&child);
}

static void the_same_name_with_another_key_is_not_the_pinned_ca(void **state)
{
	struct identity fake_ca = certs_make("Update CA", NULL, SPEC_CA), id = certs_make("Release signer", &fake_ca, SPEC_SIGNER);

	refused(&id, "update.signer", "unknown");
	identity_free(&fake_ca);
	identity_free(&id);
}

static void tuf_CVE_2020_6174_the_threshold_counts_distinct_keys(void **state)
{
	struct identity second = certs_make("Second signer", &ca, SPEC_SIGNER), again, stranger = certs_make("Stranger", NULL, SPEC_SIGNER);
	const struct {
		const struct identity *ids[3];
		size_t n;
		unsigned n_min;
		int r;
		const char *name, *word;
	} rows[] = {
		{ { &signer, &second }, 2, 2, 0, NULL, NULL },
		{ { &signer, &second, &stranger }, 3, 2, 0, NULL, NULL },
		{ { &signer, &stranger }, 2, 1, 0, NULL, NULL },
		{ { &signer }, 1, 2, -EKEYREJECTED, "update.threshold", "1 of 2" },
		{ { &signer, &signer }, 2, 2, -EKEYREJECTED, "update.threshold", "counts once" },
		{ { &signer, &again }, 2, 2, -EKEYREJECTED, "update.threshold", "counts once" },
		{ { &signer, &stranger }, 2, 2, -EKEYREJECTED, "update.threshold", "\"Stranger\"" },
		{ { &stranger }, 1, 2, -EKEYREJECTED, "update.signer", "\"Stranger\"" },
		{ { &signer, &second }, 2, 3, -EKEYREJECTED, "update.threshold", "2 of 3" },
	};

	EVP_PKEY_up_ref(signer.key);
	again = certs_make_with_key("Release signer's other certificate", signer.key, &ca, SPEC_SIGNER);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		unsigned n_valid = 77;
		size_t size;
		uint8_t *der = certs_sign_with(CONTENT, rows[i].ids, rows[i].n, NULL, SIGN_FLAGS, EVP_sha256(), &size);
		int r = verify_min(der, size, CONTENT, rows[i].n_min, NOW_S, &n_valid, &err);

		if (r != rows[i].r)
			fail_msg("row %zu: %d, %s", i, r, agent_error_message(err));
		if (r < 0) {
			assert_int_equal(n_valid, 77);
			if (strstr(agent_error_message(err), rows[i].word) == NULL)
				fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), rows[i].word);
			assert_error(&err, rows[i].r, rows[i].name);
		} else {
			assert_true(n_valid >= rows[i].n_min);
		}
		OPENSSL_free(der);
	}
	identity_free(&second);
	identity_free(&again);
	identity_free(&stranger);
}

static void fwupd_CVE_2020_10759_a_threshold_of_zero_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, &signer, &size);

	assert_int_equal(verify_min(der, size, CONTENT, 0, NOW_S, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.policy");
	OPENSSL_free(der);
}

/* A device whose clock begins in 1970 says so instead of taking anybody; nothing overflows, wherever time_t ends. */
static void clocks_of_1970_and_of_later_centuries(void **state)
{
	static const struct {
		uint64_t now_s;
		const char *shown;
	} years[] = {
		{ UINT64_C(2209032000), "the clock says 2060-12-26" }, /* 2040: into GeneralizedTime */
		{ UINT64_C(2524608000), "the clock says 2070-12-27" }, /* 2050 */
		{ UINT64_C(252455616000), "the clock says 9990-" },    /* 9970 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(years); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct cert_spec spec = SPEC_SIGNER, ca_spec = SPEC_CA;
		struct identity root, late;
		char name[32];
		size_t size;
		uint8_t *der;

		spec.start_s = ca_spec.start_s = (int64_t)(years[i].now_s - NOW_S) - DAY_S;
		spec.end_s = ca_spec.end_s = (int64_t)(years[i].now_s - NOW_S) + INT64_C(20) * 365 * DAY_S;
		root = certs_make("Late CA", NULL, ca_spec);
		late = certs_make("Late signer", &root, spec);
		snprintf(name, sizeof(name), "late-%zu.pem", i);
		certs_write(&dir, name, root.cert);
		der = certs_sign(CONTENT, &late, &size);
		assert_int_equal(verify_min(der, size, CONTENT, 1, years[i].now_s, NULL, NULL), 0);
		assert_int_equal(verify_min(der, size, CONTENT, 1, 100, NULL, &err), -EKEYREJECTED);
		assert_non_null(strstr(agent_error_message(err), "not yet valid"));
		assert_non_null(strstr(agent_error_message(err), "the clock says 1970-01-01"));
		assert_error(&err, -EKEYREJECTED, "update.signer");
		assert_int_equal(verify_min(der, size, CONTENT, 1, years[i].now_s + UINT64_C(21) * 365 * DAY_S, NULL, &err), -EKEYREJECTED);
		assert_non_null(strstr(agent_error_message(err), "expired on "));
		assert_non_null(strstr(agent_error_message(err), years[i].shown));
		assert_error(&err, -EKEYREJECTED, "update.signer");
		OPENSSL_free(der);
		identity_free(&root);
		identity_free(&late);
	}
}

static void control_characters_of_a_stranger_do_not_reach_the_log(void **state)
{
	struct identity id = certs_make("evil\x1b[2J\nname", NULL, SPEC_SIGNER);

	refused(&id, "update.signer", "\"evil?[2J?name\"");
	identity_free(&id);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_signer_issued_by_a_pinned_ca_is_accepted),
		T(a_pinned_signer_needs_no_issuer_on_the_device),
		T(every_accepted_key_type_works),
		T(rsa_pss_works),
		T(ed25519_is_accepted_where_openssl_verifies_it),
		T(weak_and_foreign_keys_are_refused),
		T(other_content_is_refused),
		T(any_changed_byte_and_any_cut_is_refused),
		T(other_forms_are_refused),
		T(weak_digests_and_missing_attributes_are_refused),
		T(rauc_1124_each_property_of_the_signer_is_checked_and_named),
		T(key_usage_may_be_absent),
		T(an_expired_ca_is_named),
		T(rauc_353_the_time_is_the_caller_s_and_not_the_system_s),
		T(swupdate_CVE_2026_109399_embedded_certificates_build_no_chain),
		T(a_leaf_cannot_issue_signers),
		T(the_same_name_with_another_key_is_not_the_pinned_ca),
		T(tuf_CVE_2020_6174_the_threshold_counts_distinct_keys),
		T(fwupd_CVE_2020_10759_a_threshold_of_zero_is_refused),
		T(clocks_of_1970_and_of_later_centuries),
		T(control_characters_of_a_stranger_do_not_reach_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
