/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/properties.h"

/* TPM 2.0 Part 2, 6.13: properties in a group; an answer has room for fewer and we need only the first. */
#ifndef TPM2_PT_GROUP
#define TPM2_PT_GROUP 0x100
#endif

/* What TPM2_GetCapability says of one group of properties, TPM 2.0 Part 2, 6.13; needs no authorisation. */
static TSS2_RC read_properties(struct agent_tpm *tpm, TPM2_PT first, void (*use)(struct agent_tpm *tpm, TPM2_PT property, uint32_t value))
{
	TPMS_CAPABILITY_DATA *cap = NULL;
	TPMI_YES_NO more;
	TSS2_RC rc;

	rc = Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES, first, TPM2_PT_GROUP, &more, &cap);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	for (UINT32 i = 0; i < cap->data.tpmProperties.count && i < TPM2_MAX_TPM_PROPERTIES; i++)
		use(tpm, cap->data.tpmProperties.tpmProperty[i].property, cap->data.tpmProperties.tpmProperty[i].value);
	Esys_Free(cap);
	return TSS2_RC_SUCCESS;
}

static void use_variable(struct agent_tpm *tpm, TPM2_PT property, uint32_t value)
{
	struct agent_tpm_info *info = &tpm->info;

	switch (property) {
	case TPM2_PT_PERMANENT:
		info->has_owner_auth = (value & TPMA_PERMANENT_OWNERAUTHSET) != 0;
		info->has_lockout_auth = (value & TPMA_PERMANENT_LOCKOUTAUTHSET) != 0;
		info->is_clear_disabled = (value & TPMA_PERMANENT_DISABLECLEAR) != 0;
		info->is_locked_out = (value & TPMA_PERMANENT_INLOCKOUT) != 0;
		break;
	case TPM2_PT_HR_NV_INDEX:
		info->n_nv_indices = value;
		break;
	case TPM2_PT_HR_LOADED_AVAIL:
		info->n_sessions_free = value;
		break;
	case TPM2_PT_HR_TRANSIENT_AVAIL:
		info->n_objects_free = value;
		break;
	case TPM2_PT_HR_PERSISTENT_AVAIL:
		info->n_persistent_free = value;
		break;
	case TPM2_PT_NV_COUNTERS:
		info->n_nv_counters = value;
		break;
	case TPM2_PT_NV_COUNTERS_AVAIL:
		info->n_nv_counters_free = value;
		break;
	case TPM2_PT_LOCKOUT_COUNTER:
		info->lockout_counter = value;
		break;
	case TPM2_PT_MAX_AUTH_FAIL:
		info->lockout_max = value;
		break;
	case TPM2_PT_LOCKOUT_INTERVAL:
		info->lockout_interval_s = value;
		break;
	case TPM2_PT_LOCKOUT_RECOVERY:
		info->lockout_recovery_s = value;
		break;
	default:
		break;
	}
}

static void put_text(char *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned char c = (unsigned char)(value >> (24 - 8 * i));

		to[i] = c == 0 || (c > 0x20 && c < 0x7f) || c == ' ' ? (char)c : '?';
	}
}

static void use_fixed(struct agent_tpm *tpm, TPM2_PT property, uint32_t value)
{
	struct agent_tpm_info *info = &tpm->info;

	if (property == TPM2_PT_MANUFACTURER)
		put_text(info->manufacturer, value);
	else if (property >= TPM2_PT_VENDOR_STRING_1 && property <= TPM2_PT_VENDOR_STRING_4)
		put_text(info->vendor + 4 * (property - TPM2_PT_VENDOR_STRING_1), value);
	else if (property == TPM2_PT_FIRMWARE_VERSION_1)
		info->firmware_1 = value;
	else if (property == TPM2_PT_FIRMWARE_VERSION_2)
		info->firmware_2 = value;
}

TSS2_RC properties_read_fixed(struct agent_tpm *tpm)
{
	TSS2_RC rc = tpm->has_fixed ? TSS2_RC_SUCCESS : read_properties(tpm, TPM2_PT_FIXED, use_fixed);

	tpm->has_fixed = rc == TSS2_RC_SUCCESS;
	return rc;
}

TSS2_RC properties_read_variable(struct agent_tpm *tpm)
{
	return read_properties(tpm, TPM2_PT_VAR, use_variable);
}
