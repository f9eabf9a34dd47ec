/* SPDX-License-Identifier: Apache-2.0 */
/* Envelopes made by OpenSSL, opened by us with a key in memory where the device has one in its TPM; and bundles that bring one along. */
#include "tests/unit/test_certs.h"

#include <errno.h>
#include <sys/stat.h>

#include <openssl/ec.h>
#include <openssl/err.h>

#include <agent/openssl.h>
#include <agent/update.h>

#include "tests/unit/bundle.h"
#include "crypto/envelope.h"

#define KEY_TEXT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f\n"
#define FLAGS (CMS_BINARY | CMS_PARTIAL | CMS_USE_KEYID)
#define IMAGE_BYTES 5000
#define SPEC_DEVICE ((struct cert_spec){ .key_usage = "critical,keyAgreement" })

static struct agent_context *ctx;
static OSSL_LIB_CTX *libctx;
static struct temp_dir dir;
static struct identity devices[3], signer;
static char paths[3][128];

static int setup(void **state)
{
	temp_dir_make(&dir);
	assert_int_equal(agent_context_new(&ctx), 0);
	assert_int_equal(agent_openssl_libctx(ctx, &libctx, NULL), 0);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "d%d.crt", i);
		devices[i] = certs_make(name, NULL, SPEC_DEVICE);
		certs_write(&dir, name, devices[i].cert);
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir.path, name);
	}
	signer = certs_make("Signer", NULL, SPEC_SIGNER);
	certs_write(&dir, "signer.pem", signer.cert);
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 3; i++)
		identity_free(&devices[i]);
	identity_free(&signer);
	ctx = agent_context_unref(ctx);
	temp_dir_remove(&dir);
	return 0;
}

/* ---- a device with its key in memory ------------------------------------------------------------------------------------ */

static void id_of(EVP_PKEY *key, uint8_t ret_id[AGENT_RECIPIENT_ID_SIZE])
{
	uint8_t *spki = NULL;
	int n = i2d_PUBKEY(key, &spki);

	assert_int_equal(agent_recipient_id(spki, (size_t)n, ret_id, NULL), 0);
	OPENSSL_free(spki);
}

/* What the TPM does: TPM2_ECDH_ZGen. */
static void agree(EVP_PKEY *key, const uint8_t point[AGENT_RECIPIENT_POINT_SIZE], uint8_t ret_agreed[32])
{
	EVP_PKEY *peer = EVP_PKEY_new();
	EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new(key, NULL);
	size_t n = 32;

	assert_int_equal(EVP_PKEY_copy_parameters(peer, key), 1);
	assert_int_equal(EVP_PKEY_set1_encoded_public_key(peer, point, AGENT_RECIPIENT_POINT_SIZE), 1);
	assert_int_equal(EVP_PKEY_derive_init(pctx), 1);
	assert_int_equal(EVP_PKEY_derive_set_peer(pctx, peer), 1);
	assert_int_equal(EVP_PKEY_derive(pctx, ret_agreed, &n), 1);
	EVP_PKEY_CTX_free(pctx);
	EVP_PKEY_free(peer);
}

static int n_asked;

/* agent_update_unwrap_fn of the device @userdata. */
static int unwrap(void *userdata, const struct agent_recipient *recipients, size_t n, uint8_t ret_key[AGENT_RECIPIENT_KEY_MAX], size_t *ret_size,
		  struct agent_error **err)
{
	const struct identity *device = userdata;
	uint8_t id[AGENT_RECIPIENT_ID_SIZE], agreed[32];

	n_asked++;
	id_of(device->key, id);
	for (size_t i = 0; i < n; i++) {
		int r;

		if (memcmp(recipients[i].key_id, id, sizeof(id)) != 0)
			continue;
		r = envelope_check(libctx, &recipients[i], err);
		if (r < 0)
			return r;
		agree(device->key, recipients[i].point, agreed);
		return envelope_unwrap(libctx, agreed, &recipients[i], ret_key, ret_size, err);
	}
	return agent_error_set(err, -ENOKEY, "update.recipient", "not this one");
}

