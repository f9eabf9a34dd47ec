/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/seal.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/file.h"
#include "base/secret.h"
#include "tpm/object.h"
#include "tpm/policy.h"
#include "tpm/sealfile.h"
#include "tpm/session.h"

/* noDA: a wrong password must not lock the TPM for everybody, and wrong PCRs are not counted anyway. */
#define SEAL_ATTRIBUTES (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA)

/* Format-1 codes: bit 6 says parameter, bits 8 to 11 which: TPM 2.0 Part 2, 6.6.2 */
#define RC_NUMBERS UINT32_C(0xf40)

DEFINE_CLEANUP(EVP_CIPHER *, EVP_CIPHER_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

static int fail_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
}

/* ---- PCRs --------------------------------------------------------------- */

struct pcr_read {
	struct agent_pcr_values values;
	uint32_t missing; /* the TPM has no such PCRs */
};

/* Take what one TPM2_PCR_Read gave of @left; returns what is left then, or UINT32_MAX for an answer that makes no sense. */
static uint32_t take_pcrs(struct pcr_read *p, uint32_t left, const TPML_PCR_SELECTION *selection, const TPML_DIGEST *digests)
{
	const TPMS_PCR_SELECTION *s = &selection->pcrSelections[0];
	uint32_t n = 0;

	for (unsigned i = 0; i < AGENT_TPM_N_PCRS && selection->count == 1 && i / 8 < s->sizeofSelect; i++) {
		if (!(s->pcrSelect[i / 8] & 1u << i % 8))
			continue;
		if (!(left & UINT32_C(1) << i) || n == digests->count || digests->digests[n].size != AGENT_TPM_PCR_SIZE)
			return UINT32_MAX;
		memcpy(p->values.value[i], digests->digests[n++].buffer, AGENT_TPM_PCR_SIZE);
		left &= ~(UINT32_C(1) << i);
	}
	return left;
}

/* In an audit session: the answer has an HMAC, so nobody on the bus can have a secret sealed to PCR values of his choice. */
static TSS2_RC attempt_read_pcrs(struct agent_tpm *tpm, void *userdata)
{
	struct pcr_read *p = userdata;
	uint32_t left = p->values.mask;
	ESYS_TR session = ESYS_TR_NONE;
	UINT32 counter = 0, first_counter = 0;
	TSS2_RC rc;

	p->missing = 0;
	rc = session_start_salted(tpm, &session);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_AUDIT);
	while (rc == TSS2_RC_SUCCESS && left != 0) {
		TPML_PCR_SELECTION want, *selection = NULL;
		TPML_DIGEST *digests = NULL;
		uint32_t before = left;

		policy_selection(left, &want);
		rc = Esys_PCR_Read(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, &want, &counter, &selection, &digests);
		if (rc == TSS2_RC_SUCCESS) {
			left = take_pcrs(p, left, selection, digests);
			if (left == UINT32_MAX)
				rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
			else if (before == p->values.mask)
				first_counter = counter;
			else if (counter != first_counter)
				rc = TPM2_RC_RETRY; /* some are from before a change, some from after: read all again */
		}
		Esys_Free(selection);
		Esys_Free(digests);
		if (rc == TSS2_RC_SUCCESS && left == before) {
			p->missing = left;
			break;
		}
	}
	session_end(tpm, &session, rc, false);
	return rc;
}

int agent_pcr_read(struct agent_tpm *tpm, uint32_t pcr_mask, struct agent_pcr_values *ret_values, struct agent_error **err)
{
	struct pcr_read p = { .values.mask = pcr_mask };
	char list[PCR_LIST_MAX];
	int r;

	if (tpm == NULL || ret_values == NULL)
		return agent_error_set(err, -EINVAL, "seal.argument", "no TPM");
	r = policy_check_mask(pcr_mask, err);
	if (r < 0)
		return r;
	r = tpm_run(tpm, "reading PCRs", 0, attempt_read_pcrs, &p, err);
	if (r < 0)
		return r;
	if (p.missing != 0) {
		pcr_list(p.missing, list);
		return agent_error_set(err, -EOPNOTSUPP, "tpm.pcr-bank", "the TPM has no PCR %s in a SHA-256 bank", list);
	}
	*ret_values = p.values;
	return 0;
}

/* ---- encryption --------------------------------------------------------- */

