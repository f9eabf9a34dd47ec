/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/attest.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tpm/connection.h"
#include "tpm/key_inside.h"

/*
 * Endorsement key and certificate as the TCG EK Credential Profile 2.5 places them: templates L-1 and L-2 (B.3), their
 * certificates in NV, further certificates of the chain from 0x01c00100 on. All of it is the TPM maker's word, so it is
 * bounded and parsed, and given on unverified: the verifier knows the makers.
 */
#define CERT_MAX 4096
#define CHAIN_INDEX 0x01c00100
#define CHAIN_N_MAX 8
#define CHAIN_MAX 12288
/* Asked for at once; a TPM whose TPM_PT_NV_BUFFER_MAX is less would refuse, none is known. */
#define CHUNK 512

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)

/* EK Credential Profile, B.3: PolicySecret(TPM_RH_ENDORSEMENT) with SHA-256 */
#define EK_POLICY                                                                                                              \
	{ .size = 32, .buffer = { 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, \
				  0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa } }
#define EK_ATTRIBUTES                                                                                                              \
	(TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY | \
	 TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)
#define EK_SYMMETRIC { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB }

static const struct ek_row {
	enum agent_ek_type type;
	const char *name;
	uint32_t cert_index;
	TPM2B_PUBLIC template;
} ek_rows[] = {
	{ AGENT_EK_RSA_2048, "RSA-2048", 0x01c00002,
	  { .publicArea = { .type = TPM2_ALG_RSA, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = EK_ATTRIBUTES, .authPolicy = EK_POLICY,
			    .parameters.rsaDetail = { .symmetric = EK_SYMMETRIC, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048 },
			    .unique.rsa.size = 256 } } },
	{ AGENT_EK_EC_P256, "EC P-256", 0x01c0000a,
	  { .publicArea = { .type = TPM2_ALG_ECC, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = EK_ATTRIBUTES, .authPolicy = EK_POLICY,
			    .parameters.eccDetail = { .symmetric = EK_SYMMETRIC, .scheme.scheme = TPM2_ALG_NULL,
						      .curveID = TPM2_ECC_NIST_P256, .kdf.scheme = TPM2_ALG_NULL },
			    .unique.ecc = { .x.size = 32, .y.size = 32 } } } },
};

struct ek_work {
	const struct ek_row *row;
	TPMT_PUBLIC pub;
	/* NV */
	uint32_t index;
	uint8_t *data;
	size_t max, size;
	bool is_there, is_too_large;
};

static TSS2_RC attempt_make(struct agent_tpm *tpm, void *userdata)
{
	static const TPM2B_SENSITIVE_CREATE sensitive;
	static const TPM2B_DATA outside;
	static const TPML_PCR_SELECTION pcrs;
	struct ek_work *w = userdata;
	ESYS_TR primary = ESYS_TR_NONE;
	TPM2B_PUBLIC *pub = NULL;
	TSS2_RC rc;

	rc = Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
				&w->row->template, &outside, &pcrs, &primary, &pub, NULL, NULL, NULL);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	w->pub = pub->publicArea;
	Esys_Free(pub);
	(void)Esys_FlushContext(tpm->esys, primary);
	return TSS2_RC_SUCCESS;
}

/* Append the index's bytes to @data. The profile has it readable with its empty authValue or by the owner. */
static TSS2_RC attempt_read(struct agent_tpm *tpm, void *userdata)
{
	struct ek_work *w = userdata;
	TPM2B_NV_PUBLIC *pub = NULL;
	TPMA_NV attributes = 0;
	ESYS_TR tr = ESYS_TR_NONE;
	size_t size = 0, begin = w->size, n = 0;
	TSS2_RC rc;

	w->is_there = w->is_too_large = false;
	rc = Esys_TR_FromTPMPublic(tpm->esys, w->index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &tr);
	if (rc_classify(rc) == RC_HANDLE)
		return TSS2_RC_SUCCESS;
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = Esys_NV_ReadPublic(tpm->esys, tr, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &pub, NULL);
	if (rc == TSS2_RC_SUCCESS) {
		size = pub->nvPublic.dataSize;
		attributes = pub->nvPublic.attributes;
	}
	Esys_Free(pub);
	w->is_there = (attributes & TPMA_NV_WRITTEN) != 0;
	w->is_too_large = size > w->max - begin;
	while (rc == TSS2_RC_SUCCESS && w->is_there && !w->is_too_large && n < size) {
		UINT16 want = (UINT16)(size - n < CHUNK ? size - n : CHUNK);
		TPM2B_MAX_NV_BUFFER *in = NULL;

		rc = Esys_NV_Read(tpm->esys, attributes & TPMA_NV_AUTHREAD ? tr : ESYS_TR_RH_OWNER, tr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
				  ESYS_TR_NONE, want, (UINT16)n, &in);
		if (rc == TSS2_RC_SUCCESS && in->size != want)
			rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
		if (rc == TSS2_RC_SUCCESS)
			memcpy(w->data + begin + n, in->buffer, want);
		Esys_Free(in);
		n += want;
	}
	(void)Esys_TR_Close(tpm->esys, &tr);
	if (rc == TSS2_RC_SUCCESS && w->is_there && !w->is_too_large)
		w->size = begin + size;
	return rc;
}

static int read_index(struct agent_tpm *tpm, struct ek_work *w, struct agent_error **err)
{
	int r = tpm_run(tpm, "reading an EK certificate", TPM_RUN_NO_SRK, attempt_read, w, err);

	if (r == 0 && w->is_too_large)
		r = agent_error_set(err, -EBADMSG, "tpm.ek-certificate", "NV index 0x%08" PRIx32 " is too large for a certificate", w->index);
	return r;
}

