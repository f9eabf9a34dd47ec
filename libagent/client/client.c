/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <agent/client.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/macro.h"
#include "base/monotonic.h"
#include "client/channel.h"

/* As in agentd/common/operations.h: D-Bus point to point, rows of operations.def. */
#define PATH "/org/libagent"
#define INTERFACE "org.libagent.Core1"
#define SPKI_MAX 1024
#define TIMEOUT_MS 35000

struct agent_client {
	unsigned n_refs;
	struct agent_context *ctx;
	struct channel channel;
};

/* ---- calls ------------------------------------------------------------------------------------------------------ */

/* Arguments of a call; NULL and 0 where the operation has none. */
struct arguments {
	const char *first, *second;
	const uint32_t *numbers; /* two */
	const uint64_t *seconds;
	struct {
		const void *data;
		size_t size;
	} bytes[5];
	size_t n_bytes;
	bool is_secret; /* wiped when call and answer are freed */
};

static int new_call(struct agent_client *c, const char *method, const struct arguments *a, sd_bus_message **ret_call)
{
	int r = sd_bus_message_new_method_call(c->channel.bus, ret_call, NULL, PATH, INTERFACE, method);

	if (r >= 0 && a->first != NULL)
		r = sd_bus_message_append_basic(*ret_call, 's', a->first);
	if (r >= 0 && a->second != NULL)
		r = sd_bus_message_append_basic(*ret_call, 's', a->second);
	if (r >= 0 && a->numbers != NULL)
		r = sd_bus_message_append(*ret_call, "uu", a->numbers[0], a->numbers[1]);
	if (r >= 0 && a->seconds != NULL)
		r = sd_bus_message_append_basic(*ret_call, 't', a->seconds);
	for (size_t i = 0; i < a->n_bytes && r >= 0; i++)
		r = sd_bus_message_append_array(*ret_call, 'y', a->bytes[i].data == NULL ? "" : a->bytes[i].data, a->bytes[i].size);
	if (r >= 0 && a->is_secret)
		r = sd_bus_message_sensitive(*ret_call);
	return r;
}

/* One call on the connection there is. */
static int call_once(struct agent_client *c, const char *method, const struct arguments *a, sd_bus_message **ret_reply,
		     struct agent_error **err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *call = NULL;
	int r;

	/* Signals that came meanwhile would pile up: nobody else reads this connection. */
	while ((r = sd_bus_process(c->channel.bus, NULL)) > 0)
		;
	if (r >= 0)
		r = new_call(c, method, a, &call);
	if (r >= 0)
		r = sd_bus_call(c->channel.bus, call, c->channel.timeout_us, &error, ret_reply);
	if (r >= 0 && a->is_secret)
		(void)sd_bus_message_sensitive(*ret_reply);
	if (r < 0)
		r = channel_error(&error, r, err);
	sd_bus_error_free(&error);
	sd_bus_message_unref(call);
	if (r == -ENOTCONN)
		channel_drop(&c->channel);
	return r < 0 ? r : 0;
}

/* Twice, because the connection may be from before agentd was restarted. */
static int call(struct agent_client *c, const char *method, const struct arguments *a, sd_bus_message **ret_reply,
		struct agent_error **err)
{
	int r = channel_need(&c->channel, err);

	if (r >= 0)
		r = call_once(c, method, a, ret_reply, err);
	if (r != -ENOTCONN)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	r = channel_need(&c->channel, err);
	return r < 0 ? r : call_once(c, method, a, ret_reply, err);
}

