/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_HASH_H
#define UPDATE_HASH_H
/* crypto/digest.h and crypto/tag.h with an explanation when they fail. */
#include <errno.h>

#include <agent/error.h>

#include "crypto/digest.h"
#include "crypto/tag.h"

static inline int hash_failed(int r, struct agent_error **err)
{
	return agent_error_set(err, r, "update.hash-engine", "OpenSSL cannot compute SHA-256");
}

static inline int hash_start(struct digest **ret_hash, struct agent_error **err)
{
	int r = digest_new(ret_hash);

	return r < 0 ? hash_failed(r, err) : 0;
}

static inline int hash_add(struct digest *hash, const void *data, size_t size, struct agent_error **err)
{
	int r = digest_update(hash, data, size);

	return r < 0 ? hash_failed(r, err) : 0;
}

/* Afterwards the object is ready for the next message. */
static inline int hash_end(struct digest *hash, uint8_t ret_hash[DIGEST_SIZE], struct agent_error **err)
{
	int r = digest_final(hash, ret_hash);

	if (r == 0)
		r = digest_reset(hash);
	return r < 0 ? hash_failed(r, err) : 0;
}

static inline int tag_failed(int r, struct agent_error **err)
{
	return agent_error_set(err, r, "update.hash-engine", "OpenSSL cannot compare what is read back: no memory, or no random numbers");
}

static inline int tag_start(struct tag **ret_tag, struct agent_error **err)
{
	int r = tag_new(ret_tag);

	return r < 0 ? tag_failed(r, err) : 0;
}

static inline int tag_add(struct tag *tag, const void *data, size_t size, struct agent_error **err)
{
	int r = tag_update(tag, data, size);

	return r < 0 ? tag_failed(r, err) : 0;
}

/* Afterwards the object is ready for the next message, under the same key. */
static inline int tag_end(struct tag *tag, uint8_t ret_tag[TAG_SIZE], struct agent_error **err)
{
	int r = tag_final(tag, ret_tag);

	return r < 0 ? tag_failed(r, err) : 0;
}

#endif