/* AES-256-GCM, NIST SP 800-38D; the header is the additional data. Each key encrypts once. 0, -EBADMSG (wrong tag), -ENOMEM. */
static int crypt_bytes(OSSL_LIB_CTX *libctx, bool encrypt, const struct secret *key, const struct sealfile *file, const char *header,
		       size_t header_size, const uint8_t *in, uint8_t *out, uint8_t tag[SEALFILE_TAG_SIZE])
{
	_cleanup_(EVP_CIPHER_freep) EVP_CIPHER *cipher = EVP_CIPHER_fetch(libctx, "AES-256-GCM", NULL);
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, ok;

	/* 96 bits is the length of nonce that EVP expects */
	if (cipher == NULL || ctx == NULL || EVP_CipherInit_ex2(ctx, cipher, key->data, file->nonce, encrypt, NULL) != 1 ||
	    EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)header, (int)header_size) != 1 ||
	    EVP_CipherUpdate(ctx, out, &n, in, (int)file->secret_size) != 1 || (size_t)n != file->secret_size)
		return -ENOMEM;
	if (!encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEALFILE_TAG_SIZE, tag) != 1)
		return -ENOMEM;
	ERR_set_mark();
	ok = EVP_CipherFinal_ex(ctx, out + n, &n) == 1;
	ERR_pop_to_mark();
	if (!ok)
		return -EBADMSG;
	return encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEALFILE_TAG_SIZE, tag) != 1 ? -ENOMEM : 0;
}

/* ---- sealing ------------------------------------------------------------ */

/* The public area of what is sealed, all but the digest that the TPM adds. */
static int make_public(OSSL_LIB_CTX *libctx, const struct sealfile *file, TPM2B_PUBLIC *ret_pub, struct agent_error **err)
{
	TPM2B_PUBLIC pub = { .publicArea = { .type = TPM2_ALG_KEYEDHASH,
					     .nameAlg = TPM2_ALG_SHA256,
					     .objectAttributes = SEAL_ATTRIBUTES,
					     .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL } };
	uint8_t *digest = pub.publicArea.authPolicy.buffer;
	TPM2B_PUBLIC key;
	TPM2B_NAME name;
	int r = 0;

	if (file->policy == AGENT_SEAL_ALWAYS) {
		/* Without a policy the authValue alone counts, empty or not. */
		pub.publicArea.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
		*ret_pub = pub;
		return 0;
	}
	pub.publicArea.authPolicy.size = POLICY_SIZE;
	if (file->policy == AGENT_SEAL_PCR) {
		r = policy_add_pcr(libctx, &file->pcrs, digest);
	} else {
		r = policy_key(libctx, file->signer, file->signer_size, &key, &name, err);
		if (r < 0)
			return r;
		r = policy_add_authorize(libctx, &name, file->ref, file->ref_size, digest);
	}
	if (r == 0 && file->has_auth)
		r = policy_add_auth_value(libctx, digest);
	if (r < 0)
		return fail_memory(err);
	*ret_pub = pub;
	return 0;
}

struct seal {
	const struct secret *key;
	const struct agent_seal_options *options;
	TPM2B_PUBLIC pub;
	TPM2B_PRIVATE priv;
};

static TSS2_RC attempt_seal(struct agent_tpm *tpm, void *userdata)
{
	static const TPM2B_DATA outside;
	static const TPML_PCR_SELECTION pcrs;
	struct seal *s = userdata;
	TPM2B_SENSITIVE_CREATE sensitive = { 0 };
	TPM2B_PRIVATE *priv = NULL;
	TPM2B_PUBLIC *pub = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	objects_make_room(tpm);
	rc = session_start_salted(tpm, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = session_attributes(tpm, session, TPMA_SESSION_DECRYPT);
	if (rc == TSS2_RC_SUCCESS) {
		sensitive.sensitive.data.size = (UINT16)s->key->size;
		memcpy(sensitive.sensitive.data.buffer, s->key->data, s->key->size);
		sensitive.sensitive.userAuth.size = (UINT16)s->options->auth_size;
		if (s->options->auth_size > 0)
			memcpy(sensitive.sensitive.userAuth.buffer, s->options->auth, s->options->auth_size);
		rc = Esys_Create(tpm->esys, tpm->srk, session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &s->pub, &outside, &pcrs, &priv, &pub,
				 NULL, NULL, NULL);
		wipe(&sensitive, sizeof(sensitive));
	}
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS) {
		s->priv = *priv;
		s->pub.publicArea.unique = pub->publicArea.unique;
	}
	Esys_Free(priv);
	Esys_Free(pub);
	return rc;
}

