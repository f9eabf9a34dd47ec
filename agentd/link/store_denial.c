/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker's access list refuses. A list can be wrong, and the next broker's another one: so a message is not thrown away for it, as a whole queue
 * could be within seconds. On a broker after the first all of its topic is passed over, and asked for again now and then; the rest of the queue goes on. On
 * the first, which has the last word, the queue waits and sends one message now and then; other queues go on.
 */
#include "config.h"

#include "agentd/link/store_inside.h"

#include <stdio.h>
#include <syslog.h>

#include "agentd/common/service.h"
#include "base/backoff.h"
#include "base/monotonic.h"

#define TRIES_MAX 5		/* of one message, where no other broker is to be asked */
#define RETRY_MS 1000		/* doubled each time */
#define RETRY_MAX_MS 64000
#define TELL_US (60 * UINT64_C(1000000))

static bool may_tell(uint64_t *told_us, unsigned *n_untold)
{
	uint64_t now = monotonic_us();

	if (*told_us != 0 && now - *told_us < TELL_US) {
		++*n_untold;
		return false;
	}
	*told_us = now;
	return true;
}

void class_tell_given_up(struct class *c, const char *why)
{
	if (!may_tell(&c->given_up.told_us, &c->given_up.n_untold))
		return;
	service_log(LOG_WARNING, "queue %s: a message is given up: %s (%u more since the last such line)", c->rules->name, why, c->given_up.n_untold);
	c->given_up.n_untold = 0;
}

static void tell_denied(struct class *c, const char *why)
{
	pthread_mutex_lock(&c->lock);
	snprintf(c->denial, sizeof(c->denial), "waits: %s", why);
	pthread_mutex_unlock(&c->lock);
	if (!may_tell(&c->denials.told_us, &c->denials.n_untold))
		return;
	service_log(LOG_WARNING, "queue %s waits and tries again: %s (%u more refusals since the last such line)", c->rules->name, why, c->denials.n_untold);
	c->denials.n_untold = 0;
}

static bool has_slots(const struct class *c)
{
	for (size_t i = 0; i < WINDOW; i++)
		if (c->store->slots[i].class == c)
			return true;
	return false;
}

void denial_forget(struct class *c)
{
	c->is_denied = c->has_probe = false;
	c->n_denials = c->n_bars = 0;
	c->n_barred = 0;
	pthread_mutex_lock(&c->lock);
	c->denial[0] = '\0';
	pthread_mutex_unlock(&c->lock);
}

void denial_ask_anew(struct class *c)
{
	c->is_denied |= c->n_barred > 0;
	c->has_probe = false;
	c->n_denials = c->n_bars = 0;
	c->n_barred = 0;
	c->retry_us = 0;
}

/* FNV-1a. A topic that has the same by accident waits as well. */
uint64_t denial_mark(const char *topic)
{
	uint64_t mark = UINT64_C(14695981039346656037);

	for (; *topic != '\0'; topic++)
		mark = (mark ^ (unsigned char)*topic) * UINT64_C(1099511628211);
	return mark;
}

bool denial_passes(const struct class *c, uint64_t mark)
{
	for (size_t i = 0; i < c->n_barred; i++)
		if (c->barred[i] == mark)
			return true;
	return false;
}

/* False: there are too many already. */
static bool bar(struct class *c, uint64_t mark)
{
	if (denial_passes(c, mark))
		return true;
	if (c->n_barred == BARRED_MAX)
		return false;
	if (c->n_barred == 0)
		c->retry_us = monotonic_us() + (uint64_t)backoff_ceiling(c->n_bars++, RETRY_MS, RETRY_MAX_MS) * 1000;
	c->barred[c->n_barred++] = mark;
	c->is_denied = c->has_probe = false;
	class_pump_at(c, c->retry_us);
	return true;
}

bool denial_lets_go(struct class *c, uint64_t now)
{
	if (c->n_barred > 0 && now < c->retry_us)
		class_pump_at(c, c->retry_us);
	else if (c->n_barred > 0)
		c->is_denied = true;
	if (!c->is_denied)
		return true;
	/* What else was under way has to come to its end first: sent again it would be there twice. */
	if (c->has_probe || has_slots(c))
		return false;
	if (now < c->retry_us) {
		class_pump_at(c, c->retry_us);
		return false;
	}
	agent_queue_rewind(c->queue);
	c->n_barred = 0;
	return true;
}

void denial_drained(struct class *c)
{
	if (c->is_denied && !c->has_probe && c->n_barred == 0)
		denial_forget(c);
}

void denial_sent(struct class *c)
{
	c->has_probe = c->is_denied;
}

void denial_settled(struct class *c)
{
	if (c->has_probe)
		denial_forget(c);
}

/* pump_lock is held. */
static void deny(struct class *c, uint64_t seq, uint64_t mark, bool is_last_word, const char *why)
{
	class_count(c, STORE_denied);
	if (!is_last_word && bar(c, mark)) {
		tell_denied(c, why);
		return;
	}
	/* The others that were under way with the first are told of in the same breath. */
	if (c->is_denied && !c->has_probe)
		return;
	c->n_denials = c->is_denied && seq == c->denied_seq ? c->n_denials + 1 : 1;
	c->denied_seq = seq;
	c->has_probe = false;
	if (is_last_word && c->n_denials >= TRIES_MAX) {
		if (c->queue != NULL && !atomic_load(&c->is_broken) && agent_queue_done(c->queue, seq, NULL) < 0)
			class_break(c);
		class_count(c, STORE_rejected);
		class_tell_given_up(c, why);
		denial_forget(c);
	} else {
		/* One topic more than can be passed over: as rarely as those are asked for. */
		unsigned step = !is_last_word && c->n_bars > c->n_denials ? c->n_bars : c->n_denials;

		c->is_denied = true;
		c->retry_us = monotonic_us() + (uint64_t)backoff_ceiling(step - 1, RETRY_MS, RETRY_MAX_MS) * 1000;
		tell_denied(c, why);
	}
	class_refresh(c);
}

void store_denied(struct store *store, uint64_t id, bool is_last_word, const char *why)
{
	const struct slot *slot;
	struct class *c;

	pthread_mutex_lock(&store->pump_lock);
	slot = store_take_slot(store, id, &c);
	if (slot != NULL)
		deny(c, slot->seq, slot->mark, is_last_word, why);
	pthread_mutex_unlock(&store->pump_lock);
	store_pump(store);
}
