/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/rc.h"

#include <stddef.h>
#include <stdint.h>

#include <tss2/tss2_tpm2_types.h>

#include "base/macro.h"

/* Format-1 codes name the handle, session or parameter: bits 8 to 11 the number, bit 6 "parameter". */
#define RC_FMT1_NUMBERS UINT32_C(0xf40)

bool rc_is_from_tpm(TSS2_RC rc)
{
	TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;

	return rc != TSS2_RC_SUCCESS && (layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER);
}

static enum rc_class classify_tpm(uint32_t rc)
{
	static const struct {
		uint32_t rc;
		enum rc_class class;
	} table[] = {
		{ TPM2_RC_RETRY, RC_RETRY },
		{ TPM2_RC_TESTING, RC_RETRY },
		{ TPM2_RC_YIELDED, RC_RETRY },
		{ TPM2_RC_NV_RATE, RC_RETRY },
		{ TPM2_RC_NV_UNAVAILABLE, RC_RETRY },
		{ TPM2_RC_CANCELED, RC_RETRY },
		{ TPM2_RC_CONTEXT_GAP, RC_RESOURCE },
		{ TPM2_RC_OBJECT_MEMORY, RC_RESOURCE },
		{ TPM2_RC_SESSION_MEMORY, RC_RESOURCE },
		{ TPM2_RC_MEMORY, RC_RESOURCE },
		{ TPM2_RC_SESSION_HANDLES, RC_RESOURCE },
		{ TPM2_RC_OBJECT_HANDLES, RC_RESOURCE },
		{ TPM2_RC_NV_SPACE, RC_NO_SPACE },
		{ TPM2_RC_LOCKOUT, RC_LOCKOUT },
		{ TPM2_RC_INITIALIZE, RC_NOT_STARTED },
		{ TPM2_RC_FAILURE, RC_FATAL },
	};

	if (rc & TPM2_RC_FMT1) {
		bool is_parameter = (rc & TPM2_RC_P) != 0;

		switch (rc & ~RC_FMT1_NUMBERS) {
		case TPM2_RC_AUTH_FAIL:
		case TPM2_RC_BAD_AUTH:
			return RC_AUTH;
		case TPM2_RC_HANDLE:
			return RC_HANDLE;
		case TPM2_RC_INTEGRITY:
			return RC_INTEGRITY;
		case TPM2_RC_VALUE:
			/* 0x184 and its like: a handle or session the TPM no longer knows, seen after it restarted behind a broker */
			return is_parameter ? RC_OTHER : RC_REINIT;
		default:
			return RC_OTHER;
		}
	}
	/* 0x910 to 0x916 and 0x918 to 0x91e: a handle or session in the command is not loaded */
	if ((rc >= TPM2_RC_REFERENCE_H0 && rc <= TPM2_RC_REFERENCE_H6) || (rc >= TPM2_RC_REFERENCE_S0 && rc <= TPM2_RC_REFERENCE_S6))
		return RC_REINIT;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].rc == rc)
			return table[i].class;
	return RC_OTHER;
}

enum rc_class rc_classify(TSS2_RC rc)
{
	if (rc == TSS2_RC_SUCCESS)
		return RC_OK;
	if (rc_is_from_tpm(rc))
		return classify_tpm(rc & ~TSS2_RC_LAYER_MASK);
	switch (rc & TSS2_RC_LAYER_MASK) {
	case TSS2_TCTI_RC_LAYER:
		return RC_REINIT;
	case TSS2_MU_RC_LAYER: /* our own structures are whole, so it is the TPM's that could not be read */
		return RC_ANSWER;
	case TSS2_RESMGR_RC_LAYER:
		/* the resource manager is out of slots, or restarted */
		return (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY ? RC_RESOURCE : RC_REINIT;
	default:
		break;
	}
	switch (rc & ~TSS2_RC_LAYER_MASK) {
	case TSS2_BASE_RC_RSP_AUTH_FAILED:
	case TSS2_BASE_RC_MALFORMED_RESPONSE:
	case TSS2_BASE_RC_INSUFFICIENT_RESPONSE:
	case TSS2_BASE_RC_BAD_SIZE:
		return RC_ANSWER;
	case TSS2_BASE_RC_BAD_SEQUENCE: /* what a poisoned ESYS context says for ever */
	case TSS2_BASE_RC_IO_ERROR:
	case TSS2_BASE_RC_NO_CONNECTION:
	case TSS2_BASE_RC_BAD_TR:
	case TSS2_BASE_RC_TRY_AGAIN:
		return RC_REINIT;
	default:
		return RC_OTHER;
	}
}
