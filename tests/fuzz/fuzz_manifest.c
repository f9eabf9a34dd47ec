/* SPDX-License-Identifier: Apache-2.0 */
/* sw-description behind a good signature, in both spellings, strict and stock. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "update/manifest.h"
#include "update/verify_private.h"

/* libconfig 1.5 loses a buffer when a string has no end. It cannot be used up from outside: manifests are signed. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

static void check(const struct manifest *m)
{
	if (m->n_images == 0 || m->n_images > MANIFEST_IMAGES_MAX || m->n_products == 0 || m->n_min_signers == 0)
		abort();
	if (!manifest_is_name(m->release_id) || !manifest_is_name(m->version))
		abort();
	for (size_t i = 0; i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];

		if (strchr(image->member, '/') != NULL)
			abort();
		/* What the stream relies on. */
		if (m->is_strict && (!image->has_chunks || !image->has_stored_bytes || image->plain_bytes == 0 || image->chunk_bytes < CHUNK_MIN ||
				     image->chunk_bytes > CHUNK_MAX || manifest_image_chunks(image) == 0))
			abort();
	}
	(void)manifest_fits(m, "gw:1");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct manifest_policy policies[] = {
		{ .product = "gw:1" },
		{ .allow_compat = true, .product = "gw:1" },
		{ .allow_compat = true, .product = "gw:1", .selection = "stable,copy-1" },
	};
	struct verified_buf buf = { .data = malloc(size + 1), .size = size, .signers = { .n = 1 } };

	if (buf.data == NULL)
		abort();
	memcpy(buf.data, data, size);
	buf.data[size] = '\0';
	for (size_t compat = 0; compat < ARRAY_SIZE(policies); compat++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;

		if (manifest_parse(&buf, &policies[compat], &m, NULL) == 0)
			check(m);
	}
	free(buf.data);
	return 0;
}
