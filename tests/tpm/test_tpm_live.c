/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libagent/tpm against a real (software) TPM, one command per run, driven by tests/e2e/10-tpm.sh:
 *
 *   test_tpm_live TCTI DIR provision | probe | create NAME TYPE | import NAME PEM-FILE | sign NAME MESSAGE-FILE | counter NAME INDEX FLAGS N |
 *                          mac NAME FLAGS TEXT | talk NAME | faults NAME | leak N | storm NAME N blocked|open
 *
 * Prints what it got; on failure "error NAME: sentence" and exits 1.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/context.h>
#include <agent/key.h>
#include <agent/tpm.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "live.h"
#include "tpm/session.h"

DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)
DEFINE_CLEANUP(struct agent_key *, agent_key_unref)
DEFINE_CLEANUP(struct agent_counter *, agent_counter_unref)
DEFINE_CLEANUP(struct agent_mac *, agent_mac_unref)

static int read_pin(void)
{
	uint8_t name[66];
	_cleanup_free_ char *text = NULL;
	size_t n;
	int r;

	r = file_read_at(dir_fd, "srk.name", 200, &text, &n, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || n % 2 != 0 || n > 2 * sizeof(name) || hex_decode(text, n, name, n / 2) < 0)
		return -EBADMSG;
	return agent_tpm_pin_srk(tpm, name, n / 2, &err);
}

static int do_provision(void)
{
	const uint8_t *name;
	char text[133];
	size_t n;

	if (agent_tpm_provision_srk(tpm, &err) < 0)
		return fail();
	if (agent_tpm_get_srk_name(tpm, &name, &n) < 0 || n > 66)
		return 1;
	hex_encode(name, n, text);
	if (file_replace_at(dir_fd, "srk.name", 0600, text, 2 * n, &err) < 0)
		return fail();
	printf("srk %s\n", text);
	return 0;
}

static int do_probe(void)
{
	struct agent_tpm_info info = { 0 };

	if (agent_tpm_probe(tpm, &info, &err) < 0)
		return fail();
	printf("maker %s firmware %08" PRIx32 " objects-free %" PRIu32 " lockout %" PRIu32 " of %" PRIu32 "\n", info.manufacturer, info.firmware_1,
	       info.n_objects_free, info.lockout_counter, info.lockout_max);
	return 0;
}

static int do_create(const char *name, const char *type_name)
{
	enum agent_key_type type;
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;

	if (agent_key_type_parse(type_name, &type) < 0)
		return 2;
	if (agent_key_create(tpm, type, dir_fd, name, &key, &err) < 0)
		return fail();
	printf("created %s %s\n", agent_key_get_name(key), agent_key_type_name(agent_key_get_type(key)));
	return 0;
}

static int do_import(const char *name, const char *file)
{
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	_cleanup_free_ char *pem = NULL;
	size_t n;

	if (file_read_at(AT_FDCWD, file, 1 << 20, &pem, &n, &err) < 0 || agent_key_import(tpm, dir_fd, name, pem, n, &key, &err) < 0)
		return fail();
	printf("imported %s %s%s, %" PRIu64 " commands\n", agent_key_get_name(key), agent_key_type_name(agent_key_get_type(key)),
	       agent_key_is_imported(key) ? "" : " as its own", agent_tpm_get_n_commands(tpm));
	return 0;
}

/* What a program does that ends without flushing its sessions. */
static int do_leak(unsigned long n)
{
	if (agent_tpm_open(tpm, &err) < 0)
		return fail();
	while (n-- > 0) {
		ESYS_TR session;

		if (session_start_plain(tpm, &session) != TSS2_RC_SUCCESS)
			break;
	}
	_exit(0);
}

static int sign_once(struct agent_signer *signer, const uint8_t digest[32], uint8_t sig[AGENT_SIGNATURE_MAX], size_t *ret_n)
{
	enum agent_sign_scheme scheme = agent_signer_get_type(signer) <= AGENT_KEY_EC_P384 ? AGENT_SIGN_ECDSA : AGENT_SIGN_RSA_PSS;

	return agent_signer_sign(signer, scheme, AGENT_HASH_SHA256, digest, 32, sig, ret_n, &err);
}

