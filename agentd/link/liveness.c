/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/link/liveness.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RETRY_MS 1000	/* the client took no canary, or has to get rid of the last one */

void liveness_init(struct liveness *l, uint64_t interval_s, uint64_t timeout_s)
{
	*l = (struct liveness){ .interval_ms = interval_s * 1000, .timeout_ms = timeout_s * 1000, .round_trip_ms = -1 };
}

const char *liveness_word(enum liveness_state state)
{
	return state == LIVENESS_ALIVE ? "alive" : state == LIVENESS_DEAF ? "deaf" : "unknown";
}

void liveness_online(struct liveness *l, uint64_t now_ms, const uint8_t nonce[LIVENESS_NONCE])
{
	for (size_t i = 0; i < LIVENESS_NONCE; i++)
		snprintf(l->nonce + 2 * i, 3, "%02x", nonce[i]);
	l->is_online = true;
	l->was_good = false;
	l->number = 0;
	l->proof_ms = l->round_ms = now_ms;
	l->is_asked = l->is_sent = l->is_acked = l->is_refused = false;
	l->round_trip_ms = -1;
	if (l->state != LIVENESS_DEAF)
		l->state = LIVENESS_UNKNOWN;
	/* Each connection has to show it, whatever the one before it did. */
	if (l->interval_ms > 0) {
		l->is_asked = true;
		l->progress_ms = now_ms;
	}
}

void liveness_offline(struct liveness *l)
{
	l->is_online = l->is_asked = false;
	l->round_trip_ms = -1;
	if (l->state != LIVENESS_DEAF)
		l->state = LIVENESS_UNKNOWN;
}

void liveness_forget(struct liveness *l)
{
	liveness_offline(l);
	l->has_id = false;
}

static uint64_t due_ms(const struct liveness *l)
{
	uint64_t proof = l->proof_ms + l->interval_ms, round = l->round_ms + LIVENESS_ROUND * l->interval_ms;

	return proof < round ? proof : round;
}

enum liveness_action liveness_check(struct liveness *l, uint64_t now_ms, uint64_t *ret_wait_ms)
{
	*ret_wait_ms = LIVENESS_NEVER;
	if (!l->is_online || l->interval_ms == 0)
		return LIVENESS_WAIT;
	if (!l->is_asked) {
		if (now_ms < due_ms(l)) {
			*ret_wait_ms = due_ms(l) - now_ms;
			return LIVENESS_WAIT;
		}
		l->is_asked = true;
		l->is_sent = l->is_acked = l->is_refused = false;
		l->progress_ms = now_ms;
	}
	if (l->is_refused || now_ms >= l->progress_ms + l->timeout_ms) {
		l->state = LIVENESS_DEAF;
		l->n_deaf++;
		l->is_online = l->is_asked = false;
		return LIVENESS_REJECT;
	}
	*ret_wait_ms = l->progress_ms + l->timeout_ms - now_ms;
	if (l->is_sent)
		return LIVENESS_WAIT;
	if (*ret_wait_ms > RETRY_MS)
		*ret_wait_ms = RETRY_MS;
	/* One at a time: those of connections that broke would pile up in the client. */
	return l->has_id ? LIVENESS_WAIT : LIVENESS_SEND;
}

void liveness_text(const struct liveness *l, char ret_text[LIVENESS_TEXT])
{
	snprintf(ret_text, LIVENESS_TEXT, "%s-%" PRIu64, l->nonce, l->number + 1);
}

void liveness_sent(struct liveness *l, uint64_t now_ms, uint64_t id)
{
	l->number++;
	l->n_sent++;
	l->is_sent = true;
	l->sent_ms = now_ms;
	l->has_id = true;
	l->id = id;
}

bool liveness_acked(struct liveness *l, uint64_t now_ms, uint64_t id)
{
	bool is_ours = l->has_id && id == l->id;

	l->has_id = l->has_id && !is_ours;
	if (!l->is_online)
		return false;
	l->proof_ms = now_ms;
	/* While other messages are acknowledged ours only waits for its turn; after its own acknowledgement it is on its way to us. */
	if (!l->is_acked)
		l->progress_ms = now_ms;
	if (is_ours && l->is_sent) {
		l->is_acked = true;
		l->acked_ms = now_ms;
	}
	if (l->interval_ms == 0) {
		bool is_news = l->state != LIVENESS_ALIVE;

		l->state = LIVENESS_ALIVE;
		l->was_good = true;
		return is_news;
	}
	return is_ours && l->is_asked && !l->is_sent;
}

bool liveness_refused(struct liveness *l, uint64_t id)
{
	if (!l->has_id || id != l->id)
		return false;
	l->has_id = false;
	l->is_refused = l->is_online && l->is_asked && l->is_sent;
	return true;
}

bool liveness_canary(struct liveness *l, uint64_t now_ms, const void *payload, size_t size, bool *ret_is_foreign)
{
	char text[LIVENESS_TEXT];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s-%" PRIu64, l->nonce, l->number);

	*ret_is_foreign = !l->is_online || size < sizeof(l->nonce) || memcmp(payload, l->nonce, sizeof(l->nonce) - 1) != 0;
	if (*ret_is_foreign)
		l->n_foreign++;
	if (*ret_is_foreign || !l->is_asked || !l->is_sent || size != n || memcmp(payload, text, n) != 0)
		return false;
	l->n_answered++;
	l->round_trip_ms = (int64_t)(now_ms - l->sent_ms);
	l->proof_ms = l->round_ms = now_ms;
	l->state = LIVENESS_ALIVE;
	l->was_good = true;
	l->is_asked = false;
	return true;
}

void liveness_message(struct liveness *l, uint64_t now_ms)
{
	if (!l->is_online)
		return;
	l->proof_ms = now_ms;
	if (!l->is_asked)
		l->round_ms = now_ms;
	else if (!l->is_acked || now_ms < l->acked_ms + (LIVENESS_ROUND - 1) * l->timeout_ms)
		l->progress_ms = now_ms;	/* ours may be behind it, but not for ever */
}
