/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_VERIFY_H
#define UPDATE_VERIFY_H
/*
 * sw-description and its signature. On a device only verify_manifest() makes a struct verified_buf, and manifest_parse() takes
 * nothing else: a field can be read only after the signature over exactly these bytes was found good.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/error.h>

#include "base/macro.h"
#include "crypto/cms.h"
#include "update/container.h"

#define MANIFEST_NAME "sw-description"
#define MANIFEST_MAX (256 * 1024)
#define SIGNATURE_NAME "sw-description.sig"
#define SIGNATURE_MAX (64 * 1024)

struct verified_buf;

/* Who may sign, and how. */
struct verify_policy {
	const struct cms_trust *trust;
	unsigned n_min_signers;
	enum cms_raw raw;	/* a plain RSA signature as well, for stock bundles */
	uint64_t now_s;
};

/*
 * Read the first two members, which must be these, into memory and check the signatures (CMS, detached, DER) against those
 * who may sign. -EBADMSG container.*, -EMSGSIZE, -EKEYREJECTED update.signature, .signer or .threshold.
 */
int verify_manifest(const struct verify_policy *policy, struct container *container, struct verified_buf **ret_buf, struct agent_error **err);
/* The current member whole, with a NUL after it. -EMSGSIZE container.size. */
int verify_load(struct container *container, const struct member *member, size_t max, char **ret_data, struct agent_error **err);
struct verified_buf *verified_buf_free(struct verified_buf *buf);
DEFINE_CLEANUP(struct verified_buf *, verified_buf_free)

/*
 * For those who make bundles: a text that this process wrote and is about to sign, so that it is read by the device's parser first. Nothing
 * that was read from a bundle may come here.
 */
int verified_buf_ours(const char *text, size_t size, struct verified_buf **ret_buf, struct agent_error **err);

/* The bytes, lent; a NUL that is not counted follows them. */
const char *verified_buf_data(const struct verified_buf *buf, size_t *ret_size);
/* Who signed them, and when. Lent. */
const struct cms_signers *verified_buf_signers(const struct verified_buf *buf);
/* Signed without CMS: by a bare key, which no certificate limits in use or time. */
bool verified_buf_is_raw(const struct verified_buf *buf);

#endif
