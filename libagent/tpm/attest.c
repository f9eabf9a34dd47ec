/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/attest.h>

#include <errno.h>
#include <string.h>

#include <tss2/tss2_mu.h>

#include "tpm/key_inside.h"
#include "tpm/session.h"
#include "tpm/words.h"

/* A quote is asked for again when a PCR changed between reading it and quoting it. */
#define QUOTE_TRIES 3

/* Like the other keys, and restricted: it signs nothing that begins like a statement unless the TPM made it. */
static const TPM2B_PUBLIC ak_template = {
	.publicArea = {
		.type = TPM2_ALG_ECC,
		.nameAlg = TPM2_ALG_SHA256,
		.objectAttributes = KEY_ATTRIBUTES | TPMA_OBJECT_RESTRICTED,
		.parameters.eccDetail = {
			.symmetric.algorithm = TPM2_ALG_NULL,
			.scheme = { .scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },
			.curveID = TPM2_ECC_NIST_P256,
			.kdf.scheme = TPM2_ALG_NULL,
		},
	},
};

/* TPM2_Certify and TPM2_Quote take the scheme of the key. */
static const TPMT_SIG_SCHEME key_scheme = { .scheme = TPM2_ALG_NULL };

struct evidence {
	struct agent_key *key; /* NULL: quote */
	struct agent_key *ak;
	TPM2B_DATA nonce;
	uint32_t pcr_mask;
	uint32_t pcr_read; /* those the TPM gave */
	struct agent_attest *out;
	TPMT_SIGNATURE signature;
};

int agent_attest_key_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags, struct agent_key **ret_key,
			  struct agent_error **err)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	struct tpm_object *object = NULL;
	int r, is_new = 0;

	if (tpm == NULL || ret_key == NULL || (flags & ~(unsigned)AGENT_TPM_CREATE) != 0)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM or unknown flags 0x%x", flags);
	r = tpm_check_name(name, err);
	if (r < 0)
		return r;
	if (flags & AGENT_TPM_CREATE) {
		r = object_exists(dir_fd, name, err);
		if (r < 0)
			return r;
		is_new = r == 0;
	}
	r = is_new ? object_create(tpm, &ak_template, &object, err) : object_open_restricted(tpm, dir_fd, name, &object, err);
	if (r == 0)
		r = key_from_object(object, name, TPMA_OBJECT_SIGN_ENCRYPT, &key, err);
	if (r < 0)
		return r;
	if (!attest_is_key_area(&key->object->pub.publicArea))
		return agent_error_set(err, -EBADMSG, "tpm.key-type", "%s.pem is not an attestation key (restricted, ECDSA P-256)", name);
	if (is_new) {
		r = object_store(key->object, dir_fd, name, err);
		if (r < 0)
			return r;
	}
	*ret_key = TAKE_PTR(key);
	return 0;
}

/* ---- in the TPM --------------------------------------------------------- */

static TSS2_RC keep_statement(struct evidence *e, const TPM2B_ATTEST *statement, const TPMT_SIGNATURE *signature)
{
	if (statement->size > sizeof(e->out->statement))
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	memcpy(e->out->statement, statement->attestationData, statement->size);
	e->out->statement_size = statement->size;
	e->signature = *signature;
	return TSS2_RC_SUCCESS;
}

/* Both keys have an authValue, and one session authorises one of them. */
static TSS2_RC attempt_certify(struct agent_tpm *tpm, void *userdata)
{
	struct evidence *e = userdata;
	TPM2B_ATTEST *statement = NULL;
	TPMT_SIGNATURE *signature = NULL;
	ESYS_TR session = ESYS_TR_NONE, ak_session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = object_need(e->key->object);
	if (rc == TSS2_RC_SUCCESS)
		rc = object_need(e->ak->object);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = session_start_plain(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_start_plain(tpm, &ak_session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, 0);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, ak_session, 0);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_Certify(tpm->esys, e->key->object->handle, e->ak->object->handle, session, ak_session, ESYS_TR_NONE, &e->nonce,
				  &key_scheme, &statement, &signature);
	session_end(tpm, &session, rc, true);
	session_end(tpm, &ak_session, rc, true);
	if (rc == TSS2_RC_SUCCESS)
		rc = keep_statement(e, statement, signature);
	Esys_Free(statement);
	Esys_Free(signature);
	return rc;
}

static TPML_PCR_SELECTION selection_of(uint32_t mask)
{
	return (TPML_PCR_SELECTION){
		.count = 1,
		.pcrSelections[0] = { .hash = TPM2_ALG_SHA256,
				      .sizeofSelect = 3,
				      .pcrSelect = { (BYTE)mask, (BYTE)(mask >> 8), (BYTE)(mask >> 16) } },
	};
}

