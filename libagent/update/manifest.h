/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_MANIFEST_H
#define UPDATE_MANIFEST_H
/*
 * What a signed sw-description says: with the agent group after the profile "swu-strict 1" (manifest.c), without it, where
 * the device allows that, the selection a stock SWUpdate would make (manifest_stock.c). docs/design/update.md. Error
 * names: manifest.*, update.device.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "base/macro.h"
#include "crypto/digest.h"
#include "update/verify.h"

#define MANIFEST_TEXT_MAX 64	    /* version, release id, slot class: fit a journal line and an MQTT topic */
#define MANIFEST_IMAGES_MAX 16
#define MANIFEST_PRODUCTS_MAX 32
#define MANIFEST_SCRIPTS_MAX 8
#define MANIFEST_SCRIPT_MAX (64 * 1024)
#define MANIFEST_ENV_MAX 16	    /* boot loader variables of one bundle */
#define MANIFEST_IV_SIZE 16
#define CHUNK_MIN (64 * 1024)
#define CHUNK_MAX (1024 * 1024)

struct slot_table;

struct manifest_image {
	char member[256];
	char type[17];				/* row of update_handlers[] */
	char slot_class[MANIFEST_TEXT_MAX + 1];	/* empty in a stock bundle for the only class there is */
	char path[256];				/* inside the slot, for kinds of file; else empty */
	bool is_file;				/* from "files" */
	bool is_streamed;			/* stock: "installed-directly" */
	bool makes_folders;			/* create-destination */
	uint64_t offset;			/* from where on in the slot */
	char filter[9];				/* row of the filter table: "none", "zlib", "zstd" */
	char cipher[13];			/* row of the cipher table, or empty */
	uint8_t iv[MANIFEST_IV_SIZE];
	bool has_iv;				/* else that of the key */
	uint8_t sha256[DIGEST_SIZE];		/* of the member as stored */
	uint64_t stored_bytes;
	bool has_stored_bytes;			/* always in strict */
	uint64_t plain_bytes;			/* after decryption and decompression; 0 in a stock bundle that does not say */
	bool has_chunks;			/* always in strict */
	char table_member[256];
	uint8_t table_sha256[DIGEST_SIZE];
	uint32_t chunk_bytes;
	/* Stock: not installed if the version of this name that is on the device already says so. */
	char name[MANIFEST_TEXT_MAX + 1], version[MANIFEST_TEXT_MAX + 1];
	bool if_different, if_higher;
};

/* When a script runs, and what it is told: stock SWUpdate calls a "shellscript" twice. */
enum manifest_script_when { MANIFEST_SCRIPT_BOTH, MANIFEST_SCRIPT_BEFORE, MANIFEST_SCRIPT_AFTER };

struct manifest_script {
	char member[256];
	enum manifest_script_when when;
	bool has_size;
	uint64_t size_bytes;
	uint8_t sha256[DIGEST_SIZE];
};

struct manifest_env {
	char name[33];
	char value[256];	/* empty: remove it */
};

struct manifest {
	bool is_strict;				/* it has the agent group */
	char version[MANIFEST_TEXT_MAX + 1];
	char release_id[MANIFEST_TEXT_MAX + 1];
	uint64_t security_version;		/* 0 in a stock bundle */
	unsigned n_min_signers;			/* 1 if the bundle does not ask for more */
	char trust_member[256], trust_signature[256];	/* a change of signers, and its signature; or empty */
	char key_member[256];			/* the key of the images, encrypted to devices; or empty */
	uint8_t key_sha256[DIGEST_SIZE];
	uint64_t not_before_s, not_after_s;	/* 0 means no limit */
	char kind[9];				/* "security", "feature", or empty if it does not say */
	char advisory[256];			/* a sentence for the owner, or empty */
	char *products[MANIFEST_PRODUCTS_MAX];	/* stock bundle: its hardware-compatibility */
	size_t n_products;
	struct manifest_image images[MANIFEST_IMAGES_MAX];
	size_t n_images;
	struct manifest_script scripts[MANIFEST_SCRIPTS_MAX];	/* in the order in which they run */
	size_t n_scripts;
	struct manifest_env env[MANIFEST_ENV_MAX];
	size_t n_env;
	char **other_members;			/* stock: of selections that were not made; their bytes are skipped */
	size_t n_other_members;
};

/* What the device is and allows. Only @allow_compat and @allow_scripts matter to a bundle of the strict profile. */
struct manifest_policy {
	bool allow_compat;
	bool allow_scripts;			/* shell scripts; Lua never */
	const char *product;			/* "board:revision" */
	const char *selection;			/* "set,mode" for the slot being written; NULL: what fits its devices */
	const struct slot_table *slots;		/* to compare "device" with */
	const char *target;			/* name of the slots being written */
};

/*
 * Parse libconfig or JSON. -EBADMSG manifest.syntax, .include, .missing, .type, .value, .unknown, .duplicate, .modes, .ref,
 * .selection; -EMSGSIZE manifest.depth, .images; -EOPNOTSUPP manifest.unsupported (a section, element key or handler that is
 * never run here), manifest.profile; -EPERM update.device (a stock bundle wants to write what is not the inactive slot).
 */
int manifest_parse(const struct verified_buf *buf, const struct manifest_policy *policy, struct manifest **ret_manifest, struct agent_error **err);
struct manifest *manifest_free(struct manifest *manifest);
DEFINE_CLEANUP(struct manifest *, manifest_free)

/* The first image that is stored encrypted, or NULL. */
const struct manifest_image *manifest_encrypted(const struct manifest *manifest);
/* The first image that has the same member as image @i, which may be @i: only in a stock bundle is it another one. */
size_t manifest_image_first(const struct manifest *manifest, size_t i);
/* Number of chunks of an image with a table. */
uint64_t manifest_image_chunks(const struct manifest_image *image);
/* Are the bytes that reach the handler those that are stored? */
bool manifest_image_is_plain(const struct manifest_image *image);
/*
 * Is it for @product ("board:revision")? Stock bundles name revisions only, or the whole product, and patterns, which must
 * match from the first to the last character.
 */
bool manifest_fits(const struct manifest *manifest, const char *product);
/* Is @member of a selection of a stock bundle that was not made? */
bool manifest_skips(const struct manifest *manifest, const char *member);
/* For names that go into journals, boot environments and topics: letters, digits and "._+:-", 1 to MANIFEST_TEXT_MAX. */
bool manifest_is_name(const char *text);

#endif
