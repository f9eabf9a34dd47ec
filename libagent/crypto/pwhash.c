/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/pwhash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_YESCRYPT
#include <crypt.h>
#endif
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/buf.h"
#include "base/macro.h"
#include "base/secret.h"
#include "crypto/digest.h"

#define SCRYPT_PREFIX "$agent-scrypt$"
#define SCRYPT_SALT_SIZE 16
#define SCRYPT_HASH_SIZE 32
#define SCRYPT_R 8
#define SCRYPT_P 5	/* OWASP password storage cheat sheet: N=2^14, r=8, p=5 */
/* N = 2^(cost + 9), so that a cost needs about the memory of the same yescrypt cost: 5 -> 2^14 -> 16 MiB. */
#define SCRYPT_LN(cost) ((cost) + 9)

static int check_password(const char *password, size_t size, struct agent_error **err)
{
	if (password == NULL || size > PWHASH_PASSWORD_MAX)
		return agent_error_set(err, -EINVAL, "pwhash.password", "password is %zu bytes, limit %d", size, PWHASH_PASSWORD_MAX);
	/* crypt(3) would stop there and accept everything that begins alike. */
	if (memchr(password, '\0', size) != NULL)
		return agent_error_set(err, -EINVAL, "pwhash.password", "password contains a NUL byte");
	return 0;
}

static int check_cost(unsigned cost, struct agent_error **err)
{
	if (cost < PWHASH_COST_MIN || cost > PWHASH_COST_MAX)
		return agent_error_set(err, -EINVAL, "pwhash.cost", "password hash cost is %u, must be %d to %d", cost, PWHASH_COST_MIN,
				       PWHASH_COST_MAX);
	return 0;
}

static int bad_setting(struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "pwhash.setting", "stored password hash has a form this build does not know");
}

static int compute_scrypt(const char *password, size_t size, const char *setting, char ret_text[PWHASH_MAX], struct agent_error **err)
{
	uint8_t salt[SCRYPT_SALT_SIZE], hash[SCRYPT_HASH_SIZE];
	char digits[2 * SCRYPT_HASH_SIZE + 1], canonical[96];
	const char *p = setting + strlen(SCRYPT_PREFIX);
	unsigned ln = 0;
	uint64_t n;
	int ok;

	/* "ln=14,r=8,p=5$" salt "$": only ln varies, so that an edited file cannot ask for all memory or time. */
	if (sscanf(p, "ln=%2u,", &ln) != 1 || ln < SCRYPT_LN(PWHASH_COST_MIN) || ln > SCRYPT_LN(PWHASH_COST_MAX))
		return bad_setting(err);
	snprintf(canonical, sizeof(canonical), "ln=%u,r=%d,p=%d$", ln, SCRYPT_R, SCRYPT_P);
	if (strncmp(p, canonical, strlen(canonical)) != 0)
		return bad_setting(err);
	p += strlen(canonical);
	if (strnlen(p, sizeof(salt) * 2 + 1) != sizeof(salt) * 2 + 1 || p[sizeof(salt) * 2] != '$' ||
	    hex_decode(p, sizeof(salt) * 2, salt, sizeof(salt)) < 0)
		return bad_setting(err);

	n = (uint64_t)1 << ln;
	ERR_set_mark();
	ok = EVP_PBE_scrypt(password, size, salt, sizeof(salt), n, SCRYPT_R, SCRYPT_P, n * 128 * SCRYPT_R + 4 * MIB, hash,
			    sizeof(hash)) == 1;
	ERR_pop_to_mark();
	if (!ok)	/* the parameters are good, so memory it was */
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a password hash (scrypt, %" PRIu64 " MiB)", n >> 10);
	hex_encode(hash, sizeof(hash), digits);
	wipe(hash, sizeof(hash));
	hex_encode(salt, sizeof(salt), canonical);
	snprintf(ret_text, PWHASH_MAX, SCRYPT_PREFIX "ln=%u,r=%d,p=%d$%s$%s", ln, SCRYPT_R, SCRYPT_P, canonical, digits);
	wipe(digits, sizeof(digits));
	return 0;
}

