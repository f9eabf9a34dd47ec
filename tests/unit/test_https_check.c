/* SPDX-License-Identifier: Apache-2.0 */
/* The owner's certificate: dates beyond what a 32-bit time_t and a year of two digits can say; what says of itself that it is an authority. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "agentd/core/https_check.h"
#include "base/macro.h"
#include "tests/unit/pki.h"

/* A server's certificate for @key, from @begin to @end. */
static char *chain_of(EVP_PKEY *key, const char *begin, const char *end)
{
	const struct pki_spec spec = { .common_name = "gw", .names = "DNS:gw-1.local", .usage = "serverAuth" };
	X509 *cert = pki_cert(&spec, key, NULL, NULL);
	BIO *bio = BIO_new(BIO_s_mem());
	char *text, *pem;
	long n;

	assert_int_equal(ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), begin), 1);
	assert_int_equal(ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), end), 1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	n = BIO_get_mem_data(bio, &text);
	pem = strndup(text, (size_t)n);
	assert_non_null(pem);
	BIO_free_all(bio);
	X509_free(cert);
	return pem;
}

static void dates_of_every_century_are_judged(void **state)
{
	static const struct {
		const char *begin, *end;
		int64_t begin_s, end_s;
	} lives[] = {
		{ "20370101000000Z", "20380119031408Z", INT64_C(2114380800), INT64_C(2147483648) },
		{ "20491231235959Z", "20500101000000Z", INT64_C(2524607999), INT64_C(2524608000) },
		{ "20500101000000Z", "21060207062816Z", INT64_C(2524608000), INT64_C(4294967296) },
		{ "20500101000000Z", "99991231235959Z", INT64_C(2524608000), INT64_C(253402300799) },
	};
	struct settings settings = { .device.serial = (char *)"1" };
	EVP_PKEY *key = pki_key();

	for (size_t i = 0; i < ARRAY_SIZE(lives); i++) {
		const struct { int64_t now_s; bool is_good; } looks[] = {
			{ lives[i].begin_s - 1, false }, { lives[i].begin_s, true }, { lives[i].end_s, true }, { lives[i].end_s + 1, false },
			/* What is left of it in 32 bits says nothing. */
			{ lives[i].begin_s - INT64_C(4294967296), false }, { lives[i].end_s + INT64_C(4294967296), false },
		};
		char *pem = chain_of(key, lives[i].begin, lives[i].end);

		for (size_t k = 0; k < ARRAY_SIZE(looks); k++) {
			_cleanup_error_ struct agent_error *err = NULL;
			struct https_about about = { 0 };
			int r = https_check(&settings, pem, key, looks[k].now_s, &about, &err);

			if (!looks[k].is_good) {
				assert_int_equal(r, -EINVAL);
				assert_error(&err, -EINVAL, "https.dates");
				continue;
			}
			assert_int_equal(r, 0);
			assert_true(about.not_before_s == (uint64_t)lives[i].begin_s && about.not_after_s == (uint64_t)lives[i].end_s);
		}
		free(pem);
	}
	EVP_PKEY_free(key);
}

static void what_calls_itself_an_authority_is_no_server(void **state)
{
	const struct pki_spec spec = { .common_name = "gw", .names = "DNS:gw-1.local", .usage = "serverAuth" };
	struct settings settings = { .device.serial = (char *)"1" };
	_cleanup_error_ struct agent_error *err = NULL;
	struct https_about about;
	EVP_PKEY *key = pki_key();
	X509 *cert = pki_cert(&spec, key, NULL, NULL);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;

	/* It may sign handshakes and no certificates, so OpenSSL takes it for no authority. */
	X509_EXTENSION_free(X509_delete_ext(cert, X509_get_ext_by_NID(cert, NID_basic_constraints, -1)));
	pki_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	assert_int_equal(BIO_write(bio, "", 1), 1);
	assert_true(BIO_get_mem_data(bio, &pem) > 1);
	assert_int_equal(https_check(&settings, pem, key, time(NULL), &about, &err), -EINVAL);
	assert_error(&err, -EINVAL, "https.use");
	BIO_free_all(bio);
	X509_free(cert);
	EVP_PKEY_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates_of_every_century_are_judged),
		cmocka_unit_test(what_calls_itself_an_authority_is_no_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
