/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/sealfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macro.h"

#define HEX_MAX (2 * AGENT_SIGNATURE_MAX)

static const char pem_end[] = "-----END TSS2 PRIVATE KEY-----\n";

static const char *const policy_names[] = {
	[AGENT_SEAL_ALWAYS] = "always",
	[AGENT_SEAL_PCR] = "pcr",
	[AGENT_SEAL_SIGNED_PCR] = "signed-pcr",
};

/* ---- reading ------------------------------------------------------------ */

/* The value of "NAME: VALUE\n", lent. */
static int get_line(struct buf *in, const char *name, const char **ret_value, size_t *ret_n)
{
	struct buf b = *in;
	size_t n_name = strlen(name);
	const uint8_t *p, *end;

	if (buf_get_bytes(&b, n_name + 2, &p) < 0 || memcmp(p, name, n_name) != 0 || memcmp(p + n_name, ": ", 2) != 0)
		return -EBADMSG;
	end = memchr(b.data + b.pos, '\n', buf_left(&b));
	if (end == NULL)
		return -EBADMSG;
	*ret_value = (const char *)(b.data + b.pos);
	*ret_n = (size_t)(end - (b.data + b.pos));
	(void)buf_skip(&b, *ret_n + 1);
	*in = b;
	return 0;
}

static bool is_value(const char *value, size_t n, const char *want)
{
	return n == strlen(want) && memcmp(value, want, n) == 0;
}

/* Bytes in hexadecimal; "-" for none. */
static int get_hex(struct buf *in, const char *name, uint8_t *ret_data, size_t min, size_t max, size_t *ret_n)
{
	const char *value;
	size_t n;

	if (get_line(in, name, &value, &n) < 0)
		return -EBADMSG;
	if (is_value(value, n, "-"))
		n = 0;
	if (n % 2 != 0 || n / 2 < min || n / 2 > max || hex_decode(value, n, ret_data, n / 2) < 0)
		return -EBADMSG;
	*ret_n = n / 2;
	return 0;
}

static int get_hex_exactly(struct buf *in, const char *name, uint8_t *ret_data, size_t want)
{
	size_t n;

	return get_hex(in, name, ret_data, want, want, &n);
}

static int get_number(const char *text, size_t n, size_t max, size_t *ret_value)
{
	size_t value = 0;

	if (n == 0 || n > 7)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EBADMSG;
		value = value * 10 + (size_t)(text[i] - '0');
	}
	if (value > max)
		return -EBADMSG;
	*ret_value = value;
	return 0;
}

/* "pcrs: 7,11", then "pcr-7: ..." and "pcr-11: ..."; order and doubles are the comparison's at the end. */
static int get_pcrs(struct buf *in, struct agent_pcr_values *pcrs)
{
	const char *value;
	char name[16];
	size_t n, index;

	if (get_line(in, "pcrs", &value, &n) < 0)
		return -EBADMSG;
	for (;;) {
		const char *comma = memchr(value, ',', n);
		size_t n_item = comma == NULL ? n : (size_t)(comma - value);

		if (get_number(value, n_item, AGENT_TPM_N_PCRS - 1, &index) < 0)
			return -EBADMSG;
		pcrs->mask |= UINT32_C(1) << index;
		if (comma == NULL)
			break;
		value = comma + 1;
		n -= n_item + 1;
	}
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if (!(pcrs->mask & UINT32_C(1) << i))
			continue;
		snprintf(name, sizeof(name), "pcr-%u", i);
		if (get_hex_exactly(in, name, pcrs->value[i], AGENT_TPM_PCR_SIZE) < 0)
			return -EBADMSG;
	}
	return 0;
}

static int get_policy(struct buf *in, struct sealfile *file)
{
	const char *value;
	size_t n;

	if (get_line(in, "policy", &value, &n) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(policy_names); i++) {
		if (is_value(value, n, policy_names[i])) {
			file->policy = (enum agent_seal_policy)i;
			return 0;
		}
	}
	return -EBADMSG;
}

