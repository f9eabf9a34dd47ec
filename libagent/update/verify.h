/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_VERIFY_H
#define UPDATE_VERIFY_H
/*
 * sw-description and its signature. Only verify_manifest() makes a struct verified_buf, and manifest_parse() takes
 * nothing else: a field can be read only after the signature over exactly these bytes was found good.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/context.h>
#include <agent/error.h>

#include "base/macro.h"
#include "update/container.h"

#define MANIFEST_NAME "sw-description"
#define MANIFEST_MAX (256 * 1024)
#define SIGNATURE_NAME "sw-description.sig"
#define SIGNATURE_MAX (64 * 1024)

struct verified_buf;

/*
 * Read the first two members, which must be these, into memory and check the CMS signatures (detached, DER) against the
 * certificates in @trust_dir at @now_s. -EBADMSG container.*, -EMSGSIZE, -EKEYREJECTED update.signature or update.signer.
 */
int verify_manifest(struct agent_context *ctx, const char *trust_dir, unsigned n_min_signers, uint64_t now_s,
		    struct container *container, struct verified_buf **ret_buf, struct agent_error **err);
struct verified_buf *verified_buf_free(struct verified_buf *buf);
DEFINE_CLEANUP(struct verified_buf *, verified_buf_free)

/* The bytes, lent; a NUL that is not counted follows them. */
const char *verified_buf_data(const struct verified_buf *buf, size_t *ret_size);
/* Valid signatures by distinct keys. */
unsigned verified_buf_signers(const struct verified_buf *buf);

#endif