static int check_auth(const uint8_t *auth, size_t auth_size, struct agent_error **err)
{
	/* The TPM cuts trailing zeros off, and ESYS did not always: TPM 2.0 Part 1, 19.6.4.3 */
	if ((auth == NULL && auth_size > 0) || auth_size > AGENT_SEAL_AUTH_MAX || (auth_size > 0 && auth[auth_size - 1] == 0))
		return agent_error_set(err, -EINVAL, "seal.argument", "a password is at most %d bytes, the last one not zero", AGENT_SEAL_AUTH_MAX);
	return 0;
}

/* From the options to what is written down; reads PCRs. */
static int plan(struct agent_tpm *tpm, const struct agent_seal_options *o, struct sealfile *file, struct agent_error **err)
{
	int r;

	r = check_auth(o->auth, o->auth_size, err);
	if (r < 0)
		return r;
	file->policy = o->policy;
	file->has_auth = o->auth_size > 0;
	switch (o->policy) {
	case AGENT_SEAL_ALWAYS:
		if (o->pcr_mask != 0 || o->expected != NULL || o->signer_size > 0 || o->ref_size > 0)
			return agent_error_set(err, -EINVAL, "seal.argument", "PCRs, a signer or a reference without a policy");
		return 0;
	case AGENT_SEAL_PCR:
		if (o->signer_size > 0 || o->ref_size > 0)
			return agent_error_set(err, -EINVAL, "seal.argument", "a signer or a reference without a signed policy");
		break;
	case AGENT_SEAL_SIGNED_PCR:
		if (o->expected != NULL)
			return agent_error_set(err, -EINVAL, "seal.argument", "expected values are the signer's to say in a signed policy");
		if (o->signer == NULL || o->signer_size == 0 || o->signer_size > sizeof(file->signer) || (o->ref == NULL && o->ref_size > 0) ||
		    o->ref_size > sizeof(file->ref))
			return agent_error_set(err, -EINVAL, "seal.argument", "no signer of at most %d bytes, or a reference over %d bytes",
					       SEALFILE_SIGNER_MAX, AGENT_POLICY_REF_MAX);
		memcpy(file->signer, o->signer, o->signer_size);
		file->signer_size = o->signer_size;
		if (o->ref_size > 0)
			memcpy(file->ref, o->ref, o->ref_size);
		file->ref_size = o->ref_size;
		break;
	default:
		return agent_error_set(err, -EINVAL, "seal.argument", "policy %d is unknown", (int)o->policy);
	}
	r = policy_check_mask(o->pcr_mask, err);
	if (r < 0)
		return r;
	if (o->expected == NULL)
		return agent_pcr_read(tpm, o->pcr_mask, &file->pcrs, err);
	if (o->expected->mask != o->pcr_mask)
		return agent_error_set(err, -EINVAL, "seal.argument", "expected values are of other PCRs than those to seal to");
	file->pcrs = *o->expected;
	return 0;
}

static int random_bytes(void *data, size_t size, struct agent_error **err)
{
	return getrandom(data, size, 0) == (ssize_t)size ? 0 : agent_error_set(err, -EIO, "seal.random", "no random numbers: %s", strerror(errno));
}