static int do_sign(const char *name, const char *message_path)
{
	uint8_t sig[AGENT_SIGNATURE_MAX], digest[64];
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	uint64_t n_start, n_sign, n_second;
	const uint8_t *spki;
	_cleanup_free_ char *message = NULL;
	char path[80];
	size_t n, n_spki, n_message;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0 || agent_key_get_signer(key, &signer, &err) < 0)
		return fail();
	n_start = agent_tpm_get_n_commands(tpm);
	if (file_read_at(AT_FDCWD, message_path, 65536, &message, &n_message, &err) < 0)
		return fail();
	if (!EVP_Q_digest(NULL, "SHA256", NULL, message, n_message, digest, NULL))
		return 2;
	if (sign_once(signer, digest, sig, &n) < 0)
		return fail();
	n_sign = agent_tpm_get_n_commands(tpm) - n_start;
	if (sign_once(signer, digest, sig, &n) < 0)
		return fail();
	n_second = agent_tpm_get_n_commands(tpm) - n_start - n_sign;
	agent_signer_get_public(signer, &spki, &n_spki);
	snprintf(path, sizeof(path), "%s.sig", name);
	if (file_replace_at(dir_fd, path, 0600, sig, n, &err) < 0)
		return fail();
	snprintf(path, sizeof(path), "%s.spki", name);
	if (file_replace_at(dir_fd, path, 0600, spki, n_spki, &err) < 0)
		return fail();
	/* Longer hashes too: the EC types cut them. */
	if (agent_signer_get_type(signer) <= AGENT_KEY_EC_P384) {
		memset(digest, 0xa5, sizeof(digest));
		if (agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA384, digest, 48, sig, &n, &err) < 0 ||
		    agent_signer_sign(signer, AGENT_SIGN_ECDSA, AGENT_HASH_SHA512, digest, 64, sig, &n, &err) < 0)
			return fail();
	} else if (agent_signer_sign(signer, AGENT_SIGN_RSA_PKCS1, AGENT_HASH_SHA256, digest, 32, sig, &n, &err) < 0) {
		return fail();
	}
	printf("signed start=%" PRIu64 " sign=%" PRIu64 " again=%" PRIu64 "\n", n_start, n_sign, n_second);
	return 0;
}

static unsigned flags_of(const char *text)
{
	return (strchr(text, 'c') != NULL ? (unsigned)AGENT_TPM_CREATE : 0) |
	       (strchr(text, 'z') != NULL ? (unsigned)AGENT_TPM_FROM_ZERO : 0);
}

static int do_counter(const char *name, const char *index, const char *flags, const char *n_text)
{
	_cleanup_(agent_counter_unrefp) struct agent_counter *counter = NULL;
	uint64_t value = 0;

	if (agent_tpm_counter_open(tpm, (uint32_t)strtoul(index, NULL, 16), dir_fd, name, flags_of(flags), &counter, &err) < 0)
		return fail();
	for (long n = strtol(n_text, NULL, 10); n > 0; n--)
		if (agent_counter_increment(counter, &value, &err) < 0)
			return fail();
	if (agent_counter_get(counter, &value, &err) < 0)
		return fail();
	printf("%" PRIu64 "\n", value);
	return 0;
}

static int do_mac(const char *name, const char *flags, const char *text)
{
	uint8_t mac[AGENT_MAC_SIZE];
	char hex[2 * AGENT_MAC_SIZE + 1];
	_cleanup_(agent_mac_unrefp) struct agent_mac *m = NULL;

	if (agent_tpm_mac_open(tpm, dir_fd, name, flags_of(flags), &m, &err) < 0 ||
	    agent_mac_compute(m, (const uint8_t *)text, strlen(text), mac, &err) < 0)
		return fail();
	hex_encode(mac, sizeof(mac), hex);
	printf("%s\n", hex);
	return 0;
}

