/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys that people bring, and the signer over one in memory. */
#include "test.h"

#include <errno.h>
#include <stdbool.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <agent/context.h>
#include <agent/openssl.h>
#include <agent/software.h>

#include "crypto/private_pem.h"
#include "software_signer.h"

struct world {
	struct agent_context *ctx;
	OSSL_LIB_CTX *libctx;
	struct agent_error *err;
	char pem[PRIVATE_PEM_MAX + 2];
};

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_int_equal(agent_context_new(&w->ctx), 0);
	assert_int_equal(agent_openssl_libctx(w->ctx, &w->libctx, NULL), 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	agent_error_free(w->err);
	agent_context_unref(w->ctx);
	free(w);
	return 0;
}

/* Takes @pkey. */
static size_t write_pem(struct world *w, EVP_PKEY *pkey)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long n;

	assert_non_null(pkey);
	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
	n = BIO_get_mem_data(bio, &text);
	assert_in_range(n, 1, PRIVATE_PEM_MAX);
	memcpy(w->pem, text, (size_t)n);
	w->pem[n] = '\0';
	BIO_free(bio);
	EVP_PKEY_free(pkey);
	return (size_t)n;
}

static int parse(struct world *w, size_t size, enum agent_key_type *ret_type)
{
	EVP_PKEY *pkey = NULL;
	int r = private_pem_parse(w->libctx, w->pem, size, &pkey, ret_type, &w->err);

	EVP_PKEY_free(pkey);
	return r;
}

static void every_type_of_ours_is_read(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_EC_P384, AGENT_KEY_RSA_2048, AGENT_KEY_RSA_3072 };
	struct world *w = *state;
	enum agent_key_type type;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		size_t n = write_pem(w, software_pkey(types[i]));

		assert_int_equal(parse(w, n, &type), 0);
		assert_int_equal(type, types[i]);
		/* Every beginning of it is refused; that the last newline is missing does not matter. */
		for (size_t k = 0; k + 2 < n; k += 1 + n / 97) {
			assert_int_equal(parse(w, k, &type), -EBADMSG);
			assert_error(&w->err, -EBADMSG, "import.format");
		}
	}
}

static void size_is_bounded(void **state)
{
	struct world *w = *state;
	enum agent_key_type type;
	size_t n = write_pem(w, software_pkey(AGENT_KEY_EC_P256));

	memset(w->pem + n, '\n', sizeof(w->pem) - n);
	assert_int_equal(parse(w, PRIVATE_PEM_MAX, &type), 0);
	assert_int_equal(parse(w, PRIVATE_PEM_MAX + 1, &type), -EMSGSIZE);
	assert_error(&w->err, -EMSGSIZE, "import.size");
}

/* ---- RSA keys that can be broken, made here --------------------------------------------------------------------- */