int agent_seal(struct agent_tpm *tpm, const uint8_t *secret, size_t secret_size, const struct agent_seal_options *options,
	       uint8_t **ret_sealed, size_t *ret_sealed_size, struct agent_error **err)
{
	static const struct agent_seal_options always;
	_cleanup_secret_ struct secret key = { 0 };
	_cleanup_free_ char *header = NULL;
	_cleanup_free_ uint8_t *out = NULL;
	struct sealfile file = { .blob.is_sealed = true, .secret_size = secret_size };
	struct seal s = { .key = &key, .options = options == NULL ? &always : options };
	size_t n;
	int r;

	if (tpm == NULL || secret == NULL || secret_size == 0 || ret_sealed == NULL || ret_sealed_size == NULL)
		return agent_error_set(err, -EINVAL, "seal.argument", "no TPM or no secret");
	if (secret_size > AGENT_SEAL_SECRET_MAX)
		return agent_error_set(err, -EMSGSIZE, "seal.size", "secret is %zu bytes, limit %d", secret_size, AGENT_SEAL_SECRET_MAX);
	r = plan(tpm, s.options, &file, err);
	if (r < 0)
		return r;
	r = make_public(tpm->libctx, &file, &s.pub, err);
	if (r < 0)
		return r;
	if (secret_alloc(&key, SEALFILE_KEY_SIZE) < 0)
		return fail_memory(err);
	key.size = SEALFILE_KEY_SIZE;
	r = random_bytes(key.data, key.size, err);
	if (r == 0)
		r = random_bytes(file.nonce, sizeof(file.nonce), err);
	if (r == 0)
		r = tpm_run(tpm, "sealing", TPM_RUN_SRK_AUTH, attempt_seal, &s, err);
	if (r < 0)
		return r;
	file.srk_name = tpm->srk_name;
	file.blob.parent = tpm->srk_handle;
	file.blob.has_empty_auth = !file.has_auth;
	file.blob.pub = s.pub;
	file.blob.priv = s.priv;
	r = sealfile_write_header(&file, &header, &n, err);
	if (r < 0)
		return r;
	out = malloc(n + secret_size + SEALFILE_TAG_SIZE);
	if (out == NULL)
		return fail_memory(err);
	memcpy(out, header, n);
	if (crypt_bytes(tpm->libctx, true, &key, &file, header, n, secret, out + n, out + n + secret_size) < 0)
		return fail_memory(err);
	*ret_sealed = TAKE_PTR(out);
	*ret_sealed_size = n + secret_size + SEALFILE_TAG_SIZE;
	return 0;
}

/* ---- unsealing ---------------------------------------------------------- */

enum outcome { GIVEN, PCR_DIFFERS, AUTH_WRONG, POLICY_FAILS, SIGNATURE_WRONG, BLOB_DAMAGED };

struct unseal {
	const struct sealfile *file;
	struct tpm_object *object;
	struct tpm_object *verifier;  /* SIGNED_PCR */
	struct policyfile policy;     /* SIGNED_PCR; its PCR values are those of now */
	TPMT_SIGNATURE signature;     /* of it */
	TPM2B_DIGEST to_sign;	      /* what it signs */
	TPM2B_DIGEST pcr_digest;
	struct secret key;
	bool is_pcr_right; /* PolicyPCR went well */
	enum outcome outcome; /* of an attempt that ended well for the connection */
};

/* What the TPM means by its refusals here; anything else is for tpm_run(). */
static TSS2_RC judge(struct unseal *u, TSS2_RC rc)
{
	if (!rc_is_from_tpm(rc))
		return rc;
	rc &= ~TSS2_RC_LAYER_MASK;
	switch (rc & TPM2_RC_FMT1 ? rc & ~RC_NUMBERS : rc) {
	case TPM2_RC_PCR_CHANGED:
		u->outcome = PCR_DIFFERS;
		return TSS2_RC_SUCCESS;
	case TPM2_RC_VALUE: /* of PolicyPCR: not this digest; of PolicyAuthorize: not this policy or ticket */
		u->outcome = u->is_pcr_right ? POLICY_FAILS : PCR_DIFFERS;
		return rc & TPM2_RC_P ? TSS2_RC_SUCCESS : rc;
	case TPM2_RC_POLICY_FAIL:
		u->outcome = POLICY_FAILS;
		return TSS2_RC_SUCCESS;
	default:
		u->outcome = AUTH_WRONG;
		return rc_classify(rc) == RC_AUTH && u->file->has_auth ? TSS2_RC_SUCCESS : rc;
	}
}

/* The TPM itself checks the signature over the approved policy, and gives a ticket that PolicyAuthorize believes. */
static TSS2_RC get_ticket(struct agent_tpm *tpm, struct unseal *u, TPMT_TK_VERIFIED *ret_ticket)
{
	TPMT_TK_VERIFIED *ticket = NULL;
	TSS2_RC rc;

	rc = object_need(u->verifier);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = Esys_VerifySignature(tpm->esys, u->verifier->handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &u->to_sign, &u->signature, &ticket);
	if (rc == TSS2_RC_SUCCESS)
		*ret_ticket = *ticket;
	Esys_Free(ticket);
	if (rc == TSS2_RC_SUCCESS || rc_is_from_tpm(rc))
		object_unload(u->verifier);
	return rc;
}