/* Checks what a new hash is made of, and draws its salt. */
static int begin_new(const char *password, size_t size, unsigned cost, uint8_t *ret_salt, size_t salt_size, struct agent_error **err)
{
	int r = check_password(password, size, err);

	if (r >= 0)
		r = check_cost(cost, err);
	if (r >= 0 && RAND_bytes(ret_salt, (int)salt_size) != 1)
		r = agent_error_set(err, -EIO, "pwhash.random", "no random bytes for a salt");
	return r;
}

int pwhash_new_scrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err)
{
	uint8_t salt[SCRYPT_SALT_SIZE];
	char digits[2 * SCRYPT_SALT_SIZE + 1], setting[96];
	int r = begin_new(password, size, cost, salt, sizeof(salt), err);

	if (r < 0)
		return r;
	hex_encode(salt, sizeof(salt), digits);
	snprintf(setting, sizeof(setting), SCRYPT_PREFIX "ln=%u,r=%d,p=%d$%s$", SCRYPT_LN(cost), SCRYPT_R, SCRYPT_P, digits);
	return compute_scrypt(password, size, setting, ret_text, err);
}

#ifdef HAVE_YESCRYPT
/* What crypt_gensalt() writes for cost 1 to 11; anything else in a record was not written by us. */
static const char *const yescrypt_settings[] = { "j75", "j85", "j7T", "j8T", "j9T", "jAT", "jBT", "jCT", "jDT", "jET", "jFT" };

#define CRYPT_DIGITS "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGEST_TEXT_SIZE (2 * DIGEST_SIZE + 1)

/* crypt(3) takes 511 bytes, 128 code points may have 512: such a password goes in as its digest. */
static int shorten(const char *password, size_t size, char ret_text[DIGEST_TEXT_SIZE])
{
	uint8_t hash[DIGEST_SIZE];
	int r = digest_sha256(password, size, hash);

	hex_encode(hash, sizeof(hash), ret_text);
	wipe(hash, sizeof(hash));
	return r;
}

static int compute_yescrypt(const char *password, size_t size, const char *setting, char ret_text[PWHASH_MAX],
			    struct agent_error **err)
{
	_cleanup_secret_ struct secret copy = { 0 };
	void *data = NULL;	/* struct crypt_data, 32 KiB */
	int data_size = 0, known = 0, r = 0;
	const char *text;
	size_t n_salt;

	for (size_t i = 0; i < ARRAY_SIZE(yescrypt_settings); i++)
		known |= strncmp(setting + 3, yescrypt_settings[i], 3) == 0 && setting[6] == '$';
	if (!known || strlen(setting) >= CRYPT_OUTPUT_SIZE)
		return bad_setting(err);
	n_salt = strspn(setting + 7, CRYPT_DIGITS);
	if (n_salt == 0 || (setting[7 + n_salt] != '$' && setting[7 + n_salt] != '\0'))
		return bad_setting(err);
	if (secret_alloc(&copy, size + DIGEST_TEXT_SIZE + 1) < 0)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a password");
	if (size < CRYPT_MAX_PASSPHRASE_SIZE)
		memcpy(copy.data, password, size);	/* the NUL after it is there: the pages are zero */
	else
		r = shorten(password, size, (char *)copy.data);
	if (r < 0)
		return agent_error_set(err, r, "memory", "no memory for a digest");

	text = crypt_ra((const char *)copy.data, setting, &data, &data_size);
	if (text == NULL || text[0] == '*') {
		/* errno is EINVAL also when memory was short; the setting is one of ours, so memory it was. */
		r = agent_error_set(err, -ENOMEM, "memory", "no memory for a password hash (yescrypt, %.3s)", setting + 3);
	} else {
		snprintf(ret_text, PWHASH_MAX, "%s", text);
	}
	if (data != NULL) {
		wipe(data, (size_t)data_size);
		free(data);
	}
	return r;
}

