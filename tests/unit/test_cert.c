/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <agent/cert.h>

#include "crypto/verify_dates.h"
#include "tests/unit/software_signer.h"

#define NOW_S UINT64_C(1795257600)	/* 2026-11-21 */

static struct agent_context *ctx;

static int setup(void **state)
{
	return agent_context_new(&ctx);
}

static int teardown(void **state)
{
	ctx = agent_context_unref(ctx);
	return 0;
}

static X509 *parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static void a_request_verifies_and_carries_the_subject(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_EC_P384, AGENT_KEY_RSA_2048 };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct software_key key;
		struct agent_signer *signer = software_signer(&key, types[i]);
		_cleanup_free_ char *pem = NULL;
		char subject[128];
		X509_REQ *req;
		BIO *bio;

		assert_int_equal(agent_csr_new(ctx, signer, "CN=gw-0001, O=Exam\\,ple,serialNumber=42", &pem, NULL), 0);
		bio = BIO_new_mem_buf(pem, -1);
		req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
		assert_non_null(req);
		assert_int_equal(X509_REQ_verify(req, key.pkey), 1);
		X509_NAME_oneline(X509_REQ_get_subject_name(req), subject, sizeof(subject));
		assert_string_equal(subject, "/CN=gw-0001/O=Exam,ple/serialNumber=42");
		assert_int_equal(key.n_signs, 1);
		X509_REQ_free(req);
		BIO_free(bio);
		agent_signer_unref(signer);
	}
}

static void bad_subjects_are_refused_before_a_signature(void **state)
{
	static const char *const subjects[] = {
		"", "CN", "CN=", "=x", "XX=y", "cn=x", "CN=a,", "CN=a,,O=b", "CN=a\\x", "CN=a\\", "CN=a\nb", "C=Germany",
		"CN=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "CN=\xff\xfe", "emailAddress=a@b",
	};
	struct software_key key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256);

	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		char *pem = NULL;

		assert_int_equal(agent_csr_new(ctx, signer, subjects[i], &pem, &err), -EINVAL);
		assert_error(&err, -EINVAL, "cert.subject");
		assert_null(pem);
	}
	assert_int_equal(key.n_signs, 0);
	agent_signer_unref(signer);
}

static void a_backend_s_error_is_the_error_of_the_request(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct software_key key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256);
	char *pem = NULL;

	key.fail_with = -ENODEV;
	assert_int_equal(agent_csr_new(ctx, signer, "CN=a", &pem, &err), -ENODEV);
	assert_error(&err, -ENODEV, "test.broken");
	assert_null(pem);
	agent_signer_unref(signer);
}

struct ca {
	struct software_key key;
	struct agent_signer *signer;
	char *pem;
	X509 *cert;
};

static void ca_make(struct ca *ca, enum agent_key_type type)
{
	ca->signer = software_signer(&ca->key, type);
	ca->pem = NULL;
	assert_int_equal(agent_device_ca_new(ctx, ca->signer, "gw-0001 device CA", NOW_S, &ca->pem, NULL), 0);
	ca->cert = parse(ca->pem);
}

static void ca_free(struct ca *ca)
{
	X509_free(ca->cert);
	free(ca->pem);
	agent_signer_unref(ca->signer);
}

static void the_device_ca_is_a_ca_for_thirty_years(void **state)
{
	struct ca ca;
	time_t t;

	ca_make(&ca, AGENT_KEY_EC_P256);
	assert_int_equal(X509_verify(ca.cert, ca.key.pkey), 1);
	assert_int_equal(X509_check_ca(ca.cert), 1);
	assert_int_equal(X509_get_pathlen(ca.cert), 0);
	assert_int_equal(X509_get_key_usage(ca.cert), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	assert_non_null(X509_get0_subject_key_id(ca.cert));
	assert_non_null(X509_get0_authority_key_id(ca.cert));
	assert_true(ASN1_INTEGER_get(X509_get_serialNumber(ca.cert)) != 0);
	assert_int_equal(ASN1_STRING_length(X509_get_serialNumber(ca.cert)), 16);
	t = (time_t)(NOW_S - 1);
	assert_int_equal(X509_cmp_time(X509_get0_notBefore(ca.cert), &t), 1);
	t = (time_t)(NOW_S + UINT64_C(30) * 365 * 86400);
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(ca.cert), &t), 1);
	assert_int_equal(ASN1_STRING_type(X509_get0_notAfter(ca.cert)), V_ASN1_GENERALIZEDTIME);
	ca_free(&ca);
}

