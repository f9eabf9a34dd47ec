/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake tpm TCTI KEYDIR KEYNAME CERT CA HOST PORT ROUNDS
 * handshake file KEY.pem CERT CA HOST PORT ROUNDS
 * Connects to the broker again and again and prints the median time from the start to CONNACK and the TPM commands per connect.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <agent/key.h>
#include <agent/mqtt.h>
#include <agent/tls.h>
#include <agent/tpm.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
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

static int file_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		     uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(userdata, NULL);
	size_t size = AGENT_SIGNATURE_MAX;
	int ok = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, ret_sig, &size, digest, digest_size) == 1;

	EVP_PKEY_CTX_free(ctx);
	*ret_size = size;
	return ok ? 0 : agent_error_set(err, -EIO, "bench.sign", "OpenSSL did not sign");
}

static struct agent_signer *file_signer(const char *path)
{
	static const struct agent_signer_ops ops = { .backend = "file", .sign = file_sign };
	struct agent_signer *signer = NULL;
	struct agent_error *err = NULL;
	FILE *f = fopen(path, "r");
	EVP_PKEY *pkey = f == NULL ? NULL : PEM_read_PrivateKey(f, NULL, NULL, NULL);
	uint8_t *spki = NULL;
	int size = pkey == NULL ? -1 : i2d_PUBKEY(pkey, &spki);

	if (size <= 0) {
		fprintf(stderr, "%s holds no key\n", path);
		exit(1);
	}
	fclose(f);
	must(agent_signer_new(&ops, pkey, spki, (size_t)size, &signer, &err), err, "signer");
	OPENSSL_free(spki);
	return signer;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static double times[ROUNDS_MAX];
	int is_tpm = argc == 10 && strcmp(argv[1], "tpm") == 0, at = is_tpm ? 5 : 3, rounds;
	struct agent_context *ctx = NULL;
	struct agent_tpm *tpm = NULL;
	struct agent_key *key = NULL;
	struct agent_signer *signer = NULL;
	struct agent_tls *tls = NULL;
	struct agent_error *err = NULL;
	uint64_t ready = 0, n;

	if (!is_tpm && !(argc == 8 && strcmp(argv[1], "file") == 0)) {
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
	agent_key_unref(key);
	agent_tpm_unref(tpm);
	agent_context_unref(ctx);
	return 0;
}
