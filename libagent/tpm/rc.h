/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_RC_H
#define TPM_RC_H
/* What a response code means for us. One table; the numbers are TPM 2.0 Part 2, 6.6.3 and TSS 2.0 Common, section 5. */
#include <stdbool.h>

#include <tss2/tss2_common.h>

enum rc_class {
	RC_OK = 0,
	RC_RETRY,	/* the TPM asks to be tried again */
	RC_REINIT,	/* the ESYS context or the handles in it are gone: open again */
	RC_RESOURCE,	/* no slot free now */
	RC_NO_SPACE,	/* NV memory is full */
	RC_LOCKOUT,	/* dictionary-attack lockout */
	RC_AUTH,	/* wrong authValue */
	RC_HANDLE,	/* nothing lives at that handle */
	RC_INTEGRITY,	/* a blob of another parent or TPM */
	RC_NOT_STARTED, /* needs TPM2_Startup */
	RC_FATAL,	/* failure mode */
	RC_ANSWER,	/* the answer was damaged or forged on the way */
	RC_OTHER
};

enum rc_class rc_classify(TSS2_RC rc);
/* True if the TPM itself (or its resource manager on its behalf) gave this code, so the command did not run. */
bool rc_is_from_tpm(TSS2_RC rc);

#endif