/* RSA keys in EK certificates may say RSAES-OAEP, which libcrypto does not take: compare the bits of the key. */
static bool is_of_key(const X509 *cert, EVP_PKEY *pkey)
{
	const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
	unsigned char *der = NULL;
	int n = i2d_PublicKey(pkey, &der);
	bool is_same = bits != NULL && n > 0 && bits->length == n && memcmp(bits->data, der, (size_t)n) == 0;

	OPENSSL_free(der);
	return is_same;
}

/*
 * DER certificates one after the other, to PEM. Chips fill the rest of an index with zeros or ones. @pkey, if not NULL,
 * has to be that of the first.
 */
static int certs_to_pem(OSSL_LIB_CTX *libctx, const uint8_t *data, size_t size, EVP_PKEY *pkey, BIO *out, struct agent_error **err)
{
	const unsigned char *at = data, *end = data + size;

	while (at < end && *at != 0 && *at != 0xff) {
		_cleanup_(X509_freep) X509 *cert = X509_new_ex(libctx, NULL);

		if (cert == NULL)
			return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
		if (d2i_X509(&cert, &at, (long)(end - at)) == NULL)
			return agent_error_set(err, -EBADMSG, "tpm.ek-certificate", "what the TPM holds as EK certificate is none");
		if (pkey != NULL && !is_of_key(cert, pkey))
			return agent_error_set(err, -EBADMSG, "tpm.ek-certificate", "the EK certificate is for another key than this TPM's");
		pkey = NULL;
		if (PEM_write_bio_X509(out, cert) != 1)
			return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	}
	for (; at < end; at++)
		if (*at != 0 && *at != 0xff)
			return agent_error_set(err, -EBADMSG, "tpm.ek-certificate", "there are bytes after the EK certificate");
	return 0;
}

static int make_chain(struct agent_tpm *tpm, struct ek_work *w, EVP_PKEY *pkey, struct agent_ek *ek, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *out = BIO_new(BIO_s_mem());
	uint8_t data[CHAIN_MAX];
	char *text = NULL;
	long n;
	int r;

	if (out == NULL)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	w->data = data;
	w->max = CERT_MAX;
	w->index = w->row->cert_index;
	r = read_index(tpm, w, err);
	if (r < 0 || !w->is_there)
		return r;
	r = certs_to_pem(tpm->libctx, data, w->size, pkey, out, err);
	w->size = 0;
	w->max = sizeof(data);
	for (unsigned i = 0; r == 0 && i < CHAIN_N_MAX; i++) {
		w->index = CHAIN_INDEX + i;
		r = read_index(tpm, w, err);
		if (!w->is_there)
			break;
	}
	if (r == 0)
		r = certs_to_pem(tpm->libctx, data, w->size, NULL, out, err);
	if (r < 0)
		return r;
	n = BIO_get_mem_data(out, &text);
	if (n <= 0 || (size_t)n >= sizeof(ek->chain_pem))
		return agent_error_set(err, -EBADMSG, "tpm.ek-certificate", "the EK certificate chain has %ld bytes of PEM", n);
	memcpy(ek->chain_pem, text, (size_t)n);
	ek->chain_size = (size_t)n;
	ek->has_certificate = 1;
	return 0;
}

static int make_key(struct agent_tpm *tpm, struct ek_work *w, EVP_PKEY **ret_pkey, struct agent_ek *ek, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	unsigned char *out = ek->spki;
	const struct key_type *kt;
	int r, n;

	r = tpm_run(tpm, "making the endorsement key", TPM_RUN_NO_SRK, attempt_make, w, &e);
	if (r < 0 && strcmp(agent_error_name(e), "tpm.auth") == 0)
		return agent_error_set(err, -EPERM, "tpm.ek-auth", "the endorsement hierarchy has a password, so its key cannot be read");
	if (r < 0 && strcmp(agent_error_name(e), "tpm.refused") == 0)
		return agent_error_set(err, -EOPNOTSUPP, "tpm.ek", "this TPM makes no %s endorsement key: %s", w->row->name, agent_error_message(e));
	if (r < 0)
		return agent_error_move(err, &e);
	kt = key_type_of(&w->pub);
	*ret_pkey = kt == NULL ? NULL : kt->get_public(kt, tpm->libctx, &w->pub);
	n = *ret_pkey == NULL ? 0 : i2d_PUBKEY(*ret_pkey, NULL);
	if (n <= 0 || (size_t)n > sizeof(ek->spki))
		return agent_error_set(err, -EIO, "tpm.answer", "the TPM's endorsement key is no %s key", w->row->name);
	ek->spki_size = (size_t)i2d_PUBKEY(*ret_pkey, &out);
	return 0;
}

int agent_tpm_read_ek(struct agent_tpm *tpm, enum agent_ek_type type, struct agent_ek *ret_ek, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	struct agent_ek ek = { 0 };
	struct ek_work w = { 0 };
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(ek_rows); i++)
		if (ek_rows[i].type == type)
			w.row = &ek_rows[i];
	if (tpm == NULL || ret_ek == NULL || w.row == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM, or a type of endorsement key that is not known");
	ERR_set_mark();
	r = make_key(tpm, &w, &pkey, &ek, err);
	if (r == 0)
		r = make_chain(tpm, &w, pkey, &ek, err);
	ERR_pop_to_mark();
	if (r == 0)
		*ret_ek = ek;
	return r;
}
