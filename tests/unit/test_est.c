/* SPDX-License-Identifier: Apache-2.0 */
/* What an EST server answers: base64, certs-only, attributes, Retry-After. */
#include "tests/unit/test.h"

#include <errno.h>

#include <openssl/pkcs7.h>

#include "agentd/fetch/est_read.h"
#include "agentd/fetch/http.h"
#include "tests/unit/pki.h"

static void base64_is_one_text_for_one_value(void **state)
{
	static const struct {
		const char *text, *value; /* value NULL: refused */
	} cases[] = {
		{ "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9v\r\nYmFy\n", "foobar" }, { " Z m\t9 v ", "foo" },
		{ "Zg=", NULL }, { "Zg", NULL }, { "Zg===", NULL }, { "Zh==", NULL }, { "Zm9=", NULL }, { "Zg==Zg==", NULL }, { "Z", NULL }, { "====", NULL },
		{ "Zm9v!", NULL }, { "Zm9v-_", NULL }, { "=", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ uint8_t *data = NULL;
		size_t size = 0;
		int r = est_read_base64(cases[i].text, strlen(cases[i].text), &data, &size, &err);

		if (cases[i].value == NULL) {
			assert_error(&err, -EBADMSG, "est.base64");
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(size, strlen(cases[i].value));
		assert_memory_equal(data, cases[i].value, size);
	}
}

static void an_answer_has_an_end(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char *text = malloc(EST_BODY_MAX + 1), *pem = NULL;

	assert_non_null(text);
	memset(text, 'A', EST_BODY_MAX + 1);
	assert_int_equal(est_read_certs(text, EST_BODY_MAX + 1, &pem, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "est.size");
	assert_null(pem);
	free(text);
}

/* Base64 of a certs-only answer with @n certificates, with what @flags add. */
static char *answer_of(int n, bool has_content, bool has_signer)
{
	EVP_PKEY *key = pki_key();
	X509 *cert = pki_cert(&(struct pki_spec){ .common_name = "device" }, key, NULL, key);
	BIO *content = BIO_new_mem_buf("", 0);
	PKCS7 *p7 = has_signer ? PKCS7_sign(cert, key, NULL, content, PKCS7_BINARY | PKCS7_DETACHED) : PKCS7_new();
	unsigned char *der = NULL;
	char *text;
	int size;

	assert_non_null(p7);
	if (!has_signer) {
		assert_int_equal(PKCS7_set_type(p7, NID_pkcs7_signed), 1);
		assert_int_equal(PKCS7_content_new(p7, NID_pkcs7_data), 1);
		if (has_content)
			assert_int_equal(ASN1_OCTET_STRING_set(p7->d.sign->contents->d.data, (const unsigned char *)"x", 1), 1);
		else
			PKCS7_set_detached(p7, 1);
	}
	for (int i = has_signer ? 1 : 0; i < n; i++) {
		X509 *more = pki_cert(&(struct pki_spec){ .common_name = "more" }, key, NULL, key);

		assert_int_equal(PKCS7_add_certificate(p7, more), 1);
		X509_free(more);
	}
	size = i2d_PKCS7(p7, &der);
	assert_true(size > 0);
	text = malloc((size_t)size * 2 + 8);
	assert_non_null(text);
	EVP_EncodeBlock((unsigned char *)text, der, size);
	OPENSSL_free(der);
	PKCS7_free(p7);
	BIO_free(content);
	X509_free(cert);
	EVP_PKEY_free(key);
	return text;
}

static void only_certificates_are_taken(void **state)
{
	static const struct {
		int n;
		bool has_content, has_signer, is_good;
	} cases[] = {
		{ 1, false, false, true }, { 3, false, false, true }, { EST_CERTS_MAX, false, false, true }, { EST_CERTS_MAX + 1, false, false, false },
		{ 0, false, false, false }, { 1, true, false, false }, { 1, false, true, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *text = answer_of(cases[i].n, cases[i].has_content, cases[i].has_signer), *pem = NULL;
		int r = est_read_certs(text, strlen(text), &pem, &err), n = 0;

		if (!cases[i].is_good) {
			assert_error(&err, -EBADMSG, "est.pkcs7");
			continue;
		}
		assert_int_equal(r, 0);
		for (const char *p = pem; (p = strstr(p, "-----BEGIN CERTIFICATE-----")) != NULL; p++)
			n++;
		assert_int_equal(n, cases[i].n);
	}
}

static void a_cut_or_longer_answer_is_refused(void **state)
{
	_cleanup_free_ char *text = answer_of(1, false, false);
	size_t n = strlen(text);
	char longer[8192];

	for (size_t cut = 0; cut < n; cut += 4) {
		_cleanup_error_ struct agent_error *err = NULL;
		char *pem = NULL;

		assert_true(est_read_certs(text, cut, &pem, &err) < 0);
		assert_null(pem);
	}
	while (n % 4 != 0 || text[n - 1] == '=')
		n--;
	assert_true(n + 8 < sizeof(longer));
	/* The padding goes, so that four more digits are three more bytes. */
	snprintf(longer, sizeof(longer), "%.*sAAAAAAAA", (int)(n - n % 4), text);
	{
		_cleanup_error_ struct agent_error *err = NULL;
		char *pem = NULL;

		assert_true(est_read_certs(longer, strlen(longer), &pem, &err) < 0);
		assert_null(pem);
	}
}

static void attributes_are_taken_by_a_list(void **state)
{
	static const struct {
		const char *text;
		bool is_good, challenge, serial;
		const char *key_type;
		unsigned n_unknown;
	} cases[] = {
		{ "", true, false, false, "", 0 },
		{ "MAA=", true, false, false, "", 0 },
		/* RFC 7030 section 4.5.2: challengePassword, ecPublicKey with secp384r1, extReq with an OID, ecdsa-with-SHA384 */
		{ "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw==", true, true, false, "ec-p384", 2 },
		{ "MAUGA1UEBQ==", true, false, true, "", 0 },
		{ "MAUGA1UEBQA=", false, false, false, "", 0 }, /* something follows */
		{ "MAYGA1UEBQ==", false, false, false, "", 0 }, /* it ends in the middle */
		{ "MAIGAA==", false, false, false, "", 0 },	/* an OID of nothing */
		{ "MAMCAQE=", false, false, false, "", 0 },	/* a number */
		{ "MIAGA1UEBQAA", false, false, false, "", 0 }, /* indefinite length */
		{ "BQA=", false, false, false, "", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct est_attributes a = { 0 };
		int r = est_read_attributes(cases[i].text, strlen(cases[i].text), &a, &err);

		if (!cases[i].is_good) {
			assert_error(&err, -EBADMSG, "est.csrattrs");
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(a.wants_challenge, cases[i].challenge);
		assert_int_equal(a.wants_serial, cases[i].serial);
		assert_string_equal(a.key_type, cases[i].key_type);
		assert_int_equal(a.n_unknown, cases[i].n_unknown);
	}
}

/* Without a signature of ours nobody has seen the certificate: an alert may be anybody's. */
static void only_who_saw_the_certificate_refuses_it(void **state)
{
	static const struct {
		const char *name;
		bool has_signed;
		const char *becomes;
	} cases[] = {
		{ "tls.alert", true, "tls.alert" }, { "tls.alert", false, "est.unseen" }, { "fetch.lost", true, "fetch.lost" }, { "fetch.lost", false, "est.unseen" },
		{ "tls.handshake", false, "est.unseen" }, { "fetch.tls", false, "est.unseen" }, { "fetch.short", false, "est.unseen" },
		{ "est.refused", true, "est.refused" }, { "est.refused", false, "est.unseen" },
		/* Ours alone. */
		{ "tls.key", false, "tls.key" }, { "tls.signer", false, "tls.signer" }, { "fetch.connect", false, "fetch.connect" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		agent_error_set(&err, -EACCES, cases[i].name, "no");
		assert_int_equal(est_read_failure(-EACCES, cases[i].has_signed, &err), -EACCES);
		assert_error(&err, -EACCES, cases[i].becomes);
	}
}

static void retry_after_is_a_number_or_counts_from_the_servers_clock(void **state)
{
	static const struct {
		const char *value, *date;
		uint64_t s;
	} cases[] = {
		{ "120", "", 120 }, { "0", "", 0 }, { "99999999999999999999999", "", 86400 }, { "12x", "", 0 }, { "", "", 0 }, { "soon", "", 0 }, { "-5", "", 0 },
		{ "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", 60 },
		{ "Fri, 31 Dec 1999 23:59:59 GMT", "", 0 },
		{ "Fri, 31 Dec 1999 23:59:59 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", 0 },
		{ "Fri, 31 Dec 2038 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT", 86400 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(http_read_retry_after(cases[i].value, http_date_parse(cases[i].date)), cases[i].s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_is_one_text_for_one_value),
		cmocka_unit_test(an_answer_has_an_end),
		cmocka_unit_test(only_certificates_are_taken),
		cmocka_unit_test(a_cut_or_longer_answer_is_refused),
		cmocka_unit_test(attributes_are_taken_by_a_list),
		cmocka_unit_test(only_who_saw_the_certificate_refuses_it),
		cmocka_unit_test(retry_after_is_a_number_or_counts_from_the_servers_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
