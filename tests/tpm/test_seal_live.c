/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing against a real (software) TPM, one command per run, driven by tests/e2e/13-seal.sh:
 *
 *   test_seal_live TCTI DIR provision | pcrs LIST OUT | seal PATH SECRET-FILE [OPTION...] | unseal PATH OUT [OPTION...] |
 *                           reseal PATH [OLD-OPTION...] -- [NEW-OPTION...] | sign KEY.pem OUT [OPTION...] |
 *                           flip PATH | faults PATH
 *   OPTION  policy=always|pcr|signed  pcr=7,16  values=FILE (of pcrs)  signer=PUBLIC.der  ref=TEXT  auth=TEXT  sig=FILE  buffer=N
 *
 * Paths are relative to DIR. Prints what it got; on failure "error NAME: sentence" and exits 1.
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

#include <openssl/pem.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/context.h>
#include <agent/seal.h>
#include <agent/tpm.h>

#include "../unit/software_signer.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "live.h"

DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)

/* ---- options ------------------------------------------------------------ */

struct options {
	struct agent_seal_options seal;
	struct agent_unseal_options unseal;
	struct agent_pcr_values values;
	char *files[4]; /* read for it */
	size_t n_files;
	size_t buffer;
};

static void options_free(struct options *o)
{
	for (size_t i = 0; i < o->n_files; i++)
		free(o->files[i]);
}

static uint32_t mask_of(const char *list)
{
	uint32_t mask = 0;
	char *end;

	for (; *list != '\0'; list = *end == ',' ? end + 1 : end)
		mask |= UINT32_C(1) << strtoul(list, &end, 10);
	return mask;
}

static int read_option_file(struct options *o, const char *path, char **ret_data, size_t *ret_n)
{
	int r = file_read_at(dir_fd, path, 200000, &o->files[o->n_files], ret_n, &err);

	if (r < 0)
		return r;
	*ret_data = o->files[o->n_files++];
	return 0;
}

static int option(struct options *o, const char *name, const char *value)
{
	char *data;
	size_t n;

	if (strcmp(name, "policy") == 0) {
		o->seal.policy = *value == 'p' ? AGENT_SEAL_PCR : *value == 's' ? AGENT_SEAL_SIGNED_PCR : AGENT_SEAL_ALWAYS;
	} else if (strcmp(name, "pcr") == 0) {
		o->seal.pcr_mask = mask_of(value);
	} else if (strcmp(name, "ref") == 0) {
		o->seal.ref = (const uint8_t *)value;
		o->seal.ref_size = strlen(value);
	} else if (strcmp(name, "auth") == 0) {
		o->seal.auth = o->unseal.auth = (const uint8_t *)value;
		o->seal.auth_size = o->unseal.auth_size = strlen(value);
	} else if (strcmp(name, "buffer") == 0) {
		o->buffer = strtoul(value, NULL, 10);
	} else if (read_option_file(o, value, &data, &n) < 0) {
		return -1;
	} else if (strcmp(name, "values") == 0 && n == sizeof(o->values)) {
		memcpy(&o->values, data, n);
		o->seal.expected = &o->values;
	} else if (strcmp(name, "signer") == 0) {
		o->seal.signer = (const uint8_t *)data;
		o->seal.signer_size = n;
	} else if (strcmp(name, "sig") == 0) {
		o->unseal.signatures = data;
		o->unseal.signatures_size = n;
	} else {
		return -1;
	}
	return 0;
}

/* Up to the end or "--"; returns what follows. */
static char **parse_options(char **argv, struct options *o)
{
	*o = (struct options){ .buffer = AGENT_SEAL_SECRET_MAX };
	for (; *argv != NULL && strcmp(*argv, "--") != 0; argv++) {
		char *equal = strchr(*argv, '=');

		if (equal == NULL)
			exit(2);
		*equal = '\0';
		if (option(o, *argv, equal + 1) < 0) {
			fail();
			exit(2);
		}
	}
	return *argv == NULL ? argv : argv + 1;
}

/* ---- commands ----------------------------------------------------------- */

static int do_provision(void)
{
	if (agent_tpm_provision_srk(tpm, &err) < 0)
		return fail();
	printf("provisioned\n");
	return 0;
}

