/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_UPDATE_FIXTURE_H
#define TESTS_UNIT_UPDATE_FIXTURE_H
/* A device with two file slots, signers of its own, and bundles for it. Included after test.h and bundle.h. */
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <zlib.h>
#include <zstd.h>

#include <agent/update.h>

#include "update/boot.h"

#define SLOT_BYTES (1024 * 1024)
#define IMAGE_BYTES 300000
#define CHUNK 65536
#define FACTORY_ENV "primary=a\nbooted=a\nslot.a.good=1\n"
#define NOW_S UINT64_C(1800000000)

DEFINE_CLEANUP(struct agent_update *, agent_update_free)
#define _cleanup_engine_ _cleanup_(agent_update_freep)

struct identity {
	EVP_PKEY *key;
	X509 *cert;
};

struct device;

/* A boot loader and its environment. */
struct boot_rig {
	const struct boot_backend *backend;
	bool tells_booted;	/* else the kernel command line does */
	void (*make)(struct device *d);	/* as the factory leaves it, d->env is its argument: slot a is good and runs */
	void (*unmake)(struct device *d);
	void (*count_down)(struct device *d, const struct boot_state *next); /* NULL: next is stored */
};

struct device {
	struct temp_dir dir;
	const struct boot_rig *rig;
	char booted[SLOT_NAME_MAX + 1];
	struct agent_context *ctx;
	struct identity signer, second, stranger;
	char slot[2][96], env[96], state[96], trust[96];
	pid_t server;	/* of rig_script */
	uint8_t image[IMAGE_BYTES];
};