static TSS2_RC run_policy(struct agent_tpm *tpm, struct unseal *u, ESYS_TR session, const TPMT_TK_VERIFIED *ticket)
{
	TPM2B_DIGEST approved = { .size = POLICY_SIZE };
	TPM2B_NONCE ref = { .size = (UINT16)u->file->ref_size };
	TPML_PCR_SELECTION selection;
	TSS2_RC rc;

	policy_selection(u->file->pcrs.mask, &selection);
	rc = Esys_PolicyPCR(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &u->pcr_digest, &selection);
	u->is_pcr_right = rc == TSS2_RC_SUCCESS;
	if (rc == TSS2_RC_SUCCESS && u->verifier != NULL) {
		memcpy(approved.buffer, u->policy.policy, POLICY_SIZE);
		memcpy(ref.buffer, u->file->ref, u->file->ref_size);
		rc = Esys_PolicyAuthorize(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &approved, &ref, &u->verifier->name, ticket);
	}
	if (rc == TSS2_RC_SUCCESS && u->file->has_auth)
		rc = Esys_PolicyAuthValue(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE);
	return rc;
}

static TSS2_RC attempt_unseal(struct agent_tpm *tpm, void *userdata)
{
	struct unseal *u = userdata;
	bool has_policy = u->file->policy != AGENT_SEAL_ALWAYS, was_asked = false;
	TPM2B_SENSITIVE_DATA *data = NULL;
	TPMT_TK_VERIFIED ticket = { 0 };
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc = TSS2_RC_SUCCESS;

	u->outcome = GIVEN;
	if (u->verifier != NULL) {
		rc = get_ticket(tpm, u, &ticket);
		if (rc_is_from_tpm(rc) && (rc & ~RC_NUMBERS) == TPM2_RC_SIGNATURE) {
			u->outcome = SIGNATURE_WRONG;
			return TSS2_RC_SUCCESS;
		}
	}
	if (rc == TSS2_RC_SUCCESS) {
		rc = object_need(u->object);
		if (rc_is_from_tpm(rc) && (rc & TPM2_RC_FMT1) && (rc & TPM2_RC_P) && rc_classify(rc) == RC_OTHER) {
			u->outcome = BLOB_DAMAGED; /* a length in it, say; the rest of it has an HMAC of the SRK: RC_INTEGRITY */
			return TSS2_RC_SUCCESS;
		}
	}
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = has_policy ? session_start_policy(tpm, &session) : session_start_salted(tpm, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	if (has_policy)
		rc = run_policy(tpm, u, session, &ticket);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS) {
		rc = Esys_Unseal(tpm->esys, u->object->handle, session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
		was_asked = true;
	}
	session_end(tpm, &session, rc, was_asked);
	if (rc != TSS2_RC_SUCCESS)
		return judge(u, rc);
	if (data->size != SEALFILE_KEY_SIZE)
		rc = TSS2_ESYS_RC_MALFORMED_RESPONSE;
	else
		memcpy(u->key.data, data->buffer, SEALFILE_KEY_SIZE);
	wipe(data, sizeof(*data));
	Esys_Free(data);
	return rc;
}

/* Does the sealed object have the policy that the header tells? What the TPM enforces is the object's. */
static int check_object(OSSL_LIB_CTX *libctx, const struct sealfile *file, struct agent_error **err)
{
	const TPMT_PUBLIC *have = &file->blob.pub.publicArea, *want;
	TPM2B_PUBLIC pub;
	int r;

	r = make_public(libctx, file, &pub, err);
	if (r < 0)
		return r == -EOPNOTSUPP ? agent_error_set(err, -EBADMSG, "seal.file", "sealed file has an unusable signer") : r;
	want = &pub.publicArea;
	if (have->type != want->type || have->nameAlg != want->nameAlg || have->objectAttributes != want->objectAttributes ||
	    have->parameters.keyedHashDetail.scheme.scheme != TPM2_ALG_NULL || have->authPolicy.size != want->authPolicy.size ||
	    memcmp(have->authPolicy.buffer, want->authPolicy.buffer, want->authPolicy.size) != 0 ||
	    file->blob.has_empty_auth == file->has_auth || file->blob.priv.size == 0)
		return agent_error_set(err, -EBADMSG, "seal.file", "what the sealed file says does not belong to what is sealed in it");
	return 0;
}

/* The signature to show, if one is needed, and the objects to load. */
static int prepare(struct agent_tpm *tpm, const struct agent_unseal_options *o, struct unseal *u, struct agent_error **err)
{
	const struct sealfile *file = u->file;
	struct agent_pcr_values now;
	TPM2B_PUBLIC pub;
	TPM2B_NAME name;
	int r;

	if (file->policy == AGENT_SEAL_SIGNED_PCR) {
		r = agent_pcr_read(tpm, file->pcrs.mask, &now, err);
		if (r < 0)
			return r;
		r = policy_find(tpm->libctx, file, o->signatures == NULL ? "" : o->signatures, o->signatures == NULL ? 0 : o->signatures_size, &now,
				&u->policy, err);
		if (r < 0)
			return r;
		r = policy_key(tpm->libctx, file->signer, file->signer_size, &pub, &name, err);
		if (r < 0)
			return r;
		r = policy_signature(&pub, u->policy.signature, u->policy.signature_size, &u->signature);
		if (r < 0)
			return agent_error_set(err, -EKEYREJECTED, "seal.signature", "policy signature is not one of the signer's kind of key");
		if (policy_to_sign(tpm->libctx, u->policy.policy, file->ref, file->ref_size, &u->to_sign) < 0)
			return fail_memory(err);
		r = object_adopt(tpm, &pub, NULL, NULL, 0, &u->verifier, err);
		if (r < 0)
			return r;
	}
	if (file->policy != AGENT_SEAL_ALWAYS &&
	    policy_pcr_digest(tpm->libctx, u->verifier == NULL ? &file->pcrs : &u->policy.pcrs, &u->pcr_digest) < 0)
		return fail_memory(err);
	if (secret_alloc(&u->key, SEALFILE_KEY_SIZE) < 0)
		return fail_memory(err);
	u->key.size = SEALFILE_KEY_SIZE;
	return object_adopt(tpm, &file->blob.pub, &file->blob.priv, o->auth, o->auth_size, &u->object, err);
}

static int fail_damaged(struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "seal.file", "sealed file was damaged or changed: the TPM does not take what is sealed in it");
}