static int do_pcrs(const char *list, const char *out)
{
	struct agent_pcr_values values;
	char hex[2 * AGENT_TPM_PCR_SIZE + 1];

	if (agent_pcr_read(tpm, mask_of(list), &values, &err) < 0 || file_replace_at(dir_fd, out, 0600, &values, sizeof(values), &err) < 0)
		return fail();
	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if (!(values.mask & UINT32_C(1) << i))
			continue;
		hex_encode(values.value[i], AGENT_TPM_PCR_SIZE, hex);
		printf("%u %s\n", i, hex);
	}
	return 0;
}

static int do_seal(const char *path, const char *secret_path, struct options *o)
{
	_cleanup_free_ char *secret = NULL;
	uint64_t before;
	size_t n;

	if (agent_tpm_open(tpm, &err) < 0 || file_read_at(dir_fd, secret_path, 2 * MIB, &secret, &n, &err) < 0)
		return fail();
	before = agent_tpm_get_n_commands(tpm);
	if (agent_seal_file(tpm, dir_fd, path, (const uint8_t *)secret, n, &o->seal, &err) < 0)
		return fail();
	printf("sealed commands=%" PRIu64 "\n", agent_tpm_get_n_commands(tpm) - before);
	return 0;
}

static int do_unseal(const char *path, const char *out, struct options *o)
{
	_cleanup_free_ uint8_t *secret = malloc(o->buffer + 1);
	uint64_t before;
	size_t n = 4711;

	if (secret == NULL)
		return 2;
	memset(secret, 0x77, o->buffer + 1);
	if (agent_tpm_open(tpm, &err) < 0)
		return fail();
	before = agent_tpm_get_n_commands(tpm);
	if (agent_unseal_file(tpm, dir_fd, path, &o->unseal, secret, o->buffer, &n, &err) < 0) {
		for (size_t i = 0; i < o->buffer + 1; i++)
			if (secret[i] != 0x77 || n != 4711)
				printf("error written: the buffer was written to on failure\n");
		return fail();
	}
	if (file_replace_at(dir_fd, out, 0600, secret, n, &err) < 0)
		return fail();
	printf("unsealed %zu commands=%" PRIu64 "\n", n, agent_tpm_get_n_commands(tpm) - before);
	return 0;
}

static int do_reseal(const char *path, struct options *old, struct options *new)
{
	if (agent_reseal_file(tpm, dir_fd, path, &old->unseal, &new->seal, &err) < 0)
		return fail();
	printf("resealed\n");
	return 0;
}

/* As the maker of updates does it, who has no TPM. */
static int do_sign(const char *key_path, const char *out, const struct options *o)
{
	struct software_key key = { 0 }; /* outlives the signer */
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_free_ char *pem = NULL, *text = NULL;
	uint8_t *spki = NULL;
	size_t n;
	BIO *bio;
	int n_spki;

	if (file_read_at(dir_fd, key_path, 8192, &pem, &n, &err) < 0)
		return fail();
	bio = BIO_new_mem_buf(pem, (int)n);
	key.pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	n_spki = key.pkey == NULL ? 0 : i2d_PUBKEY(key.pkey, &spki);
	if (n_spki <= 0 || agent_signer_new(&software_ops, &key, spki, (size_t)n_spki, &signer, &err) < 0)
		return fail();
	OPENSSL_free(spki);
	if (agent_policy_sign(signer, &o->values, o->seal.ref, o->seal.ref_size, &text, &n, &err) < 0 ||
	    file_replace_at(dir_fd, out, 0600, text, n, &err) < 0)
		return fail();
	printf("signed\n");
	return 0;
}

static int try(const uint8_t *data, size_t n)
{
	static uint8_t secret[AGENT_SEAL_SECRET_MAX];
	size_t n_secret;
	int r = agent_unseal(tpm, data, n, NULL, secret, sizeof(secret), &n_secret, &err);

	if (r == -EIO)
		printf("# %s: %s\n", agent_error_name(err), agent_error_message(err));
	err = agent_error_free(err);
	return r;
}

