/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <tss2/tss2_mu.h>

#include "base/buf.h"
#include "tpm/connection.h"
#include "tpm/name.h"

/*
 * ESYS takes public area and Name of a persistent object from the answer as they come. The salt of our sessions is
 * encrypted to that public area, so somebody on the bus must not pair the pinned Name with a key of his own: compute
 * the Name from the very bytes.
 */
static TSS2_RC check_answer(struct agent_tpm *tpm, const TPM2B_NAME *name, TPMA_OBJECT *ret_attributes)
{
	struct buf b = buf_from(tpm->tcti.answer, tpm->tcti.answer_size);
	const uint8_t *area;
	uint16_t area_size;
	TPM2B_NAME computed;
	uint16_t tag;

	/* TPM 2.0 Part 3, 12.4.2: header without sessions, then outPublic, name, qualifiedName */
	if (buf_get_be16(&b, &tag) < 0 || tag != TPM2_ST_NO_SESSIONS || buf_skip(&b, 8) < 0 || buf_get_be16(&b, &area_size) < 0 ||
	    buf_get_bytes(&b, area_size, &area) < 0 || name_of_public(tpm->libctx, area, area_size, &computed) < 0)
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	/* TPM 2.0 Part 2, 12.2.4: type, nameAlg, objectAttributes */
	b = buf_from(area, area_size);
	if (buf_skip(&b, 4) < 0 || buf_get_be32(&b, ret_attributes) < 0)
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	if (computed.size != name->size || memcmp(computed.name, name->name, name->size) != 0)
		return TSS2_ESYS_RC_MALFORMED_RESPONSE;
	return TSS2_RC_SUCCESS;
}

TSS2_RC srk_read(struct agent_tpm *tpm, void *userdata)
{
	TPM2B_NAME *name = NULL;
	TPMA_OBJECT attributes = 0;
	ESYS_TR srk;
	TSS2_RC rc;

	(void)userdata;
	rc = Esys_TR_FromTPMPublic(tpm->esys, tpm->srk_handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &srk);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = Esys_TR_GetName(tpm->esys, srk, &name);
	if (rc == TSS2_RC_SUCCESS)
		rc = check_answer(tpm, name, &attributes);
	if (rc == TSS2_RC_SUCCESS) {
		tpm->srk = srk;
		tpm->srk_name = *name;
		tpm->srk_attributes = attributes;
	} else {
		(void)Esys_TR_Close(tpm->esys, &srk);
	}
	Esys_Free(name);
	return rc;
}

/*
 * The template Linux programs agree on (systemd, tpm2-openssl): ECC P-256, unique empty, noDA. TCG's and Windows' has 32
 * zero bytes in unique and is another key, which is why an SRK that exists is taken as it is.
 */
static TSS2_RC make_srk(struct agent_tpm *tpm, void *userdata)
{
	static const TPM2B_PUBLIC template = {
		.publicArea = {
			.type = TPM2_ALG_ECC,
			.nameAlg = TPM2_ALG_SHA256,
			.objectAttributes = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
					    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA,
			.parameters.eccDetail = {
				.symmetric = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB },
				.scheme.scheme = TPM2_ALG_NULL,
				.curveID = TPM2_ECC_NIST_P256,
				.kdf.scheme = TPM2_ALG_NULL,
			},
		},
	};
	static const TPM2B_SENSITIVE_CREATE sensitive;
	static const TPM2B_DATA outside;
	static const TPML_PCR_SELECTION pcrs;
	ESYS_TR primary = ESYS_TR_NONE, persistent = ESYS_TR_NONE;
	TSS2_RC rc;

	(void)userdata;
	rc = Esys_CreatePrimary(tpm->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template,
				&outside, &pcrs, &primary, NULL, NULL, NULL, NULL);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = Esys_EvictControl(tpm->esys, ESYS_TR_RH_OWNER, primary, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, tpm->srk_handle,
			       &persistent);
	if (rc == TSS2_RC_SUCCESS)
		(void)Esys_TR_Close(tpm->esys, &persistent);
	/* Made at the same moment by somebody else: srk_read() decides. */
	if (rc == TPM2_RC_NV_DEFINED)
		rc = TSS2_RC_SUCCESS;
	(void)Esys_FlushContext(tpm->esys, primary);
	return rc;
}

int agent_tpm_provision_srk(struct agent_tpm *tpm, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	int r;

	r = agent_tpm_open(tpm, &e);
	if (r != -ENOKEY)
		return r < 0 ? agent_error_move(err, &e) : 0;
	r = tpm_run(tpm, "making the storage root key", TPM_RUN_NO_SRK | TPM_RUN_OWNER_AUTH, make_srk, NULL, err);
	if (r < 0)
		return r;
	return agent_tpm_open(tpm, err);
}
