/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TPM answers, or somebody on its bus. The target is the TPM: it has no state but the list of answers in the input.
 *
 *   byte 0           what is done: enum scenario; 0x80: lengths in the answers stay as they are; 0x40: so do the HMACs
 *   2 bytes + bytes  public area of the key          2 bytes + bytes  of a second key, a counter's pin, or sealed bytes
 *   2 bytes + bytes  an answer, as often as there are some; after the last one the TPM is gone
 *
 * Answers in unsalted sessions are given the right HMAC, so that what lies behind the check is reached: that is what a TPM
 * gone bad can send. Salted sessions end at their check: their key is not known here.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tctildr.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/attest.h>
#include <agent/key.h>
#include <agent/seal.h>
#include <agent/tpm.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "tpm/key_inside.h"
#include "tpm/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum scenario { PROBE, SIGN, COUNTER, QUOTE, CERTIFY, EK, UNSEAL, CREATE, PCRS, MAC, SCENARIOS_ };

#define AUTH "0123456789abcdef"
#define KEEP_LENGTHS 0x80
#define KEEP_MACS 0x40

static struct {
	struct buf answers;
	uint8_t flags;
	uint8_t command[TPM2_MAX_COMMAND_SIZE];
	size_t command_size;
} fake;

/* ---- the TPM ------------------------------------------------------------------------------------------------------- */

/* Nobody waits in here. */
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *remain);
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *remain)
{
	(void)clock;
	(void)flags;
	(void)request;
	(void)remain;
	return 0;
}

static unsigned n_handles(uint32_t code)
{
	switch (code) {
	case TPM2_CC_Certify:
	case TPM2_CC_NV_Read:
	case TPM2_CC_NV_Increment:
	case TPM2_CC_NV_Write:
	case TPM2_CC_NV_WriteLock:
		return 2;
	case TPM2_CC_PCR_Read:
	case TPM2_CC_GetRandom:
		return 0;
	default:
		return 1;
	}
}

/* TPM 2.0 Part 1, 19.6.5, for a session without session key. */
static void put_mac(const uint8_t *parameters, size_t n, uint32_t code, const uint8_t *theirs, size_t n_theirs, const uint8_t *ours,
		    size_t n_ours, uint8_t attributes, uint8_t *mac)
{
	uint8_t text[TPM2_MAX_RESPONSE_SIZE + 8], again[32 + 2 * 64 + 1];
	size_t at = 32;

	if (n > sizeof(text) - 8 || n_theirs > 64 || n_ours > 64)
		return;
	memset(text, 0, 4);
	for (unsigned i = 0; i < 4; i++)
		text[4 + i] = (uint8_t)(code >> (24 - 8 * i));
	memcpy(text + 8, parameters, n);
	EVP_Digest(text, 8 + n, again, NULL, EVP_sha256(), NULL);
	memcpy(again + at, theirs, n_theirs);
	at += n_theirs;
	memcpy(again + at, ours, n_ours);
	at += n_ours;
	again[at++] = attributes;
	if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, AUTH, strlen(AUTH), again, at, mac, 32, NULL) == NULL)
		abort();
}

static int skip_sized(struct buf *b, const uint8_t **ret_data, uint16_t *ret_size)
{
	return buf_get_be16(b, ret_size) < 0 ? -1 : buf_get_bytes(b, *ret_size, ret_data);
}