static inline void identity_make(struct identity *id, const char *name, const char *pem_path)
{
	X509V3_CTX ctx;
	static const struct {
		int nid;
		const char *value;
	} extensions[] = { { NID_basic_constraints, "critical,CA:FALSE" }, { NID_key_usage, "critical,digitalSignature" }, { NID_ext_key_usage, "codeSigning" } };

	id->key = EVP_EC_gen("P-256");
	id->cert = X509_new();
	assert_non_null(id->key);
	assert_int_equal(X509_set_version(id->cert, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(id->cert), 1);
	ASN1_TIME_set(X509_getm_notBefore(id->cert), (time_t)NOW_S - 86400);
	ASN1_TIME_set(X509_getm_notAfter(id->cert), (time_t)NOW_S + 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(id->cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(id->cert, X509_get_subject_name(id->cert));
	X509_set_pubkey(id->cert, id->key);
	X509V3_set_ctx(&ctx, id->cert, id->cert, NULL, NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
		X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);

		assert_int_equal(X509_add_ext(id->cert, ext, -1), 1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(id->cert, id->key, EVP_sha256()) > 0);
	if (pem_path != NULL) {
		FILE *f = fopen(pem_path, "w");

		assert_int_equal(PEM_write_X509(f, id->cert), 1);
		fclose(f);
	}
}

static inline void rig_file_make(struct device *d)
{
	assert_int_equal(file_replace_at(AT_FDCWD, d->env, 0600, FACTORY_ENV, strlen(FACTORY_ENV), NULL), 0);
}

static const struct boot_rig rig_file = { .backend = &boot_file, .tells_booted = true, .make = rig_file_make };

static inline int device_setup_rig(void **state, const struct boot_rig *rig)
{
	struct device *d = test_calloc(1, sizeof(*d));
	static const uint8_t old[SLOT_BYTES] = { 0xaa };
	char path[128];

	temp_dir_make(&d->dir);
	snprintf(d->state, sizeof(d->state), "%s/state", d->dir.path);
	snprintf(d->trust, sizeof(d->trust), "%s/update", d->dir.path); /* as TRUST_DIR/update of the daemons */
	snprintf(d->env, sizeof(d->env), "%s/env", d->dir.path);
	assert_int_equal(mkdir(d->state, 0700), 0);
	assert_int_equal(mkdir(d->trust, 0700), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(d->slot[i], sizeof(d->slot[i]), "%s/%c.img", d->dir.path, 'a' + i);
		assert_int_equal(file_replace_at(AT_FDCWD, d->slot[i], 0600, old, sizeof(old), NULL), 0);
	}
	d->rig = rig;
	strcpy(d->booted, "a");
	rig->make(d);
	assert_int_equal(agent_context_new(&d->ctx), 0);
	snprintf(path, sizeof(path), "%s/signer.pem", d->trust);
	identity_make(&d->signer, "signer", path);
	snprintf(path, sizeof(path), "%s/second.pem", d->trust);
	identity_make(&d->second, "second", path);
	identity_make(&d->stranger, "stranger", NULL);
	for (size_t i = 0; i < sizeof(d->image); i++)
		d->image[i] = (uint8_t)(i * 7 + i / 251);
	*state = d;
	return 0;
}

static inline int device_setup(void **state)
{
	return device_setup_rig(state, &rig_file);
}

static inline int device_teardown(void **state)
{
	struct device *d = *state;
	struct identity *ids[] = { &d->signer, &d->second, &d->stranger };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		X509_free(ids[i]->cert);
		EVP_PKEY_free(ids[i]->key);
	}
	agent_context_unref(d->ctx);
	if (d->rig->unmake != NULL)
		d->rig->unmake(d);
	temp_dir_remove(&d->dir);
	test_free(d);
	return 0;
}

static inline struct agent_update *engine_with(struct device *d, const struct agent_update_options *more)
{
	struct agent_update_options o = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .state_dir = d->state, .boot_config = d->env,
					  .n_tries = 2 };
	struct agent_update *u = NULL;

	o.boot_backend = d->rig->backend->name;
	o.booted_slot = d->rig->tells_booted ? NULL : d->booted;

	if (more != NULL && more->n_min_signers != 0)
		o.n_min_signers = more->n_min_signers;
	if (more != NULL)
		o.allow_compat = more->allow_compat;
	assert_int_equal(agent_update_new(d->ctx, &o, &u, NULL), 0);
	assert_int_equal(agent_update_add_slot(u, "rootfs", "a", d->slot[0], NULL), 0);
	assert_int_equal(agent_update_add_slot(u, "rootfs", "b", d->slot[1], NULL), 0);
	return u;
}

static inline struct agent_update *engine(struct device *d)
{
	return engine_with(d, NULL);
}

/* ---- bundles ------------------------------------------------------------------------------------------------------------ */

struct bundle {
	const char *release, *product, *extra_agent, *compressed, *element /* more in that of the image, strict */, *stock_element, *sections, *list /* instead of images, strict */;
	const char *cipher;		/* "aes-cbc" or "aes-ctr", with BUNDLE_KEY */
	uint64_t security_version;	/* 0: 5 */
	bool two_signers, by_stranger, twice_the_same, edit_after_signing, is_stock;
	bool image_before_table, no_image, extra_member, table_changed, short_plain_size;
	int break_chunk;		/* 1 based */
	bool other_hash;		/* of all of the image, where that of each chunk is right */
	int add_to_member;		/* bytes of the image that are not in the manifest, or are missing; -1 or 1 */
	struct {
		const char *name, *text;
	} early[4], late[4];		/* members before and after the image */
};

static inline void sign(struct device *d, const struct bundle *b, const char *text, struct bytes *out)
{
	const struct identity *first = b->by_stranger ? &d->stranger : &d->signer;
	const unsigned flags = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP;
	BIO *content = BIO_new_mem_buf(text, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags | CMS_PARTIAL);
	uint8_t *der = NULL;
	int n;

	assert_non_null(CMS_add1_signer(cms, first->cert, first->key, EVP_sha256(), flags));
	if (b->two_signers || b->twice_the_same) {
		const struct identity *other = b->two_signers ? &d->second : first;

		assert_non_null(CMS_add1_signer(cms, other->cert, other->key, EVP_sha256(), flags | (b->two_signers ? 0 : CMS_NOCERTS)));
	}
	assert_int_equal(CMS_final(cms, content, NULL, flags), 1);
	n = i2d_CMS_ContentInfo(cms, &der);
	assert_true(n > 0);
	bytes_add(out, der, (size_t)n);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(content);
}

#define BUNDLE_KEY ((const uint8_t *)"0123456789abcdef")
#define BUNDLE_IV ((const uint8_t *)"fedcba9876543210")

static inline void encrypt(const char *cipher, struct bytes *bytes)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *out = malloc(bytes->size + 32);
	int n = 0, rest = 0;

	assert_true(ctx != NULL && out != NULL);
	assert_int_equal(EVP_EncryptInit_ex(ctx, strcmp(cipher, "aes-ctr") == 0 ? EVP_aes_128_ctr() : EVP_aes_128_cbc(), NULL, BUNDLE_KEY, BUNDLE_IV), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, bytes->data, (int)bytes->size), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, out + n, &rest), 1);
	EVP_CIPHER_CTX_free(ctx);
	free(bytes->data);
	*bytes = (struct bytes){ .data = out, .size = (size_t)(n + rest) };
}