static int issue(struct ca *ca, EVP_PKEY *leaf, const char *const *names, uint64_t lifetime_s, char **ret_pem, struct agent_error **err)
{
	const struct agent_leaf_options options = { .common_name = "gw-0001", .names = names, .not_before_s = NOW_S, .lifetime_s = lifetime_s };
	uint8_t *spki = NULL;
	int n = i2d_PUBKEY(leaf, &spki), r;

	r = agent_device_ca_issue(ctx, ca->signer, ca->pem, spki, (size_t)n, &options, ret_pem, err);
	OPENSSL_free(spki);
	return r;
}

static void an_issued_leaf_verifies_as_a_server_with_its_names(void **state)
{
	static const char *const names[] = { "gw-0001.local", "192.0.2.7", "2001:db8::7", NULL };
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_RSA_2048 };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		_cleanup_free_ char *pem = NULL;
		EVP_PKEY *leaf = EVP_EC_gen("P-256");
		X509_STORE *store = X509_STORE_new();
		X509_STORE_CTX *check = X509_STORE_CTX_new();
		struct ca ca;
		X509 *cert;

		ca_make(&ca, types[i]);
		assert_int_equal(issue(&ca, leaf, names, 7 * 86400, &pem, NULL), 0);
		cert = parse(pem);
		X509_STORE_add_cert(store, ca.cert);
		assert_int_equal(X509_STORE_CTX_init(check, store, cert, NULL), 1);
		X509_STORE_CTX_set_purpose(check, X509_PURPOSE_SSL_SERVER);
		X509_STORE_CTX_set_time(check, 0, (time_t)(NOW_S + 86400));
		X509_STORE_CTX_set_flags(check, X509_V_FLAG_X509_STRICT);
		assert_int_equal(X509_verify_cert(check), 1);
		assert_int_equal(X509_check_host(cert, "gw-0001.local", 0, 0, NULL), 1);
		assert_int_equal(X509_check_host(cert, "other.local", 0, 0, NULL), 0);
		assert_int_equal(X509_check_ip_asc(cert, "192.0.2.7", 0), 1);
		assert_int_equal(X509_check_ip_asc(cert, "2001:db8::7", 0), 1);
		assert_int_equal(X509_check_ip_asc(cert, "192.0.2.8", 0), 0);
		assert_int_equal(X509_check_ca(cert), 0);
		assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
		assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);
		assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(cert), leaf), 1);
		X509_STORE_CTX_free(check);
		X509_STORE_free(store);
		X509_free(cert);
		EVP_PKEY_free(leaf);
		ca_free(&ca);
	}
}

static void a_leaf_does_not_outlive_its_ca(void **state)
{
	static const char *const names[] = { "a", NULL };
	_cleanup_free_ char *pem = NULL;
	EVP_PKEY *leaf = EVP_EC_gen("P-256");
	struct ca ca;
	X509 *cert;

	ca_make(&ca, AGENT_KEY_EC_P256);
	assert_int_equal(issue(&ca, leaf, names, UINT64_C(100) * 365 * 86400, &pem, NULL), 0);
	cert = parse(pem);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca.cert)), 0);
	X509_free(cert);
	EVP_PKEY_free(leaf);
	ca_free(&ca);
}