/* A running process that is asked to sign now and then, while the TPM goes away and comes back. */
static int do_talk(const char *name)
{
	static const uint8_t digest[32] = { 1 };
	uint8_t sig[AGENT_SIGNATURE_MAX];
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	char line[64];
	size_t n;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0 || agent_key_get_signer(key, &signer, &err) < 0)
		return fail();
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (sign_once(signer, digest, sig, &n) < 0)
			fail();
		else
			printf("signed\n");
		printf("state %s\n", agent_tpm_state_name(agent_tpm_get_state(tpm)));
		fflush(stdout);
	}
	return 0;
}

/* ---- faults ------------------------------------------------------------- */

struct fault {
	uint32_t command_code;
	unsigned after, times; /* pass so many, then strike so many */
	uint32_t rc;	       /* 0: lose the answer; 1: damage it */
	unsigned n_seen;
};

static enum tcti_verdict fault_hook(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size, uint32_t *ret_rc)
{
	struct fault *f = userdata;

	if (command_code != f->command_code)
		return TCTI_PASS;
	if (answer != NULL) {
		if (f->rc == 1 && f->n_seen > f->after && f->n_seen <= f->after + f->times && answer_size > 40)
			answer[20] ^= 0x40;
		return TCTI_PASS;
	}
	f->n_seen++;
	if (f->n_seen <= f->after || f->n_seen > f->after + f->times || f->rc == 1)
		return TCTI_PASS;
	*ret_rc = f->rc;
	return f->rc == 0 ? TCTI_IO_ERROR : TCTI_ANSWER;
}

static int n_bad;

static void check(bool ok, const char *claim)
{
	printf("%s - %s\n", ok ? "ok" : "not ok", claim);
	n_bad += !ok;
}

