/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/policy.h"

#include <errno.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <tss2/tss2_mu.h>

#include "base/buf.h"
#include "base/macro.h"
#include "tpm/name.h"

/* All PCRs with their bits fit in three bytes: TPM 2.0 Part 2, 10.6.1; PC Client Platform TPM Profile, 4.6.1: 24 PCRs */
#define SELECT_SIZE 3

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_MD *, EVP_MD_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free)
DEFINE_CLEANUP(BIGNUM *, BN_free)

/* ---- digests ------------------------------------------------------------ */

struct part {
	const void *data;
	size_t size;
};

static int hash(OSSL_LIB_CTX *libctx, const struct part *parts, size_t n, uint8_t ret_digest[POLICY_SIZE])
{
	_cleanup_(EVP_MD_freep) EVP_MD *md = EVP_MD_fetch(libctx, "SHA256", NULL);
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (md == NULL || ctx == NULL || EVP_DigestInit_ex(ctx, md, NULL) != 1)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (parts[i].size > 0 && EVP_DigestUpdate(ctx, parts[i].data, parts[i].size) != 1)
			return -ENOMEM;
	return EVP_DigestFinal_ex(ctx, ret_digest, NULL) == 1 ? 0 : -ENOMEM;
}

/* new digest = H(old digest || command code || what the command adds) */
static int add(OSSL_LIB_CTX *libctx, uint8_t digest[POLICY_SIZE], uint32_t command, const void *data, size_t size)
{
	uint8_t code[4] = { (uint8_t)(command >> 24), (uint8_t)(command >> 16), (uint8_t)(command >> 8), (uint8_t)command };
	struct part parts[] = { { digest, POLICY_SIZE }, { code, sizeof(code) }, { data, size } };

	return hash(libctx, parts, ARRAY_SIZE(parts), digest);
}

int policy_check_mask(uint32_t mask, struct agent_error **err)
{
	if (mask == 0 || mask >> AGENT_TPM_N_PCRS != 0)
		return agent_error_set(err, -EINVAL, "seal.argument", "PCR mask 0x%x does not mean 1 to %d of the PCRs 0 to %d", mask, AGENT_TPM_N_PCRS,
				       AGENT_TPM_N_PCRS - 1);
	return 0;
}

void policy_selection(uint32_t mask, TPML_PCR_SELECTION *ret_selection)
{
	*ret_selection = (TPML_PCR_SELECTION){
		.count = 1,
		.pcrSelections[0] = { .hash = TPM2_ALG_SHA256,
				      .sizeofSelect = SELECT_SIZE,
				      .pcrSelect = { (BYTE)mask, (BYTE)(mask >> 8), (BYTE)(mask >> 16) } },
	};
}

int policy_pcr_digest(OSSL_LIB_CTX *libctx, const struct agent_pcr_values *pcrs, TPM2B_DIGEST *ret_digest)
{
	struct part parts[AGENT_TPM_N_PCRS];
	size_t n = 0;

	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++)
		if (pcrs->mask & UINT32_C(1) << i)
			parts[n++] = (struct part){ pcrs->value[i], AGENT_TPM_PCR_SIZE };
	ret_digest->size = POLICY_SIZE;
	return hash(libctx, parts, n, ret_digest->buffer);
}

int policy_add_pcr(OSSL_LIB_CTX *libctx, const struct agent_pcr_values *pcrs, uint8_t digest[POLICY_SIZE])
{
	uint8_t data[sizeof(TPML_PCR_SELECTION) + POLICY_SIZE];
	TPML_PCR_SELECTION selection;
	TPM2B_DIGEST values;
	size_t n = 0;

	/* TPM 2.0 Part 3, 23.7.1: selection, then the digest of the values */
	policy_selection(pcrs->mask, &selection);
	if (Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, data, sizeof(data), &n) != TSS2_RC_SUCCESS ||
	    policy_pcr_digest(libctx, pcrs, &values) < 0)
		return -ENOMEM;
	memcpy(data + n, values.buffer, POLICY_SIZE);
	return add(libctx, digest, TPM2_CC_PolicyPCR, data, n + POLICY_SIZE);
}