/* One bit in every byte; the TPM is asked only where the parser sees nothing wrong. */
static int do_flip(const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t n, n_given = 0, n_other = 0;
	uint64_t before;

	if (file_read_at(dir_fd, path, AGENT_SEAL_MAX, &text, &n, &err) < 0)
		return fail();
	if (try((uint8_t *)text, n) < 0)
		return 1;
	before = agent_tpm_get_n_commands(tpm);
	for (size_t i = 0; i < n; i++) {
		int r;

		text[i] = (char)(text[i] ^ 1 << i % 8);
		r = try((uint8_t *)text, n);
		n_given += r == 0;
		n_other += r < 0 && r != -EBADMSG && r != -EKEYREJECTED && r != -EPERM && r != -EOPNOTSUPP;
		text[i] = (char)(text[i] ^ 1 << i % 8);
	}
	printf("flipped %zu given %zu otherwise refused %zu asked %s\n", n, n_given, n_other,
	       agent_tpm_get_n_commands(tpm) > before ? "yes" : "no");
	return try((uint8_t *)text, n) < 0;
}

/* ---- faults ------------------------------------------------------------- */

struct fault {
	uint32_t command_code;
	unsigned times;
	uint32_t rc; /* 0: lose the answer; 1: damage it */
	unsigned n_seen;
};

static enum tcti_verdict fault_hook(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size, uint32_t *ret_rc)
{
	struct fault *f = userdata;

	if (command_code != f->command_code)
		return TCTI_PASS;
	if (answer != NULL) {
		if (f->rc == 1 && f->n_seen <= f->times && answer_size > 24)
			answer[24] ^= 0x40;
		return TCTI_PASS;
	}
	if (++f->n_seen > f->times || f->rc == 1)
		return TCTI_PASS;
	*ret_rc = f->rc;
	return f->rc == 0 ? TCTI_IO_ERROR : TCTI_ANSWER;
}

