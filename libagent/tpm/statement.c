/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/statement.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"

#define PCR_SELECT_MAX 3 /* bytes: 24 PCRs, all that our quotes ask for */

/* A Name is an algorithm and a digest of its length (TPM 2.0 Part 1, 16); SHA-1 ones prove nothing. */
static int get_name(struct buf *in, TPM2B_NAME *ret_name)
{
	const uint8_t *bytes;
	uint16_t size, alg, want;

	if (buf_get_be16(in, &size) < 0 || size < 2 || buf_get_bytes(in, size, &bytes) < 0)
		return -EBADMSG;
	alg = (uint16_t)(bytes[0] << 8 | bytes[1]);
	want = alg == TPM2_ALG_SHA256 ? 32 : alg == TPM2_ALG_SHA384 ? 48 : alg == TPM2_ALG_SHA512 ? 64 : 0;
	if (want == 0 || size != 2 + want)
		return -EBADMSG;
	ret_name->size = size;
	memcpy(ret_name->name, bytes, size);
	return 0;
}

/* TPML_PCR_SELECTION with the one bank we use; an empty choice is none. */
static int get_selection(struct buf *in, uint32_t *ret_mask)
{
	const uint8_t *bits;
	uint32_t n_banks, mask = 0;
	uint16_t hash;
	uint8_t n;

	if (buf_get_be32(in, &n_banks) < 0 || n_banks != 1 || buf_get_be16(in, &hash) < 0 || hash != TPM2_ALG_SHA256 ||
	    buf_get_u8(in, &n) < 0 || n > PCR_SELECT_MAX || buf_get_bytes(in, n, &bits) < 0)
		return -EBADMSG;
	for (unsigned i = 0; i < n; i++)
		mask |= (uint32_t)bits[i] << 8 * i;
	if (mask == 0)
		return -EBADMSG;
	*ret_mask = mask;
	return 0;
}

static int get_sized(struct buf *in, size_t max, const uint8_t **ret_bytes, size_t *ret_size)
{
	uint16_t size;

	if (buf_get_be16(in, &size) < 0 || size > max || buf_get_bytes(in, size, ret_bytes) < 0)
		return -EBADMSG;
	*ret_size = size;
	return 0;
}

/* TPMU_ATTEST */
static int get_attested(struct buf *in, struct statement *s)
{
	TPM2B_NAME qualified;

	if (s->type == TPM2_ST_ATTEST_CERTIFY)
		return get_name(in, &s->name) < 0 || get_name(in, &qualified) < 0 ? -EBADMSG : 0;
	if (get_selection(in, &s->pcr_mask) < 0)
		return -EBADMSG;
	return get_sized(in, sizeof(TPMU_HA), &s->pcr_digest, &s->pcr_digest_size);
}

int statement_parse(const uint8_t *data, size_t size, uint16_t type, struct statement *ret_statement, struct agent_error **err)
{
	struct buf in = buf_from(data, size);
	struct statement s = { 0 };
	uint32_t magic;
	uint8_t safe;

	if (buf_get_be32(&in, &magic) < 0 || buf_get_be16(&in, &s.type) < 0)
		return agent_error_set(err, -EBADMSG, "attest.format", "a statement of %zu bytes is none", size);
	/* The TPM refuses to sign anything else that begins so with a restricted key (TPM 2.0 Part 2, 6.2). */
	if (magic != TPM2_GENERATED_VALUE)
		return agent_error_set(err, -EKEYREJECTED, "attest.magic", "the statement begins with 0x%08x: no TPM made it", magic);
	if (s.type != type || (type != TPM2_ST_ATTEST_CERTIFY && type != TPM2_ST_ATTEST_QUOTE))
		return agent_error_set(err, -EKEYREJECTED, "attest.type", "the statement is of type 0x%04x, not 0x%04x", s.type, type);
	if (get_name(&in, &s.signer) < 0 || get_sized(&in, sizeof(TPMT_HA), &s.nonce, &s.nonce_size) < 0 ||
	    buf_get_be64(&in, &s.clock_ms) < 0 || buf_get_be32(&in, &s.reset_count) < 0 || buf_get_be32(&in, &s.restart_count) < 0 ||
	    buf_get_u8(&in, &safe) < 0 || safe > 1 || buf_get_be64(&in, &s.firmware_version) < 0 || get_attested(&in, &s) < 0 ||
	    buf_left(&in) != 0)
		return agent_error_set(err, -EBADMSG, "attest.format", "the statement is damaged or not of a form we use, near byte %zu of %zu",
				       buf_pos(&in), size);
	s.is_clock_safe = safe == 1;
	*ret_statement = s;
	return 0;
}
