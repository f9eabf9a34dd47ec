/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign TCTI KEYDIR KEYNAME ROUNDS
 * What one signature costs and where the time goes: on the wire (from sending a command to its answer, seen by the TCTI
 * of libagent) and on this side of it. Three ways, in turns: libagent's own; the same two commands through ESYS's sessions;
 * a bare TPM2_Sign with a password session, which shows the password to everybody on the bus and is what nobody should use.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <agent/context.h>
#include <agent/key.h>
#include <agent/signer.h>
#include <agent/tpm.h>

#include "base/macro.h"
#include "tpm/connection.h"
#include "tpm/key_inside.h"
#include "tpm/session.h"

#define ROUNDS_MAX 10000

enum way { WAY_OURS, WAY_ESYS, WAY_BARE, WAYS_ };
enum part { PART_START, PART_SIGN, PART_HOST, PART_ALL, PARTS_ };

static const char *const way_names[] = { "libagent", "esys-hmac", "bare-sign" };
static double times[WAYS_][PARTS_][ROUNDS_MAX], verify_times[ROUNDS_MAX];
static double sent, wire[PARTS_];

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s failed\n", what);
	exit(1);
}

static enum tcti_verdict measure(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size, uint32_t *ret_rc)
{
	(void)userdata;
	(void)answer_size;
	(void)ret_rc;
	if (answer == NULL)
		sent = now_us();
	else
		wire[command_code == TPM2_CC_Sign ? PART_SIGN : PART_START] += now_us() - sent;
	return TCTI_PASS;
}

static void sign_esys(struct agent_key *key, const TPM2B_DIGEST *digest, bool is_bare)
{
	static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256 };
	static const TPMT_TK_HASHCHECK no_ticket = { .tag = TPM2_ST_HASHCHECK, .hierarchy = TPM2_RH_NULL };
	struct agent_tpm *tpm = key->object->tpm;
	ESYS_TR session = ESYS_TR_PASSWORD;
	TPMT_SIGNATURE *signature = NULL;

	if (!is_bare)
		must(session_start_plain(tpm, &session) == TSS2_RC_SUCCESS && session_attributes(tpm, session, 0) == TSS2_RC_SUCCESS,
		     "starting a session");
	must(Esys_Sign(tpm->esys, key->object->handle, session, ESYS_TR_NONE, ESYS_TR_NONE, digest, &scheme, &no_ticket, &signature) ==
		     TSS2_RC_SUCCESS,
	     "Esys_Sign");
	Esys_Free(signature);
	if (!is_bare)
		session_end(tpm, &session, TSS2_RC_SUCCESS, true);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof(values[0]), compare);
	return values[n / 2] / 1e3;
}

/* What libagent does with a signature before it gives it out. */
static double verify(EVP_PKEY *pkey, const uint8_t *sig, size_t size, const uint8_t *digest)
{
	double begun = now_us();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);

	must(ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, sig, size, digest, 32) == 1, "verification");
	EVP_PKEY_CTX_free(ctx);
	return now_us() - begun;
}

int main(int argc, char **argv)
{
	TPM2B_DIGEST digest = { .size = 32, .buffer = { 1, 2, 3 } };
	uint8_t sig[AGENT_SIGNATURE_MAX];
	struct agent_context *ctx = NULL;
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	struct agent_signer *signer = NULL;
	const uint8_t *spki;
	EVP_PKEY *pkey;
	size_t size;
	int rounds, dir_fd;

	rounds = argc == 5 ? atoi(argv[4]) : 0;
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: see the top of sign.c\n");
		return 2;
	}
	dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(agent_context_new(&ctx) == 0 && agent_tpm_new(ctx, argv[1], 0x81000001, &tpm, NULL) == 0 &&
		     agent_key_load(tpm, dir_fd, argv[3], &key, NULL) == 0 && agent_key_get_signer(key, &signer, NULL) == 0,
	     "loading the key");
	must(agent_key_get_type(key) == AGENT_KEY_EC_P256, "an ec-p256 key");
	agent_signer_get_public(signer, &spki, &size);
	pkey = d2i_PUBKEY(NULL, &spki, (long)size);
	tpm_set_hook(tpm, measure, NULL);
	for (int i = 0; i < rounds; i++) {
		for (int way = 0; way < WAYS_; way++) {
			double begun = now_us(), took;

			memset(wire, 0, sizeof(wire));
			if (way == WAY_OURS)
				must(agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA256, digest.buffer, 32, sig, &size, NULL) == 0,
				     "signing");
			else
				sign_esys(key, &digest, way == WAY_BARE);
			took = now_us() - begun;
			times[way][PART_START][i] = wire[PART_START];
			times[way][PART_SIGN][i] = wire[PART_SIGN];
			times[way][PART_HOST][i] = took - wire[PART_START] - wire[PART_SIGN];
			times[way][PART_ALL][i] = took;
		}
		verify_times[i] = verify(pkey, sig, size, digest.buffer);
	}
	for (int way = 0; way < WAYS_; way++)
		printf("sign way=%s rounds=%d median_ms=%.2f wire_StartAuthSession=%.2f wire_Sign=%.2f host=%.2f\n", way_names[way], rounds,
		       median(times[way][PART_ALL], rounds), median(times[way][PART_START], rounds), median(times[way][PART_SIGN], rounds),
		       median(times[way][PART_HOST], rounds));
	printf("sign way=verification rounds=%d median_ms=%.2f\n", rounds, median(verify_times, rounds));
	EVP_PKEY_free(pkey);
	agent_signer_unref(signer);
	agent_key_unref(key);
	agent_tpm_unref(tpm);
	agent_context_unref(ctx);
	return 0;
}