/* The bytes of a reply, lent. */
static int read_bytes(sd_bus_message *reply, size_t max, const void **ret_data, size_t *ret_size, struct agent_error **err)
{
	int r = sd_bus_message_read_array(reply, 'y', ret_data, ret_size);

	if (r < 0 || *ret_size == 0 || *ret_size > max)
		return agent_error_set(err, -EPROTO, "bus.protocol", "agentd answered with something else than the bytes asked for");
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

int agent_client_open(struct agent_context *ctx, const char *socket_path, struct agent_client **ret_client, struct agent_error **err)
{
	struct agent_client *c;
	int r;

	if (ctx == NULL || ret_client == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "a client needs a context");
	c = calloc(1, sizeof(*c));
	if (c == NULL || (c->channel.path = strdup(socket_path == NULL ? AGENT_CLIENT_SOCKET : socket_path)) == NULL) {
		free(c);
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a client");
	}
	c->n_refs = 1;
	c->ctx = agent_context_ref(ctx);
	agent_client_set_timeout(c, TIMEOUT_MS);
	r = channel_need(&c->channel, err);
	if (r < 0) {
		agent_client_unref(c);
		return r;
	}
	*ret_client = c;
	return 0;
}

struct agent_client *agent_client_ref(struct agent_client *client)
{
	if (client != NULL)
		client->n_refs++;
	return client;
}

struct agent_client *agent_client_unref(struct agent_client *client)
{
	if (client == NULL || --client->n_refs > 0)
		return NULL;
	channel_drop(&client->channel);
	agent_context_unref(client->ctx);
	free(client->channel.path);
	free(client);
	return NULL;
}

void agent_client_set_timeout(struct agent_client *client, unsigned timeout_ms)
{
	if (client != NULL)
		client->channel.timeout_us = (uint64_t)timeout_ms * 1000;
}

int agent_client_get_setup(struct agent_client *client, const char **ret_state, struct agent_error **err)
{
	static const char *const states[] = { "factory", "active", "recovery", "unprovisioned", "unavailable" };
	static const struct arguments none;
	sd_bus_message *reply = NULL;
	const char *text, *found = NULL;
	int r;

	if (client == NULL || ret_state == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "no client");
	r = call(client, "SetupGet", &none, &reply, err);
	if (r >= 0 && sd_bus_message_read(reply, "s", &text) > 0)
		for (size_t i = 0; i < ARRAY_SIZE(states); i++)
			if (strcmp(states[i], text) == 0)
				found = states[i];
	sd_bus_message_unref(reply);
	if (r >= 0 && found == NULL)
		return agent_error_set(err, -EPROTO, "bus.protocol", "agentd is in a state that this version does not know");
	if (r >= 0)
		*ret_state = found;
	return r;
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

int agent_client_get_time(struct agent_client *client, struct agent_time_reading *ret_reading, struct agent_error **err)
{
	static const struct arguments none;
	struct agent_time_reading reading = { 0 };
	sd_bus_message *reply = NULL;
	const char *state;
	int r;

	if (client == NULL || ret_reading == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "no client");
	r = call(client, "TimeGet", &none, &reply, err);
	if (r < 0)
		return r;
	if (sd_bus_message_read(reply, "stttt", &state, &reading.now_s, &reading.floor_s, &reading.uncertainty_s, &reading.n_changes) <= 0 ||
	    agent_time_state_parse(state, &reading.state) < 0)
		r = agent_error_set(err, -EPROTO, "bus.protocol", "agentd answered with something else than the time");
	else
		*ret_reading = reading;
	sd_bus_message_unref(reply);
	return r;
}

/* agentd sends a signal with each change, and nothing else by itself: whatever comes is a reason to look. */
int agent_client_wait_time(struct agent_client *client, uint64_t n_changes, unsigned timeout_ms, struct agent_time_reading *ret_reading,
			   struct agent_error **err)
{
	uint64_t end_us = monotonic_us() + (uint64_t)timeout_ms * 1000, now_us;
	int r;

	for (;;) {
		r = agent_client_get_time(client, ret_reading, err);
		if (r < 0 || ret_reading->n_changes != n_changes)
			return r < 0 ? r : 1;
		now_us = monotonic_us();
		if (now_us >= end_us)
			return 0;
		r = sd_bus_process(client->channel.bus, NULL);
		if (r == 0)
			r = sd_bus_wait(client->channel.bus, end_us - now_us);
		if (r < 0 && r != -EINTR)
			channel_drop(&client->channel); /* the next look connects again, or says why not */
	}
}

/* ---- restart of the device ------------------------------------------------------------------------------------------ */

static int ask_reboot(struct agent_client *client, const char *method, const struct arguments *a, struct agent_client_reboot *ret_reboot,
		      struct agent_error **err)
{
	struct agent_client_reboot reboot = { 0 };
	const char *waits_for, *release_id;
	sd_bus_message *reply = NULL;
	int r;

	if (client == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "no client");
	r = call(client, method, a, &reply, err);
	if (r < 0)
		return r;
	if (sd_bus_message_read(reply, "sstt", &waits_for, &release_id, &reboot.in_s, &reboot.hold_left_s) <= 0 ||
	    strlen(waits_for) >= sizeof(reboot.waits_for) || strlen(release_id) >= sizeof(reboot.release_id)) {
		r = agent_error_set(err, -EPROTO, "bus.protocol", "agentd answered with something else than what a restart waits for");
	} else if (ret_reboot != NULL) {
		strcpy(reboot.waits_for, waits_for);
		strcpy(reboot.release_id, release_id);
		*ret_reboot = reboot;
	}
	sd_bus_message_unref(reply);
	return r;
}

int agent_client_get_reboot(struct agent_client *client, struct agent_client_reboot *ret_reboot, struct agent_error **err)
{
	static const struct arguments none;

	if (ret_reboot == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "nowhere to put the answer");
	return ask_reboot(client, "RebootGet", &none, ret_reboot, err);
}

int agent_client_hold_reboot(struct agent_client *client, uint64_t hold_s, struct agent_client_reboot *ret_reboot, struct agent_error **err)
{
	const struct arguments a = { .seconds = &hold_s };

	return ask_reboot(client, "RebootHold", &a, ret_reboot, err);
}

/* ---- signer ----------------------------------------------------------------------------------------------------- */

struct client_key {
	struct agent_client *client;
	char *name;
	uint64_t epoch;		   /* of the connection on which the public key was last seen */
	struct agent_signer *self; /* the signer we are behind: holds the public key; not referenced */
};

static int fetch_public(struct client_key *key, uint8_t ret_spki[SPKI_MAX], size_t *ret_size, struct agent_error **err)
{
	struct arguments a = { .first = key->name };
	sd_bus_message *reply = NULL;
	const void *spki;
	size_t size;
	int r;

	r = call(key->client, "KeyPublic", &a, &reply, err);
	if (r >= 0)
		r = read_bytes(reply, SPKI_MAX, &spki, &size, err);
	if (r >= 0) {
		memcpy(ret_spki, spki, size);
		*ret_size = size;
		key->epoch = key->client->channel.epoch;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_prefix(err, r, "key %s", key->name) : 0;
}

/* After agentd was restarted the name may stand for another key, and the certificate would not fit. */
static int check_same(struct client_key *key, struct agent_error **err)
{
	uint8_t now[SPKI_MAX];
	const uint8_t *before;
	size_t before_size, now_size;
	int r;

	r = channel_need(&key->client->channel, err);
	if (r < 0 || key->epoch == key->client->channel.epoch)
		return r;
	r = fetch_public(key, now, &now_size, err);
	if (r < 0)
		return r;
	agent_signer_get_public(key->self, &before, &before_size);
	if (before_size == now_size && memcmp(before, now, now_size) == 0)
		return 0;
	key->epoch = 0; /* ask again next time */
	return agent_error_set(err, -EKEYREJECTED, "client.key-changed", "key %s is another one now than when it was opened", key->name);
}

static int sign_once(struct client_key *key, const struct arguments *a, uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size,
		     struct agent_error **err)
{
	sd_bus_message *reply = NULL;
	const void *sig;
	size_t size;
	int r;

	r = check_same(key, err);
	if (r < 0)
		return r;
	r = call_once(key->client, "KeySign", a, &reply, err);
	if (r >= 0)
		r = read_bytes(reply, AGENT_SIGNATURE_MAX, &sig, &size, err);
	if (r >= 0) {
		memcpy(ret_sig, sig, size);
		*ret_size = size;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_prefix(err, r, "key %s", key->name) : 0;
}

static int client_sign(void *userdata, enum agent_sign_scheme scheme, enum agent_hash hash, const uint8_t *digest, size_t digest_size,
		       uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, struct agent_error **err)
{
	struct client_key *key = userdata;
	const uint32_t numbers[2] = { (uint32_t)scheme, (uint32_t)hash };
	struct arguments a = { .first = key->name, .numbers = numbers, .bytes = { { digest, digest_size } }, .n_bytes = 1 };
	int r = sign_once(key, &a, ret_sig, ret_size, err);

	if (r != -ENOTCONN)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	return sign_once(key, &a, ret_sig, ret_size, err);
}

static void client_key_free(void *userdata)
{
	struct client_key *key = userdata;

	agent_client_unref(key->client);
	free(key->name);
	free(key);
}

static const struct agent_signer_ops client_ops = { .backend = "agentd", .sign = client_sign, .free = client_key_free };

int agent_client_signer(struct agent_client *client, const char *key_name, struct agent_signer **ret_signer, struct agent_error **err)
{
	struct client_key *key;
	uint8_t spki[SPKI_MAX];
	size_t size = 0;
	int r;

	if (client == NULL || key_name == NULL || ret_signer == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "a signer needs a client and the name of a key");
	key = calloc(1, sizeof(*key));
	if (key == NULL || (key->name = strdup(key_name)) == NULL) {
		free(key);
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a signer");
	}
	key->client = agent_client_ref(client);
	r = fetch_public(key, spki, &size, err);
	if (r >= 0)
		r = agent_signer_new(&client_ops, key, spki, size, ret_signer, err);
	if (r < 0) {
		client_key_free(key);
		return r;
	}
	key->self = *ret_signer;
	return 0;
}

/* ---- application signatures --------------------------------------------------------------------------------------- */

int agent_client_app_sign(struct agent_client *client, const char *key_name, const char *context, const void *data, size_t size,
			  uint8_t ret_sig[AGENT_SIGNATURE_MAX], size_t *ret_size, char ret_label[AGENT_APP_LABEL_MAX + 1],
			  struct agent_error **err)
{
	struct arguments a = { .first = key_name, .second = context, .bytes = { { data, size } }, .n_bytes = 1 };
	sd_bus_message *reply = NULL;
	const char *label;
	const void *sig;
	size_t n;
	int r;

	if (client == NULL || key_name == NULL || context == NULL || (data == NULL && size > 0) || ret_sig == NULL || ret_size == NULL ||
	    ret_label == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "an application signature needs a client, a key, a context and a message");
	if (size > AGENT_APP_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "app.message", "the message has %zu bytes, limit %d", size, AGENT_APP_MESSAGE_MAX);
	r = call(client, "AppSign", &a, &reply, err);
	if (r >= 0)
		r = read_bytes(reply, AGENT_SIGNATURE_MAX, &sig, &n, err);
	if (r >= 0 && (sd_bus_message_read(reply, "s", &label) <= 0 || strlen(label) > AGENT_APP_LABEL_MAX))
		r = agent_error_set(err, -EPROTO, "bus.protocol", "agentd answered without the label of the application");
	if (r >= 0) {
		memcpy(ret_sig, sig, n);
		*ret_size = n;
		strcpy(ret_label, label);
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_prefix(err, r, "key %s", key_name) : 0;
}

/* ---- sealing -------------------------------------------------------------------------------------------------------- */

/* Values of the PCRs in the mask, lowest first. Returns how many bytes. */
static size_t pack_values(const struct agent_pcr_values *values, uint8_t ret_packed[AGENT_TPM_N_PCRS * AGENT_TPM_PCR_SIZE])
{
	size_t n = 0;

	for (unsigned i = 0; i < AGENT_TPM_N_PCRS; i++) {
		if ((values->mask & UINT32_C(1) << i) == 0)
			continue;
		memcpy(ret_packed + n, values->value[i], AGENT_TPM_PCR_SIZE);
		n += AGENT_TPM_PCR_SIZE;
	}
	return n;
}

int agent_client_seal(struct agent_client *client, const char *key_name, const uint8_t *secret, size_t secret_size,
		      const struct agent_seal_options *options, uint8_t **ret_sealed, size_t *ret_sealed_size, struct agent_error **err)
{
	static const struct agent_seal_options none;
	const struct agent_seal_options *o = options == NULL ? &none : options;
	uint8_t packed[AGENT_TPM_N_PCRS * AGENT_TPM_PCR_SIZE];
	uint32_t numbers[2] = { (uint32_t)o->policy, o->pcr_mask };
	sd_bus_message *reply = NULL;
	const void *sealed;
	size_t n, n_packed = o->expected == NULL ? 0 : pack_values(o->expected, packed);
	struct arguments a = {
		.first = key_name,
		.numbers = numbers,
		.bytes = { { o->signer, o->signer_size }, { o->ref, o->ref_size }, { o->auth, o->auth_size }, { packed, n_packed },
			   { secret, secret_size } },
		.n_bytes = 5,
		.is_secret = true,
	};
	int r;

	if (client == NULL || key_name == NULL || secret == NULL || ret_sealed == NULL || ret_sealed_size == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "sealing needs a client, a key and a secret");
	if (secret_size == 0 || secret_size > AGENT_CLIENT_SECRET_MAX)
		return agent_error_set(err, -EMSGSIZE, "seal.size", "a secret has 1 to %d bytes here, this one has %zu", AGENT_CLIENT_SECRET_MAX,
				       secret_size);
	if (o->expected != NULL && o->expected->mask != o->pcr_mask)
		return agent_error_set(err, -EINVAL, "seal.argument", "the expected values are of other PCRs than those it is sealed to");
	r = call(client, "Seal", &a, &reply, err);
	if (r >= 0)
		r = read_bytes(reply, AGENT_SEAL_MAX, &sealed, &n, err);
	if (r >= 0 && (*ret_sealed = malloc(n)) == NULL)
		r = agent_error_set(err, -ENOMEM, "memory", "no memory for a sealed secret of %zu bytes", n);
	if (r >= 0) {
		memcpy(*ret_sealed, sealed, n);
		*ret_sealed_size = n;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_prefix(err, r, "key %s", key_name) : 0;
}

int agent_client_unseal(struct agent_client *client, const char *key_name, const uint8_t *sealed, size_t sealed_size,
			const struct agent_unseal_options *options, uint8_t *secret, size_t secret_size, size_t *ret_size,
			struct agent_error **err)
{
	static const struct agent_unseal_options none;
	const struct agent_unseal_options *o = options == NULL ? &none : options;
	struct arguments a = {
		.first = key_name,
		.bytes = { { o->signatures, o->signatures_size }, { o->auth, o->auth_size }, { sealed, sealed_size } },
		.n_bytes = 3,
		.is_secret = true,
	};
	sd_bus_message *reply = NULL;
	const void *data;
	size_t n;
	int r;

	if (client == NULL || key_name == NULL || sealed == NULL || secret == NULL || ret_size == NULL)
		return agent_error_set(err, -EINVAL, "client.argument", "unsealing needs a client, a key, sealed bytes and room");
	if (sealed_size == 0 || sealed_size > AGENT_CLIENT_SEALED_MAX || o->signatures_size > AGENT_CLIENT_SEALED_MAX - sealed_size)
		return agent_error_set(err, -EMSGSIZE, "seal.size", "sealed bytes and policy signatures have %zu bytes, limit %d",
				       sealed_size + o->signatures_size, AGENT_CLIENT_SEALED_MAX);
	r = call(client, "Unseal", &a, &reply, err);
	if (r >= 0)
		r = read_bytes(reply, AGENT_CLIENT_SECRET_MAX, &data, &n, err);
	if (r >= 0 && n > secret_size)
		r = agent_error_set(err, -ENOBUFS, "seal.buffer", "the secret has %zu bytes, the buffer %zu", n, secret_size);
	if (r >= 0) {
		memcpy(secret, data, n);
		*ret_size = n;
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_prefix(err, r, "key %s", key_name) : 0;
}
