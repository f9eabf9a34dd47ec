/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_PWHASH_H
#define CRYPTO_PWHASH_H
/*
 * Password hash: yescrypt ("$y$...") where libxcrypt is there, otherwise scrypt ("$agent-scrypt$..."). Either text has
 * the form SETTING HASH, where SETTING ends with the last '$'. Each call takes tens of milliseconds and 1 to 128 MiB.
 *
 * All return 0 or: -EINVAL (cost, NUL byte or length of the password), -EBADMSG (unknown setting), -ENOMEM (memory was
 * short: this says nothing about the password). Error names: pwhash.cost, pwhash.password, pwhash.setting, memory.
 */
#include <stdbool.h>
#include <stddef.h>

#include <agent/error.h>

#define PWHASH_MAX 384		/* text with its NUL: CRYPT_OUTPUT_SIZE */
#define PWHASH_COST_MIN 1	/* 1 MiB */
#define PWHASH_COST_DEFAULT 5	/* 16 MiB */
#define PWHASH_COST_FOREIGN 4	/* least cost of a hash string made elsewhere: 8 MiB */
#define PWHASH_COST_MAX 11	/* 1 GiB: larger than any gateway has, -ENOMEM */
#define PWHASH_PASSWORD_MAX 512

/* Hash with a fresh random salt. The caller wipes @ret_text. */
int pwhash_new(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err);
/* Hash as @setting says: a setting, or a whole text whose hash is not looked at. The caller wipes @ret_text. */
int pwhash_compute(const char *password, size_t size, const char *setting, char ret_text[PWHASH_MAX], struct agent_error **err);
/* Does @password give @text; compared in constant time. */
int pwhash_verify(const char *password, size_t size, const char *text, bool *ret_matches, struct agent_error **err);

/*
 * A whole hash string that somebody else computed: -EINVAL "password.hash" if its form is not one that this build writes, or if
 * it was made at less than PWHASH_COST_FOREIGN.
 */
int pwhash_check(const char *text, struct agent_error **err);

/* The two parts behind the calls above, for tests: -EOPNOTSUPP where libxcrypt is missing. */
int pwhash_new_yescrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err);
int pwhash_new_scrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err);

#endif
