/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/link/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "base/macro.h"
#include "base/text.h"

#define CALL_TIMEOUT_US (15 * 1000000ull)
#define STRIKES_MAX 3 /* a peer that just hangs up gives no reason: three times is one */
#define PATIENCE_DOUBLINGS 6 /* then each 64th time */

static void pair_clear(struct identity_pair *pair)
{
	free(pair->pem);
	*pair = (struct identity_pair){ .pem = NULL };
}

void identity_clear(struct identity *identity)
{
	pair_clear(&identity->current);
	pair_clear(&identity->next);
}

static int pair_set(struct identity_pair *pair, const char *pem, const char *id, const char *key)
{
	char *copy = strdup(pem);

	if (copy == NULL || strlen(id) >= sizeof(pair->id) || strlen(key) >= sizeof(pair->key)) {
		free(copy);
		return -ENOMEM;
	}
	free(pair->pem);
	pair->pem = copy;
	strcpy(pair->id, id);
	strcpy(pair->key, key);
	return 0;
}

static int call(const char *run_dir, const char *member, const char *const args[], sd_bus_message **ret_reply, struct agent_error **err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;
	sd_bus *bus = NULL;
	int r = peer_connect(run_dir, "core-link.sock", &bus, err);

	if (r < 0)
		return r;
	r = sd_bus_message_new_method_call(bus, &m, NULL, BUS_PATH, BUS_CORE, member);
	for (; r >= 0 && *args != NULL; args++)
		r = sd_bus_message_append_basic(m, 's', *args);
	if (r >= 0)
		r = sd_bus_call(bus, m, CALL_TIMEOUT_US, &error, ret_reply);
	if (r < 0)
		r = peer_error_from_bus(&error, r, err);
	sd_bus_error_free(&error);
	sd_bus_message_unref(m);
	sd_bus_flush_close_unref(bus);
	return r < 0 ? r : 0;
}

int identity_refresh(struct identity *identity, const char *run_dir, const char *key, struct agent_error **err)
{
	const char *pem, *id, *next_pem, *next_id, *next_key, *const args[] = { key, NULL };
	sd_bus_message *reply = NULL;
	bool is_other;
	int r = call(run_dir, "KeyIdentity", args, &reply, err);

	if (r < 0)
		return r;
	r = sd_bus_message_read(reply, "sssss", &pem, &id, &next_pem, &next_id, &next_key);
	if (r >= 0) {
		is_other = strcmp(next_id, identity->next.id) != 0;
		r = pair_set(&identity->current, pem, id, key);
		if (r >= 0)
			r = pair_set(&identity->next, next_pem, next_id, next_key);
		if (r >= 0 && is_other) {
			identity->next_failed = identity->is_definite = identity->was_seen = false;
			identity->n_strikes = identity->n_again = 0;
			identity->why[0] = '\0';
		}
	}
	sd_bus_message_unref(reply);
	return r < 0 ? agent_error_set(err, r, "bus.protocol", "agentd's answer about our certificate cannot be used") : 0;
}

const struct identity_pair *identity_choose(struct identity *identity)
{
	identity->uses_next = identity->next.id[0] != '\0' && !identity->next_failed;
	return identity->uses_next ? &identity->next : &identity->current;
}

/* What can only be about the certificate, or about what the broker lets its owner do. */
static bool is_definite(const char *name, enum agent_tls_shown shown)
{
	/* In the connection, so from the broker that was checked; or without it, from our own key. */
	static const char *const names[] = {
		"tls.key", "mqtt.refused", "mqtt.not-authorised", "mqtt.credentials", "mqtt.client-id", "mqtt.banned",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strcmp(name, "tls.alert") == 0 && shown == AGENT_TLS_REFUSED;
}

void identity_failed(struct identity *identity, size_t broker, const char *name, const char *why, enum agent_tls_shown shown)
{
	if (!identity->uses_next) {
		/* The old pair fares no better, so it is not the new one's fault. */
		identity->next_failed = identity->is_definite = identity->was_seen = false;
		return;
	}
	identity->next_failed = true;
	identity->broker = broker;
	identity->is_definite = is_definite(name, shown);
	identity->was_seen = identity->is_definite || shown != AGENT_TLS_NOT_SHOWN;
	text_reason(identity->why, sizeof(identity->why), why, name);
}

enum identity_verdict identity_succeeded(struct identity *identity, size_t broker)
{
	if (identity->uses_next)
		return IDENTITY_PROVED;
	if (!identity->next_failed)
		return IDENTITY_NONE;
	if (identity->was_seen && ((identity->is_definite && identity->broker == broker) || ++identity->n_strikes >= STRIKES_MAX))
		return IDENTITY_NOT_PROVED;
	identity->next_failed = false;
	identity->n_again++;
	return IDENTITY_AGAIN;
}

unsigned identity_patience(const struct identity *identity)
{
	return identity->n_again < 2 ? 0 : identity->n_again > PATIENCE_DOUBLINGS ? (1u << PATIENCE_DOUBLINGS) - 1 : (1u << (identity->n_again - 1)) - 1;
}

int identity_tell(const struct identity *identity, enum identity_verdict verdict, const char *run_dir, const char *key, struct agent_error **err)
{
	bool is_proved = verdict == IDENTITY_PROVED;
	const char *const args[] = { key, identity->next.id, is_proved ? NULL : identity->why, NULL };
	sd_bus_message *reply = NULL;
	int r = call(run_dir, is_proved ? "KeyProved" : "KeyNotProved", args, &reply, err);

	sd_bus_message_unref(reply);
	return r;
}
