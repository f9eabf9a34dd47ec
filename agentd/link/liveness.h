/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_LIVENESS_H
#define LINK_LIVENESS_H
/*
 * Does the broker carry anything? A broker that answers pings may have lost our subscriptions, or may not let us hear anything. So we send a message to
 * ourselves now and then, the canary, and wait for it. docs/design/link.md says when and why. No clock, no randomness and no network in here: for the tests.
 * Not locked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIVENESS_TEXT 64	/* room for a canary */
#define LIVENESS_NONCE 16
#define LIVENESS_ROUND 4	/* acknowledgements make up for so many intervals, less one, without a message that came to us */
#define LIVENESS_NEVER UINT64_MAX

enum liveness_state {
	LIVENESS_UNKNOWN,	/* no connection, or no canary came back on it yet */
	LIVENESS_ALIVE,
	LIVENESS_DEAF,		/* until one comes back, also while there are new connections */
};

enum liveness_action {
	LIVENESS_WAIT,
	LIVENESS_SEND,		/* a canary: liveness_text(), then liveness_sent() */
	LIVENESS_REJECT,	/* the connection is of no use: told once for each */
};

struct liveness {
	uint64_t interval_ms, timeout_ms;
	enum liveness_state state;
	bool is_online, was_good;	/* this connection */
	char nonce[2 * LIVENESS_NONCE + 1];
	uint64_t number;	/* of the last canary of this connection */
	uint64_t proof_ms;	/* last acknowledgement or message */
	uint64_t round_ms;	/* last message that came to us */
	bool is_asked;		/* we want an answer */
	bool is_sent, is_acked, is_refused;	/* what became of the question */
	uint64_t sent_ms, acked_ms, progress_ms;
	bool has_id;		/* the client still holds a canary, perhaps of an earlier connection */
	uint64_t id;
	int64_t round_trip_ms;	/* of the last canary on this connection, -1 */
	uint64_t n_sent, n_answered, n_deaf, n_foreign;
};

/* @interval_s 0: no canaries. Then the state is alive once a message was acknowledged, and never deaf. */
void liveness_init(struct liveness *liveness, uint64_t interval_s, uint64_t timeout_s);
/* A connection is up; @nonce: random, of this connection. */
void liveness_online(struct liveness *liveness, uint64_t now_ms, const uint8_t nonce[LIVENESS_NONCE]);
void liveness_offline(struct liveness *liveness);
/* The client is gone, and with it what it held. */
void liveness_forget(struct liveness *liveness);
/* What to do now; *ret_wait_ms: look again after that, or when something came. */
enum liveness_action liveness_check(struct liveness *liveness, uint64_t now_ms, uint64_t *ret_wait_ms);
/* The canary to send. */
void liveness_text(const struct liveness *liveness, char ret_text[LIVENESS_TEXT]);
/* The client took it as message @id. */
void liveness_sent(struct liveness *liveness, uint64_t now_ms, uint64_t id);
/* The broker acknowledged message @id, or refused it. True: look again now. */
bool liveness_acked(struct liveness *liveness, uint64_t now_ms, uint64_t id);
bool liveness_refused(struct liveness *liveness, uint64_t id);
/* Something came on the topic of the canary. False: it is not what we wait for; @ret_is_foreign: nor an older one or a copy of this connection. */
bool liveness_canary(struct liveness *liveness, uint64_t now_ms, const void *payload, size_t size, bool *ret_is_foreign);
/* Another message came. */
void liveness_message(struct liveness *liveness, uint64_t now_ms);
const char *liveness_word(enum liveness_state state);

#endif
