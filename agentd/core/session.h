/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H
/* The table of sessions, in RAM only: a restart ends them all. No clock in here; the caller passes the time since boot. */
#include "agentd/core/core.h"
#include "agentd/core/limits.h"
#include "agentd/core/token.h"

#define SESSIONS_MAX 8
#define SESSION_IDLE_S 900
#define SESSION_LIFE_S (8 * 3600)
#define SESSION_LIMITED_S 600 /* scope "password": to set one and nothing else */

struct session {
	uint64_t id; /* 0: free */
	uint8_t hash[TOKEN_HASH_SIZE];
	char user[CALLER_USER_MAX + 1];
	char source[CALLER_SOURCE_MAX + 1];
	enum account_role role;
	bool is_limited;
	uint32_t uid;
	uint64_t since; /* of the account it was opened for, agent_account; of the label secret: the generation */
	struct limit_who who; /* whose budget a further password try of this session is taken from */
	uint64_t opened_us, used_us, used_before_us;
};

struct sessions {
	struct session slots[SESSIONS_MAX];
	uint64_t last_id;
};

/*
 * Enter a copy of @session under a new id and token. When all are taken the least recently used one of who has most goes; of limited ones
 * each person has one at a time, the newest. The one that had to go is in *ret_displaced (id 0: none). -EIO without random numbers.
 */
int session_add(struct sessions *sessions, const struct session *session, uint64_t now_us, char ret_token[TOKEN_TEXT_SIZE],
		struct session *ret_displaced);
/* The live session of a token, marked as used now; NULL if there is none. Lent. */
struct session *session_find(struct sessions *sessions, const char *token, uint64_t now_us);
/* The last session_find() of it was no use: somebody who only listens is idle. */
void session_unuse(struct session *session);
/* By id, without marking it as used. */
struct session *session_get(struct sessions *sessions, uint64_t id);
void session_end(struct session *session);
unsigned session_end_all(struct sessions *sessions);
/* Take one that ran out; false when there is none. */
bool session_take_expired(struct sessions *sessions, uint64_t now_us, struct session *ret_session);
/* When the next one runs out, UINT64_MAX for never. */
uint64_t session_next_end(const struct sessions *sessions);
/* How long it lasts if it is not used, in seconds. */
uint64_t session_expires_s(const struct session *session, uint64_t now_us);

#endif
