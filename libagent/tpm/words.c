/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/words.h"

#include <tss2/tss2_tpm2_types.h>

#include "base/macro.h"

/* A row speaks when the bits of @mask have @value. */
struct word {
	uint32_t mask, value;
	const char *text;
};

#define SET(bits, text) { bits, bits, text }
#define CLEAR(bits, text) { bits, 0, text }

/* TPM 2.0 Part 2, 8.3: TPMA_OBJECT */
static const struct word object_words[] = {
	SET(TPMA_OBJECT_SENSITIVEDATAORIGIN, "made in this TPM (sensitiveDataOrigin)"),
	CLEAR(TPMA_OBJECT_SENSITIVEDATAORIGIN, "made outside and imported, so copies may exist (no sensitiveDataOrigin)"),
	SET(TPMA_OBJECT_FIXEDTPM, "cannot leave this TPM (fixedTPM)"),
	CLEAR(TPMA_OBJECT_FIXEDTPM, "can leave this TPM (no fixedTPM)"),
	SET(TPMA_OBJECT_FIXEDPARENT, "cannot get another parent (fixedParent)"),
	CLEAR(TPMA_OBJECT_FIXEDPARENT, "can get another parent (no fixedParent)"),
	{ TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED, TPMA_OBJECT_SIGN_ENCRYPT, "signs only (sign)" },
	{ TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED, TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_RESTRICTED,
	  "signs only what the TPM itself states (restricted, sign)" },
	{ TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED, TPMA_OBJECT_DECRYPT, "decrypts only (decrypt)" },
	{ TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED, TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED,
	  "wraps other keys (restricted, decrypt)" },
	SET(TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT, "signs and decrypts (sign, decrypt)"),
	CLEAR(TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_DECRYPT, "neither signs nor decrypts: sealed data"),
	SET(TPMA_OBJECT_USERWITHAUTH, "needs its authValue (userWithAuth)"),
	CLEAR(TPMA_OBJECT_USERWITHAUTH, "needs its policy (no userWithAuth)"),
	SET(TPMA_OBJECT_ADMINWITHPOLICY, "administered by its policy only (adminWithPolicy)"),
	SET(TPMA_OBJECT_NODA, "exempt from lockout (noDA)"),
	CLEAR(TPMA_OBJECT_NODA, "wrong authValues count towards lockout (no noDA)"),
	SET(TPMA_OBJECT_STCLEAR, "gone after a restart of the TPM (stClear)"),
	SET(TPMA_OBJECT_ENCRYPTEDDUPLICATION, "leaves only encrypted (encryptedDuplication)"),
};
#define OBJECT_KNOWN                                                                                                           \
	(TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SIGN_ENCRYPT |         \
	 TPMA_OBJECT_DECRYPT | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_ADMINWITHPOLICY |               \
	 TPMA_OBJECT_NODA | TPMA_OBJECT_STCLEAR | TPMA_OBJECT_ENCRYPTEDDUPLICATION)

/* TPM 2.0 Part 2, 13.4: TPMA_NV */
#define NV_TYPE(type) { TPMA_NV_TPM2_NT_MASK, (uint32_t)(type) << TPMA_NV_TPM2_NT_SHIFT
static const struct word nv_words[] = {
	NV_TYPE(TPM2_NT_COUNTER), "counts upwards only, also across removal (counter)" },
	NV_TYPE(TPM2_NT_ORDINARY), "holds data (ordinary)" },
	SET(TPMA_NV_AUTHWRITE, "raised with its authValue (authWrite)"),
	SET(TPMA_NV_AUTHREAD, "read with its authValue (authRead)"),
	SET(TPMA_NV_OWNERREAD, "read by the owner hierarchy (ownerRead)"),
	SET(TPMA_NV_OWNERWRITE, "written by the owner hierarchy (ownerWrite)"),
	SET(TPMA_NV_NO_DA, "exempt from lockout (noDA)"),
	SET(TPMA_NV_WRITELOCKED, "never written again (writeLocked)"),
	CLEAR(TPMA_NV_PLATFORMCREATE, "removable by the owner hierarchy, which is noticed: its Name is pinned"),
	SET(TPMA_NV_POLICY_DELETE, "removable by its policy only (policyDelete)"),
};

static size_t collect(const struct word *rows, size_t n_rows, uint32_t attributes, const char *ret_words[AGENT_WORDS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < n_rows && n < AGENT_WORDS_MAX; i++)
		if ((attributes & rows[i].mask) == rows[i].value)
			ret_words[n++] = rows[i].text;
	return n;
}

size_t words_of_object(uint32_t attributes, const char *ret_words[AGENT_WORDS_MAX])
{
	size_t n = collect(object_words, ARRAY_SIZE(object_words), attributes, ret_words);

	if ((attributes & ~(uint32_t)OBJECT_KNOWN) != 0 && n < AGENT_WORDS_MAX)
		ret_words[n++] = "has attributes that this version does not know";
	return n;
}

size_t words_of_nv(uint32_t attributes, const char *ret_words[AGENT_WORDS_MAX])
{
	return collect(nv_words, ARRAY_SIZE(nv_words), attributes, ret_words);
}