/* Give each HMAC of the answer the value it must have. */
static void put_macs(uint8_t *answer, size_t size)
{
	struct buf in = buf_from(answer, size), cmd = buf_from(fake.command, fake.command_size);
	const uint8_t *parameters, *ours, *theirs, *mac, *attributes;
	uint16_t tag, cmd_tag, n_ours, n_theirs, n_mac;
	uint32_t n_parameters, rc, handle, code;

	if (buf_get_be16(&cmd, &cmd_tag) < 0 || buf_skip(&cmd, 4) < 0 || buf_get_be32(&cmd, &code) < 0 || cmd_tag != TPM2_ST_SESSIONS ||
	    buf_skip(&cmd, 4 * n_handles(code) + 4) < 0)
		return;
	if (buf_get_be16(&in, &tag) < 0 || tag != TPM2_ST_SESSIONS || buf_skip(&in, 4) < 0 || buf_get_be32(&in, &rc) < 0 || rc != 0 ||
	    buf_get_be32(&in, &n_parameters) < 0 || buf_get_bytes(&in, n_parameters, &parameters) < 0)
		return;
	while (buf_get_be32(&cmd, &handle) == 0 && handle >> 24 == TPM2_HT_HMAC_SESSION && skip_sized(&cmd, &ours, &n_ours) == 0 &&
	       buf_skip(&cmd, 1) == 0 && skip_sized(&cmd, &mac, &n_mac) == 0) {
		if (skip_sized(&in, &theirs, &n_theirs) < 0 || buf_get_bytes(&in, 1, &attributes) < 0 || skip_sized(&in, &mac, &n_mac) < 0 ||
		    n_mac != 32)
			return;
		put_mac(parameters, n_parameters, code, theirs, n_theirs, ours, n_ours, *attributes, answer + (mac - answer));
	}
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *tcti, size_t size, uint8_t const *command)
{
	(void)tcti;
	if (size > sizeof(fake.command))
		abort();
	memcpy(fake.command, command, size);
	fake.command_size = size;
	return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *tcti, size_t *size, uint8_t *response, int32_t timeout)
{
	struct buf ahead = fake.answers;
	const uint8_t *bytes;
	uint16_t n;

	(void)tcti;
	(void)timeout;
	if (skip_sized(&ahead, &bytes, &n) < 0)
		return TSS2_TCTI_RC_IO_ERROR;
	if (response == NULL) {
		*size = n;
		return TSS2_RC_SUCCESS;
	}
	if (*size < n)
		return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
	fake.answers = ahead;
	memcpy(response, bytes, n);
	*size = n;
	if (n >= 10 && !(fake.flags & KEEP_LENGTHS)) {
		memset(response + 2, 0, 2);
		response[4] = (uint8_t)(n >> 8);
		response[5] = (uint8_t)n;
	}
	if (!(fake.flags & KEEP_MACS))
		put_macs(response, n);
	return TSS2_RC_SUCCESS;
}

/* In place of tctildr's: the program's own symbols come first. */
TSS2_RC Tss2_TctiLdr_Initialize(const char *conf, TSS2_TCTI_CONTEXT **ret_tcti)
{
	static TSS2_TCTI_CONTEXT_COMMON_V2 common;

	(void)conf;
	common = (TSS2_TCTI_CONTEXT_COMMON_V2){ .v1 = { .magic = 1, .version = 2, .transmit = transmit, .receive = receive } };
	*ret_tcti = (TSS2_TCTI_CONTEXT *)&common;
	return TSS2_RC_SUCCESS;
}

void Tss2_TctiLdr_Finalize(TSS2_TCTI_CONTEXT **tcti)
{
	*tcti = NULL;
}

/* ---- what is done with it ------------------------------------------------------------------------------------------- */

/* Whether it worked does not matter. */
static void tried(int r)
{
	(void)r;
}

static int take_key(struct agent_tpm *tpm, const uint8_t *area, size_t size, struct agent_key **ret_key)
{
	static const TPM2B_PRIVATE priv = { .size = 64 };
	TPM2B_PUBLIC pub = { 0 };
	struct tpm_object *object = NULL;
	size_t at = 0;

	if (Tss2_MU_TPMT_PUBLIC_Unmarshal(area, size, &at, &pub.publicArea) != TSS2_RC_SUCCESS || at != size)
		return -EBADMSG;
	if (object_adopt(tpm, &pub, &priv, AUTH, strlen(AUTH), &object, NULL) < 0)
		return -EBADMSG;
	return key_from_object(object, "fuzz", TPMA_OBJECT_SIGN_ENCRYPT, ret_key, NULL);
}

static void sign(struct agent_key *key)
{
	static const uint8_t digest[32] = { 1 };
	struct agent_signer *signer = NULL;
	uint8_t sig[AGENT_SIGNATURE_MAX];
	size_t n = 0;

	if (agent_key_get_signer(key, &signer, NULL) < 0)
		return;
	if (agent_signer_sign(signer, agent_key_get_type(key) <= AGENT_KEY_EC_P384 ? AGENT_SIGN_ECDSA : AGENT_SIGN_RSA_PSS, AGENT_HASH_SHA256,
			      digest, sizeof(digest), sig, &n, NULL) == 0 &&
	    n > sizeof(sig))
		abort();
	agent_signer_unref(signer);
}

static void count(struct agent_tpm *tpm, int dir_fd, const uint8_t *pin, size_t pin_size)
{
	struct agent_counter *counter = NULL;
	struct agent_tpm_counter_info info;
	uint64_t before, after;

	if (file_replace_at(dir_fd, "c.nvauth", 0600, AUTH, strlen(AUTH), NULL) < 0 || file_replace_at(dir_fd, "c.pin", 0600, pin, pin_size, NULL) < 0)
		abort();
	if (agent_tpm_counter_open(tpm, 0x01800a10, dir_fd, "c", 0, &counter, NULL) < 0)
		return;
	if (agent_counter_get(counter, &before, NULL) == 0 && agent_counter_increment(counter, &after, NULL) == 0 && after <= before)
		abort();
	tried(agent_tpm_counter_describe(counter, &info, NULL));
	agent_counter_unref(counter);
}

