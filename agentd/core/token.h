/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_TOKEN_H
#define CORE_TOKEN_H
/* Session tokens and device cookies: random bytes and MACs as base64url without padding (RFC 4648 section 5). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agentd/core/limits.h"

#define TOKEN_SIZE 32
#define TOKEN_TEXT_SIZE 44 /* 43 characters and NUL */
#define TOKEN_HASH_SIZE 32

/* A token and its SHA-256, which is all that is kept. -EIO without random numbers. */
int token_new(char ret_text[TOKEN_TEXT_SIZE], uint8_t ret_hash[TOKEN_HASH_SIZE]);
/* -EBADMSG for what cannot be a token. */
int token_hash(const char *text, uint8_t ret_hash[TOKEN_HASH_SIZE]);

#define COOKIE_KEY_SIZE 32
#define COOKIE_TEXT_SIZE 76 /* 56 bytes: id, time of issue, HMAC-SHA-256 */
#define COOKIE_LIFE_S (90 * UINT64_C(86400))

/*
 * A device cookie says: this browser logged in here before, as this user. It is a budget of its own for failed logins of that
 * user and no credential.
 * @now_s: seconds since 1970; only its difference counts, and a clock that stands before the time of issue proves nothing.
 */
int cookie_new(const uint8_t key[COOKIE_KEY_SIZE], const char *user, uint64_t now_s, char ret_text[COOKIE_TEXT_SIZE]);
bool cookie_check(const uint8_t key[COOKIE_KEY_SIZE], const char *user, const char *text, uint64_t now_s,
		  uint8_t ret_id[LIMITS_COOKIE_ID_SIZE]);

/* Without padding; -EBADMSG for other characters, other lengths and bits left over. */
void base64url_encode(const uint8_t *data, size_t size, char *ret_text);
int base64url_decode(const char *text, uint8_t *ret_data, size_t size);

#endif