static int parse_lines(struct buf *in, struct sealfile *file)
{
	const char *value;
	const uint8_t *newline;
	size_t n;

	if (get_policy(in, file) < 0 || get_line(in, "password", &value, &n) < 0)
		return -EBADMSG;
	file->has_auth = is_value(value, n, "yes");
	if (get_hex(in, "srk-name", file->srk_name.name, 2 + 20, sizeof(file->srk_name.name), &n) < 0)
		return -EBADMSG;
	file->srk_name.size = (UINT16)n;
	if (file->policy != AGENT_SEAL_ALWAYS && get_pcrs(in, &file->pcrs) < 0)
		return -EBADMSG;
	if (file->policy == AGENT_SEAL_SIGNED_PCR &&
	    (get_hex(in, "signer", file->signer, 1, sizeof(file->signer), &file->signer_size) < 0 ||
	     get_hex(in, "ref", file->ref, 0, sizeof(file->ref), &file->ref_size) < 0))
		return -EBADMSG;
	if (get_hex_exactly(in, "nonce", file->nonce, sizeof(file->nonce)) < 0 || get_line(in, "size", &value, &n) < 0 ||
	    get_number(value, n, AGENT_SEAL_SECRET_MAX, &file->secret_size) < 0 || file->secret_size == 0)
		return -EBADMSG;
	return buf_get_bytes(in, 1, &newline) < 0 || *newline != '\n' ? -EBADMSG : 0;
}

int sealfile_parse(const uint8_t *data, size_t size, struct sealfile *ret_file, struct agent_error **err)
{
	struct buf in = buf_from(data, size);
	struct sealfile file = { 0 };
	_cleanup_free_ char *again = NULL;
	const uint8_t *end, *pem;
	const char *value;
	size_t n, n_pem;
	int r;

	if (size > AGENT_SEAL_MAX)
		return agent_error_set(err, -EMSGSIZE, "seal.size", "sealed file is %zu bytes, limit %d", size, AGENT_SEAL_MAX);
	end = size == 0 ? NULL : memmem(data, size < KEYFILE_MAX ? size : KEYFILE_MAX, pem_end, strlen(pem_end));
	if (end == NULL)
		return agent_error_set(err, -EBADMSG, "seal.file", "sealed file does not begin with a TSS2 PRIVATE KEY");
	n_pem = (size_t)(end - data) + strlen(pem_end);
	(void)buf_get_bytes(&in, n_pem, &pem);
	r = keyfile_parse_sealed((const char *)pem, n_pem, &file.blob, NULL);
	if (r < 0)
		return agent_error_set(err, r == -ENOMEM ? r : -EBADMSG, "seal.file",
				       "sealed file does not begin with sealed data in TSS2 PRIVATE KEY form");
	if (get_line(&in, "agent-sealed", &value, &n) < 0)
		return agent_error_set(err, -EBADMSG, "seal.file", "sealed file has no agent-sealed line");
	if (!is_value(value, n, "1"))
		return agent_error_set(err, -EOPNOTSUPP, "seal.version", "sealed file is not of version 1");
	if (parse_lines(&in, &file) < 0)
		return agent_error_set(err, -EBADMSG, "seal.file", "sealed file is damaged near byte %zu", buf_pos(&in));
	file.header = data;
	file.header_size = buf_pos(&in);
	r = sealfile_write_header(&file, &again, &n, err);
	if (r < 0)
		return r;
	if (n != file.header_size || memcmp(again, data, n) != 0)
		return agent_error_set(err, -EBADMSG, "seal.file", "sealed file has a field more, less or otherwise written than it should");
	if (buf_left(&in) != file.secret_size + SEALFILE_TAG_SIZE)
		return agent_error_set(err, -EBADMSG, "seal.file", "sealed file has %zu bytes after its header, not %zu", buf_left(&in),
				       file.secret_size + SEALFILE_TAG_SIZE);
	(void)buf_get_bytes(&in, file.secret_size, &file.ciphertext);
	(void)buf_get_bytes(&in, SEALFILE_TAG_SIZE, &file.tag);
	*ret_file = file;
	return 0;
}

