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

#define CALL_TIMEOUT_US (15 * 1000000ull)
#define STRIKES_MAX 3 /* a peer that just hangs up gives no reason: three times is one */

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
			identity->next_failed = identity->is_definite = false;
			identity->n_strikes = 0;
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

void identity_failed(struct identity *identity, const char *name, const char *why)
{
	/* What can only be about the certificate, or about what the broker lets its owner do. */
	static const char *const definite[] = {
		"tls.alert", "tls.key", "mqtt.refused", "mqtt.not-authorised", "mqtt.credentials", "mqtt.client-id", "mqtt.banned",
	};

	if (!identity->uses_next) {
		/* The old pair fares no better, so it is not the new one's fault. */
		identity->next_failed = identity->is_definite = false;
		return;
	}
	identity->next_failed = true;
	identity->is_definite = false;
	for (size_t i = 0; i < ARRAY_SIZE(definite); i++)
		identity->is_definite |= strcmp(name, definite[i]) == 0;
	snprintf(identity->why, sizeof(identity->why), "%s (%s)", why, name);
}

enum identity_verdict identity_succeeded(struct identity *identity)
{
	if (identity->uses_next)
		return IDENTITY_PROVED;
	if (!identity->next_failed)
		return IDENTITY_NONE;
	if (identity->is_definite || ++identity->n_strikes >= STRIKES_MAX)
		return IDENTITY_NOT_PROVED;
	identity->next_failed = false;
	return IDENTITY_AGAIN;
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