/* ---- envelopes ---------------------------------------------------------------------------------------------------------- */

struct recipe {
	const EVP_MD *md;		/* NULL: SHA-256 */
	const EVP_CIPHER *cipher;	/* NULL: AES-256-CBC */
	unsigned without_flags;
	EVP_PKEY *rsa;			/* one more, by RSA */
	bool twice;			/* for device 1 as well */
};

static struct bytes made(const struct recipe *recipe)
{
	unsigned flags = FLAGS & ~recipe->without_flags;
	const EVP_CIPHER *cipher = recipe->cipher == NULL ? EVP_aes_256_cbc() : recipe->cipher;
	CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, cipher, flags);
	BIO *bio = BIO_new_mem_buf(KEY_TEXT, -1);
	struct bytes out = { 0 };
	uint8_t *der = NULL;
	int n;

	if (recipe->rsa != NULL) {
		struct identity id = certs_make_with_key("RSA", recipe->rsa, &signer, (struct cert_spec){ 0 });

		assert_non_null(CMS_add1_recipient_cert(cms, id.cert, flags));
		identity_free(&id);
	}
	for (int i = 0; i < (recipe->twice ? 2 : 1); i++) {
		CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, devices[i].cert, flags | CMS_KEY_PARAM);

		assert_non_null(info);
		assert_true(EVP_PKEY_CTX_set_ecdh_kdf_md(CMS_RecipientInfo_get0_pkey_ctx(info), recipe->md == NULL ? EVP_sha256() : recipe->md) > 0);
	}
	assert_int_equal(CMS_final(cms, bio, NULL, flags), 1);
	n = i2d_CMS_ContentInfo(cms, &der);
	assert_true(n > 0);
	bytes_add(&out, der, (size_t)n);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	return out;
}

static void opens(const struct bytes *der, int device)
{
	_cleanup_(envelope_freep) struct envelope *e = NULL;
	uint8_t key[AGENT_RECIPIENT_KEY_MAX];
	size_t size = 0;

	assert_int_equal(envelope_parse(der->data, der->size, &e, NULL), 0);
	assert_int_equal(unwrap(&devices[device], e->recipients, e->n_recipients, key, &size, NULL), 0);
	assert_int_equal(size, e->key_size);
}

static void what_openssl_makes_opens(void **state)
{
	const struct recipe recipes[] = {
		{ 0 }, { .md = EVP_sha384() }, { .md = EVP_sha512() }, { .cipher = EVP_aes_128_cbc() }, { .cipher = EVP_aes_192_cbc() }, { .twice = true },
		{ .rsa = EVP_RSA_gen(2048) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(recipes); i++) {
		_cleanup_bytes_ struct bytes der = made(&recipes[i]);

		opens(&der, 0);
		if (recipes[i].twice)
			opens(&der, 1);
	}
}

static void ours_opens_for_each_device_and_for_openssl(void **state)
{
	const char *const list[] = { paths[0], paths[1], paths[2] };
	struct bytes der = { 0 };
	uint8_t *data = NULL;
	BIO *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms;
	const uint8_t *p;
	char *text;

	assert_int_equal(envelope_make(libctx, list, 3, KEY_TEXT, strlen(KEY_TEXT), &data, &der.size, NULL), 0);
	der.data = data;
	for (int i = 0; i < 3; i++)
		opens(&der, i);
	p = data;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)der.size);
	assert_int_equal(CMS_decrypt(cms, devices[1].key, devices[1].cert, NULL, out, CMS_BINARY), 1);
	assert_int_equal(BIO_get_mem_data(out, &text), strlen(KEY_TEXT));
	assert_memory_equal(text, KEY_TEXT, strlen(KEY_TEXT));
	CMS_ContentInfo_free(cms);
	BIO_free(out);
	bytes_free(&der);
}