int policy_add_authorize(OSSL_LIB_CTX *libctx, const TPM2B_NAME *key, const uint8_t *ref, size_t ref_size, uint8_t digest[POLICY_SIZE])
{
	struct part second[] = { { digest, POLICY_SIZE }, { ref, ref_size } };
	int r;

	/* TPM 2.0 Part 3, 23.16.1: what came before no longer counts; 23.2.3: PolicyUpdate() hashes in two steps */
	memset(digest, 0, POLICY_SIZE);
	r = add(libctx, digest, TPM2_CC_PolicyAuthorize, key->name, key->size);
	return r < 0 ? r : hash(libctx, second, ARRAY_SIZE(second), digest);
}

int policy_add_auth_value(OSSL_LIB_CTX *libctx, uint8_t digest[POLICY_SIZE])
{
	return add(libctx, digest, TPM2_CC_PolicyAuthValue, NULL, 0);
}

int policy_to_sign(OSSL_LIB_CTX *libctx, const uint8_t policy[POLICY_SIZE], const uint8_t *ref, size_t ref_size, TPM2B_DIGEST *ret_digest)
{
	struct part parts[] = { { policy, POLICY_SIZE }, { ref, ref_size } };

	/* TPM 2.0 Part 3, 23.16.1: aHash */
	ret_digest->size = POLICY_SIZE;
	return hash(libctx, parts, ARRAY_SIZE(parts), ret_digest->buffer);
}

/* ---- keys and signatures ------------------------------------------------ */

/* Nothing may follow. */
static EVP_PKEY *pkey_of(OSSL_LIB_CTX *libctx, const uint8_t *spki, size_t spki_size)
{
	const uint8_t *p = spki;
	EVP_PKEY *pkey;

	ERR_set_mark();
	pkey = spki_size == 0 || spki_size > SEALFILE_SIGNER_MAX ? NULL : d2i_PUBKEY_ex(NULL, &p, (long)spki_size, libctx, NULL);
	if (pkey != NULL && p != spki + spki_size) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	ERR_pop_to_mark();
	return pkey;
}

static bool ec_area(EVP_PKEY *pkey, TPMT_PUBLIC *area)
{
	uint8_t point[65];
	char group[32];
	size_t n = 0;

	/* 0x04: uncompressed, SEC 1, 2.3.3 */
	if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 || strcmp(group, "prime256v1") != 0 ||
	    EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &n) != 1 || n != sizeof(point) ||
	    point[0] != 0x04)
		return false;
	area->type = TPM2_ALG_ECC;
	area->parameters.eccDetail = (TPMS_ECC_PARMS){ .symmetric.algorithm = TPM2_ALG_NULL,
						       .scheme.scheme = TPM2_ALG_NULL,
						       .curveID = TPM2_ECC_NIST_P256,
						       .kdf.scheme = TPM2_ALG_NULL };
	area->unique.ecc.x.size = area->unique.ecc.y.size = 32;
	memcpy(area->unique.ecc.x.buffer, point + 1, 32);
	memcpy(area->unique.ecc.y.buffer, point + 33, 32);
	return true;
}

static bool rsa_area(EVP_PKEY *pkey, TPMT_PUBLIC *area)
{
	_cleanup_(BN_freep) BIGNUM *e = NULL, *n = NULL;

	if (EVP_PKEY_get_bits(pkey) != 2048 || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1 || !BN_is_word(e, 65537) ||
	    EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1)
		return false;
	area->type = TPM2_ALG_RSA;
	area->parameters.rsaDetail = (TPMS_RSA_PARMS){
		.symmetric.algorithm = TPM2_ALG_NULL, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048, .exponent = 65537
	};
	area->unique.rsa.size = 256;
	return BN_bn2binpad(n, area->unique.rsa.buffer, 256) == 256;
}

int policy_key(OSSL_LIB_CTX *libctx, const uint8_t *spki, size_t spki_size, TPM2B_PUBLIC *ret_pub, TPM2B_NAME *ret_name,
	       struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = pkey_of(libctx, spki, spki_size);
	/* The attributes are part of the Name: those that tpm2_loadexternal gives a PEM file. */
	TPM2B_PUBLIC pub = { .publicArea = { .nameAlg = TPM2_ALG_SHA256,
					     .objectAttributes = TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_SIGN_ENCRYPT } };
	uint8_t bytes[sizeof(TPMT_PUBLIC)];
	size_t n = 0;

	if (pkey == NULL || !((EVP_PKEY_is_a(pkey, "EC") && ec_area(pkey, &pub.publicArea)) ||
			      (EVP_PKEY_is_a(pkey, "RSA") && rsa_area(pkey, &pub.publicArea))))
		return agent_error_set(err, -EOPNOTSUPP, "seal.signer", "the key of policy signatures is not a public key of EC P-256 or RSA-2048");
	if (Tss2_MU_TPMT_PUBLIC_Marshal(&pub.publicArea, bytes, sizeof(bytes), &n) != TSS2_RC_SUCCESS ||
	    name_of_public(libctx, bytes, n, ret_name) < 0)
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	*ret_pub = pub;
	return 0;
}