static int fail_outcome(struct agent_tpm *tpm, const struct unseal *u, struct agent_error **err)
{
	struct agent_pcr_values now;
	int r;

	switch (u->outcome) {
	case PCR_DIFFERS:
		r = agent_pcr_read(tpm, u->file->pcrs.mask, &now, err);
		if (r < 0)
			return r;
		return policy_fail_pcr(u->verifier == NULL ? &u->file->pcrs : &u->policy.pcrs, &now, err);
	case AUTH_WRONG:
		return agent_error_set(err, -EKEYREJECTED, "seal.auth", "wrong password for the sealed secret");
	case SIGNATURE_WRONG:
		return agent_error_set(err, -EKEYREJECTED, "seal.signature", "the TPM finds the policy signature not genuine");
	case BLOB_DAMAGED:
		return fail_damaged(err);
	case POLICY_FAILS:
	case GIVEN:
		break;
	}
	return agent_error_set(err, -EPERM, "seal.policy", "the TPM does not find the policy of the sealed secret fulfilled");
}

static bool is_own_srk(const struct agent_tpm *tpm, const struct sealfile *file)
{
	return file->srk_name.size == tpm->srk_name.size && memcmp(file->srk_name.name, tpm->srk_name.name, file->srk_name.size) == 0;
}

static int unseal_key(struct agent_tpm *tpm, const struct agent_unseal_options *o, struct unseal *u, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	int r;

	r = prepare(tpm, o, u, err);
	if (r < 0)
		return r;
	r = tpm_run(tpm, "unsealing", TPM_RUN_SRK_AUTH, attempt_unseal, u, &e);
	/* Not of this SRK, although the file names it, and it was looked at again. */
	if (r == -EKEYREJECTED && strcmp(agent_error_name(e), "tpm.foreign") == 0 && is_own_srk(tpm, u->file))
		return fail_damaged(err);
	if (r < 0)
		return agent_error_move(err, &e);
	return u->outcome == GIVEN ? 0 : fail_outcome(tpm, u, err);
}

static int check_file(struct agent_tpm *tpm, const struct sealfile *file, const struct agent_unseal_options *o, struct agent_error **err)
{
	int r;

	r = check_object(tpm->libctx, file, err);
	if (r < 0)
		return r;
	if (file->has_auth != (o->auth_size > 0))
		return agent_error_set(err, -EKEYREJECTED, "seal.auth",
				       file->has_auth ? "the secret is sealed with a password, and none was given" :
							"a password was given, but the secret is sealed without one");
	r = agent_tpm_open(tpm, err);
	if (r < 0)
		return r;
	if (!is_own_srk(tpm, file))
		return agent_error_set(err, -EKEYREJECTED, "tpm.foreign", "the secret was sealed by another TPM or storage root key");
	return 0;
}

