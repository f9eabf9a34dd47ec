/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>

#include <agent/tpm.h>

#include "tpm/connection.h"

/* No session: what it says is no secret, and who sits on the bus can stop the clock of the TPM anyway. */
static TSS2_RC attempt_clock(struct agent_tpm *tpm, void *userdata)
{
	struct agent_tpm_clock *clock = userdata;
	TPMS_TIME_INFO *info = NULL;
	TSS2_RC rc = Esys_ReadClock(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &info);

	if (rc != TSS2_RC_SUCCESS)
		return rc;
	clock->clock_ms = info->clockInfo.clock;
	clock->n_resets = info->clockInfo.resetCount;
	clock->n_restarts = info->clockInfo.restartCount;
	clock->is_safe = info->clockInfo.safe == TPM2_YES;
	Esys_Free(info);
	return rc;
}

int agent_tpm_read_clock(struct agent_tpm *tpm, struct agent_tpm_clock *ret_clock, struct agent_error **err)
{
	struct agent_tpm_clock clock = { 0 };
	int r;

	if (tpm == NULL || ret_clock == NULL)
		return agent_error_set(err, -EINVAL, "tpm.argument", "no TPM");
	r = tpm_run(tpm, "reading the clock", 0, attempt_clock, &clock, err);
	if (r == 0)
		*ret_clock = clock;
	return r;
}