static int do_faults(struct agent_context *ctx, const char *conf, const char *name)
{
	static const uint8_t digest[32] = { 2 };
	static const struct {
		const char *claim;
		struct fault fault;
		int want;	  /* 0 or errno of the signature under the fault */
		const char *want_name;
	} cases[] = {
		{ "2 x RETRY is not noticed", { TPM2_CC_Sign, 0, 2, TPM2_RC_RETRY, 0 }, 0, NULL },
		{ "12 x TESTING is waited for", { TPM2_CC_Sign, 0, 12, TPM2_RC_TESTING, 0 }, 0, NULL },
		{ "RETRY for ever is tpm.busy", { TPM2_CC_Sign, 0, 1000, TPM2_RC_RETRY, 0 }, -EBUSY, "tpm.busy" },
		{ "NV_RATE is waited for", { TPM2_CC_Sign, 0, 2, TPM2_RC_NV_RATE, 0 }, 0, NULL },
		{ "a lost answer is asked for again", { TPM2_CC_Sign, 0, 1, 0, 0 }, 0, NULL },
		{ "answers lost twice are tpm.io", { TPM2_CC_Sign, 0, 2, 0, 0 }, -EIO, "tpm.io" },
		{ "a stale handle is loaded again", { TPM2_CC_Sign, 0, 1, TPM2_RC_REFERENCE_H0, 0 }, 0, NULL },
		{ "an unknown handle is loaded again", { TPM2_CC_Sign, 0, 1, 0x18b, 0 }, 0, NULL },
		{ "a handle unknown for ever is tpm.foreign", { TPM2_CC_Sign, 0, 1000, 0x18b, 0 }, -EKEYREJECTED, "tpm.foreign" },
		{ "a damaged answer to Sign is tpm.answer", { TPM2_CC_Sign, 0, 1, 1, 0 }, -EIO, "tpm.answer" },
		{ "a full TPM is waited for", { TPM2_CC_StartAuthSession, 0, 2, TPM2_RC_SESSION_MEMORY, 0 }, 0, NULL },
		{ "a TPM full for ever is tpm.busy", { TPM2_CC_StartAuthSession, 0, 1000, TPM2_RC_SESSION_MEMORY, 0 }, -EBUSY, "tpm.busy" },
		{ "failure mode is tpm.failed", { TPM2_CC_Sign, 0, 1, TPM2_RC_FAILURE, 0 }, -EIO, "tpm.failed" },
		{ "a code nobody knows is tpm.refused", { TPM2_CC_Sign, 0, 1, 0x1d5, 0 }, -EIO, "tpm.refused" },
		{ "lockout is tpm.locked-out", { TPM2_CC_Sign, 0, 1, TPM2_RC_LOCKOUT, 0 }, -EBUSY, "tpm.locked-out" },
	};
	uint8_t sig[AGENT_SIGNATURE_MAX];
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_(agent_counter_unrefp) struct agent_counter *counter = NULL;
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	_cleanup_(agent_tpm_unrefp) struct agent_tpm *fresh = NULL;
	uint64_t before, after;
	struct fault f;
	size_t n;
	int r;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0 || agent_key_get_signer(key, &signer, &err) < 0)
		return fail();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool ok;

		f = cases[i].fault;
		tpm_set_hook(tpm, fault_hook, &f);
		r = sign_once(signer, digest, sig, &n);
		tpm_set_hook(tpm, NULL, NULL);
		ok = r == cases[i].want && (r == 0 || strcmp(agent_error_name(err), cases[i].want_name) == 0);
		if (!ok)
			printf("# got %d %s %s\n", r, agent_error_name(err), agent_error_message(err));
		err = agent_error_free(err);
		r = sign_once(signer, digest, sig, &n);
		if (r < 0)
			printf("# then %d %s %s\n", r, agent_error_name(err), agent_error_message(err));
		err = agent_error_free(err);
		check(ok && r == 0, cases[i].claim);
	}
	check(agent_tpm_get_state(tpm) == AGENT_TPM_LOCKED_OUT, "LOCKED_OUT stays visible while a noDA key signs");

	if (agent_tpm_counter_open(tpm, 0x01800a60, dir_fd, "faulty", AGENT_TPM_CREATE, &counter, &err) < 0)
		return fail();
	if (agent_counter_get(counter, &before, &err) < 0)
		return fail();
	f = (struct fault){ TPM2_CC_NV_Increment, 0, 1, 0, 0 };
	tpm_set_hook(tpm, fault_hook, &f);
	r = agent_counter_increment(counter, &after, &err);
	tpm_set_hook(tpm, NULL, NULL);
	check(r == 0 && after == before + 1, "an increment whose answer was lost counts once");
	err = agent_error_free(err);
	f = (struct fault){ TPM2_CC_NV_Increment, 0, 1, TPM2_RC_REFERENCE_S0, 0 };
	before = after;
	tpm_set_hook(tpm, fault_hook, &f);
	r = agent_counter_increment(counter, &after, &err);
	tpm_set_hook(tpm, NULL, NULL);
	check(r == 0 && after == before + 1, "an increment that was refused for a stale session is done once");
	err = agent_error_free(err);
	f = (struct fault){ TPM2_CC_NV_Read, 0, 1, 1, 0 };
	tpm_set_hook(tpm, fault_hook, &f);
	r = agent_counter_get(counter, &after, &err);
	tpm_set_hook(tpm, NULL, NULL);
	check(r == -EIO && strcmp(agent_error_name(err), "tpm.answer") == 0, "a counter value changed on the bus is tpm.answer");
	err = agent_error_free(err);

	/* The SRK's public area is exchanged on the bus, its Name kept: the salt must not be sent to that key. */
	if (agent_tpm_new(ctx, conf, 0x81000001, &fresh, &err) < 0)
		return fail();
	f = (struct fault){ TPM2_CC_ReadPublic, 0, 1, 1, 0 };
	tpm_set_hook(fresh, fault_hook, &f);
	r = agent_tpm_open(fresh, &err);
	check(r == -EIO && strcmp(agent_error_name(err), "tpm.answer") == 0, "an SRK changed on the bus is tpm.answer");
	err = agent_error_free(err);
	return n_bad != 0;
}