static void parse_refused(const struct bytes *der, int r, const char *name, const char *word)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct envelope *e = NULL;

	assert_int_equal(envelope_parse(der->data, der->size, &e, &err), r);
	if (strstr(agent_error_message(err), word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), word);
	assert_error(&err, r, name);
}

static void unsupported_algorithms_are_named(void **state)
{
	_cleanup_bytes_ struct bytes sha1 = made(&(struct recipe){ .md = EVP_sha1() });
	_cleanup_bytes_ struct bytes named = made(&(struct recipe){ .without_flags = CMS_USE_KEYID });
	_cleanup_bytes_ struct bytes des = made(&(struct recipe){ .cipher = EVP_des_ede3_cbc() });
	_cleanup_(envelope_freep) struct envelope *e = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	parse_refused(&named, -EOPNOTSUPP, "update.recipient-algorithm", "-keyid");
	parse_refused(&des, -EOPNOTSUPP, "update.recipient-algorithm", "AES-CBC");
	/* Others may be served in another way: only the device in question says no. */
	assert_int_equal(envelope_parse(sha1.data, sha1.size, &e, NULL), 0);
	assert_int_equal(envelope_check(libctx, &e->recipients[0], &err), -EOPNOTSUPP);
	assert_error(&err, -EOPNOTSUPP, "update.recipient-algorithm");
}

