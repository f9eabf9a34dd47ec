/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attestation against a real (software) TPM, one command per run, driven by tests/e2e/14-evidence.sh:
 *
 *   test_attest_live TCTI DIR provision | make KEY | certify KEY NONCE OUT | quote MASK NONCE OUT | describe KEY |
 *                             counter NAME INDEX N | ek rsa|ec | sign-with-ak | faults KEY
 *
 * OUT.msg, .sig, .tpmsig, .ak, .key and .pcrs are what a verifier gets. On failure "error NAME: sentence" and exit 1.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tss2/tss2_tpm2_types.h>

#include <agent/attest.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "live.h"

DEFINE_CLEANUP(struct agent_key *, agent_key_unref)
DEFINE_CLEANUP(struct agent_counter *, agent_counter_unref)

static int write_part(const char *out, const char *suffix, const void *data, size_t size)
{
	char path[256];

	snprintf(path, sizeof(path), "%s.%s", out, suffix);
	return file_replace_at(AT_FDCWD, path, 0600, data, size, &err);
}

static int write_parts(const char *out, const struct agent_attest *a)
{
	uint8_t pcrs[AGENT_TPM_N_PCRS * AGENT_TPM_PCR_SIZE];
	size_t n = 0;

	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if (!(a->pcr_mask & 1u << i))
			continue;
		memcpy(pcrs + n, a->pcrs[i], AGENT_TPM_PCR_SIZE);
		n += AGENT_TPM_PCR_SIZE;
	}
	if (write_part(out, "msg", a->statement, a->statement_size) < 0 || write_part(out, "sig", a->signature, a->signature_size) < 0 ||
	    write_part(out, "tpmsig", a->tpm_signature, a->tpm_signature_size) < 0 ||
	    write_part(out, "ak", a->ak_public, a->ak_public_size) < 0 || write_part(out, "key", a->key_public, a->key_public_size) < 0 ||
	    write_part(out, "pcrs", pcrs, n) < 0)
		return fail();
	return 0;
}

/* The nonce as hex; an odd one stays empty, which the library refuses. */
static size_t read_nonce(const char *text, uint8_t nonce[2 * AGENT_ATTEST_NONCE_MAX])
{
	size_t n = strlen(text) / 2;

	return n <= 2 * AGENT_ATTEST_NONCE_MAX && hex_decode(text, strlen(text), nonce, n) == 0 ? n : 0;
}

static int do_certify(struct agent_key *ak, const char *name, const char *nonce_text, const char *out)
{
	uint8_t nonce[2 * AGENT_ATTEST_NONCE_MAX];
	size_t n = read_nonce(nonce_text, nonce);
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	struct agent_attest a;
	uint64_t before;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0)
		return fail();
	before = agent_tpm_get_n_commands(tpm);
	if (agent_attest_certify(key, ak, nonce, n, &a, &err) < 0)
		return fail();
	printf("certified %s, %" PRIu64 " commands\n", name, agent_tpm_get_n_commands(tpm) - before);
	return write_parts(out, &a);
}

static int do_quote(struct agent_key *ak, const char *mask, const char *nonce_text, const char *out)
{
	uint8_t nonce[2 * AGENT_ATTEST_NONCE_MAX];
	size_t n = read_nonce(nonce_text, nonce);
	struct agent_attest a;

	if (agent_attest_quote(ak, (uint32_t)strtoul(mask, NULL, 16), nonce, n, &a, &err) < 0)
		return fail();
	printf("quoted %06" PRIx32 "\n", a.pcr_mask);
	return write_parts(out, &a);
}

static int do_describe(const char *name)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	char text[2 * AGENT_TPM_NAME_MAX + 1];
	struct agent_key_info info;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0 || agent_key_describe(key, &info, &err) < 0)
		return fail();
	hex_encode(info.name, info.name_size, text);
	printf("name %s\n", text);
	for (size_t i = 0; i < info.n_words; i++)
		printf("%s\n", info.words[i]);
	return 0;
}

static int do_counter(const char *name, const char *index, const char *n_text)
{
	_cleanup_(agent_counter_unrefp) struct agent_counter *counter = NULL;
	struct agent_tpm_counter_info info;

	if (agent_tpm_counter_open(tpm, (uint32_t)strtoul(index, NULL, 16), dir_fd, name, AGENT_TPM_CREATE | AGENT_TPM_FROM_ZERO, &counter,
				   &err) < 0)
		return fail();
	for (long n = strtol(n_text, NULL, 10); n > 0; n--)
		if (agent_counter_increment(counter, NULL, &err) < 0)
			return fail();
	if (agent_tpm_counter_describe(counter, &info, &err) < 0)
		return fail();
	printf("index 0x%08" PRIx32 " value %" PRIu64 " writes %" PRIu64 ":", info.index, info.value, info.n_writes);
	for (size_t i = 0; i < info.n_words; i++)
		printf("%s %s", i > 0 ? "," : "", info.words[i]);
	printf("\n");
	return 0;
}

static int do_ek(const char *type)
{
	struct agent_ek ek;

	if (agent_tpm_read_ek(tpm, strcmp(type, "rsa") == 0 ? AGENT_EK_RSA_2048 : AGENT_EK_EC_P256, &ek, &err) < 0)
		return fail();
	printf("ek %zu bytes, certificate %s\n%s", ek.spki_size, ek.has_certificate ? "yes" : "no", ek.chain_pem);
	return 0;
}

static int do_sign_with_ak(struct agent_key *ak)
{
	struct agent_signer *signer = NULL;

	if (agent_key_get_signer(ak, &signer, &err) < 0)
		return fail();
	agent_signer_unref(signer);
	printf("the attestation key gave a signer\n");
	return 0;
}