int policy_signature(const TPM2B_PUBLIC *pub, const uint8_t *sig, size_t sig_size, TPMT_SIGNATURE *ret_signature)
{
	_cleanup_(ECDSA_SIG_freep) ECDSA_SIG *ecdsa = NULL;
	TPMT_SIGNATURE out = { .sigAlg = TPM2_ALG_RSASSA };
	const uint8_t *p = sig;

	if (pub->publicArea.type == TPM2_ALG_RSA) {
		if (sig_size != 256)
			return -EBADMSG;
		out.signature.rsassa.hash = TPM2_ALG_SHA256;
		out.signature.rsassa.sig.size = 256;
		memcpy(out.signature.rsassa.sig.buffer, sig, 256);
	} else {
		ERR_set_mark();
		ecdsa = d2i_ECDSA_SIG(NULL, &p, (long)sig_size);
		ERR_pop_to_mark();
		out.sigAlg = TPM2_ALG_ECDSA;
		out.signature.ecdsa.hash = TPM2_ALG_SHA256;
		out.signature.ecdsa.signatureR.size = out.signature.ecdsa.signatureS.size = 32;
		if (ecdsa == NULL || p != sig + sig_size ||
		    BN_bn2binpad(ECDSA_SIG_get0_r(ecdsa), out.signature.ecdsa.signatureR.buffer, 32) != 32 ||
		    BN_bn2binpad(ECDSA_SIG_get0_s(ecdsa), out.signature.ecdsa.signatureS.buffer, 32) != 32)
			return -EBADMSG;
	}
	*ret_signature = out;
	return 0;
}

static bool is_signed(OSSL_LIB_CTX *libctx, const struct sealfile *file, const struct policyfile *policy)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = pkey_of(libctx, file->signer, file->signer_size);
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *pctx = pkey == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(libctx, pkey, NULL);
	_cleanup_(EVP_MD_freep) EVP_MD *md = EVP_MD_fetch(libctx, "SHA256", NULL);
	TPM2B_DIGEST digest;
	bool ok;

	if (pctx == NULL || md == NULL || policy_to_sign(libctx, policy->policy, policy->ref, policy->ref_size, &digest) < 0)
		return false;
	ERR_set_mark();
	ok = EVP_PKEY_verify_init(pctx) == 1 &&
	     (!EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING) == 1) &&
	     EVP_PKEY_CTX_set_signature_md(pctx, md) == 1 &&
	     EVP_PKEY_verify(pctx, policy->signature, policy->signature_size, digest.buffer, digest.size) == 1;
	ERR_pop_to_mark();
	return ok;
}

/* ---- choosing ----------------------------------------------------------- */

static uint32_t differing(const struct agent_pcr_values *a, const struct agent_pcr_values *b)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++)
		if ((a->mask & UINT32_C(1) << i) && memcmp(a->value[i], b->value[i], AGENT_TPM_PCR_SIZE) != 0)
			mask |= UINT32_C(1) << i;
	return mask;
}

static unsigned n_bits(uint32_t mask)
{
	unsigned n = 0;

	for (; mask != 0; mask &= mask - 1)
		n++;
	return n;
}

int policy_fail_pcr(const struct agent_pcr_values *want, const struct agent_pcr_values *now, struct agent_error **err)
{
	uint32_t mask = differing(want, now);
	char list[PCR_LIST_MAX];

	if (mask == 0)
		return agent_error_set(err, -EPERM, "seal.pcr", "PCRs changed while the secret was being unsealed; try again");
	pcr_list(mask, list);
	return agent_error_set(err, -EPERM, "seal.pcr",
			       "PCR %s: not the value the secret was sealed to; other software or settings were started, or more than then", list);
}

int policy_find(OSSL_LIB_CTX *libctx, const struct sealfile *file, const char *text, size_t size, const struct agent_pcr_values *now,
		struct policyfile *ret_policy, struct agent_error **err)
{
	struct buf in = buf_from(text, size);
	unsigned n_foreign = 0, n_wrong = 0, n_good = 0;
	struct agent_pcr_values nearest = { 0 };
	uint8_t signer_hash[32];
	struct part key = { file->signer, file->signer_size };
	char list[PCR_LIST_MAX];

