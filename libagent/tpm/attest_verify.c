/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/attest.h>

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <tss2/tss2_mu.h>

#include "context.h"
#include "tpm/key_inside.h"
#include "tpm/name.h"
#include "tpm/statement.h"

/* The verifier's half: bytes in, a verdict out. Nothing here speaks to a TPM. */

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* What an attestation key has to be; TPM 2.0 Part 2, 8.3 */
#define AK_ATTRIBUTES                                                                                                  \
	(TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | \
	 TPMA_OBJECT_SENSITIVEDATAORIGIN)

bool attest_is_key_area(const TPMT_PUBLIC *pub)
{
	return pub->type == TPM2_ALG_ECC && pub->parameters.eccDetail.curveID == TPM2_ECC_NIST_P256 &&
	       pub->parameters.eccDetail.scheme.scheme == TPM2_ALG_ECDSA &&
	       pub->parameters.eccDetail.scheme.details.ecdsa.hashAlg == TPM2_ALG_SHA256 &&
	       (pub->objectAttributes & (AK_ATTRIBUTES | TPMA_OBJECT_DECRYPT)) == AK_ATTRIBUTES;
}

int attest_check_nonce(size_t nonce_size, struct agent_error **err)
{
	if (nonce_size >= AGENT_ATTEST_NONCE_MIN && nonce_size <= AGENT_ATTEST_NONCE_MAX)
		return 0;
	return agent_error_set(err, -EINVAL, "attest.nonce-size", "a nonce has %d to %d bytes, not %zu; use 16 random ones or more",
			       AGENT_ATTEST_NONCE_MIN, AGENT_ATTEST_NONCE_MAX, nonce_size);
}

/* TPM2B_PUBLIC, to its last byte. */
static int read_public(const uint8_t *data, size_t size, TPM2B_PUBLIC *ret_pub)
{
	size_t used = 0;

	memset(ret_pub, 0, sizeof(*ret_pub));
	if (size < 2 || size > AGENT_TPM_PUBLIC_MAX || ((size_t)data[0] << 8 | data[1]) != size - 2)
		return -EBADMSG;
	if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(data, size, &used, ret_pub) != TSS2_RC_SUCCESS || used != size)
		return -EBADMSG;
	return 0;
}

/* For whom and about what the statement was asked. */
struct question {
	OSSL_LIB_CTX *libctx;
	const uint8_t *ak_public;
	size_t ak_public_size;
	const uint8_t *nonce;
	size_t nonce_size;
	uint16_t type;
};

/* Signature over the raw bytes first, then the fields that all statements have. */
static int check_statement(const struct question *q, const struct agent_attest *a, struct statement *ret_statement,
			   struct agent_error **err)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *md = EVP_MD_CTX_new();
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	const struct key_type *kt;
	struct statement s;
	TPM2B_PUBLIC ak;
	bool is_good;
	int r;

	if (read_public(q->ak_public, q->ak_public_size, &ak) < 0 || !attest_is_key_area(&ak.publicArea))
		return agent_error_set(err, -EINVAL, "attest.ak",
				       "the attestation key given is not the public area of a restricted ECDSA P-256 key that is bound to its TPM");
	kt = key_type_of(&ak.publicArea);
	ERR_set_mark();
	pkey = kt == NULL ? NULL : kt->get_public(kt, q->libctx, &ak.publicArea);
	ERR_pop_to_mark();
	if (pkey == NULL)
		return agent_error_set(err, -EINVAL, "attest.ak", "the attestation key given is no point of P-256");
	if (md == NULL)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	if (a->statement_size > sizeof(a->statement) || a->signature_size > sizeof(a->signature))
		return agent_error_set(err, -EINVAL, "attest.argument", "statement or signature longer than its room");
	ERR_set_mark();
	is_good = EVP_DigestVerifyInit_ex(md, NULL, "SHA256", q->libctx, NULL, pkey, NULL) == 1 &&
		  EVP_DigestVerify(md, a->signature, a->signature_size, a->statement, a->statement_size) == 1;
	ERR_pop_to_mark();
	if (!is_good)
		return agent_error_set(err, -EKEYREJECTED, "attest.signature", "the statement was not signed by this attestation key");
	r = statement_parse(a->statement, a->statement_size, q->type, &s, err);
	if (r < 0)
		return r;
	if (s.nonce_size != q->nonce_size || CRYPTO_memcmp(s.nonce, q->nonce, q->nonce_size) != 0)
		return agent_error_set(err, -EKEYREJECTED, "attest.nonce", "the statement answers another nonce: it is an old one or somebody else's");
	*ret_statement = s;
	return 0;
}

static void fill_info(const struct statement *s, struct agent_attest_info *info)
{
	info->clock_ms = s->clock_ms;
	info->reset_count = s->reset_count;
	info->restart_count = s->restart_count;
	info->is_clock_safe = s->is_clock_safe;
	info->firmware_version = s->firmware_version;
}

static int make_question(struct agent_context *ctx, const uint8_t *ak_public, size_t ak_public_size, const uint8_t *nonce,
			 size_t nonce_size, uint16_t type, const struct agent_attest *attest, struct question *ret_question,
			 struct agent_error **err)
{
	struct question q = { NULL, ak_public, ak_public_size, nonce, nonce_size, type };
	int r;