/* ---- signals -------------------------------------------------------------------------- */

struct storm {
	struct agent_signer *signer;
	unsigned long n_wanted, n_signed, n_failed;
	bool is_open; /* signals reach the thread that talks to the TPM */
	_Atomic bool is_over;
};

static void on_signal(int number)
{
	(void)number;
}

static void *storm_thread(void *userdata)
{
	static const uint8_t digest[32] = { 2 };
	uint8_t sig[AGENT_SIGNATURE_MAX];
	struct storm *s = userdata;
	sigset_t none;
	size_t n;

	sigemptyset(&none);
	if (s->is_open)
		pthread_sigmask(SIG_SETMASK, &none, NULL);
	for (unsigned long i = 0; i < s->n_wanted; i++) {
		if (sign_once(s->signer, digest, sig, &n) == 0)
			s->n_signed++;
		else
			s->n_failed++;
		err = agent_error_free(err);
	}
	s->is_over = true;
	return NULL;
}

/* Signals to the process and to the very thread, about every half millisecond, while it signs. */
static int do_storm(const char *name, const char *count, const char *mode)
{
	static const int numbers[] = { SIGUSR1, SIGCHLD, SIGALRM };
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_(agent_key_unrefp) struct agent_key *key = NULL;
	struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART */
	struct timespec nap = { .tv_nsec = 500000 };
	struct storm s = { .n_wanted = strtoul(count, NULL, 10), .is_open = strcmp(mode, "open") == 0 };
	uint64_t generation;
	pthread_t thread;
	sigset_t none;

	if (agent_key_load(tpm, dir_fd, name, &key, &err) < 0 || agent_key_get_signer(key, &signer, &err) < 0)
		return fail();
	generation = tpm->generation;
	s.signer = signer;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaction(numbers[i], &action, NULL);
	if (pthread_create(&thread, NULL, storm_thread, &s) != 0)
		return 2;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	while (!s.is_over) {
		for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
			kill(getpid(), numbers[i]);
			pthread_kill(thread, numbers[i]);
		}
		nanosleep(&nap, NULL);
	}
	pthread_join(thread, NULL);
	printf("signed %lu failed %lu opened-again %" PRIu64 "\n", s.n_signed, s.n_failed, tpm->generation - generation);
	return 0;
}

static int run(struct agent_context *ctx, int argc, char **argv)
{
	int r = 2;

	if (read_pin() < 0)
		return fail();
	if (strcmp(argv[3], "provision") == 0)
		r = do_provision();
	else if (strcmp(argv[3], "probe") == 0)
		r = do_probe();
	else if (strcmp(argv[3], "create") == 0 && argc == 6)
		r = do_create(argv[4], argv[5]);
	else if (strcmp(argv[3], "import") == 0 && argc == 6)
		r = do_import(argv[4], argv[5]);
	else if (strcmp(argv[3], "sign") == 0 && argc == 6)
		r = do_sign(argv[4], argv[5]);
	else if (strcmp(argv[3], "counter") == 0 && argc == 8)
		r = do_counter(argv[4], argv[5], argv[6], argv[7]);
	else if (strcmp(argv[3], "mac") == 0 && argc == 7)
		r = do_mac(argv[4], argv[5], argv[6]);
	else if (strcmp(argv[3], "talk") == 0 && argc == 5)
		r = do_talk(argv[4]);
	else if (strcmp(argv[3], "faults") == 0 && argc == 5)
		r = do_faults(ctx, argv[1], argv[4]);
	else if (strcmp(argv[3], "leak") == 0 && argc == 5)
		r = do_leak(strtoul(argv[4], NULL, 10));
	else if (strcmp(argv[3], "storm") == 0 && argc == 7)
		r = do_storm(argv[4], argv[5], argv[6]);
	return r;
}

int main(int argc, char **argv)
{
	return live_main(argc, argv, run);
}