static void an_altered_key_does_not_open_and_a_wrong_point_is_none(void **state)
{
	_cleanup_bytes_ struct bytes der = made(&(struct recipe){ 0 });
	_cleanup_(envelope_freep) struct envelope *e = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	uint8_t key[AGENT_RECIPIENT_KEY_MAX];
	size_t size = 7;

	assert_int_equal(envelope_parse(der.data, der.size, &e, NULL), 0);
	for (size_t i = 0; i < 8 * e->recipients[0].wrapped_size; i += 37) {
		e->recipients[0].wrapped[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(unwrap(&devices[0], e->recipients, 1, key, &size, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "update.unwrap");
		assert_int_equal(size, 7);
		e->recipients[0].wrapped[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	e->recipients[0].point[40] ^= 1;
	assert_int_equal(unwrap(&devices[0], e->recipients, 1, key, &size, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.unwrap");
	memset(e->recipients[0].point, 0, sizeof(e->recipients[0].point));
	assert_int_equal(unwrap(&devices[0], e->recipients, 1, key, &size, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.unwrap");
	e->recipients[0].wrapped_size = 33;
	assert_int_equal(unwrap(&devices[0], e->recipients, 1, key, &size, &err), -EOPNOTSUPP);
	assert_error(&err, -EOPNOTSUPP, "update.recipient-algorithm");
}

static void malformed_envelopes_are_refused_wherever_they_end(void **state)
{
	_cleanup_bytes_ struct bytes der = made(&(struct recipe){ .twice = true });
	struct bytes part = der;

	for (part.size = 0; part.size < der.size; part.size++)
		parse_refused(&part, -EBADMSG, "update.envelope", "malformed");
	bytes_add(&der, "", 1);
	parse_refused(&der, -EBADMSG, "update.envelope", "one structure");
	part = (struct bytes){ (uint8_t *)(uintptr_t)"-----BEGIN CMS-----", 19 };
	parse_refused(&part, -EBADMSG, "update.envelope", "PEM");
	part.data = calloc(1, ENVELOPE_MAX + 1);
	part.size = ENVELOPE_MAX + 1;
	parse_refused(&part, -EMSGSIZE, "update.envelope", "limit");
	bytes_free(&part);
}

static void no_changed_bit_crashes_or_makes_another_key(void **state)
{
	_cleanup_bytes_ struct bytes der = made(&(struct recipe){ 0 });
	_cleanup_(envelope_freep) struct envelope *good = NULL;
	uint8_t right[AGENT_RECIPIENT_KEY_MAX], key[AGENT_RECIPIENT_KEY_MAX];
	size_t size = 0, n_refused = 0;

	assert_int_equal(envelope_parse(der.data, der.size, &good, NULL), 0);
	assert_int_equal(unwrap(&devices[0], good->recipients, 1, right, &size, NULL), 0);
	for (size_t i = 0; i < 8 * der.size; i++) {
		_cleanup_(envelope_freep) struct envelope *e = NULL;

		der.data[i / 8] ^= (uint8_t)(1u << i % 8);
		if (envelope_parse(der.data, der.size, &e, NULL) < 0 || unwrap(&devices[0], e->recipients, e->n_recipients, key, &size, NULL) < 0)
			n_refused++;
		else
			assert_memory_equal(key, right, sizeof(key)); /* IV, content, version numbers */
		der.data[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_true(n_refused > 0);
}

static void not_made(const char *path, const char *path2, int r, const char *word)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const char *const list[] = { path, path2 };
	uint8_t *der = NULL;
	size_t size;

	assert_int_equal(envelope_make(libctx, list, path2 == NULL ? 1 : 2, "x", 1, &der, &size, &err), r);
	assert_null(der);
	if (strstr(agent_error_message(err), word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), word);
	assert_error(&err, r, "bundle.recipient");
}

static void certificates_that_no_device_would_find_are_refused(void **state)
{
	struct identity p384 = certs_make_with_key("P-384", EVP_EC_gen("P-384"), NULL, SPEC_DEVICE);
	struct identity nameless = certs_make("Nameless", NULL, SPEC_DEVICE);
	char path[3][128];

	snprintf(path[0], sizeof(path[0]), "%s/p384.crt", dir.path);
	snprintf(path[1], sizeof(path[1]), "%s/nameless.crt", dir.path);
	snprintf(path[2], sizeof(path[2]), "%s/signer.pem", dir.path);
	certs_write(&dir, "p384.crt", p384.cert);
	X509_EXTENSION_free(X509_delete_ext(nameless.cert, X509_get_ext_by_NID(nameless.cert, NID_subject_key_identifier, -1)));
	assert_true(X509_sign(nameless.cert, nameless.key, EVP_sha256()) > 0);
	certs_write(&dir, "nameless.crt", nameless.cert);
	not_made(path[0], NULL, -EKEYREJECTED, "P-256");
	not_made(path[1], NULL, -EKEYREJECTED, "identifier");
	not_made(path[2], NULL, -EKEYREJECTED, "keyAgreement");
	not_made(paths[0], paths[0], -EEXIST, "twice");
	not_made("/nowhere", NULL, -ENOENT, "/nowhere");
	identity_free(&p384);
	identity_free(&nameless);
}

/* ---- bundles ------------------------------------------------------------------------------------------------------------ */

struct made_bundle {
	const char *content;		/* of the envelope; NULL: the right key */
	bool after_image, missing, other_hash, no_hash, not_encrypted, unnamed;
};

static void encrypt(uint8_t image[IMAGE_BYTES])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t key[32], iv[16];
	int n = 0;

	assert_int_equal(hex_decode(KEY_TEXT, 64, key, 32), 0);
	assert_int_equal(hex_decode(&KEY_TEXT[65], 32, iv, 16), 0);
	assert_int_equal(EVP_EncryptInit_ex(c, EVP_aes_256_ctr(), NULL, key, iv), 1);
	assert_int_equal(EVP_EncryptUpdate(c, image, &n, image, IMAGE_BYTES), 1);
	EVP_CIPHER_CTX_free(c);
}

static struct bytes bundle_make(const struct made_bundle *b)
{
	const char *content = b->content == NULL ? KEY_TEXT : b->content;
	const char *const list[] = { paths[0] };
	char text[2048], named[200], image_hash[65], table_hash[65], key_hash[65];
	uint8_t image[IMAGE_BYTES], table[32], *der = NULL, *signature;
	struct bytes out = { 0 };
	size_t size = 0, n_signature;

	memset(image, 0x5a, sizeof(image));
	encrypt(image);
	sha256_text(image, sizeof(image), image_hash);
	assert_int_equal(digest_sha256(image, sizeof(image), table), 0);
	sha256_text(table, sizeof(table), table_hash);
	assert_int_equal(envelope_make(libctx, list, 1, content, strlen(content), &der, &size, NULL), 0);
	sha256_text(der, size, key_hash);
	if (b->other_hash)
		key_hash[0] = key_hash[0] == '0' ? '1' : '0';
	if (b->unnamed)
		named[0] = '\0';
	else if (b->no_hash)
		strcpy(named, "content-key = \"k\";");
	else
		snprintf(named, sizeof(named), "content-key = \"k\"; content-key-sha256 = \"%s\";", key_hash);
	snprintf(text, sizeof(text),
		 "software = { version = \"1\"; images = ( { filename = \"i\"; %s sha256 = \"%s\"; size = %d; properties = { slot-class = \"rootfs\"; "
		 "decrypted-size = \"%d\"; chunk-table = \"t\"; chunk-table-sha256 = \"%s\"; chunk-size = \"65536\"; }; } ); };\n"
		 "agent = { profile = \"1\"; release-id = \"r\"; security-version = 1; products = [ \"gw:1\" ]; %s };\n",
		 b->not_encrypted ? "" : "encrypted = \"aes-ctr\";", image_hash, IMAGE_BYTES, IMAGE_BYTES, table_hash, named);
	signature = certs_sign(text, &signer, &n_signature);
	cpio_member(&out, "sw-description", text, strlen(text), NULL);
	cpio_member(&out, "sw-description.sig", signature, n_signature, NULL);
	if (!b->missing && !b->after_image)
		cpio_member(&out, "k", der, size, NULL);
	cpio_member(&out, "t", table, sizeof(table), NULL);
	cpio_member(&out, "i", image, sizeof(image), NULL);
	if (b->after_image)
		cpio_member(&out, "k", der, size, NULL);
	cpio_end(&out);
	OPENSSL_free(signature);
	free(der);
	return out;
}

static struct agent_update *engine(void)
{
	static unsigned n;
	char state[128], env[128], slot[160], trust[128], path[192];
	struct agent_update *u = NULL;

	n++;
	snprintf(state, sizeof(state), "%s/state%u", dir.path, n);
	snprintf(trust, sizeof(trust), "%s/trust%u", dir.path, n);
	snprintf(env, sizeof(env), "%s/env%u", dir.path, n);
	snprintf(slot, sizeof(slot), "%s/slot%u", dir.path, n);
	assert_int_equal(mkdir(state, 0700), 0);
	assert_int_equal(mkdir(trust, 0700), 0);
	snprintf(path, sizeof(path), "trust%u/signer.pem", n);
	certs_write(&dir, path, signer.cert);
	assert_int_equal(file_replace_at(AT_FDCWD, env, 0600, "primary=a\nbooted=a\nslot.a.good=1\n", 33, NULL), 0);
	assert_int_equal(agent_update_new(ctx, &(struct agent_update_options){ .trust_dir = trust, .n_min_signers = 1, .product = "gw:1", .state_dir = state,
					  .boot_backend = "file", .boot_config = env, .n_tries = 2 }, &u, NULL), 0);
	for (int i = 0; i < 2; i++) {
		static const uint8_t zeros[65536];

		snprintf(path, sizeof(path), "%s.%c", slot, 'a' + i);
		assert_int_equal(file_replace_at(AT_FDCWD, path, 0600, zeros, sizeof(zeros), NULL), 0);
		assert_int_equal(agent_update_add_slot(u, "rootfs", i == 0 ? "a" : "b", path, NULL), 0);
	}
	return u;
}

static int install(struct agent_update *u, const struct made_bundle *b, struct agent_error **err)
{
	_cleanup_bytes_ struct bytes swu = bundle_make(b);
	_cleanup_close_ int fd = bytes_fd(swu.data, swu.size);

	return agent_update_install(u, fd, 0, NOW_S, NULL, NULL, err);
}

/* Refused before anything was touched: a journal is only written then. */
static void bundle_refused(const struct made_bundle *b, agent_update_unwrap_fn fn, struct identity *device, int r, const char *name)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update *u = engine();
	struct agent_update_status status;

	assert_int_equal(agent_update_set_unwrap(u, fn, device, NULL), 0);
	assert_int_equal(install(u, b, &err), r);
	assert_error(&err, r, name);
	assert_int_equal(agent_update_get_status(u, &status, NULL), 0);
	assert_int_equal(status.stage, AGENT_UPDATE_IDLE);
	agent_update_free(u);
}

static void a_bundle_that_brings_its_key_installs(void **state)
{
	struct agent_update *u = engine();
	uint8_t other[32] = { 0 };

	/* That of the device does not count for it. */
	assert_int_equal(agent_update_set_key(u, other, sizeof(other), NULL, NULL), 0);
	assert_int_equal(agent_update_set_unwrap(u, unwrap, &devices[0], NULL), 0);
	n_asked = 0;
	assert_int_equal(install(u, &(struct made_bundle){ 0 }, NULL), 0);
	assert_int_equal(n_asked, 1);
	agent_update_free(u);
}

static void without_anybody_to_open_it_the_key_that_was_set_counts(void **state)
{
	struct agent_update *u = engine();
	uint8_t key[32];

	assert_int_equal(hex_decode(KEY_TEXT, 64, key, 32), 0);
	assert_int_equal(agent_update_set_key(u, key, sizeof(key), (const uint8_t *)"\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17", NULL), 0);
	assert_int_equal(install(u, &(struct made_bundle){ 0 }, NULL), 0);
	agent_update_free(u);
	bundle_refused(&(struct made_bundle){ 0 }, NULL, NULL, -ENOKEY, "update.key");
	bundle_refused(&(struct made_bundle){ .unnamed = true }, unwrap, &devices[0], -ENOKEY, "update.key");
}

static void every_wrong_bundle_is_refused_for_its_reason(void **state)
{
	static const char *const texts[] = { "", "00", "zz", KEY_TEXT "more", "00112233445566778899aabbccddeeff0", "00112233445566778899aabbccddeeff 00", " ",
					     "00112233445566778899aabbccddeeffx000102030405060708090a0b0c0d0e0f" };

	bundle_refused(&(struct made_bundle){ 0 }, unwrap, &devices[1], -ENOKEY, "update.recipient");
	bundle_refused(&(struct made_bundle){ .after_image = true }, unwrap, &devices[0], -EBADMSG, "update.order");
	bundle_refused(&(struct made_bundle){ .missing = true }, unwrap, &devices[0], -EBADMSG, "update.order");
	bundle_refused(&(struct made_bundle){ .other_hash = true }, unwrap, &devices[0], -EBADMSG, "update.hash");
	bundle_refused(&(struct made_bundle){ .no_hash = true }, unwrap, &devices[0], -EBADMSG, "manifest.missing");
	bundle_refused(&(struct made_bundle){ .not_encrypted = true }, unwrap, &devices[0], -EBADMSG, "manifest.value");
	for (size_t i = 1; i < ARRAY_SIZE(texts); i++)
		bundle_refused(&(struct made_bundle){ .content = texts[i] }, unwrap, &devices[0], -EBADMSG, "update.envelope");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_openssl_makes_opens, setup, teardown),
		cmocka_unit_test_setup_teardown(ours_opens_for_each_device_and_for_openssl, setup, teardown),
		cmocka_unit_test_setup_teardown(unsupported_algorithms_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(an_altered_key_does_not_open_and_a_wrong_point_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed_envelopes_are_refused_wherever_they_end, setup, teardown),
		cmocka_unit_test_setup_teardown(no_changed_bit_crashes_or_makes_another_key, setup, teardown),
		cmocka_unit_test_setup_teardown(certificates_that_no_device_would_find_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bundle_that_brings_its_key_installs, setup, teardown),
		cmocka_unit_test_setup_teardown(without_anybody_to_open_it_the_key_that_was_set_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(every_wrong_bundle_is_refused_for_its_reason, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
