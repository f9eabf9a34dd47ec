/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/session.h"

#include <errno.h>
#include <string.h>

#include "base/secret.h"

#define SECOND UINT64_C(1000000)

static uint64_t end_of(const struct session *s)
{
	uint64_t idle_us = s->used_us + SESSION_IDLE_S * SECOND;
	uint64_t life_us = s->opened_us + (s->is_limited ? SESSION_LIMITED_S : SESSION_LIFE_S) * SECOND;

	return idle_us < life_us ? idle_us : life_us;
}

void session_end(struct session *session)
{
	wipe(session, sizeof(*session));
}

static unsigned count_of(const struct sessions *sessions, const char *user)
{
	unsigned n = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		n += sessions->slots[i].id != 0 && strcmp(sessions->slots[i].user, user) == 0;
	return n;
}

/* The least used of the person who has the most of them, one more counted for @newcomer: nobody logs others out by logging in. */
static struct session *find_least(struct sessions *sessions, const char *newcomer)
{
	struct session *least = NULL;
	unsigned most = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *s = &sessions->slots[i];
		unsigned n = count_of(sessions, s->user) + (strcmp(s->user, newcomer) == 0 ? 1 : 0);

		if (n > most || (n == most && s->used_us < least->used_us))
			least = s;
		most = n > most ? n : most;
	}
	return least;
}

int session_add(struct sessions *sessions, const struct session *session, uint64_t now_us, char ret_token[TOKEN_TEXT_SIZE],
		struct session *ret_displaced)
{
	struct session *slot = NULL;
	uint8_t hash[TOKEN_HASH_SIZE];
	int r = token_new(ret_token, hash);

	if (r < 0)
		return r;
	memset(ret_displaced, 0, sizeof(*ret_displaced));
	for (size_t i = 0; session->is_limited && i < SESSIONS_MAX; i++)
		if (sessions->slots[i].id != 0 && sessions->slots[i].is_limited &&
		    strcmp(sessions->slots[i].user, session->user) == 0)
			slot = &sessions->slots[i];
	for (size_t i = 0; slot == NULL && i < SESSIONS_MAX; i++)
		if (sessions->slots[i].id == 0)
			slot = &sessions->slots[i];
	if (slot == NULL)
		slot = find_least(sessions, session->user);
	*ret_displaced = *slot;
	*slot = *session;
	slot->id = ++sessions->last_id;
	memcpy(slot->hash, hash, sizeof(hash));
	slot->opened_us = slot->used_us = slot->used_before_us = now_us;
	return 0;
}

struct session *session_find(struct sessions *sessions, const char *token, uint64_t now_us)
{
	struct session *found = NULL;
	uint8_t hash[TOKEN_HASH_SIZE];

	if (token_hash(token, hash) < 0)
		return NULL;
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *s = &sessions->slots[i];

		if (s->id != 0 && secret_equal(&(struct secret){ .data = s->hash, .size = sizeof(s->hash) }, hash, sizeof(hash)))
			found = s;
	}
	if (found == NULL || now_us >= end_of(found))
		return NULL;
	found->used_before_us = found->used_us;
	found->used_us = now_us;
	return found;
}

void session_unuse(struct session *session)
{
	session->used_us = session->used_before_us;
}

struct session *session_get(struct sessions *sessions, uint64_t id)
{
	for (size_t i = 0; id != 0 && i < SESSIONS_MAX; i++)
		if (sessions->slots[i].id == id)
			return &sessions->slots[i];
	return NULL;
}

unsigned session_end_all(struct sessions *sessions)
{
	unsigned n = 0;

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		n += sessions->slots[i].id != 0;
		session_end(&sessions->slots[i]);
	}
	return n;
}

bool session_take_expired(struct sessions *sessions, uint64_t now_us, struct session *ret_session)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *s = &sessions->slots[i];

		if (s->id != 0 && now_us >= end_of(s)) {
			*ret_session = *s;
			session_end(s);
			return true;
		}
	}
	return false;
}

uint64_t session_next_end(const struct sessions *sessions)
{
	uint64_t next_us = UINT64_MAX;

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions->slots[i].id != 0 && end_of(&sessions->slots[i]) < next_us)
			next_us = end_of(&sessions->slots[i]);
	return next_us;
}

uint64_t session_expires_s(const struct session *session, uint64_t now_us)
{
	uint64_t end_us = end_of(session);

	return end_us > now_us ? (end_us - now_us) / SECOND : 0;
}