static void attest(struct agent_tpm *tpm, bool is_quote, struct agent_key *ak, const uint8_t *area, size_t size)
{
	static const uint8_t nonce[16] = { 2 };
	static struct agent_attest out;
	struct agent_key *key = NULL;

	if (is_quote) {
		if (agent_attest_quote(ak, 0x10001, nonce, sizeof(nonce), &out, NULL) == 0 && out.statement_size > sizeof(out.statement))
			abort();
	} else if (take_key(tpm, area, size, &key) == 0) {
		if (agent_attest_certify(key, ak, nonce, sizeof(nonce), &out, NULL) == 0 && out.statement_size > sizeof(out.statement))
			abort();
	}
	agent_key_unref(key);
}

static void unseal(struct agent_tpm *tpm, const uint8_t *sealed, size_t size)
{
	uint8_t *secret = malloc(size + 1);
	size_t n = 0;

	if (secret != NULL && agent_unseal(tpm, sealed, size, NULL, secret, size, &n, NULL) == 0 && n > size)
		abort();
	free(secret);
}

static void mac(struct agent_tpm *tpm, int dir_fd)
{
	struct agent_mac *m = NULL;
	uint8_t out[AGENT_MAC_SIZE];

	(void)unlinkat(dir_fd, "m.pem", 0);
	if (agent_tpm_mac_open(tpm, dir_fd, "m", AGENT_TPM_CREATE, &m, NULL) == 0)
		tried(agent_mac_compute(m, (const uint8_t *)"x", 1, out, NULL));
	agent_mac_unref(m);
}

static void play(struct agent_tpm *tpm, enum scenario scenario, int dir_fd, const uint8_t *area, size_t area_size, const uint8_t *extra,
		 size_t extra_size)
{
	static struct agent_ek ek;
	struct agent_pcr_values values;
	struct agent_tpm_info info;
	struct agent_key *key = NULL;

	if (scenario == PROBE) {
		tried(agent_tpm_probe(tpm, &info, NULL));
	} else if (scenario == COUNTER) {
		count(tpm, dir_fd, extra, extra_size);
	} else if (scenario == EK) {
		if (agent_tpm_read_ek(tpm, AGENT_EK_EC_P256, &ek, NULL) == 0 && ek.chain_pem[ek.chain_size] != '\0')
			abort();
	} else if (scenario == UNSEAL) {
		unseal(tpm, extra, extra_size);
	} else if (scenario == PCRS) {
		tried(agent_pcr_read(tpm, 0x10001, &values, NULL));
	} else if (scenario == MAC) {
		mac(tpm, dir_fd);
	} else if (scenario == CREATE) {
		(void)unlinkat(dir_fd, "k.pem", 0);
		tried(agent_key_create(tpm, AGENT_KEY_EC_P256, dir_fd, "k", &key, NULL));
	} else if (take_key(tpm, area, area_size, &key) == 0) {
		if (scenario == SIGN)
			sign(key);
		else
			attest(tpm, scenario == QUOTE, key, extra, extra_size);
	}
	agent_key_unref(key);
}

static int scratch(void)
{
	static char path[] = "/tmp/fuzz-tpm-XXXXXX";
	static int fd = -1;

	if (fd < 0 && (mkdtemp(path) == NULL || (fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0))
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct agent_context *ctx;
	struct buf in = buf_from(data, size);
	const uint8_t *first, *area, *extra;
	uint16_t area_size, extra_size;
	struct agent_tpm *tpm = NULL;

	if (ctx == NULL) {
		setenv("TSS2_LOG", "all+none", 1);
		if (agent_context_new(&ctx) < 0)
			abort();
	}
	if (buf_get_bytes(&in, 1, &first) < 0 || skip_sized(&in, &area, &area_size) < 0 || skip_sized(&in, &extra, &extra_size) < 0)
		return 0;
	fake.answers = in;
	fake.flags = *first;
	if (agent_tpm_new(ctx, "swtpm:", 0x81000001, &tpm, NULL) < 0)
		abort();
	if (agent_tpm_open(tpm, NULL) == 0)
		play(tpm, (enum scenario)((*first & 0x3f) % SCENARIOS_), scratch(), area, area_size, extra, extra_size);
	agent_tpm_unref(tpm);
	return 0;
}
