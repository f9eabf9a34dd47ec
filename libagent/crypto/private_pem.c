/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/private_pem.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/macro.h"

#define RSA_EXPONENT 65537u

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(BIGNUM *, BN_clear_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

/* ---- what kind of key ------------------------------------------------------------------------------------------- */

static bool is_curve(EVP_PKEY *pkey, const char *name)
{
	char group[32], encoding[32];

	/* Explicit parameters that equal a known curve get its name, too: only the encoding tells (CVE-2020-0601). */
	return EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 && strcmp(group, name) == 0 &&
	       EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof(encoding), NULL) == 1 &&
	       strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) == 0;
}

static int find_type(EVP_PKEY *pkey, enum agent_key_type *ret_type, struct agent_error **err)
{
	int bits = EVP_PKEY_get_bits(pkey);

	if (EVP_PKEY_is_a(pkey, "EC") && is_curve(pkey, "prime256v1"))
		*ret_type = AGENT_KEY_EC_P256;
	else if (EVP_PKEY_is_a(pkey, "EC") && is_curve(pkey, "secp384r1"))
		*ret_type = AGENT_KEY_EC_P384;
	else if (EVP_PKEY_is_a(pkey, "RSA") && bits == 2048)
		*ret_type = AGENT_KEY_RSA_2048;
	else if (EVP_PKEY_is_a(pkey, "RSA") && bits == 3072)
		*ret_type = AGENT_KEY_RSA_3072;
	else if (EVP_PKEY_is_a(pkey, "RSA") && bits < 2048)
		return agent_error_set(err, -EKEYREJECTED, "import.weak", "RSA of %d bits can be broken; use 2048 or 3072 bits, or EC P-256", bits);
	else
		return agent_error_set(err, -EOPNOTSUPP, "import.type",
				       "a key of type %s with %d bits is none of EC P-256, EC P-384 (named curves), RSA-2048 and RSA-3072",
				       EVP_PKEY_get0_type_name(pkey) == NULL ? "?" : EVP_PKEY_get0_type_name(pkey), bits);
	return 0;
}

/* ---- keys that are known to be weak ----------------------------------------------------------------------------- */

/* FIPS 186-4, B.3.3, 5.4: |p - q| > 2^(bits / 2 - 100), else Fermat's method finds them. */
static bool primes_are_close(const BIGNUM *p, const BIGNUM *q, int bits)
{
	_cleanup_(BN_clear_freep) BIGNUM *difference = BN_new();

	return difference == NULL || BN_sub(difference, p, q) != 1 || BN_num_bits(difference) <= bits / 2 - 100;
}

/*
 * CVE-2017-15361: primes k * M + (65537^a mod M) with M the product of small primes, so the modulus is a power of 65537
 * modulo each of them. By chance that happens to one key in 2^27 (the check of Nemec et al., CCS 2017, section 2.3).
 */
static bool has_roca_form(const BIGNUM *n)
{
	static const unsigned char primes[] = { 3,  5,	7,  11, 13, 17, 19,  23,  29,  31,  37,	 41,  43,  47,	53,  59,  61,  67,  71,
						73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167 };

	for (size_t i = 0; i < ARRAY_SIZE(primes); i++) {
		BN_ULONG want = BN_mod_word(n, primes[i]), power = 1;
		bool found = false;

		for (unsigned k = 0; k < primes[i] && !found; k++) {
			found = power == want;
			power = power * (RSA_EXPONENT % primes[i]) % primes[i];
		}
		if (!found)
			return false;
	}
	return true;
}