/* The TPM gives at most 8 values at a time, and says which. The quote tells whether they are true. */
static TSS2_RC read_pcrs(struct agent_tpm *tpm, struct evidence *e)
{
	uint32_t left = e->pcr_mask;

	e->pcr_read = 0;
	while (left != 0) {
		TPML_PCR_SELECTION in = selection_of(left), *given = NULL;
		TPML_DIGEST *values = NULL;
		uint32_t mask = 0;
		UINT32 n = 0;
		TSS2_RC rc;

		rc = Esys_PCR_Read(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &in, NULL, &given, &values);
		if (rc != TSS2_RC_SUCCESS)
			return rc;
		if (given->count == 1 && given->pcrSelections[0].hash == TPM2_ALG_SHA256)
			for (unsigned i = 0; i < given->pcrSelections[0].sizeofSelect && i < 3; i++)
				mask |= (uint32_t)given->pcrSelections[0].pcrSelect[i] << 8 * i;
		mask &= left;
		for (unsigned i = 0; i < AGENT_TPM_N_PCRS && rc == TSS2_RC_SUCCESS; i++) {
			if (!(mask & 1u << i))
				continue;
			if (n >= values->count || n >= ARRAY_SIZE(values->digests) || values->digests[n].size != AGENT_TPM_PCR_SIZE)
				rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
			else
				memcpy(e->out->pcrs[i], values->digests[n++].buffer, AGENT_TPM_PCR_SIZE);
		}
		Esys_Free(given);
		Esys_Free(values);
		if (rc != TSS2_RC_SUCCESS)
			return rc;
		if (mask == 0) /* no such bank or no such PCR */
			return TSS2_RC_SUCCESS;
		e->pcr_read |= mask;
		left &= ~mask;
	}
	return TSS2_RC_SUCCESS;
}

static TSS2_RC attempt_quote(struct agent_tpm *tpm, void *userdata)
{
	struct evidence *e = userdata;
	TPML_PCR_SELECTION selection = selection_of(e->pcr_mask);
	TPM2B_ATTEST *statement = NULL;
	TPMT_SIGNATURE *signature = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	rc = read_pcrs(tpm, e);
	if (rc != TSS2_RC_SUCCESS || e->pcr_read != e->pcr_mask)
		return rc;
	rc = object_need(e->ak->object);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = session_start_plain(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, 0);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_Quote(tpm->esys, e->ak->object->handle, session, ESYS_TR_NONE, ESYS_TR_NONE, &e->nonce, &key_scheme, &selection,
				&statement, &signature);
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS)
		rc = keep_statement(e, statement, signature);
	Esys_Free(statement);
	Esys_Free(signature);
	return rc;
}

/* ---- with their errors -------------------------------------------------- */

static int put_public(const struct agent_key *key, uint8_t out[AGENT_TPM_PUBLIC_MAX], size_t *ret_size, struct agent_error **err)
{
	size_t n = 0;

	if (Tss2_MU_TPM2B_PUBLIC_Marshal(&key->object->pub, out, AGENT_TPM_PUBLIC_MAX, &n) != TSS2_RC_SUCCESS)
		return agent_error_set(err, -EIO, "tpm.public", "the public area of key %s cannot be written", key->name);
	*ret_size = n;
	return 0;
}

static int check_request(struct agent_key *key, struct agent_key *ak, const uint8_t *nonce, size_t nonce_size,
			 const struct agent_attest *ret_attest, struct evidence *ret_evidence, struct agent_error **err)
{
	struct evidence e = { .key = key, .ak = ak };
	int r;

	if (ak == NULL || nonce == NULL || ret_attest == NULL)
		return agent_error_set(err, -EINVAL, "attest.argument", "no attestation key or nonce");
	if (!attest_is_key_area(&ak->object->pub.publicArea))
		return agent_error_set(err, -EINVAL, "attest.ak", "key %s is not an attestation key", ak->name);
	if (key != NULL && key->object->tpm != ak->object->tpm)
		return agent_error_set(err, -EINVAL, "attest.argument", "keys %s and %s are not of one TPM", key->name, ak->name);
	r = attest_check_nonce(nonce_size, err);
	if (r < 0)
		return r;
	e.nonce.size = (UINT16)nonce_size;
	memcpy(e.nonce.buffer, nonce, nonce_size);
	*ret_evidence = e;
	return 0;
}

/* Both forms of the signature, and the public areas. */
static int finish(struct evidence *e, struct agent_error **err)
{
	const struct key_type *kt = e->ak->kt;
	struct agent_attest *a = e->out;
	size_t n = 0;
	int r;

	if (e->signature.sigAlg != TPM2_ALG_ECDSA || kt->encode(kt, &e->signature, a->signature, &a->signature_size) < 0 ||
	    Tss2_MU_TPMT_SIGNATURE_Marshal(&e->signature, a->tpm_signature, sizeof(a->tpm_signature), &n) != TSS2_RC_SUCCESS)
		return agent_error_set(err, -EIO, "tpm.answer", "the TPM's statement has no ECDSA P-256 signature");
	a->tpm_signature_size = n;
	r = put_public(e->ak, a->ak_public, &a->ak_public_size, err);
	if (r == 0 && e->key != NULL)
		r = put_public(e->key, a->key_public, &a->key_public_size, err);
	return r;
}

