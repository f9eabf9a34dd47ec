/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake tpm TCTI KEYDIR KEYNAME CERT CA HOST PORT ROUNDS
 * handshake file KEY.pem CERT CA HOST PORT ROUNDS
 * handshake agentd SOCKET KEYNAME CERT CA HOST PORT ROUNDS
 * handshake tpm2-openssl KEY.pem PASSWORD-FILE CERT CA HOST PORT ROUNDS	(TPM2OPENSSL_TCTI in the environment)
 * Connects to the broker again and again and prints the median time from the start to CONNACK and the TPM commands per connect.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <agent/client.h>
#include <agent/key.h>
#include <agent/mqtt.h>
#include <agent/tls.h>
#include <agent/tpm.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509.h>

#define ROUNDS_MAX 10000

struct run {
	struct agent_mqtt *mqtt;
	double online;
	int failed;
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void must(int r, struct agent_error *err, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, agent_error_message(err), agent_error_name(err));
	exit(1);
}

static void on_state(void *userdata, enum agent_mqtt_state state, const struct agent_error *why)
{
	struct run *run = userdata;

	if (state == AGENT_MQTT_ONLINE) {
		run->online = now_ms();
		agent_mqtt_stop(run->mqtt);
	} else if (state == AGENT_MQTT_WAITING) {
		fprintf(stderr, "%s\n", agent_error_message(why));
		run->failed = 1;
		agent_mqtt_stop(run->mqtt);
	}
}

/* A key of libcrypto as a signer; with tpm2-openssl it asks the provider for the signature and nothing else. */
struct evp_key {
	EVP_PKEY *pkey;
	OSSL_LIB_CTX *libctx;
	const char *query;
};

static int evp_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		    uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct evp_key *key = userdata;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(key->libctx, key->pkey, key->query);
	EVP_MD *md = EVP_MD_fetch(key->libctx, "SHA256", key->query == NULL ? NULL : "provider=default");
	size_t size = AGENT_SIGNATURE_MAX;
	int ok = ctx != NULL && md != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
		 (key->query == NULL || EVP_PKEY_CTX_set_signature_md(ctx, md) == 1) &&
		 EVP_PKEY_sign(ctx, ret_sig, &size, digest, digest_size) == 1;

	EVP_MD_free(md);
	EVP_PKEY_CTX_free(ctx);
	*ret_size = size;
	if (ok)
		return 0;
	ERR_print_errors_fp(stderr);
	return agent_error_set(err, -EIO, "bench.sign", "OpenSSL did not sign");
}

static struct agent_signer *evp_signer(struct evp_key *key, const char *backend, const char *path)
{
	static struct agent_signer_ops ops = { .sign = evp_sign };
	struct agent_signer *signer = NULL;
	struct agent_error *err = NULL;
	uint8_t *spki = NULL;
	int size = key->pkey == NULL ? -1 : i2d_PUBKEY(key->pkey, &spki);

	if (size <= 0) {
		ERR_print_errors_fp(stderr);
		fprintf(stderr, "%s holds no key\n", path);
		exit(1);
	}
	ops.backend = backend;
	must(agent_signer_new(&ops, key, spki, (size_t)size, &signer, &err), err, "signer");
	OPENSSL_free(spki);
	return signer;
}

static struct agent_signer *file_signer(const char *path)
{
	static struct evp_key key;
	FILE *f = fopen(path, "r");

	key.pkey = f == NULL ? NULL : PEM_read_PrivateKey(f, NULL, NULL, NULL);
	if (f != NULL)
		fclose(f);
	return evp_signer(&key, "file", path);
}

static int give_password(char *buf, int size, int rwflag, void *userdata)
{
	FILE *f = fopen(userdata, "r");
	int n = f == NULL ? -1 : (int)fread(buf, 1, (size_t)size, f);

	(void)rwflag;
	if (f != NULL)
		fclose(f);
	return n;
}

/* The default provider first, as its own documents do not have it: then it gets the signatures and no hashing. */
static struct agent_signer *tpm2_openssl_signer(const char *path, const char *password_path)
{
	static struct evp_key key = { .query = "?provider=tpm2" };
	UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(give_password, 0);
	OSSL_STORE_CTX *store;