static int check_rsa(EVP_PKEY *pkey, struct agent_error **err)
{
	_cleanup_(BN_clear_freep) BIGNUM *n = NULL, *e = NULL, *p = NULL, *q = NULL, *third = NULL;
	int bits = EVP_PKEY_get_bits(pkey);

	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1 ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) != 1 || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR2, &q) != 1)
		return agent_error_set(err, -EBADMSG, "import.format", "the RSA key has no primes in it");
	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1 || BN_num_bits(p) != bits / 2 || BN_num_bits(q) != bits / 2)
		return agent_error_set(err, -EOPNOTSUPP, "import.type", "the RSA key is not made of two primes of %d bits", bits / 2);
	if (!BN_is_word(e, RSA_EXPONENT))
		return agent_error_set(err, -EKEYREJECTED, "import.weak", "the RSA key has another public exponent than 65537");
	if (primes_are_close(p, q, bits) || has_roca_form(n))
		return agent_error_set(err, -EKEYREJECTED, "import.weak",
				       "the RSA key can be broken: its primes are too close to each other or made as in CVE-2017-15361");
	return 0;
}

static int check_key(OSSL_LIB_CTX *libctx, EVP_PKEY *pkey, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL);

	if (pctx == NULL)
		return agent_error_set(err, -ENOMEM, "import.memory", "out of memory");
	if (EVP_PKEY_is_a(pkey, "RSA")) {
		int r = check_rsa(pkey, err);

		if (r < 0)
			return r;
	}
	/* Point on the curve, public half of the private one; primes are primes. */
	if (EVP_PKEY_check(pctx) != 1)
		return agent_error_set(err, -EKEYREJECTED, "import.weak", "the key's numbers do not belong together");
	return 0;
}

/* ---- PEM -------------------------------------------------------------------------------------------------------- */

static int no_passphrase(char *buf, int size, int rwflag, void *userdata)
{
	bool *was_asked = userdata;

	*was_asked = true;
	return -1;
}

static bool contains(const char *pem, size_t size, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = 0; i + n <= size; i++)
		if (memcmp(pem + i, what, n) == 0)
			return true;
	return false;
}

static int explain(const char *pem, size_t size, bool is_encrypted, struct agent_error **err)
{
	if (is_encrypted || contains(pem, size, "BEGIN ENCRYPTED PRIVATE KEY-"))
		return agent_error_set(err, -EINVAL, "import.encrypted",
				       "the private key is encrypted with a passphrase; decrypt it on the way, as in: openssl pkey -in FILE | ...");
	if (contains(pem, size, "BEGIN TSS2 PRIVATE KEY-"))
		return agent_error_set(err, -EINVAL, "import.tpm-key", "this is a key of a TPM already; it can be used only in the TPM it was made in");
	if (contains(pem, size, "BEGIN PUBLIC KEY-") || contains(pem, size, "BEGIN RSA PUBLIC KEY-") || contains(pem, size, "BEGIN CERTIFICATE-"))
		if (!contains(pem, size, "PRIVATE KEY-"))
			return agent_error_set(err, -EINVAL, "import.public", "there is only a public key or a certificate, and no private key");
	return agent_error_set(err, -EBADMSG, "import.format", "this is no private key in PEM form, or a damaged one");
}

int private_pem_parse(OSSL_LIB_CTX *libctx, const char *pem, size_t size, EVP_PKEY **ret_pkey, enum agent_key_type *ret_type,
		      struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL, *second = NULL;
	_cleanup_(BIO_freep) BIO *bio = NULL;
	bool was_asked = false;
	int r;

	if (size > PRIVATE_PEM_MAX)
		return agent_error_set(err, -EMSGSIZE, "import.size", "%zu bytes, a private key has %d at most", size, PRIVATE_PEM_MAX);
	bio = BIO_new_mem_buf(pem, (int)size);
	if (bio == NULL)
		return agent_error_set(err, -ENOMEM, "import.memory", "out of memory");
	ERR_set_mark();
	pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, &was_asked, libctx, NULL);
	if (pkey == NULL)
		r = explain(pem, size, was_asked, err);
	else if ((second = PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, &was_asked, libctx, NULL)) != NULL || was_asked)
		r = agent_error_set(err, -EBADMSG, "import.format", "there is more than one private key");
	else
		r = find_type(pkey, ret_type, err);
	if (r >= 0)
		r = check_key(libctx, pkey, err);
	ERR_pop_to_mark();
	if (r < 0)
		return r;
	*ret_pkey = TAKE_PTR(pkey);
	return 0;
}