int pwhash_new_yescrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err)
{
	_cleanup_free_ char *setting = NULL;
	char salt[32];
	int r = begin_new(password, size, cost, (uint8_t *)salt, sizeof(salt), err);

	if (r < 0)
		return r;
	setting = crypt_gensalt_ra("$y$", cost, salt, sizeof(salt));
	if (setting == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a salt");
	return compute_yescrypt(password, size, setting, ret_text, err);
}
#else
int pwhash_new_yescrypt(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err)
{
	return agent_error_set(err, -EOPNOTSUPP, "pwhash.setting", "this build has no yescrypt");
}
#endif

int pwhash_new(const char *password, size_t size, unsigned cost, char ret_text[PWHASH_MAX], struct agent_error **err)
{
#ifdef HAVE_YESCRYPT
	return pwhash_new_yescrypt(password, size, cost, ret_text, err);
#else
	return pwhash_new_scrypt(password, size, cost, ret_text, err);
#endif
}

int pwhash_compute(const char *password, size_t size, const char *setting, char ret_text[PWHASH_MAX], struct agent_error **err)
{
	int r;

	r = check_password(password, size, err);
	if (r < 0)
		return r;
	if (strncmp(setting, SCRYPT_PREFIX, strlen(SCRYPT_PREFIX)) == 0)
		return compute_scrypt(password, size, setting, ret_text, err);
#ifdef HAVE_YESCRYPT
	if (strncmp(setting, "$y$", 3) == 0)
		return compute_yescrypt(password, size, setting, ret_text, err);
#endif
	return bad_setting(err);
}

unsigned pwhash_cost_of(const char *setting)
{
	unsigned ln = 0;

	if (sscanf(setting, SCRYPT_PREFIX "ln=%2u,", &ln) == 1)
		return ln >= SCRYPT_LN(PWHASH_COST_MIN) && ln <= SCRYPT_LN(PWHASH_COST_MAX) ? ln - SCRYPT_LN(0) : 0;
#ifdef HAVE_YESCRYPT
	for (unsigned i = 0; strncmp(setting, "$y$", 3) == 0 && i < ARRAY_SIZE(yescrypt_settings); i++)
		if (strncmp(setting + 3, yescrypt_settings[i], 3) == 0 && setting[6] == '$')
			return i + 1;
#endif
	return 0;
}

int pwhash_check(const char *text, struct agent_error **err)
{
#ifdef HAVE_YESCRYPT
	size_t n_salt, n_hash = 0;
	bool is_good = false;

	/* "$y$" parameters "$" salt "$" 43 digits: 256 bits */
	for (size_t i = PWHASH_COST_FOREIGN - 1; i < ARRAY_SIZE(yescrypt_settings); i++)
		is_good |= strncmp(text, "$y$", 3) == 0 && strncmp(text + 3, yescrypt_settings[i], 3) == 0 && text[6] == '$';
	if (is_good) {
		n_salt = strspn(text + 7, CRYPT_DIGITS);
		is_good = n_salt >= 16 && n_salt <= 86 && text[7 + n_salt] == '$';
		n_hash = is_good ? strspn(text + 8 + n_salt, CRYPT_DIGITS) : 0;
		is_good = n_hash == 43 && text[8 + n_salt + n_hash] == '\0';
	}
	if (!is_good)
		return agent_error_set(err, -EINVAL, "password.hash", "the hash is no yescrypt string (crypt(5)) of cost %d to %d",
				       PWHASH_COST_FOREIGN, PWHASH_COST_MAX);
	return 0;
#else
	return agent_error_set(err, -EOPNOTSUPP, "password.hash", "this build has no yescrypt, so it takes no hash made elsewhere");
#endif
}