static inline void store_image(struct device *d, const struct bundle *b, struct bytes *out)
{
	if (b->compressed == NULL) {
		bytes_add(out, d->image, sizeof(d->image));
	} else if (strcmp(b->compressed, "zstd") == 0) {
		size_t max = ZSTD_compressBound(sizeof(d->image));

		out->data = malloc(max);
		out->size = ZSTD_compress(out->data, max, d->image, sizeof(d->image), 3);
		assert_false(ZSTD_isError(out->size));
	} else {
		z_stream z = { 0 };

		/* Level 0, so that several chunks are stored. */
		assert_int_equal(deflateInit2(&z, 0, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
		out->data = malloc(2 * sizeof(d->image));
		z.next_in = d->image;
		z.avail_in = sizeof(d->image);
		z.next_out = out->data;
		z.avail_out = 2 * sizeof(d->image);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		out->size = z.total_out;
		deflateEnd(&z);
	}
	if (b->cipher != NULL)
		encrypt(b->cipher, out);
}

static inline void bundle_make(struct device *d, const struct bundle *b, struct bytes *out)
{
	_cleanup_bytes_ struct bytes stored = { 0 }, table = { 0 }, signature = { 0 };
	char image_sha[65], table_sha[65], text[4096], compressed[96] = "";
	size_t plain = b->short_plain_size ? IMAGE_BYTES - 1 : IMAGE_BYTES;

	store_image(d, b, &stored);
	for (size_t i = 0; i < stored.size; i += CHUNK) {
		uint8_t digest[DIGEST_SIZE];

		assert_int_equal(digest_sha256(stored.data + i, stored.size - i < CHUNK ? stored.size - i : CHUNK, digest), 0);
		bytes_add(&table, digest, sizeof(digest));
	}
	sha256_text(stored.data, stored.size, image_sha);
	sha256_text(table.data, table.size, table_sha);
	if (b->other_hash)
		image_sha[63] = image_sha[63] == '0' ? '1' : '0';
	if (b->compressed != NULL)
		snprintf(compressed, sizeof(compressed), " compressed = \"%s\";", b->compressed);
	if (b->cipher != NULL)
		snprintf(compressed + strlen(compressed), sizeof(compressed) - strlen(compressed), " encrypted = \"%s\";", b->cipher);
	if (b->is_stock)
		snprintf(text, sizeof(text),
			 "software = { version = \"2.0\"; hardware-compatibility = [ \"1\" ]; images = ( { filename = \"image\"; device = \"/dev/null\"; sha256 = \"%s\"; %s } ); %s };",
			 image_sha, b->stock_element != NULL ? b->stock_element : compressed, b->sections == NULL ? "" : b->sections);
	else
		snprintf(text, sizeof(text),
			 "software = { version = \"2.0\"; stable = { copy-1 = { %s = ( { filename = \"image\"; device = \"/dev/null\";%s%s sha256 = \"%s\"; size = %zuL; "
			 "properties = { slot-class = \"rootfs\"; %s-size = \"%zu\"; chunk-table = \"table\"; chunk-table-sha256 = \"%s\"; chunk-size = \"65536\"; }; } ); %s }; }; };\n"
			 "agent = { profile = \"1\"; release-id = \"%s\"; security-version = %lluL; products = [ \"%s\" ]; %s };\n",
			 b->list == NULL ? "images" : b->list, compressed, b->element == NULL ? "" : b->element, image_sha, stored.size,
			 b->cipher != NULL && b->compressed == NULL ? "decrypted" : "decompressed", plain, table_sha, b->sections == NULL ? "" : b->sections, b->release == NULL ? "r-1" : b->release,
			 (unsigned long long)(b->security_version == 0 ? 5 : b->security_version), b->product == NULL ? "gw:1" : b->product,
			 b->extra_agent == NULL ? "" : b->extra_agent);
	sign(d, b, text, &signature);
	if (b->edit_after_signing)
		strstr(text, "2.0")[0] = '3';
	if (b->break_chunk > 0)
		stored.data[(size_t)(b->break_chunk - 1) * CHUNK + 5] ^= 1;
	if (b->table_changed)
		table.data[40] ^= 1;
	if (b->add_to_member > 0)
		bytes_add(&stored, "", 1);
	else if (b->add_to_member < 0)
		stored.size--;
	cpio_member(out, "sw-description", text, strlen(text), NULL);
	cpio_member(out, "sw-description.sig", signature.data, signature.size, NULL);
	if (b->image_before_table && !b->no_image)
		cpio_member(out, "image", stored.data, stored.size, NULL);
	if (!b->is_stock)
		cpio_member(out, "table", table.data, table.size, NULL);
	if (b->extra_member)
		cpio_member(out, "extra", "x", 1, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(b->early) && b->early[i].name != NULL; i++)
		cpio_member(out, b->early[i].name, b->early[i].text, strlen(b->early[i].text), NULL);
	if (!b->image_before_table && !b->no_image)
		cpio_member(out, "image", stored.data, stored.size, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(b->late) && b->late[i].name != NULL; i++)
		cpio_member(out, b->late[i].name, b->late[i].text, strlen(b->late[i].text), NULL);
	cpio_end(out);
}

static inline int install(struct device *d, struct agent_update *u, const struct bundle *b, uint64_t floor, struct agent_error **err)
{
	_cleanup_bytes_ struct bytes bytes = { 0 };
	_cleanup_close_ int fd = -1;

	bundle_make(d, b, &bytes);
	fd = bytes_fd(bytes.data, bytes.size);
	return agent_update_install(u, fd, floor, NOW_S, NULL, NULL, err);
}

/* ---- what is on the device ------------------------------------------------------------------------------------------------ */

static inline struct boot_state env_read(struct device *d)
{
	struct boot_state s = { 0 };

	assert_int_equal(d->rig->backend->load(d->env, &s, NULL), 0);
	return s;
}

/* What examples/demo-bootloader.sh does. Returns the slot that boots. */
static inline const char *reboot(struct device *d)
{
	struct boot_state s = env_read(d);
	struct boot_slot *slot = boot_state_slot(&s, s.primary);
	bool is_counted = !slot->is_good && slot->n_tries_left > 0;

	if (is_counted)
		slot->n_tries_left--;
	else if (!slot->is_good)
		slot = boot_state_slot(&s, strcmp(s.primary, "a") == 0 ? "b" : "a");
	assert_true(slot->is_good || strcmp(slot->name, s.primary) == 0);
	strcpy(s.booted, slot->name);
	strcpy(d->booted, slot->name);
	if (is_counted && d->rig->count_down != NULL)
		d->rig->count_down(d, &s);
	else if (is_counted || d->rig->tells_booted)
		assert_int_equal(d->rig->backend->store(d->env, &s, NULL), 0);
	return d->booted;
}

static inline bool slot_holds_image(struct device *d, int slot)
{
	_cleanup_free_ char *data = NULL;
	size_t size = 0;

	assert_int_equal(file_read_at(AT_FDCWD, d->slot[slot], SLOT_BYTES, &data, &size, NULL), 0);
	return size == SLOT_BYTES && memcmp(data, d->image, IMAGE_BYTES) == 0;
}

static inline bool slot_is_untouched(struct device *d, int slot)
{
	_cleanup_free_ char *data = NULL;
	static const uint8_t old[SLOT_BYTES] = { 0xaa };

	assert_int_equal(file_read_at(AT_FDCWD, d->slot[slot], SLOT_BYTES, &data, NULL, NULL), 0);
	return memcmp(data, old, SLOT_BYTES) == 0;
}

static inline enum agent_update_stage stage_of(struct agent_update *u)
{
	struct agent_update_status s;

	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	return s.stage;
}

#endif
