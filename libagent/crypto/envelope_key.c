/* SPDX-License-Identifier: Apache-2.0 */
/* Key agreement of RFC 5753 behind the ECDH itself, which a TPM does. */
#include "config.h"

#include "crypto/envelope.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/buf.h"
#include "base/der.h"
#include "base/secret.h"

#define SHARED_INFO_SIZE 23
#define WRAP_CHECK 8

DEFINE_CLEANUP(EVP_CIPHER *, EVP_CIPHER_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(EVP_KDF *, EVP_KDF_free)
DEFINE_CLEANUP(EVP_KDF_CTX *, EVP_KDF_CTX_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

int agent_recipient_id(const uint8_t *spki, size_t size, uint8_t ret_id[AGENT_RECIPIENT_ID_SIZE], struct agent_error **err)
{
	struct buf all = buf_from(spki, spki == NULL ? 0 : size), body, algorithm, bits;

	if (der_get_only(&all, DER_SEQUENCE, &body) < 0 || der_get_tag(&body, DER_SEQUENCE, &algorithm) < 0 ||
	    der_get_only(&body, DER_BIT_STRING, &bits) < 0 || bits.size < 2 || bits.data[0] != 0 ||
	    EVP_Q_digest(NULL, "SHA1", NULL, bits.data + 1, bits.size - 1, ret_id, NULL) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -EINVAL, "recipient.key", "%zu bytes are no public key that an identifier can be made of", size);
	}
	return 0;
}

static bool point_is_valid(OSSL_LIB_CTX *libctx, const uint8_t point[AGENT_RECIPIENT_POINT_SIZE])
{
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(libctx, "EC", NULL);
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	char group[] = "P-256";
	uint8_t copy[AGENT_RECIPIENT_POINT_SIZE];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
		OSSL_PARAM_construct_end(),
	};
	bool is_valid;

	memcpy(copy, point, sizeof(copy));
	/* Decoding a point of a curve refuses what is not on it: SEC 1, 2.3.4 */
	is_valid = pctx != NULL && EVP_PKEY_fromdata_init(pctx) == 1 && EVP_PKEY_fromdata(pctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1;
	ERR_clear_error();
	return is_valid;
}

/* RFC 5753 section 7.2: ECC-CMS-SharedInfo without material of the sender; which key wrap, and its bits. */
static void shared_info(unsigned wrap_bits, uint8_t out[SHARED_INFO_SIZE])
{
	static const uint8_t info[SHARED_INFO_SIZE] = {
		DER_SEQUENCE, 21, DER_SEQUENCE, 11, DER_OID, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x05,
		DER_CONTEXT(2), 6, DER_OCTET_STRING, 4, 0, 0, 0, 0,
	};

	memcpy(out, info, SHARED_INFO_SIZE);
	out[14] = wrap_bits == 128 ? 0x05 : wrap_bits == 192 ? 0x19 : 0x2d; /* id-aes128-wrap ... */
	out[21] = (uint8_t)(wrap_bits >> 8);
	out[22] = (uint8_t)wrap_bits;
}

static int derive(OSSL_LIB_CTX *libctx, const uint8_t agreed[32], const struct agent_recipient *r, uint8_t *ret_key)
{
	_cleanup_(EVP_KDF_freep) EVP_KDF *kdf = EVP_KDF_fetch(libctx, "X963KDF", NULL);
	_cleanup_(EVP_KDF_CTX_freep) EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	char digest[] = "SHA256";
	uint8_t info[SHARED_INFO_SIZE];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, (void *)(uintptr_t)agreed, 32),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info)),
		OSSL_PARAM_construct_end(),
	};

	shared_info(r->wrap_bits, info);
	snprintf(digest, sizeof(digest), "SHA%u", r->kdf_bits); /* three digits, each of them */
	return ctx != NULL && EVP_KDF_derive(ctx, ret_key, r->wrap_bits / 8, params) == 1 ? 0 : -ENOMEM;
}

static bool sizes_fit(const struct agent_recipient *r)
{
	return (r->kdf_bits == 256 || r->kdf_bits == 384 || r->kdf_bits == 512) && (r->wrap_bits == 128 || r->wrap_bits == 192 || r->wrap_bits == 256) &&
	       (r->wrapped_size == 24 || r->wrapped_size == 32 || r->wrapped_size == 40);
}

int envelope_check(OSSL_LIB_CTX *libctx, const struct agent_recipient *r, struct agent_error **err)
{
	if (!sizes_fit(r))
		return agent_error_set(err, -EOPNOTSUPP, "update.recipient-algorithm", "the key of the images is wrapped for this device in a way that is not supported: it "
				       "must be ECDH on P-256 with SHA-256, SHA-384 or SHA-512 (openssl cms -keyopt ecdh_kdf_md:sha256), and AES key wrap");
	if (!point_is_valid(libctx, r->point))
		return agent_error_set(err, -EBADMSG, "update.unwrap", "the sender's public key for this device is no point of P-256");
	return 0;
}

int envelope_unwrap(OSSL_LIB_CTX *libctx, const uint8_t agreed[32], const struct agent_recipient *r, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX],
		    size_t *ret_size, struct agent_error **err)
{
	_cleanup_(EVP_CIPHER_freep) EVP_CIPHER *cipher = NULL;
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t kek[32], out[AGENT_RECIPIENT_WRAPPED_MAX];
	char name[16];
	bool is_ready, is_good = false;
	int n = 0;

	snprintf(name, sizeof(name), "AES-%u-WRAP", r->wrap_bits);
	cipher = EVP_CIPHER_fetch(libctx, name, NULL);
	is_ready = cipher != NULL && ctx != NULL && derive(libctx, agreed, r, kek) == 0;
	if (is_ready) {
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
		is_ready = EVP_DecryptInit_ex2(ctx, cipher, kek, NULL, NULL) == 1;
	}
	if (is_ready)
		is_good = EVP_DecryptUpdate(ctx, out, &n, r->wrapped, (int)r->wrapped_size) == 1 && (size_t)n == r->wrapped_size - WRAP_CHECK;
	ERR_clear_error();
	wipe(kek, sizeof(kek));
	if (is_good) {
		memcpy(ret_key, out, (size_t)n);
		*ret_size = (size_t)n;
	}
	wipe(out, sizeof(out));
	if (!is_ready)
		return agent_error_set(err, -ENOMEM, "update.memory", "OpenSSL cannot set up %s", name);
	if (!is_good)
		return agent_error_set(err, -EBADMSG, "update.unwrap", "the key of the images that was wrapped for this device does not open: it was altered, or "
				       "wrapped for another key of the same identifier");
	return 0;
}
