/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/token.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/secret.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const uint8_t *data, size_t size, char *ret_text)
{
	uint32_t bits = 0;
	int n_bits = 0;

	for (size_t i = 0; i < size; i++) {
		bits = bits << 8 | data[i];
		for (n_bits += 8; n_bits >= 6; n_bits -= 6)
			*ret_text++ = digits[bits >> (n_bits - 6) & 63];
	}
	if (n_bits > 0)
		*ret_text++ = digits[bits << (6 - n_bits) & 63];
	*ret_text = '\0';
}

int base64url_decode(const char *text, uint8_t *ret_data, size_t size)
{
	uint32_t bits = 0;
	int n_bits = 0;

	if (strnlen(text, 2 * size + 3) != (size * 8 + 5) / 6)
		return -EBADMSG;
	for (; *text != '\0'; text++) {
		const char *p = strchr(digits, *text);

		if (p == NULL)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)(p - digits);
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			*ret_data++ = (uint8_t)(bits >> n_bits);
		}
	}
	return (bits & ((1u << n_bits) - 1)) == 0 ? 0 : -EBADMSG;
}

int token_hash(const char *text, uint8_t ret_hash[TOKEN_HASH_SIZE])
{
	uint8_t token[TOKEN_SIZE];
	int r = base64url_decode(text, token, sizeof(token));

	if (r == 0 && EVP_Digest(token, sizeof(token), ret_hash, NULL, EVP_sha256(), NULL) != 1)
		r = -EIO;
	wipe(token, sizeof(token));
	return r;
}

int token_new(char ret_text[TOKEN_TEXT_SIZE], uint8_t ret_hash[TOKEN_HASH_SIZE])
{
	uint8_t token[TOKEN_SIZE];

	if (getrandom(token, sizeof(token), 0) != (ssize_t)sizeof(token))
		return -EIO;
	base64url_encode(token, sizeof(token), ret_text);
	wipe(token, sizeof(token));
	return token_hash(ret_text, ret_hash);
}

#define COOKIE_SIZE (LIMITS_COOKIE_ID_SIZE + 8 + 32)
#define COOKIE_BODY (LIMITS_COOKIE_ID_SIZE + 8)

#define COOKIE_USER_MAX 64

/* Over the user as well, who is not in it. */
static bool cookie_mac(const uint8_t key[COOKIE_KEY_SIZE], const char *user, const uint8_t *body, uint8_t ret_mac[32])
{
	uint8_t message[COOKIE_BODY + COOKIE_USER_MAX];
	size_t n_user = strlen(user);
	unsigned n = 32;

	if (n_user > COOKIE_USER_MAX)
		return false;
	memcpy(message, body, COOKIE_BODY);
	memcpy(message + COOKIE_BODY, user, n_user);
	return HMAC(EVP_sha256(), key, COOKIE_KEY_SIZE, message, COOKIE_BODY + n_user, ret_mac, &n) != NULL;
}

int cookie_new(const uint8_t key[COOKIE_KEY_SIZE], const char *user, uint64_t now_s, char ret_text[COOKIE_TEXT_SIZE])
{
	uint8_t cookie[COOKIE_SIZE];

	if (getrandom(cookie, LIMITS_COOKIE_ID_SIZE, 0) != LIMITS_COOKIE_ID_SIZE)
		return -EIO;
	for (size_t i = 0; i < 8; i++)
		cookie[LIMITS_COOKIE_ID_SIZE + i] = (uint8_t)(now_s >> (56 - 8 * i));
	if (!cookie_mac(key, user, cookie, cookie + COOKIE_BODY))
		return -EIO;
	base64url_encode(cookie, sizeof(cookie), ret_text);
	return 0;
}

bool cookie_check(const uint8_t key[COOKIE_KEY_SIZE], const char *user, const char *text, uint64_t now_s,
		  uint8_t ret_id[LIMITS_COOKIE_ID_SIZE])
{
	uint8_t cookie[COOKIE_SIZE], mac[32];
	uint64_t issued_s = 0;

	if (base64url_decode(text, cookie, sizeof(cookie)) < 0 || !cookie_mac(key, user, cookie, mac) ||
	    !secret_equal(&(struct secret){ .data = mac, .size = sizeof(mac) }, cookie + COOKIE_BODY, sizeof(mac)))
		return false;
	for (size_t i = 0; i < 8; i++)
		issued_s = issued_s << 8 | cookie[LIMITS_COOKIE_ID_SIZE + i];
	if (now_s > issued_s && now_s - issued_s > COOKIE_LIFE_S)
		return false;
	memcpy(ret_id, cookie, LIMITS_COOKIE_ID_SIZE);
	return true;
}
