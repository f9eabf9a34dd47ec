/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_MANIFEST_H
#define UPDATE_MANIFEST_H
/* What a signed sw-description says, checked against the profile "swu-strict 1" (docs/design/update.md). Error names: manifest.*. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"
#include "crypto/digest.h"
#include "update/verify.h"

#define MANIFEST_TEXT_MAX 64	    /* version, release id, slot class: fit a journal line and an MQTT topic */
#define MANIFEST_IMAGES_MAX 8
#define MANIFEST_PRODUCTS_MAX 32
#define CHUNK_MIN (64 * 1024)
#define CHUNK_MAX (1024 * 1024)

struct manifest_image {
	char member[256];
	char type[17];				/* row of update_handlers[] */
	char slot_class[MANIFEST_TEXT_MAX + 1];	/* empty in a stock bundle */
	char filter[9];				/* row of the filter table: "none", "zlib", "zstd" */
	uint8_t sha256[DIGEST_SIZE];		/* of the member as stored */
	uint64_t stored_bytes;
	bool has_stored_bytes;			/* always in strict */
	uint64_t plain_bytes;			/* after decompression */
	bool has_chunks;			/* always in strict */
	char table_member[256];
	uint8_t table_sha256[DIGEST_SIZE];
	uint32_t chunk_bytes;
};

struct manifest {
	bool is_strict;				/* it has the agent group */
	char version[MANIFEST_TEXT_MAX + 1];
	char release_id[MANIFEST_TEXT_MAX + 1];
	uint64_t security_version;		/* 0 in a stock bundle */
	unsigned n_min_signers;			/* 1 if the bundle does not ask for more */
	uint64_t not_before_s, not_after_s;	/* 0 means no limit */
	char *products[MANIFEST_PRODUCTS_MAX];	/* stock bundle: its hardware-compatibility */
	size_t n_products;
	struct manifest_image images[MANIFEST_IMAGES_MAX];
	size_t n_images;
};

/*
 * Parse libconfig or JSON. -EBADMSG manifest.syntax, .include, .missing, .type, .value, .unknown, .duplicate, .modes;
 * -EMSGSIZE manifest.depth, .images; -EOPNOTSUPP manifest.unsupported (a section, element key or handler that is never
 * run here), manifest.profile.
 */
int manifest_parse(const struct verified_buf *buf, bool allow_compat, struct manifest **ret_manifest, struct agent_error **err);
struct manifest *manifest_free(struct manifest *manifest);
DEFINE_CLEANUP(struct manifest *, manifest_free)

/* Number of chunks of an image with a table. */
uint64_t manifest_image_chunks(const struct manifest_image *image);
/* Is it for @product ("board:revision")? Stock bundles name revisions only, or the whole product. */
bool manifest_fits(const struct manifest *manifest, const char *product);
/* For names that go into journals, boot environments and topics: letters, digits and "._+:-", 1 to MANIFEST_TEXT_MAX. */
bool manifest_is_name(const char *text);

#endif