	if (ctx == NULL || ak_public == NULL || nonce == NULL || attest == NULL)
		return agent_error_set(err, -EINVAL, "attest.argument", "no context, attestation key, nonce or evidence");
	r = attest_check_nonce(nonce_size, err);
	if (r == 0)
		r = context_get_libctx(ctx, NULL, &q.libctx, err);
	if (r == 0)
		*ret_question = q;
	return r < 0 ? r : 0;
}

/* The Name in the statement is a digest of the public area, so the area that came along is as good as signed. */
static int check_key(OSSL_LIB_CTX *libctx, const struct agent_attest *a, const struct statement *s, uint32_t required,
		     struct agent_attest_info *info, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	const struct key_type *kt;
	unsigned char *out = info->key_spki;
	TPM2B_PUBLIC pub;
	TPM2B_NAME name;
	int n;

	if (a->key_public_size > sizeof(a->key_public) || read_public(a->key_public, a->key_public_size, &pub) < 0)
		return agent_error_set(err, -EBADMSG, "attest.format", "the public area of the key is damaged");
	/* Name of the very bytes, not of what was read from them. */
	if (name_of_public(libctx, a->key_public + 2, a->key_public_size - 2, &name) < 0 || name.size != s->name.size ||
	    memcmp(name.name, s->name.name, name.size) != 0)
		return agent_error_set(err, -EKEYREJECTED, "attest.key", "the statement is about another key than the public area that came with it");
	if ((pub.publicArea.objectAttributes & required) != required)
		return agent_error_set(err, -EPERM, "attest.attributes", "the key has attributes 0x%x, which lack 0x%x of those asked for",
				       pub.publicArea.objectAttributes, required & ~pub.publicArea.objectAttributes);
	kt = key_type_of(&pub.publicArea);
	ERR_set_mark();
	pkey = kt == NULL ? NULL : kt->get_public(kt, libctx, &pub.publicArea);
	n = pkey == NULL ? 0 : i2d_PUBKEY(pkey, NULL);
	if (n > 0 && n <= AGENT_SPKI_MAX)
		n = i2d_PUBKEY(pkey, &out);
	ERR_pop_to_mark();
	if (n <= 0 || n > AGENT_SPKI_MAX)
		return agent_error_set(err, -EBADMSG, "attest.format", "the certified key is not of a type we know");
	info->key_spki_size = (size_t)n;
	info->key_attributes = pub.publicArea.objectAttributes;
	info->key_name_size = name.size;
	memcpy(info->key_name, name.name, name.size);
	return 0;
}

int agent_attest_verify_certify(struct agent_context *ctx, const uint8_t *ak_public, size_t ak_public_size, const uint8_t *nonce,
				size_t nonce_size, const struct agent_attest *attest, uint32_t required,
				struct agent_attest_info *ret_info, struct agent_error **err)
{
	struct agent_attest_info info = { 0 };
	struct statement s;
	struct question q;
	int r;

	r = make_question(ctx, ak_public, ak_public_size, nonce, nonce_size, TPM2_ST_ATTEST_CERTIFY, attest, &q, err);
	if (r == 0)
		r = check_statement(&q, attest, &s, err);
	if (r == 0)
		r = check_key(q.libctx, attest, &s, required, &info, err);
	if (r < 0)
		return r;
	fill_info(&s, &info);
	if (ret_info != NULL)
		*ret_info = info;
	return 0;
}

int agent_attest_verify_quote(struct agent_context *ctx, const uint8_t *ak_public, size_t ak_public_size, const uint8_t *nonce,
			      size_t nonce_size, uint32_t pcr_mask, const struct agent_attest *attest,
			      struct agent_attest_info *ret_info, struct agent_error **err)
{
	uint8_t values[AGENT_TPM_N_PCRS * AGENT_TPM_PCR_SIZE], digest[32];
	struct agent_attest_info info = { 0 };
	struct statement s;
	struct question q;
	size_t n = 0;
	int r;

	r = make_question(ctx, ak_public, ak_public_size, nonce, nonce_size, TPM2_ST_ATTEST_QUOTE, attest, &q, err);
	if (r == 0)
		r = check_statement(&q, attest, &s, err);
	if (r < 0)
		return r;
	if (s.pcr_mask != pcr_mask || attest->pcr_mask != pcr_mask)
		return agent_error_set(err, -EKEYREJECTED, "attest.selection", "the quote covers PCRs 0x%06x, asked were 0x%06x", s.pcr_mask, pcr_mask);
	/* TPM 2.0 Part 3, 18.4: digest of the values one after the other, by the hash of the signing scheme */
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if (!(pcr_mask & 1u << i))
			continue;
		memcpy(values + n, attest->pcrs[i], AGENT_TPM_PCR_SIZE);
		n += AGENT_TPM_PCR_SIZE;
	}
	if (!EVP_Q_digest(q.libctx, "SHA256", NULL, values, n, digest, NULL))
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	if (s.pcr_digest_size != sizeof(digest) || memcmp(s.pcr_digest, digest, sizeof(digest)) != 0)
		return agent_error_set(err, -EKEYREJECTED, "attest.pcrs", "the PCR values that came along are not those of the quote");
	fill_info(&s, &info);
	if (ret_info != NULL)
		*ret_info = info;
	return 0;
}