static EVP_PKEY *rsa_of(const BIGNUM *p, const BIGNUM *q)
{
	BN_CTX *c = BN_CTX_new();
	BIGNUM *n = BN_new(), *e = BN_new(), *d = BN_new(), *p1 = BN_new(), *q1 = BN_new(), *phi = BN_new(), *dp = BN_new(), *dq = BN_new(),
	       *qi = BN_new();
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *pkey = NULL;
	OSSL_PARAM *params;

	BN_set_word(e, 65537);
	BN_mul(n, p, q, c);
	BN_sub(p1, p, BN_value_one());
	BN_sub(q1, q, BN_value_one());
	BN_mul(phi, p1, q1, c);
	assert_non_null(BN_mod_inverse(d, e, phi, c));
	BN_mod(dp, d, p1, c);
	BN_mod(dq, d, q1, c);
	assert_non_null(BN_mod_inverse(qi, q, p, c));
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_D, d);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_FACTOR1, p);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_FACTOR2, q);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq);
	OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, qi);
	params = OSSL_PARAM_BLD_to_param(b);
	assert_int_equal(EVP_PKEY_fromdata_init(pctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(pctx, &pkey, EVP_PKEY_KEYPAIR, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(b);
	EVP_PKEY_CTX_free(pctx);
	BN_free(n), BN_free(e), BN_free(d), BN_free(p1), BN_free(q1), BN_free(phi), BN_free(dp), BN_free(dq), BN_free(qi);
	BN_CTX_free(c);
	return pkey;
}

static void next_prime(BIGNUM *p, BN_ULONG step, const BIGNUM *big_step)
{
	BN_CTX *c = BN_CTX_new();

	do {
		if (big_step != NULL)
			BN_add(p, p, big_step);
		else
			BN_add_word(p, step);
	} while (BN_check_prime(p, c, NULL) != 1 || BN_mod_word(p, 65537) == 1);
	BN_CTX_free(c);
}

static void primes_close_to_each_other_are_refused(void **state)
{
	struct world *w = *state;
	enum agent_key_type type;
	BIGNUM *p = BN_new(), *q = BN_new();
	size_t n;

	BN_rand(p, 1024, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD);
	next_prime(p, 2, NULL);
	BN_copy(q, p);
	next_prime(q, 2, NULL);
	n = write_pem(w, rsa_of(p, q));
	assert_int_equal(parse(w, n, &type), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "import.weak");
	/* Apart by just enough, they pass. */
	BN_set_word(q, 1);
	BN_lshift(q, q, 1000);
	BN_add(q, q, p);
	next_prime(q, 2, NULL);
	n = write_pem(w, rsa_of(p, q));
	assert_int_equal(parse(w, n, &type), 0);
	BN_free(p);
	BN_free(q);
}

/* p = k * M + (65537^a mod M) */
static void roca_prime(BIGNUM *p, const BIGNUM *m)
{
	BN_CTX *c = BN_CTX_new();
	BIGNUM *a = BN_new(), *e = BN_new(), *k = BN_new(), *step = BN_new();

	BN_set_word(e, 65537);
	BN_rand(a, 60, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
	BN_mod_exp(p, e, a, m, c);
	BN_rand(k, 1024, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY);
	BN_mod(step, k, m, c);
	BN_sub(k, k, step); /* a multiple of M */
	BN_add(p, p, k);
	if (!BN_is_odd(p))
		BN_add(p, p, m);
	BN_lshift1(step, m);
	next_prime(p, 0, step);
	BN_free(a), BN_free(e), BN_free(k), BN_free(step);
	BN_CTX_free(c);
}

static void primes_of_the_roca_form_are_refused(void **state)
{
	struct world *w = *state;
	enum agent_key_type type;
	BIGNUM *m = BN_new(), *p = BN_new(), *q = BN_new();
	size_t n;

	BN_one(m);
	for (BN_ULONG i = 3; i <= 167; i += 2) {
		bool is_prime = true;

		for (BN_ULONG k = 3; k * k <= i; k += 2)
			is_prime = is_prime && i % k != 0;
		if (is_prime)
			BN_mul_word(m, i);
	}
	roca_prime(p, m);
	roca_prime(q, m);
	n = write_pem(w, rsa_of(p, q));
	assert_int_equal(parse(w, n, &type), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "import.weak");
	BN_free(m);
	BN_free(p);
	BN_free(q);
}

static void numbers_that_are_no_primes_are_refused(void **state)
{
	struct world *w = *state;
	enum agent_key_type type;
	BIGNUM *p = BN_new(), *q = BN_new(), *third = BN_new();
	BN_CTX *c = BN_CTX_new();
	size_t n;

	/* The modulus is made of three, one factor says it is a prime. */
	BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL);
	do {
		BN_generate_prime_ex(q, 512, 0, NULL, NULL, NULL);
		BN_generate_prime_ex(third, 512, 0, NULL, NULL, NULL);
		BN_mul(q, q, third, c);
		BN_sub_word(q, 1);
		BN_sub_word(p, 1);
		n = BN_mod_word(q, 65537) != 0 && BN_mod_word(p, 65537) != 0 && BN_num_bits(q) == 1024;
		BN_add_word(q, 1);
		BN_add_word(p, 1);
	} while (!n);
	n = write_pem(w, rsa_of(p, q));
	assert_int_equal(parse(w, n, &type), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "import.weak");
	BN_free(p), BN_free(q), BN_free(third);
	BN_CTX_free(c);
}

/* ---- the signer ------------------------------------------------------------------------------------------------- */

static bool verifies(const struct agent_signer *signer, enum agent_sign_scheme scheme, const uint8_t digest[32], const uint8_t *sig, size_t n)
{
	const uint8_t *spki;
	size_t spki_size;
	EVP_PKEY_CTX *pctx;
	EVP_PKEY *pkey;
	bool ok;

	agent_signer_get_public(signer, &spki, &spki_size);
	pkey = d2i_PUBKEY(NULL, &spki, (long)spki_size);
	pctx = EVP_PKEY_CTX_new(pkey, NULL);
	ok = EVP_PKEY_verify_init(pctx) == 1;
	if (scheme == AGENT_SIGN_RSA_PSS)
		ok = ok && EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32) == 1;
	ok = ok && EVP_PKEY_CTX_set_signature_md(pctx, EVP_sha256()) == 1 && EVP_PKEY_verify(pctx, sig, n, digest, 32) == 1;
	EVP_PKEY_CTX_free(pctx);
	EVP_PKEY_free(pkey);
	return ok;
}

static void a_software_key_signs_and_says_what_it_is(void **state)
{
	static const struct {
		enum agent_key_type type;
		enum agent_sign_scheme scheme;
	} rows[] = { { AGENT_KEY_EC_P256, AGENT_SIGN_ECDSA }, { AGENT_KEY_EC_P384, AGENT_SIGN_ECDSA }, { AGENT_KEY_RSA_2048, AGENT_SIGN_RSA_PKCS1 },
		     { AGENT_KEY_RSA_2048, AGENT_SIGN_RSA_PSS } };
	static const uint8_t digest[32] = { 1, 2, 3 };
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t n = write_pem(w, software_pkey(rows[i].type)), size = 0;
		uint8_t sig[AGENT_SIGNATURE_MAX];
		struct agent_signer *signer;

		assert_int_equal(agent_software_signer_new(w->ctx, w->pem, n, &signer, &w->err), 0);
		memset(w->pem, 0, n); /* it has its own copy */
		assert_string_equal(agent_signer_get_backend(signer), "software");
		assert_int_equal(agent_signer_get_type(signer), rows[i].type);
		assert_int_equal(agent_signer_sign(signer, rows[i].scheme, AGENT_HASH_SHA256, digest, 32, sig, &size, &w->err), 0);
		assert_true(verifies(signer, rows[i].scheme, digest, sig, size));
		sig[size - 1] ^= 1;
		assert_false(verifies(signer, rows[i].scheme, digest, sig, size));
		agent_signer_unref(signer);
	}
	assert_int_equal(agent_software_signer_new(w->ctx, "x", 1, &(struct agent_signer *){ NULL }, &w->err), -EBADMSG);
	assert_error(&w->err, -EBADMSG, "import.format");
	assert_int_equal(agent_software_signer_new(NULL, "x", 1, &(struct agent_signer *){ NULL }, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_type_of_ours_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(size_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(primes_close_to_each_other_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(primes_of_the_roca_form_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(numbers_that_are_no_primes_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_software_key_signs_and_says_what_it_is, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