static int do_faults(const char *path, struct options *o)
{
	static const struct {
		const char *claim;
		bool is_seal;
		struct fault fault;
		int want;
		const char *want_name;
	} cases[] = {
		{ "seal: an answer that got lost is asked for again", true, { TPM2_CC_Create, 1, 0, 0 }, 0, NULL },
		{ "seal: answers lost twice are tpm.io", true, { TPM2_CC_Create, 2, 0, 0 }, -EIO, "tpm.io" },
		{ "seal: a damaged blob is tpm.answer", true, { TPM2_CC_Create, 1, 1, 0 }, -EIO, "tpm.answer" },
		{ "seal: PCR values changed on the bus are tpm.answer", true, { TPM2_CC_PCR_Read, 1, 1, 0 }, -EIO, "tpm.answer" },
		{ "seal: RETRY for ever is tpm.busy", true, { TPM2_CC_Create, 1000, TPM2_RC_RETRY, 0 }, -EBUSY, "tpm.busy" },
		{ "unseal: a lost answer is asked for again", false, { TPM2_CC_Unseal, 1, 0, 0 }, 0, NULL },
		{ "unseal: answers lost twice are tpm.io", false, { TPM2_CC_Unseal, 2, 0, 0 }, -EIO, "tpm.io" },
		{ "unseal: a damaged answer is tpm.answer", false, { TPM2_CC_Unseal, 1, 1, 0 }, -EIO, "tpm.answer" },
		{ "unseal: PCR values changed on the bus are tpm.answer", false, { TPM2_CC_PCR_Read, 1, 1, 0 }, -EIO, "tpm.answer" },
		{ "unseal: a stale session is started again", false, { TPM2_CC_PolicyPCR, 1, TPM2_RC_REFERENCE_H0, 0 }, 0, NULL },
		{ "unseal: a lost LoadExternal is done again", false, { TPM2_CC_LoadExternal, 1, 0, 0 }, 0, NULL },
		{ "unseal: a lost VerifySignature is done again", false, { TPM2_CC_VerifySignature, 1, 0, 0 }, 0, NULL },
		{ "unseal: a lost PolicyAuthorize is done again", false, { TPM2_CC_PolicyAuthorize, 1, 0, 0 }, 0, NULL },
		{ "unseal: a signature the TPM refuses is seal.signature", false, { TPM2_CC_VerifySignature, 1, 0x2db, 0 }, -EKEYREJECTED,
		  "seal.signature" },
		{ "unseal: a ticket the TPM refuses is seal.policy", false, { TPM2_CC_PolicyAuthorize, 1, 0x1c4, 0 }, -EPERM, "seal.policy" },
		{ "unseal: PCRs that change in between are seal.pcr", false, { TPM2_CC_Unseal, 1, TPM2_RC_PCR_CHANGED, 0 }, -EPERM, "seal.pcr" },
		{ "unseal: a full TPM is waited for", false, { TPM2_CC_StartAuthSession, 2, TPM2_RC_SESSION_MEMORY, 0 }, 0, NULL },
		{ "unseal: a policy the TPM does not accept is seal.policy", false, { TPM2_CC_Unseal, 1, 0x99d, 0 }, -EPERM, "seal.policy" },
		{ "unseal: failure mode is tpm.failed", false, { TPM2_CC_Unseal, 1, TPM2_RC_FAILURE, 0 }, -EIO, "tpm.failed" },
		{ "unseal: lockout is tpm.locked-out", false, { TPM2_CC_Load, 1, TPM2_RC_LOCKOUT, 0 }, -EBUSY, "tpm.locked-out" },
	};
	uint8_t secret[64] = { 42 }, *sealed;
	int n_bad = 0;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fault f = cases[i].fault;
		bool ok;
		int r;

		tpm_set_hook(tpm, fault_hook, &f);
		sealed = NULL;
		if (cases[i].is_seal)
			r = agent_seal(tpm, secret, sizeof(secret), &o->seal, &sealed, &n, &err);
		else
			r = agent_unseal_file(tpm, dir_fd, path, &o->unseal, secret, sizeof(secret), &n, &err);
		tpm_set_hook(tpm, NULL, NULL);
		free(sealed);
		ok = r == cases[i].want && (r == 0 || strcmp(agent_error_name(err), cases[i].want_name) == 0) && f.n_seen > 0;
		if (!ok)
			printf("# got %d %s %s\n", r, agent_error_name(err), agent_error_message(err));
		err = agent_error_free(err);
		tpm->locked_until_ms = 0;
		if (agent_unseal_file(tpm, dir_fd, path, &o->unseal, secret, sizeof(secret), &n, &err) < 0) {
			printf("# then %s %s\n", agent_error_name(err), agent_error_message(err));
			err = agent_error_free(err);
			ok = false;
		}
		printf("%s - %s\n", ok ? "ok" : "not ok", cases[i].claim);
		n_bad += !ok;
	}
	return n_bad != 0;
}

static int run(struct agent_context *ctx, int argc, char **argv)
{
	struct options o = { 0 }, new = { 0 };
	char **rest;
	int r = 2, first = strcmp(argv[3], "reseal") == 0 || strcmp(argv[3], "faults") == 0 ? 5 : 6;

	rest = parse_options(argc > first ? argv + first : argv + argc, &o);
	if (strcmp(argv[3], "provision") == 0) {
		r = do_provision();
	} else if (strcmp(argv[3], "pcrs") == 0 && argc == 6) {
		r = do_pcrs(argv[4], argv[5]);
	} else if (strcmp(argv[3], "seal") == 0 && argc >= 6) {
		r = do_seal(argv[4], argv[5], &o);
	} else if (strcmp(argv[3], "unseal") == 0 && argc >= 6) {
		r = do_unseal(argv[4], argv[5], &o);
	} else if (strcmp(argv[3], "reseal") == 0 && argc >= 5) {
		(void)parse_options(rest, &new);
		r = do_reseal(argv[4], &o, &new);
		options_free(&new);
	} else if (strcmp(argv[3], "sign") == 0 && argc >= 6) {
		r = do_sign(argv[4], argv[5], &o);
	} else if (strcmp(argv[3], "flip") == 0 && argc == 5) {
		r = do_flip(argv[4]);
	} else if (strcmp(argv[3], "faults") == 0 && argc >= 5) {
		r = do_faults(argv[4], &o);
	}
	options_free(&o);
	return r;
}

int main(int argc, char **argv)
{
	return live_main(argc, argv, run);
}
