/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_ENVELOPE_H
#define CRYPTO_ENVELOPE_H
/*
 * CMS EnvelopedData (RFC 5652 section 6) that carries the key of a bundle's images, as "openssl cms -encrypt -keyid" makes it: for each device one
 * KeyAgreeRecipientInfo, and the key, as text, encrypted with AES-CBC. What is taken and why is in docs/design/crypto.md.
 */
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include <agent/recipient.h>

#include "base/macro.h"

#define ENVELOPE_MAX 65535		/* bytes */
#define ENVELOPE_CONTENT_MAX 512	/* of what is inside, encrypted */
#define ENVELOPE_BLOCK 16

struct envelope {
	struct agent_recipient recipients[AGENT_RECIPIENTS_MAX];
	size_t n_recipients;
	size_t key_size;	/* of the AES key that the recipients share: 16, 24, 32 */
	uint8_t iv[ENVELOPE_BLOCK];
	uint8_t content[ENVELOPE_CONTENT_MAX];
	size_t content_size;
};

/*
 * Read DER; recipients that name their key otherwise, by password, RSA or certificate, are passed over. -EBADMSG update.envelope (which part),
 * -EMSGSIZE update.envelope, -EOPNOTSUPP update.recipient-algorithm (of the content). The caller frees it.
 */
int envelope_parse(const void *der, size_t size, struct envelope **ret_envelope, struct agent_error **err);
struct envelope *envelope_free(struct envelope *envelope);
DEFINE_CLEANUP(struct envelope *, envelope_free)

/*
 * Before the ECDH: -EOPNOTSUPP update.recipient-algorithm, -EBADMSG update.unwrap (its point is not on P-256).
 */
int envelope_check(OSSL_LIB_CTX *libctx, const struct agent_recipient *recipient, struct agent_error **err);
/* After it, with what was agreed on (x coordinate, 32 bytes). The recipient was checked. -EBADMSG update.unwrap. */
int envelope_unwrap(OSSL_LIB_CTX *libctx, const uint8_t agreed[32], const struct agent_recipient *recipient, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX],
		    size_t *ret_size, struct agent_error **err);

/* Encrypt to the certificates in these files (PEM, the first of each). -errno bundle.recipient. The caller frees *ret_der. */
int envelope_make(OSSL_LIB_CTX *libctx, const char *const *certificates, size_t n, const void *content, size_t content_size, uint8_t **ret_der,
		  size_t *ret_size, struct agent_error **err);

#endif