int agent_unseal(struct agent_tpm *tpm, const uint8_t *sealed, size_t sealed_size, const struct agent_unseal_options *options,
		 uint8_t *secret, size_t secret_size, size_t *ret_size, struct agent_error **err)
{
	static const struct agent_unseal_options nothing;
	const struct agent_unseal_options *o = options == NULL ? &nothing : options;
	_cleanup_secret_ struct secret plain = { 0 };
	uint8_t tag[SEALFILE_TAG_SIZE];
	struct sealfile file;
	struct unseal u = { .file = &file };
	int r;

	if (tpm == NULL || sealed == NULL || secret == NULL || ret_size == NULL)
		return agent_error_set(err, -EINVAL, "seal.argument", "no TPM, no sealed bytes or no buffer");
	r = check_auth(o->auth, o->auth_size, err);
	if (r < 0)
		return r;
	r = sealfile_parse(sealed, sealed_size, &file, err);
	if (r < 0)
		return r;
	if (file.secret_size > secret_size)
		return agent_error_set(err, -ENOBUFS, "seal.buffer", "secret is %zu bytes, the buffer %zu", file.secret_size, secret_size);
	r = check_file(tpm, &file, o, err);
	if (r == 0)
		r = unseal_key(tpm, o, &u, err);
	if (r == 0 && secret_alloc(&plain, file.secret_size) < 0)
		r = fail_memory(err);
	if (r == 0) {
		memcpy(tag, file.tag, sizeof(tag));
		r = crypt_bytes(tpm->libctx, false, &u.key, &file, (const char *)file.header, file.header_size, file.ciphertext, plain.data, tag);
		if (r < 0)
			r = r == -ENOMEM ? fail_memory(err) :
					   agent_error_set(err, -EBADMSG, "seal.file", "sealed file was damaged or changed: it does not authenticate");
	}
	u.object = object_free(u.object);
	u.verifier = object_free(u.verifier);
	secret_free(&u.key);
	if (r < 0)
		return r;
	memcpy(secret, plain.data, file.secret_size);
	*ret_size = file.secret_size;
	return 0;
}

/* ---- files -------------------------------------------------------------- */

int agent_seal_file(struct agent_tpm *tpm, int dir_fd, const char *path, const uint8_t *secret, size_t secret_size,
		    const struct agent_seal_options *options, struct agent_error **err)
{
	_cleanup_free_ uint8_t *sealed = NULL;
	size_t n;
	int r;

	if (path == NULL)
		return agent_error_set(err, -EINVAL, "seal.argument", "no path");
	r = agent_seal(tpm, secret, secret_size, options, &sealed, &n, err);
	if (r < 0)
		return r;
	return file_replace_at(dir_fd, path, 0600, sealed, n, err);
}

int agent_unseal_file(struct agent_tpm *tpm, int dir_fd, const char *path, const struct agent_unseal_options *options, uint8_t *secret,
		      size_t secret_size, size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *sealed = NULL;
	size_t n;
	int r;

	if (path == NULL)
		return agent_error_set(err, -EINVAL, "seal.argument", "no path");
	r = file_read_at(dir_fd, path, AGENT_SEAL_MAX, &sealed, &n, err);
	if (r < 0)
		return r;
	r = agent_unseal(tpm, (const uint8_t *)sealed, n, options, secret, secret_size, ret_size, err);
	return r < 0 ? agent_error_prefix(err, r, "%s", path) : 0;
}

int agent_reseal_file(struct agent_tpm *tpm, int dir_fd, const char *path, const struct agent_unseal_options *old_options,
		      const struct agent_seal_options *new_options, struct agent_error **err)
{
	_cleanup_secret_ struct secret plain = { 0 };
	int r;

	if (secret_alloc(&plain, AGENT_SEAL_SECRET_MAX) < 0)
		return fail_memory(err);
	r = agent_unseal_file(tpm, dir_fd, path, old_options, plain.data, plain.capacity, &plain.size, err);
	if (r < 0)
		return r;
	return agent_seal_file(tpm, dir_fd, path, plain.data, plain.size, new_options, err);
}