static void bad_names_keys_and_issuers_are_refused(void **state)
{
	static const char *const bad[] = { "", "*.local", "a..b", "-a", "a-", "a b", "a,DNS:b", "IP:1.2.3.4", "a.", "1.2.3.4/24", "\xc3\xa4" };
	static const char *const good[] = { "a", NULL }, *const none[] = { NULL };
	_cleanup_error_ struct agent_error *err = NULL;
	EVP_PKEY *leaf = EVP_EC_gen("P-256"), *weak = EVP_RSA_gen(1024);
	const struct agent_leaf_options options = { .common_name = "gw", .names = good, .not_before_s = NOW_S, .lifetime_s = 60 };
	struct ca ca, other;
	char *pem = NULL;

	ca_make(&ca, AGENT_KEY_EC_P256);
	ca_make(&other, AGENT_KEY_EC_P256);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *const names[] = { bad[i], NULL };

		assert_int_equal(issue(&ca, leaf, names, 60, &pem, &err), -EINVAL);
		assert_error(&err, -EINVAL, "cert.names");
	}
	assert_int_equal(issue(&ca, leaf, none, 60, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.names");
	assert_int_equal(issue(&ca, weak, good, 60, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.key");
	assert_int_equal(issue(&ca, leaf, good, 0, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.time");
	assert_int_equal(agent_device_ca_issue(ctx, ca.signer, ca.pem, (const uint8_t *)"xx", 2, &options, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.key");
	free(ca.pem);
	ca.pem = strdup(other.pem);
	assert_int_equal(issue(&ca, leaf, good, 60, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.issuer");
	ca.pem[100] = '!';
	assert_int_equal(issue(&ca, leaf, good, 60, &pem, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "cert.pem");
	assert_null(pem);
	EVP_PKEY_free(leaf);
	EVP_PKEY_free(weak);
	ca_free(&ca);
	ca_free(&other);
}

static void the_fingerprint_is_the_hash_of_the_public_key(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char hex[65], expected[65];
	uint8_t hash[32];
	const uint8_t *spki;
	struct ca ca;
	size_t size;

	ca_make(&ca, AGENT_KEY_EC_P256);
	agent_signer_get_public(ca.signer, &spki, &size);
	EVP_Digest(spki, size, hash, NULL, EVP_sha256(), NULL);
	for (size_t i = 0; i < 32; i++)
		snprintf(expected + 2 * i, 3, "%02x", hash[i]);
	assert_int_equal(agent_cert_fingerprint(ctx, ca.pem, hex, NULL), 0);
	assert_string_equal(hex, expected);
	assert_int_equal(agent_cert_fingerprint(ctx, "nonsense", hex, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "cert.pem");
	ca_free(&ca);
}

static void check_date(const ASN1_TIME *t, int64_t want_s, int type)
{
	int64_t s = 0;

	assert_int_equal(time_from_asn1(t, &s), 0);
	assert_true(s == want_s);
	assert_int_equal(ASN1_STRING_type(t), type);
}

/* RFC 5280 section 4.1.2.5: two digits for the year up to 2049, four from 2050 on; and nothing ends in 2038. */
static void dates_up_to_the_year_9999_are_written_and_read(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
		int type;
	} dates[] = {
		{ 0, "700101000000Z", V_ASN1_UTCTIME }, { INT64_C(2147483647), "380119031407Z", V_ASN1_UTCTIME }, { INT64_C(2147483648), "380119031408Z", V_ASN1_UTCTIME },
		{ INT64_C(2524607999), "491231235959Z", V_ASN1_UTCTIME }, { INT64_C(2524608000), "20500101000000Z", V_ASN1_GENERALIZEDTIME },
		{ INT64_C(4107542400), "21000301000000Z", V_ASN1_GENERALIZEDTIME }, { INT64_C(253402300799), "99991231235959Z", V_ASN1_GENERALIZEDTIME },
	};
	ASN1_TIME *t = ASN1_TIME_new();

	assert_non_null(t);
	for (size_t i = 0; i < ARRAY_SIZE(dates); i++) {
		assert_int_equal(time_to_asn1(dates[i].s, t), 0);
		assert_int_equal(ASN1_STRING_length(t), strlen(dates[i].text));
		assert_memory_equal(ASN1_STRING_get0_data(t), dates[i].text, strlen(dates[i].text));
		check_date(t, dates[i].s, dates[i].type);
	}
	for (size_t i = 0; i < ARRAY_SIZE(dates); i++) {
		assert_int_equal(time_to_asn1(dates[i].s, t), 0);
		assert_false(time_is_over(t, dates[i].s) || time_is_early(t, dates[i].s));
		assert_true(time_is_over(t, dates[i].s + 1) && time_is_early(t, dates[i].s - 1));
		/* Nothing is lost above 32 bits. */
		assert_true(time_is_over(t, dates[i].s + INT64_C(4294967296)) && time_is_early(t, dates[i].s - INT64_C(4294967296)));
	}
	/* What is no time never begins, and is over. */
	assert_int_equal(ASN1_STRING_set(t, "991332000000Z", -1), 1);
	assert_true(time_is_over(t, 0) && time_is_early(t, INT64_C(253402300799)));
	assert_true(time_is_over(NULL, 0) && time_is_early(NULL, 0));
	assert_int_equal(time_to_asn1(INT64_C(253402300800), t), -EINVAL);
	assert_int_equal(time_to_asn1(INT64_MIN / 2, t), -EINVAL);
	ASN1_TIME_free(t);
}

static void certificates_of_later_centuries_have_their_dates(void **state)
{
	static const uint64_t years[] = { UINT64_C(2209032000), UINT64_C(2524608000), UINT64_C(4102444800), UINT64_C(252455616000) }; /* 2040, 2050, 2100, 9970 */
	const char *const names[] = { "gw.local", NULL };
	struct software_key key, leaf_key;
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256), *leaf_signer = software_signer(&leaf_key, AGENT_KEY_EC_P256);
	_cleanup_error_ struct agent_error *err = NULL;
	const uint8_t *spki;
	size_t spki_size;
	char *pem = NULL;

	agent_signer_get_public(leaf_signer, &spki, &spki_size);
	for (size_t i = 0; i < ARRAY_SIZE(years); i++) {
		struct agent_leaf_options options = { .common_name = "gw", .names = names, .not_before_s = years[i] + 3600, .lifetime_s = UINT64_C(4000000000) };
		int64_t ca_end_s = (int64_t)years[i] + INT64_C(946728000);
		char *ca = NULL, *leaf = NULL;
		X509 *cert;

		/* Thirty years from 9970 on are past the last date there is. */
		if (i == 3)
			ca_end_s = 0;
		assert_int_equal(agent_device_ca_new(ctx, signer, "CA", years[i], &ca, &err), ca_end_s == 0 ? -EINVAL : 0);
		if (ca_end_s == 0) {
			assert_error(&err, -EINVAL, "cert.time");
			continue;
		}
		assert_int_equal(agent_device_ca_issue(ctx, signer, ca, spki, spki_size, &options, &leaf, NULL), 0);
		cert = parse(ca);
		check_date(X509_get0_notAfter(cert), ca_end_s, V_ASN1_GENERALIZEDTIME);
		X509_free(cert);
		cert = parse(leaf);
		check_date(X509_get0_notBefore(cert), (int64_t)years[i] + 3600, i == 0 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
		check_date(X509_get0_notAfter(cert), ca_end_s, V_ASN1_GENERALIZEDTIME); /* not beyond its CA */
		X509_free(cert);
		/* A leaf after its CA's end, and one that begins in no year there is. */
		options.not_before_s = (uint64_t)ca_end_s + 1;
		assert_int_equal(agent_device_ca_issue(ctx, signer, ca, spki, spki_size, &options, &pem, &err), -EINVAL);
		assert_error(&err, -EINVAL, "cert.time");
		options.not_before_s = UINT64_MAX;
		assert_int_equal(agent_device_ca_issue(ctx, signer, ca, spki, spki_size, &options, &pem, &err), -EINVAL);
		assert_error(&err, -EINVAL, "cert.time");
		free(ca);
		free(leaf);
	}
	agent_signer_unref(signer);
	agent_signer_unref(leaf_signer);
}

static void a_leaf_for_encryption_agrees_on_keys_and_does_nothing_else(void **state)
{
	static const char *const names[] = { "a", NULL };
	struct agent_leaf_options options = { .common_name = "Updates", .not_before_s = NOW_S, .lifetime_s = UINT64_C(100) * 365 * 86400, .for_encryption = 1 };
	_cleanup_error_ struct agent_error *err = NULL;
	EVP_PKEY *leaf = EVP_EC_gen("P-256");
	uint8_t *spki = NULL;
	int n = i2d_PUBKEY(leaf, &spki);
	char *pem = NULL;
	struct ca ca;
	X509 *cert;
	BIO *bio;

	ca_make(&ca, AGENT_KEY_EC_P256);
	assert_int_equal(agent_device_ca_issue(ctx, ca.signer, ca.pem, spki, (size_t)n, &options, &pem, NULL), 0);
	bio = BIO_new_mem_buf(pem, -1);
	cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	assert_int_equal(X509_get_key_usage(cert), KU_KEY_AGREEMENT);
	assert_int_equal(X509_get_extension_flags(cert) & EXFLAG_XKUSAGE, 0);
	assert_true(X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) < 0);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca.cert)), 0);
	options.names = names;
	assert_int_equal(agent_device_ca_issue(ctx, ca.signer, ca.pem, spki, (size_t)n, &options, &pem, &err), -EINVAL);
	assert_error(&err, -EINVAL, "cert.argument");
	X509_free(cert);
	BIO_free(bio);
	free(pem);
	OPENSSL_free(spki);
	EVP_PKEY_free(leaf);
	ca_free(&ca);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_verifies_and_carries_the_subject),
		cmocka_unit_test(bad_subjects_are_refused_before_a_signature),
		cmocka_unit_test(a_backend_s_error_is_the_error_of_the_request),
		cmocka_unit_test(the_device_ca_is_a_ca_for_thirty_years),
		cmocka_unit_test(an_issued_leaf_verifies_as_a_server_with_its_names),
		cmocka_unit_test(a_leaf_does_not_outlive_its_ca),
		cmocka_unit_test(bad_names_keys_and_issuers_are_refused),
		cmocka_unit_test(a_leaf_for_encryption_agrees_on_keys_and_does_nothing_else),
		cmocka_unit_test(the_fingerprint_is_the_hash_of_the_public_key),
		cmocka_unit_test(dates_up_to_the_year_9999_are_written_and_read),
		cmocka_unit_test(certificates_of_later_centuries_have_their_dates),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