static int fail_answer(const struct agent_error *why, struct agent_error **err)
{
	return agent_error_set(err, -EIO, "tpm.answer", "the TPM's statement does not stand up to a check: %s", agent_error_message(why));
}

int agent_attest_certify(struct agent_key *key, struct agent_key *ak, const uint8_t *nonce, size_t nonce_size,
			 struct agent_attest *ret_attest, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct agent_attest a = { 0 };
	struct evidence e;
	int r;

	if (key == NULL)
		return agent_error_set(err, -EINVAL, "attest.argument", "no key to certify");
	r = check_request(key, ak, nonce, nonce_size, ret_attest, &e, err);
	if (r < 0)
		return r;
	e.out = &a;
	r = tpm_run(ak->object->tpm, "certifying a key", 0, attempt_certify, &e, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key %s", key->name);
	r = finish(&e, err);
	if (r < 0)
		return r;
	if (agent_attest_verify_certify(ak->object->tpm->ctx, a.ak_public, a.ak_public_size, nonce, nonce_size, &a, 0, NULL, &why) < 0)
		return fail_answer(why, err);
	*ret_attest = a;
	return 0;
}

int agent_attest_quote(struct agent_key *ak, uint32_t pcr_mask, const uint8_t *nonce, size_t nonce_size,
		       struct agent_attest *ret_attest, struct agent_error **err)
{
	struct agent_attest a;
	struct evidence e;
	int r;

	r = check_request(NULL, ak, nonce, nonce_size, ret_attest, &e, err);
	if (r < 0)
		return r;
	if (pcr_mask == 0 || pcr_mask >> AGENT_TPM_N_PCRS != 0)
		return agent_error_set(err, -EINVAL, "attest.pcr", "a quote covers at least one of the PCRs 0 to %d", AGENT_TPM_N_PCRS - 1);
	e.pcr_mask = pcr_mask;
	e.out = &a;
	for (unsigned n = 0; n < QUOTE_TRIES; n++) {
		_cleanup_error_ struct agent_error *why = NULL;

		memset(&a, 0, sizeof(a));
		a.pcr_mask = pcr_mask;
		r = tpm_run(ak->object->tpm, "quoting PCRs", 0, attempt_quote, &e, err);
		if (r < 0)
			return r;
		if (e.pcr_read != pcr_mask)
			return agent_error_set(err, -EOPNOTSUPP, "tpm.pcr-bank", "the TPM keeps no SHA-256 values of PCRs 0x%06x",
					       pcr_mask & ~e.pcr_read);
		r = finish(&e, err);
		if (r < 0)
			return r;
		r = agent_attest_verify_quote(ak->object->tpm->ctx, a.ak_public, a.ak_public_size, nonce, nonce_size, pcr_mask, &a, NULL,
					      &why);
		if (r == 0) {
			*ret_attest = a;
			return 0;
		}
		if (strcmp(agent_error_name(why), "attest.pcrs") != 0)
			return fail_answer(why, err);
	}
	return agent_error_set(err, -EBUSY, "tpm.pcr-changing",
			       "a PCR changed each of %d times between reading and quoting it, or the values were changed on the bus", QUOTE_TRIES);
}

int agent_key_describe(const struct agent_key *key, struct agent_key_info *ret_info, struct agent_error **err)
{
	struct agent_key_info info = { 0 };
	int r;

	if (key == NULL || ret_info == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no key");
	info.attributes = key->object->pub.publicArea.objectAttributes;
	if (key->object->name.size > sizeof(info.name))
		return agent_error_set(err, -EINVAL, "tpm.name", "key %s has a Name of %u bytes", key->name, key->object->name.size);
	info.name_size = key->object->name.size;
	memcpy(info.name, key->object->name.name, info.name_size);
	r = put_public(key, info.public_area, &info.public_area_size, err);
	if (r < 0)
		return r;
	info.n_words = words_of_object(info.attributes, info.words);
	/* TPM 2.0 Part 3, 13.1: TPM2_Duplicate wants a policy session, and no session meets an empty policy. */
	if ((info.attributes & TPMA_OBJECT_FIXEDTPM) == 0 && key->object->pub.publicArea.authPolicy.size == 0 && info.n_words < AGENT_WORDS_MAX)
		info.words[info.n_words++] = "yet the TPM gives it to nobody: that needs a policy, and it has none (authPolicy empty)";
	*ret_info = info;
	return 0;
}
