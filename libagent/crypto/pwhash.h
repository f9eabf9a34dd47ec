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
#include <stdint.h>

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

/*
 * A whole hash string that somebody else computed: -EINVAL "password.hash" if its form is not one that this build writes, or if
 * it was made at less than PWHASH_COST_FOREIGN.
 */
int pwhash_check(const char *text, struct agent_error **err);

/* Cost of a setting or whole text that this build knows; 0 for any other. */
unsigned pwhash_cost_of(const char *setting);

/* Where nobody sets a cost: the largest one of these that takes no longer and no more memory. */
#define PWHASH_CHOSEN_MIN 3	/* 4 MiB; taken also where it is too slow */
#define PWHASH_CHOSEN_MAX 7	/* 64 MiB: a quarter of what agentd.service may have */
#define PWHASH_TARGET_MS 500	/* of processor time */
#define PWHASH_RAM_PART 8	/* an eighth of the memory */

/* Measure on this device, for a second at most; -ENOMEM if not even the least one can be had. */
int pwhash_calibrate(unsigned *ret_cost, struct agent_error **err);
/* The same with a clock of the caller's: a negative errno, or how long a hash of @cost takes. */
typedef int (*pwhash_measure_fn)(unsigned cost, void *data, unsigned *ret_ms, struct agent_error **err);
int pwhash_choose(pwhash_measure_fn measure, void *data, uint64_t memory_bytes, unsigned *ret_cost, struct agent_error **err);

/* The two parts behind the calls above, for tests: -EOPNOTSUPP where libxcrypt is missing. */
int pwhash_new_yescrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err);
int pwhash_new_scrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err);

#endif