int policyfile_next(struct buf *in, struct policyfile *ret_file, struct agent_error **err)
{
	struct policyfile file = { 0 };
	_cleanup_free_ char *again = NULL;
	size_t start = in->pos, n;
	struct buf b = *in;
	const uint8_t *newline;
	const char *value;
	int r;

	if (get_line(&b, "agent-policy", &value, &n) < 0 || !is_value(value, n, "1") || get_pcrs(&b, &file.pcrs) < 0 ||
	    get_hex(&b, "ref", file.ref, 0, sizeof(file.ref), &file.ref_size) < 0 ||
	    get_hex_exactly(&b, "signer", file.signer_hash, sizeof(file.signer_hash)) < 0 ||
	    get_hex_exactly(&b, "policy", file.policy, sizeof(file.policy)) < 0 ||
	    get_hex(&b, "signature", file.signature, 1, sizeof(file.signature), &file.signature_size) < 0 ||
	    buf_get_bytes(&b, 1, &newline) < 0 || *newline != '\n')
		return agent_error_set(err, -EBADMSG, "seal.policy", "policy signature is damaged near byte %zu", buf_pos(&b));
	r = policyfile_write(&file, &again, &n, err);
	if (r < 0)
		return r;
	if (n != b.pos - start || memcmp(again, b.data + start, n) != 0)
		return agent_error_set(err, -EBADMSG, "seal.policy", "policy signature at byte %zu is otherwise written than it should", start);
	*in = b;
	*ret_file = file;
	return 0;
}

/* ---- writing ------------------------------------------------------------ */

void pcr_list(uint32_t mask, char ret_text[PCR_LIST_MAX])
{
	size_t n = 0;

	ret_text[0] = '\0';
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) /* 10 + 14 * 2 digits, 23 commas */
		if (mask & UINT32_C(1) << i)
			n += (size_t)snprintf(ret_text + n, PCR_LIST_MAX - n, "%s%u", n == 0 ? "" : ",", i);
}

static void put_hex(FILE *f, const char *name, const void *data, size_t n)
{
	char text[HEX_MAX + 1];

	hex_encode(data, n, text);
	fprintf(f, "%s: %s\n", name, n == 0 ? "-" : text);
}

static void put_pcrs(FILE *f, const struct agent_pcr_values *pcrs)
{
	char list[PCR_LIST_MAX], name[16];

	pcr_list(pcrs->mask, list);
	fprintf(f, "pcrs: %s\n", list);
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if (!(pcrs->mask & UINT32_C(1) << i))
			continue;
		snprintf(name, sizeof(name), "pcr-%u", i);
		put_hex(f, name, pcrs->value[i], AGENT_TPM_PCR_SIZE);
	}
}

/* Takes @f; *text and *size are those of open_memstream(). */
static int finish(FILE *f, char **text, char **ret_text, struct agent_error **err)
{
	bool is_bad = ferror(f) != 0;

	if (fclose(f) != 0 || is_bad) {
		free(*text);
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	}
	*ret_text = *text;
	return 0;
}

int sealfile_write_header(const struct sealfile *file, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	size_t n_pem;
	char *text = NULL;
	FILE *f;
	int r;

	r = keyfile_write(&file->blob, &pem, &n_pem, err);
	if (r < 0)
		return r;
	f = open_memstream(&text, ret_size);
	if (f == NULL)
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	fprintf(f, "%sagent-sealed: 1\npolicy: %s\npassword: %s\n", pem, policy_names[file->policy], file->has_auth ? "yes" : "no");
	put_hex(f, "srk-name", file->srk_name.name, file->srk_name.size);
	if (file->policy != AGENT_SEAL_ALWAYS)
		put_pcrs(f, &file->pcrs);
	if (file->policy == AGENT_SEAL_SIGNED_PCR) {
		put_hex(f, "signer", file->signer, file->signer_size);
		put_hex(f, "ref", file->ref, file->ref_size);
	}
	put_hex(f, "nonce", file->nonce, sizeof(file->nonce));
	fprintf(f, "size: %zu\n\n", file->secret_size);
	return finish(f, &text, ret_text, err);
}

int policyfile_write(const struct policyfile *file, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_size);

	if (f == NULL)
		return agent_error_set(err, -ENOMEM, "seal.memory", "out of memory");
	fprintf(f, "agent-policy: 1\n");
	put_pcrs(f, &file->pcrs);
	put_hex(f, "ref", file->ref, file->ref_size);
	put_hex(f, "signer", file->signer_hash, sizeof(file->signer_hash));
	put_hex(f, "policy", file->policy, sizeof(file->policy));
	put_hex(f, "signature", file->signature, file->signature_size);
	fputc('\n', f);
	return finish(f, &text, ret_text, err);
}