	if (size > AGENT_POLICY_MAX)
		return agent_error_set(err, -EBADMSG, "seal.policy", "policy signatures are %zu bytes, limit %d", size, AGENT_POLICY_MAX);
	if (hash(libctx, &key, 1, signer_hash) < 0)
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	while (buf_left(&in) > 0) {
		uint8_t digest[POLICY_SIZE] = { 0 };
		struct policyfile policy;
		int r;

		r = policyfile_next(&in, &policy, err);
		if (r < 0)
			return r;
		/* Another set of PCRs may be a weaker one: it was not what the secret was sealed with. */
		if (policy.pcrs.mask != file->pcrs.mask || policy.ref_size != file->ref_size ||
		    memcmp(policy.ref, file->ref, file->ref_size) != 0)
			continue;
		if (memcmp(policy.signer_hash, signer_hash, sizeof(signer_hash)) != 0) {
			n_foreign++;
			continue;
		}
		if (policy_add_pcr(libctx, &policy.pcrs, digest) < 0)
			return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
		if (memcmp(digest, policy.policy, POLICY_SIZE) != 0 || !is_signed(libctx, file, &policy)) {
			n_wrong++;
			continue;
		}
		if (differing(&policy.pcrs, now) == 0) {
			*ret_policy = policy;
			return 0;
		}
		if (n_good++ == 0 || n_bits(differing(&policy.pcrs, now)) < n_bits(differing(&nearest, now)))
			nearest = policy.pcrs;
	}
	if (n_wrong > 0)
		return agent_error_set(err, -EKEYREJECTED, "seal.signature", "%u policy signature%s not genuine: made for other values or by another key",
				       n_wrong, n_wrong == 1 ? " is" : "s are");
	if (n_good > 0)
		return policy_fail_pcr(&nearest, now, err);
	if (n_foreign > 0)
		return agent_error_set(err, -EKEYREJECTED, "seal.signature",
				       "policy signatures for this secret are by another key than the one it was sealed with");
	pcr_list(file->pcrs.mask, list);
	return agent_error_set(err, -EPERM, "seal.policy", "the secret needs a policy signature over PCR %s with its reference, and none was given",
			       list);
}

/* ---- signing ------------------------------------------------------------ */

int agent_policy_sign(struct agent_signer *signer, const struct agent_pcr_values *values, const uint8_t *ref, size_t ref_size,
		      char **ret_text, size_t *ret_size, struct agent_error **err)
{
	enum agent_sign_scheme scheme = AGENT_SIGN_ECDSA;
	struct policyfile policy = { 0 };
	TPM2B_PUBLIC pub;
	TPM2B_DIGEST digest;
	TPM2B_NAME name;
	const uint8_t *spki;
	struct part key;
	char *text;
	size_t n;
	int r;

	if (signer == NULL || values == NULL || ret_text == NULL || ret_size == NULL || (ref == NULL && ref_size > 0) ||
	    ref_size > AGENT_POLICY_REF_MAX)
		return agent_error_set(err, -EINVAL, "seal.argument", "no signer, no PCR values, or a reference over %d bytes", AGENT_POLICY_REF_MAX);
	r = policy_check_mask(values->mask, err);
	if (r < 0)
		return r;
	agent_signer_get_public(signer, &spki, &n);
	r = policy_key(NULL, spki, n, &pub, &name, err);
	if (r < 0)
		return r;
	if (pub.publicArea.type == TPM2_ALG_RSA)
		scheme = AGENT_SIGN_RSA_PKCS1;
	policy.pcrs = *values;
	if (ref_size > 0)
		memcpy(policy.ref, ref, ref_size);
	policy.ref_size = ref_size;
	key = (struct part){ spki, n };
	if (hash(NULL, &key, 1, policy.signer_hash) < 0 || policy_add_pcr(NULL, values, policy.policy) < 0 ||
	    policy_to_sign(NULL, policy.policy, ref, ref_size, &digest) < 0)
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	r = agent_signer_sign(signer, scheme, AGENT_HASH_SHA256, digest.buffer, digest.size, policy.signature, &policy.signature_size, err);
	if (r < 0)
		return agent_error_prefix(err, r, "signing a policy");
	r = policyfile_write(&policy, &text, &n, err);
	if (r < 0)
		return r;
	*ret_text = text;
	*ret_size = n;
	return 0;
}