/* ---- faults ------------------------------------------------------------- */

struct fault {
	uint32_t command_code;
	unsigned times; /* strike so many */
	uint32_t rc;	/* 0: lose the answer; 1: change @at of it */
	size_t at;
	unsigned n_seen;
};

static enum tcti_verdict fault_hook(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size, uint32_t *ret_rc)
{
	struct fault *f = userdata;

	if (command_code != f->command_code)
		return TCTI_PASS;
	if (answer != NULL) {
		if (f->rc == 1 && f->n_seen <= f->times && answer_size > f->at)
			answer[f->at] ^= 0x40;
		return TCTI_PASS;
	}
	f->n_seen++;
	if (f->n_seen > f->times || f->rc == 1)
		return TCTI_PASS;
	*ret_rc = f->rc;
	return f->rc == 0 ? TCTI_IO_ERROR : TCTI_ANSWER;
}

static int do_faults(struct agent_key *ak, const char *name)
{
	static const uint8_t nonce[16] = { 1, 2, 3 };
	static const struct {
		const char *claim;
		int is_quote;
		struct fault fault;
		int want;
		const char *name;
	} cases[] = {
		{ "a lost answer to Certify is asked for again", 0, { TPM2_CC_Certify, 1, 0, 0, 0 }, 0, NULL },
		{ "answers to Certify lost twice are tpm.io", 0, { TPM2_CC_Certify, 2, 0, 0, 0 }, -EIO, "tpm.io" },
		{ "a stale session of Certify is started again", 0, { TPM2_CC_Certify, 1, TPM2_RC_REFERENCE_S1, 0, 0 }, 0, NULL },
		{ "no room for the second session is waited for", 0, { TPM2_CC_StartAuthSession, 2, TPM2_RC_SESSION_MEMORY, 0, 0 }, 0, NULL },
		{ "a statement changed on the bus is tpm.answer", 0, { TPM2_CC_Certify, 9, 1, 40, 0 }, -EIO, "tpm.answer" },
		{ "refused for good is tpm.refused", 0, { TPM2_CC_Certify, 9, 0x1d5, 0, 0 }, -EIO, "tpm.refused" },
		{ "a lost answer to Quote is asked for again", 1, { TPM2_CC_Quote, 1, 0, 0, 0 }, 0, NULL },
		{ "a quote changed on the bus is tpm.answer", 1, { TPM2_CC_Quote, 9, 1, 40, 0 }, -EIO, "tpm.answer" },
		{ "a PCR that changes once is read again", 1, { TPM2_CC_PCR_Read, 1, 1, 34, 0 }, 0, NULL },
		{ "PCR values changed on the bus for ever are tpm.pcr-changing", 1, { TPM2_CC_PCR_Read, 99, 1, 34, 0 }, -EBUSY, "tpm.pcr-changing" },
	};
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	struct agent_attest a;
	int n_bad = 0;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0)
		return fail();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fault f = cases[i].fault;
		bool ok;
		int r;

		tpm_set_hook(tpm, fault_hook, &f);
		r = cases[i].is_quote ? agent_attest_quote(ak, 0x81, nonce, sizeof(nonce), &a, &err) :
					agent_attest_certify(key, ak, nonce, sizeof(nonce), &a, &err);
		tpm_set_hook(tpm, NULL, NULL);
		ok = r == cases[i].want && (r == 0 || strcmp(agent_error_name(err), cases[i].name) == 0);
		if (!ok)
			printf("# got %d %s %s\n", r, agent_error_name(err), agent_error_message(err));
		err = agent_error_free(err);
		r = agent_attest_certify(key, ak, nonce, sizeof(nonce), &a, &err);
		if (r < 0)
			printf("# then %d %s %s\n", r, agent_error_name(err), agent_error_message(err));
		err = agent_error_free(err);
		ok = ok && r == 0;
		printf("%s - %s\n", ok ? "ok" : "not ok", cases[i].claim);
		n_bad += !ok;
	}
	return n_bad != 0;
}

static int run(struct agent_context *ctx, int argc, char **argv)
{
	_cleanup_(agent_key_unrefp) struct agent_key *ak = NULL, *key = NULL;

	if (strcmp(argv[3], "provision") == 0)
		return agent_tpm_provision_srk(tpm, &err) < 0 ? fail() : 0;
	if (strcmp(argv[3], "make") == 0 && argc == 5)
		return agent_key_create(tpm, AGENT_KEY_EC_P256, dir_fd, argv[4], &key, &err) < 0 ? fail() : 0;
	if (strcmp(argv[3], "describe") == 0 && argc == 5)
		return do_describe(argv[4]);
	if (strcmp(argv[3], "counter") == 0 && argc == 7)
		return do_counter(argv[4], argv[5], argv[6]);
	if (strcmp(argv[3], "ek") == 0 && argc == 5)
		return do_ek(argv[4]);
	if (agent_attest_key_open(tpm, dir_fd, getenv("AK") != NULL ? getenv("AK") : "ak", getenv("AK") != NULL ? 0 : AGENT_TPM_CREATE, &ak,
				  &err) < 0)
		return fail();
	if (strcmp(argv[3], "certify") == 0 && argc == 7)
		return do_certify(ak, argv[4], argv[5], argv[6]);
	if (strcmp(argv[3], "quote") == 0 && argc == 7)
		return do_quote(ak, argv[4], argv[5], argv[6]);
	if (strcmp(argv[3], "sign-with-ak") == 0)
		return do_sign_with_ak(ak);
	if (strcmp(argv[3], "faults") == 0 && argc == 5)
		return do_faults(ak, argv[4]);
	return 2;
}

int main(int argc, char **argv)
{
	return live_main(argc, argv, run);
}