	key.libctx = OSSL_LIB_CTX_new();
	if (key.libctx == NULL || OSSL_PROVIDER_load(key.libctx, "default") == NULL || OSSL_PROVIDER_load(key.libctx, "tpm2") == NULL) {
		fprintf(stderr, "tpm2-openssl is not installed\n");
		exit(77);
	}
	store = OSSL_STORE_open_ex(path, key.libctx, key.query, ui, (void *)password_path, NULL, NULL, NULL);
	while (store != NULL && key.pkey == NULL && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key.pkey = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	OSSL_STORE_close(store);
	UI_destroy_method(ui);
	return evp_signer(&key, "tpm2-openssl", path);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static double times[ROUNDS_MAX];
	int is_tpm = argc == 10 && strcmp(argv[1], "tpm") == 0, is_agentd = argc == 9 && strcmp(argv[1], "agentd") == 0;
	int is_other = argc == 9 && strcmp(argv[1], "tpm2-openssl") == 0, at = argc - 5, rounds;
	struct agent_client *client = NULL;
	struct agent_context *ctx = NULL;
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	struct agent_signer *signer = NULL;
	struct agent_tls *tls = NULL;
	struct agent_error *err = NULL;
	uint64_t ready = 0, n;

	if (!is_tpm && !is_agentd && !is_other && !(argc == 8 && strcmp(argv[1], "file") == 0)) {
		fprintf(stderr, "usage: see the top of handshake.c\n");
		return 2;
	}
	rounds = atoi(argv[at + 4]);
	if (rounds < 1 || rounds > ROUNDS_MAX || agent_context_new(&ctx) < 0)
		return 2;
	if (is_tpm) {
		int dir_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		must(agent_tpm_new(ctx, argv[2], 0x81000001, &tpm, &err), err, "tpm");
		must(agent_key_load(tpm, dir_fd, argv[4], &key, &err), err, "key");
		must(agent_key_get_signer(key, &signer, &err), err, "signer");
		ready = agent_tpm_get_n_commands(tpm);
	} else if (is_agentd) {
		must(agent_client_open(ctx, argv[2], &client, &err), err, "agentd");
		must(agent_client_signer(client, argv[3], &signer, &err), err, "signer");
	} else if (is_other) {
		signer = tpm2_openssl_signer(argv[2], argv[3]);
	} else {
		signer = file_signer(argv[2]);
	}
	must(agent_tls_new(ctx, &(struct agent_tls_options){ .ca_file = argv[at + 1], .peer_name = argv[at + 2], .cert_file = argv[at],
							     .signer = signer }, &tls, &err), err, "tls");
	for (int i = 0; i < rounds; i++) {
		const struct agent_mqtt_handlers handlers = { .state = on_state };
		struct agent_mqtt_options options = {
			.host = argv[at + 2], .port = (uint16_t)atoi(argv[at + 3]), .client_id = "bench", .keepalive_s = 60,
			.backoff_max_ms = 1, .queue_max_messages = 1, .queue_max_bytes = 1,
		};
		struct run run = { 0 };
		double begun;

		must(agent_mqtt_new(ctx, tls, &options, &handlers, &run, &run.mqtt, &err), err, "mqtt");
		begun = now_ms();
		must(agent_mqtt_run(run.mqtt, &err), err, "run");
		if (run.failed)
			return 1;
		times[i] = run.online - begun;
		agent_mqtt_free(run.mqtt);
	}
	qsort(times, (size_t)rounds, sizeof(times[0]), compare);
	n = is_tpm ? agent_tpm_get_n_commands(tpm) - ready : 0;
	printf("key=%s rounds=%d median_ms=%.2f p95_ms=%.2f tpm_commands_to_ready=%" PRIu64 " tpm_commands_per_connect=%.2f\n", argv[1], rounds,
	       times[rounds / 2], times[rounds * 95 / 100], ready, (double)n / rounds);
	agent_tls_unref(tls);
	agent_signer_unref(signer);
	agent_client_unref(client);
	agent_key_unref(key);
	agent_tpm_unref(tpm);
	agent_context_unref(ctx);
	return 0;
}
