/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle that brings the key of its images along, encrypted to devices: agent.content-key. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "crypto/envelope.h"
#include "update/hash.h"
#include "update/install.h"
#include "update/stream.h"
#include "update/verify.h"

#define HEX "0123456789abcdefABCDEF"
#define TEXT_MAX (2 * (CIPHER_KEY_MAX + CIPHER_BLOCK) + 8)

static int malformed(struct agent_error **err)
{
	return agent_error_set(err, -EBADMSG, "update.envelope", "what is in the envelope is no key: 32, 48 or 64 hexadecimal digits, and perhaps a blank and 32 of an IV");
}

/* The digits at @text, and how many; what follows is blank, or the end. */
static size_t digits(const char *text, const char **ret_rest)
{
	size_t n = strspn(text, HEX);

	*ret_rest = text + n + strspn(text + n, " \t\r\n");
	return *ret_rest == text + n && **ret_rest != '\0' ? 0 : n;
}

int content_key_parse(const uint8_t *data, size_t size, struct secret *ret_key, struct agent_error **err)
{
	_cleanup_secret_ struct secret fresh = { 0 };
	char text[TEXT_MAX + 1] = "";
	const char *iv, *end;
	struct stream_key *k;
	size_t n, n_iv;
	int r = 0;

	if (size == 0 || size > TEXT_MAX || memchr(data, '\0', size) != NULL)
		return malformed(err);
	if (secret_alloc(&fresh, sizeof(*k)) < 0)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a key");
	fresh.size = sizeof(*k);
	k = (struct stream_key *)(void *)fresh.data;
	memcpy(text, data, size);
	n = digits(text, &iv);
	n_iv = *iv == '\0' ? 0 : digits(iv, &end);
	if ((n != 32 && n != 48 && n != 64) || hex_decode(text, n, k->key, n / 2) < 0 ||
	    (*iv != '\0' && (n_iv != sizeof(k->iv) * 2 || *end != '\0' || hex_decode(iv, n_iv, k->iv, sizeof(k->iv)) < 0)))
		r = malformed(err);
	wipe(text, sizeof(text));
	if (r < 0)
		return r;
	k->key_size = n / 2;
	secret_free(ret_key);
	*ret_key = fresh;
	fresh = (struct secret){ 0 };
	return 0;
}

/* What is in it, under the key that our recipient opened. */
static int content_open(const struct envelope *e, const uint8_t *key, size_t key_size, struct secret *ret_key, struct agent_error **err)
{
	_cleanup_(cipher_freep) struct cipher *cipher = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	uint8_t text[ENVELOPE_CONTENT_MAX + 2 * CIPHER_BLOCK];
	size_t n = 0, rest = 0;
	int r;

	if (key_size != e->key_size)
		return agent_error_set(err, -EBADMSG, "update.unwrap", "the wrapped key has %zu bytes, %zu are needed", key_size, e->key_size);
	r = cipher_new(cipher_find("aes-cbc"), key, key_size, e->iv, &cipher, err);
	if (r == 0)
		r = cipher_run(cipher, e->content, e->content_size, text, &n, err);
	if (r < 0)
		return r;
	/* The wrapped key had its check value right, so it is the sender who made this wrong. */
	r = cipher_end(cipher, text + n, &rest, &why) < 0 ? malformed(err) : content_key_parse(text, n + rest, ret_key, err);
	wipe(text, sizeof(text));
	return r;
}

static int envelope_load(struct install *in, struct container *container, const struct member *member, struct envelope **ret_envelope, struct agent_error **err)
{
	_cleanup_free_ char *der = NULL;
	uint8_t digest[DIGEST_SIZE];
	size_t size = (size_t)member->size_bytes;
	int r = verify_load(container, member, ENVELOPE_MAX, &der, err);

	if (r < 0)
		return r;
	r = digest_sha256(der, size, digest);
	if (r < 0)
		return hash_failed(r, err);
	/* Not one byte of it is read before. */
	if (memcmp(digest, in->manifest->key_sha256, sizeof(digest)) != 0)
		return agent_error_set(err, -EBADMSG, "update.hash", "%s does not have the SHA-256 of the signed manifest", member->name);
	r = envelope_parse(der, size, ret_envelope, err);
	return r < 0 ? agent_error_prefix(err, r, "%s", member->name) : 0;
}

int content_key_install(struct install *in, struct container *container, const struct member *member, struct agent_error **err)
{
	_cleanup_(envelope_freep) struct envelope *e = NULL;
	uint8_t key[AGENT_RECIPIENT_KEY_MAX];
	size_t size = 0;
	int r = envelope_load(in, container, member, &e, err);

	in->has_envelope = r == 0;
	if (r < 0 || in->u->unwrap == NULL)
		return r;
	r = in->u->unwrap(in->u->unwrap_data, e->recipients, e->n_recipients, key, &size, err);
	if (r < 0 && (err == NULL || *err == NULL))
		agent_error_set(err, r, "update.unwrap", "the key in %s cannot be opened", member->name);
	if (r == 0)
		r = content_open(e, key, size, &in->content_key, err);
	wipe(key, sizeof(key));
	return r < 0 ? r : 0;
}
