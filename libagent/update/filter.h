/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_FILTER_H
#define UPDATE_FILTER_H
/* Decompressors between the checked chunk and the handler; what is not even encrypted goes past them, not copied at all. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

struct filter {
	const char *name;	/* "compressed" of the image in the manifest */
	int (*open)(void **ret_state, struct agent_error **err);
	/*
	 * Take from *in (moved and shortened) and give up to @n_out bytes to @out. *ret_end when the stream is complete: then it must be called
	 * again only with more input, which is another frame of it or refused. Making no progress means that more input is wanted. -EBADMSG
	 * update.compression.
	 */
	int (*run)(void *state, const uint8_t **in, size_t *n_in, uint8_t *out, size_t n_out, size_t *ret_out, bool *ret_end,
		   struct agent_error **err);
	void (*close)(void *state);	/* takes NULL */
};

/* NULL for names that are not known. "none" copies, for what was decrypted and is not compressed. */
const struct filter *filter_find(const char *name);

#endif
