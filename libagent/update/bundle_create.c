/* SPDX-License-Identifier: Apache-2.0 */
/* Strict bundles out of a folder or of another bundle: what is missing in the description is filled in, then it is signed. */
#include "config.h"

#include <agent/bundle.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include <jansson.h>

#include <agent/openssl.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/secret.h"
#include "crypto/cms_sign.h"
#include "crypto/envelope.h"
#include "update/bundle_pack.h"
#include "update/bundle_parts.h"
#include "update/bundle_scripts.h"
#include "update/bundle_signers.h"
#include "update/bundle_text.h"
#include "update/manifest.h"
#include "update/stream.h"
#include "update/syntax.h"

#define CHUNK_DEFAULT ((uint32_t)256 * 1024)
#define NAME_ROOM 16	/* ".zst.enc.chunks" */
#define ENVELOPE_NAME "content-key.cms"

/* What became of one file that the description names. */
struct packed {
	char source[CONTAINER_NAME_MAX + 1], member[CONTAINER_NAME_MAX + 1], table[CONTAINER_NAME_MAX + 1];
	char sha256[2 * DIGEST_SIZE + 1], table_sha256[2 * DIGEST_SIZE + 1], iv[2 * CIPHER_BLOCK + 1];
	char filter[9], cipher[13];
	uint64_t stored_bytes, plain_bytes;
};

struct creation {
	const struct agent_bundle_options *o;
	uint32_t chunk_bytes;
	struct parts in, out;	/* in: of a .swu */
	int dir_fd;		/* else the folder */
	struct pack_key key;	/* of the images: the caller's, or one for this bundle alone */
	struct secret fresh;
	json_t *root;
	bool is_json;
	struct packed packed[MANIFEST_IMAGES_MAX];
	size_t n_packed;
	uint64_t table_bytes;
};

static void creation_clear(struct creation *c)
{
	parts_clear(&c->in);
	parts_clear(&c->out);
	close_fdp(&c->dir_fd);
	secret_free(&c->fresh);
	json_decref(c->root);
}
#define _cleanup_creation_ _cleanup_(creation_clear)

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "manifest.memory", "no memory for sw-description");
}

/* ---- what goes in --------------------------------------------------------------------------------------------------------- */

static int options_check(const struct agent_bundle_options *o, struct agent_error **err)
{
	const char *bad = NULL;

	if (o == NULL || o->source == NULL || o->out == NULL)
		bad = "needs a source and a file to write";
	else if (o->n_signers == 0 || o->n_signers > AGENT_BUNDLE_SIGNERS_MAX || o->signers == NULL)
		bad = "needs 1 to 8 signers";
	else if (o->chunk_bytes != 0 && (o->chunk_bytes < CHUNK_MIN || o->chunk_bytes > CHUNK_MAX || (o->chunk_bytes & (o->chunk_bytes - 1)) != 0))
		bad = "needs chunks of a power of two, 65536 to 1048576 bytes";
	else if (o->compress != NULL && strcmp(o->compress, "zlib") != 0 && strcmp(o->compress, "zstd") != 0)
		bad = "knows the compressions zlib and zstd";
	else if (o->aes_key_size != 0 && (o->aes_key == NULL || (o->aes_key_size != 16 && o->aes_key_size != 24 && o->aes_key_size != 32)))
		bad = "needs a key for images of 16, 24 or 32 bytes";
	else if (o->n_encrypt_to > AGENT_RECIPIENTS_MAX || (o->n_encrypt_to > 0 && o->encrypt_to == NULL))
		bad = "is encrypted to at most 128 devices";
	else if (o->time_s == 0)
		bad = "needs the time";
	return bad == NULL ? 0 : agent_error_set(err, -EINVAL, "bundle.options", "a bundle %s", bad);
}

static int description_load(struct creation *c, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	const struct part *part = parts_find(&c->in, MANIFEST_NAME);
	int r;

	if (c->o->description == NULL && c->dir_fd < 0) {
		if (part == NULL || part != &c->in.items[0])
			return agent_error_set(err, -EBADMSG, "container.order", "the first member of %s is not %s", c->o->source, MANIFEST_NAME);
		if (part->size == 0 || part->size > MANIFEST_MAX)
			return agent_error_set(err, -EMSGSIZE, "container.size", "%s has %" PRIu64 " bytes, allowed are 1 to %d", part->name, part->size, MANIFEST_MAX);
		*ret_text = malloc((size_t)part->size + 1);
		if (*ret_text == NULL)
			return no_memory(err);
		(*ret_text)[part->size] = '\0';
		*ret_size = (size_t)part->size;
		return part_read(part, 0, *ret_text, *ret_size, err);
	}
	r = file_read_at(c->o->description != NULL ? AT_FDCWD : c->dir_fd, c->o->description != NULL ? c->o->description : MANIFEST_NAME, MANIFEST_MAX, ret_text,
			 ret_size, &why);
	return r < 0 ? agent_error_set(err, r, "bundle.source", "the description: %s", agent_error_message(why)) : 0;
}

static int source_open(struct creation *c, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	c->dir_fd = open(c->o->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0 && errno != ENOTDIR)
		return agent_error_set(err, -errno, "bundle.source", "cannot open %s: %s", c->o->source, strerror(errno));
	r = c->dir_fd < 0 ? parts_read(&c->in, c->o->source, err) : 0;
	if (r == 0)
		r = description_load(c, &text, &size, err);
	if (r == 0)
		r = syntax_parse(text, size, &c->root, &c->is_json, err);
	return r;
}

/* The file itself, before anything is done to it. */
static int part_take(struct creation *c, const char *name, struct part *ret_part, struct agent_error **err)
{
	struct part *part;

	*ret_part = (struct part){ .fd = -1 };
	snprintf(ret_part->name, sizeof(ret_part->name), "%s", name);
	if (c->dir_fd >= 0)
		return part_open(ret_part, c->dir_fd, name, err);
	part = parts_find(&c->in, name);
	if (part == NULL)
		return agent_error_set(err, -EBADMSG, "update.member", "member %s is missing", name);
	*ret_part = *part; /* lends its descriptor */
	return 0;
}

/* ---- one image ------------------------------------------------------------------------------------------------------------ */

/* "compressed" and "encrypted" of the element, as manifest.c reads them. */
static void filters_read(const struct creation *c, const json_t *element, struct packed *p)
{
	const json_t *compressed = json_object_get(element, "compressed"), *encrypted = json_object_get(element, "encrypted");
	const char *type = json_string_value(json_object_get(element, "type"));

	strcpy(p->filter, "none");
	if (json_is_true(compressed))
		strcpy(p->filter, "zlib");
	else if (json_is_string(compressed))
		snprintf(p->filter, sizeof(p->filter), "%s", json_string_value(compressed));
	else if (compressed == NULL && c->o->compress != NULL && c->dir_fd >= 0 && (type == NULL || strcmp(type, "archive") != 0))
		strcpy(p->filter, c->o->compress);
	if (json_is_true(encrypted) || (encrypted == NULL && c->o->n_encrypt_to > 0 && c->dir_fd >= 0))
		strcpy(p->cipher, "aes-cbc");
	else if (json_is_string(encrypted))
		snprintf(p->cipher, sizeof(p->cipher), "%s", json_string_value(encrypted));
}

static uint64_t declared_size(const json_t *element, const char *key)
{
	const json_t *node = json_object_get(json_object_get(element, "properties"), key);

	return json_is_integer(node) ? (uint64_t)json_integer_value(node) : json_is_string(node) ? strtoull(json_string_value(node), NULL, 10) : 0;
}

/* A bundle has its images packed already; only the key tells how large they come out, or the description says so. */
static int packed_from_bundle(const struct creation *c, const json_t *element, struct part *part, struct packed *p, struct agent_error **err)
{
	const struct pack_key key = c->key;
	const json_t *iv = json_object_get(element, "ivt");
	uint8_t bytes[CIPHER_BLOCK];
	bool is_plain = strcmp(p->filter, "none") == 0;

	if (p->cipher[0] == '\0')
		return is_plain ? 0 : pack_plain_size(part, p->filter, NULL, &key, NULL, &p->plain_bytes, err);
	if (key.size == 0) {
		p->plain_bytes = declared_size(element, is_plain ? "decrypted-size" : "decompressed-size");
		return p->plain_bytes != 0 ? 0 : agent_error_set(err, -ENOKEY, "bundle.key", "%s is encrypted and its description does not say how large it comes out: "
								  "give the key", p->source);
	}
	if (json_is_string(iv) && hex_decode(json_string_value(iv), json_string_length(iv), bytes, sizeof(bytes)) < 0)
		return agent_error_set(err, -EBADMSG, "manifest.value", "%s: ivt must be 32 hexadecimal digits", p->source);
	if (cipher_find(p->cipher) == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: encrypted = \"%s\" is not supported", p->source, p->cipher);
	return pack_plain_size(part, p->filter, p->cipher, &key, json_is_string(iv) ? bytes : NULL, &p->plain_bytes, err);
}

static void suffix_add(char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	if (n < m || strcmp(name + n - m, suffix) != 0)
		strcpy(name + n, suffix);
}

static int packed_from_file(const struct creation *c, struct part *part, struct packed *p, struct agent_error **err)
{
	const struct pack_key key = { c->key.key, c->key.size, NULL };
	bool is_packed = false;
	uint8_t iv[CIPHER_BLOCK];
	int r = 0;

	p->plain_bytes = part->size;
	if (strcmp(p->filter, "none") != 0) {
		r = pack_is_packed(part, p->filter, &is_packed, err);
		if (r == 0 && is_packed)
			r = pack_plain_size(part, p->filter, NULL, &key, NULL, &p->plain_bytes, err);
		else if (r == 0)
			r = pack_compress(part, p->filter, c->o->out, err);
		if (!is_packed)
			suffix_add(p->member, strcmp(p->filter, "zstd") == 0 ? ".zst" : ".gz");
	}
	if (r == 0 && p->cipher[0] != '\0') {
		r = pack_encrypt(part, p->cipher, &key, c->o->out, iv, err);
		hex_encode(iv, r == 0 ? sizeof(iv) : 0, p->iv);
		suffix_add(p->member, ".enc");
	}
	return r;
}

static int filter_check(const struct packed *p, struct agent_error **err)
{
	if (strcmp(p->filter, "none") != 0 && strcmp(p->filter, "zlib") != 0 && strcmp(p->filter, "zstd") != 0)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: compression %s is not supported", p->source, p->filter);
	return 0;
}

/* Its table and the image become members. */
static int packed_add(struct creation *c, struct packed *p, struct part *part, struct agent_error **err)
{
	_cleanup_free_ char *table = NULL;
	struct part *member = NULL;
	uint8_t digest[DIGEST_SIZE];
	size_t table_size = 0;
	int r = part_measure(part, c->chunk_bytes, &table, &table_size, err);

	if (r < 0)
		return r;
	c->table_bytes += table_size;
	if (c->table_bytes > STREAM_TABLES_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.chunk-table", "chunk tables of more than %d bytes: use larger chunks", STREAM_TABLES_MAX);
	p->stored_bytes = part->size;
	hex_encode(part->sha256, sizeof(part->sha256), p->sha256);
	if (digest_sha256(table, table_size, digest) < 0)
		return no_memory(err);
	hex_encode(digest, sizeof(digest), p->table_sha256);
	strcpy(part->name, p->member);
	r = parts_add_data(&c->out, p->table, table, table_size, err);
	if (r == 0)
		r = parts_add(&c->out, p->member, &member, err);
	if (r < 0)
		return r;
	*member = *part;
	part->owns_fd = false;
	part->data = NULL;
	return 0;
}

static void part_drop(struct part *part)
{
	if (part->owns_fd)
		close_fdp(&part->fd);
}

static int image_pack(struct creation *c, const json_t *element, const char *name, struct packed *p, struct agent_error **err)
{
	_cleanup_(part_drop) struct part part = { .fd = -1 };
	int r;

	if (strlen(name) + NAME_ROOM > CONTAINER_NAME_MAX || strchr(name, '/') != NULL)
		return agent_error_set(err, -EBADMSG, "manifest.value", "filename %.60s: images are files in the folder itself, with at most %d characters", name,
				       CONTAINER_NAME_MAX - NAME_ROOM);
	*p = (struct packed){ 0 };
	strcpy(p->source, name);
	strcpy(p->member, name);
	filters_read(c, element, p);
	r = filter_check(p, err);
	if (r == 0)
		r = part_take(c, name, &part, err);
	if (r == 0)
		r = c->dir_fd < 0 ? packed_from_bundle(c, element, &part, p, err) : packed_from_file(c, &part, p, err);
	snprintf(p->table, sizeof(p->table), "%.*s.chunks", CONTAINER_NAME_MAX - 8, p->source);
	return r < 0 ? r : packed_add(c, p, &part, err);
}

/* ---- the description ------------------------------------------------------------------------------------------------------ */

static int set(json_t *group, const char *key, json_t *value, struct agent_error **err)
{
	return json_object_set_new(group, key, value) < 0 ? no_memory(err) : 0;
}

static int set_number(json_t *group, const char *key, uint64_t value, struct agent_error **err)
{
	char text[24];

	/* Strings: stock SWUpdate reads nothing else inside "properties". */
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return set(group, key, json_string(text), err);
}

/* "CLASS" for all, or "FILENAME=CLASS". NULL: nobody said. */
static const char *class_of(const struct agent_bundle_options *o, const char *name)
{
	const char *found = NULL;
	size_t n = strlen(name);

	for (size_t i = 0; i < o->n_slot_classes; i++) {
		const char *text = o->slot_classes[i];

		if (strncmp(text, name, n) == 0 && text[n] == '=')
			return text + n + 1;
		if (strchr(text, '=') == NULL)
			found = text;
	}
	return found;
}

static int properties_fill(const struct creation *c, json_t *element, const struct packed *p, struct agent_error **err)
{
	const char *slot_class = class_of(c->o, p->source);
	json_t *properties = json_object_get(element, "properties");
	int r = 0;

	if (properties == NULL) {
		properties = json_object();
		r = set(element, "properties", properties, err);
	}
	if (r == 0 && !json_is_object(properties))
		r = agent_error_set(err, -EBADMSG, "manifest.type", "%s: properties must be a group", p->source);
	if (r == 0 && slot_class != NULL && json_object_get(properties, "slot-class") == NULL)
		r = set(properties, "slot-class", json_string(slot_class), err);
	if (r == 0 && strcmp(p->filter, "none") != 0)
		r = set_number(properties, "decompressed-size", p->plain_bytes, err);
	else if (r == 0 && p->cipher[0] != '\0')
		r = set_number(properties, "decrypted-size", p->plain_bytes, err);
	if (r == 0)
		r = set(properties, "chunk-table", json_string(p->table), err);
	if (r == 0)
		r = set(properties, "chunk-table-sha256", json_string(p->table_sha256), err);
	return r < 0 ? r : set_number(properties, "chunk-size", c->chunk_bytes, err);
}

static int element_fill(const struct creation *c, json_t *element, const struct packed *p, struct agent_error **err)
{
	int r = set(element, "filename", json_string(p->member), err);

	if (r == 0 && strcmp(p->filter, "none") != 0)
		r = set(element, "compressed", json_string(p->filter), err);
	if (r == 0 && p->cipher[0] != '\0' && json_object_get(element, "encrypted") == NULL)
		r = set(element, "encrypted", json_true(), err);
	if (r == 0 && p->iv[0] != '\0')
		r = set(element, "ivt", json_string(p->iv), err);
	if (r == 0)
		r = set(element, "sha256", json_string(p->sha256), err);
	if (r == 0)
		r = set(element, "size", json_integer((json_int_t)p->stored_bytes), err);
	return r < 0 ? r : properties_fill(c, element, p, err);
}

/* The same file in several selections is one member. */
static int element_do(struct creation *c, json_t *element, struct agent_error **err)
{
	_cleanup_free_ char *name = NULL;
	struct packed *p = NULL;
	int r;

	if (!json_is_string(json_object_get(element, "filename")))
		return agent_error_set(err, -EBADMSG, "manifest.missing", "an image of the description has no filename");
	name = strdup(json_string_value(json_object_get(element, "filename")));
	if (name == NULL)
		return no_memory(err);
	for (size_t i = 0; i < c->n_packed; i++)
		if (strcmp(c->packed[i].source, name) == 0)
			p = &c->packed[i];
	if (p == NULL) {
		if (c->n_packed == MANIFEST_IMAGES_MAX)
			return agent_error_set(err, -EMSGSIZE, "manifest.images", "more than %d images", MANIFEST_IMAGES_MAX);
		p = &c->packed[c->n_packed];
		r = image_pack(c, element, name, p, err);
		if (r < 0)
			return r;
		c->n_packed++;
	}
	return element_fill(c, element, p, err);
}

/* "images" and "files" wherever they are: software, board, set, mode. Depth is bounded by syntax_parse(). */
static int group_do(struct creation *c, json_t *group, struct agent_error **err)
{
	static const char *const lists[] = { "images", "files" };
	const char *key;
	json_t *value;
	size_t k;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		json_array_foreach(json_object_get(group, lists[i]), k, value) {
			r = element_do(c, value, err);
			if (r < 0)
				return r;
		}
	}
	json_object_foreach(group, key, value) {
		r = json_is_object(value) ? group_do(c, value, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int products_fill(const struct agent_bundle_options *o, json_t *agent, struct agent_error **err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < o->n_products; i++)
		if (list == NULL || json_array_append_new(list, json_string(o->products[i])) < 0) {
			json_decref(list);
			return agent_error_set(err, -EINVAL, "bundle.options", "a product is no text in UTF-8");
		}
	return set(agent, "products", list, err);
}

static int agent_fill(struct creation *c, struct agent_error **err)
{
	const struct agent_bundle_options *o = c->o;
	json_t *software = json_object_get(c->root, "software"), *agent = json_object_get(c->root, "agent");
	int r = 0;

	if (agent == NULL) {
		agent = json_object();
		r = set(c->root, "agent", agent, err);
	}
	if (r == 0 && !json_is_object(agent))
		r = agent_error_set(err, -EBADMSG, "manifest.type", "agent must be a group");
	if (r == 0 && json_object_get(agent, "profile") == NULL)
		r = set(agent, "profile", json_string("1"), err);
	if (r == 0 && o->release_id != NULL)
		r = set(agent, "release-id", json_string(o->release_id), err);
	else if (r == 0 && json_object_get(agent, "release-id") == NULL && json_object_get(software, "version") != NULL)
		r = set(agent, "release-id", json_incref(json_object_get(software, "version")), err);
	if (r == 0 && o->has_security_version)
		r = set(agent, "security-version", json_integer((json_int_t)o->security_version), err);
	if (r == 0 && o->n_products > 0)
		r = products_fill(o, agent, err);
	if (r == 0 && o->min_signers != 0)
		r = set(agent, "min-signers", json_integer((json_int_t)o->min_signers), err);
	if (r == 0 && o->not_before_s != 0)
		r = set(agent, "not-before", json_integer((json_int_t)o->not_before_s), err);
	if (r == 0 && o->not_after_s != 0)
		r = set(agent, "not-after", json_integer((json_int_t)o->not_after_s), err);
	/* Stock SWUpdate asks for it. */
	if (r == 0 && json_object_get(software, "hardware-compatibility") == NULL && json_object_get(agent, "products") != NULL)
		r = set(software, "hardware-compatibility", json_deep_copy(json_object_get(agent, "products")), err);
	return r;
}

/* A change of signers comes before the images. */
static int trust_add(struct creation *c, struct agent_error **err)
{
	const char *name = json_string_value(json_object_get(json_object_get(c->root, "agent"), "trust-policy"));
	char names[2][CONTAINER_NAME_MAX + 5];
	int r = 0;

	if (name == NULL)
		return 0;
	snprintf(names[0], sizeof(names[0]), "%.250s", name);
	snprintf(names[1], sizeof(names[1]), "%.250s.sig", name);
	for (int i = 0; r == 0 && i < 2; i++) {
		struct part *member = NULL;

		r = parts_add(&c->out, names[i], &member, err);
		if (r == 0)
			r = part_take(c, names[i], member, err);
		if (r == 0)
			r = part_measure(member, 0, NULL, NULL, err);
	}
	return r;
}

static int script_take_part(void *userdata, const char *name, struct part *ret_part, struct agent_error **err)
{
	return part_take(userdata, name, ret_part, err);
}

/* The key of the images: given, or made for this bundle. */
static int key_take(struct creation *c, struct agent_error **err)
{
	c->key = (struct pack_key){ c->o->aes_key, c->o->aes_key_size, c->o->aes_iv };
	if (c->o->n_encrypt_to == 0 || c->key.size != 0)
		return 0;
	if (c->dir_fd < 0)
		return agent_error_set(err, -ENOKEY, "bundle.key", "the images of %s are encrypted already, if at all: give their key, so that it can be encrypted to devices",
				       c->o->source);
	if (secret_alloc(&c->fresh, CIPHER_KEY_MAX) < 0)
		return no_memory(err);
	if (getrandom(c->fresh.data, CIPHER_KEY_MAX, 0) != CIPHER_KEY_MAX)
		return agent_error_set(err, -EIO, "bundle.key", "no random numbers: %s", strerror(errno));
	c->fresh.size = CIPHER_KEY_MAX;
	c->key = (struct pack_key){ c->fresh.data, c->fresh.size, NULL };
	return 0;
}

/* As text that "swupdate -K" takes, so that the envelope is of use without us. */
static int envelope_create(struct agent_context *ctx, struct creation *c, struct part *member, struct agent_error **err)
{
	static const uint8_t no_iv[CIPHER_BLOCK];
	char text[2 * (CIPHER_KEY_MAX + CIPHER_BLOCK) + 3];
	size_t n = 2 * c->key.size, size = 0;
	uint8_t *der = NULL;
	OSSL_LIB_CTX *libctx;
	int r = agent_openssl_libctx(ctx, &libctx, err);

	if (r < 0)
		return r;
	hex_encode(c->key.key, c->key.size, text);
	text[n++] = ' ';
	hex_encode(c->key.iv == NULL ? no_iv : c->key.iv, CIPHER_BLOCK, text + n);
	n += 2 * CIPHER_BLOCK;
	text[n++] = '\n';
	r = envelope_make(libctx, c->o->encrypt_to, c->o->n_encrypt_to, text, n, &der, &size, err);
	wipe(text, sizeof(text));
	if (r == 0)
		r = part_set(member, der, size, err);
	free(der);
	return r;
}

/* The envelope comes before the images: made now, or, where the description names one, taken as it is. */
static int key_add(struct agent_context *ctx, struct creation *c, struct agent_error **err)
{
	json_t *agent = json_object_get(c->root, "agent");
	const char *name = json_string_value(json_object_get(agent, "content-key"));
	char text[2 * DIGEST_SIZE + 1], member_name[CONTAINER_NAME_MAX + 1];
	struct part *member = NULL;
	int r;

	if (name == NULL && c->o->n_encrypt_to == 0)
		return 0;
	snprintf(member_name, sizeof(member_name), "%.*s", CONTAINER_NAME_MAX, name == NULL ? ENVELOPE_NAME : name);
	r = parts_add(&c->out, member_name, &member, err);
	if (r == 0)
		r = c->o->n_encrypt_to > 0 ? envelope_create(ctx, c, member, err) : part_take(c, member_name, member, err);
	if (r == 0)
		r = part_measure(member, 0, NULL, NULL, err);
	if (r < 0)
		return r;
	hex_encode(member->sha256, sizeof(member->sha256), text);
	r = set(agent, "content-key", json_string(member_name), err);
	return r < 0 ? r : set(agent, "content-key-sha256", json_string(text), err);
}

/* Read by the parser of the device before anybody signs it. */
static int text_check(const char *text, struct agent_error **err)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_(verified_buf_freep) struct verified_buf *buf = NULL;
	size_t size = strlen(text);
	int r;

	if (size > MANIFEST_MAX)
		return agent_error_set(err, -EMSGSIZE, "container.size", "%s would have %zu bytes, limit %d", MANIFEST_NAME, size, MANIFEST_MAX);
	r = verified_buf_ours(text, size, &buf, err);
	return r < 0 ? r : manifest_parse(buf, &(struct manifest_policy){ .allow_scripts = true }, &m, err);
}

static int creation_finish(struct agent_context *ctx, struct creation *c, const struct signer_set *signers, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ uint8_t *der = NULL;
	size_t der_size = 0;
	int r = bundle_text(c->root, c->is_json, &text, err);

	if (r == 0)
		r = text_check(text, err);
	if (r == 0)
		r = cms_sign(ctx, NULL, 0, text, strlen(text), signers->items, signers->n, c->o->time_s, &der, &der_size, err);
	/* Their places were kept. */
	if (r == 0)
		r = part_set(&c->out.items[0], text, strlen(text), err);
	if (r == 0)
		r = part_set(&c->out.items[1], der, der_size, err);
	return r < 0 ? r : parts_write(&c->out, c->o->out, c->o->time_s, err);
}

int agent_bundle_create(struct agent_context *ctx, const struct agent_bundle_options *options, struct agent_error **err)
{
	_cleanup_creation_ struct creation c = { .o = options, .in = { .fd = -1 }, .out = { .fd = -1 }, .dir_fd = -1 };
	_cleanup_signers_ struct signer_set signers = { 0 };
	json_t *software;
	int r = ctx == NULL ? agent_error_set(err, -EINVAL, "bundle.options", "a bundle needs a context") : options_check(options, err);

	if (r < 0)
		return r;
	c.chunk_bytes = options->chunk_bytes == 0 ? CHUNK_DEFAULT : options->chunk_bytes;
	r = out_check(options->out, err);
	/* Keys first: nobody waits for a compression to hear that the PIN is wrong. */
	if (r == 0)
		r = signers_open(ctx, options->signers, options->n_signers, options->time_s, &signers, err);
	if (r == 0)
		r = source_open(&c, err);
	if (r == 0)
		r = key_take(&c, err);
	if (r == 0)
		r = parts_add_data(&c.out, MANIFEST_NAME, "", 0, err);
	if (r == 0)
		r = parts_add_data(&c.out, SIGNATURE_NAME, "", 0, err);
	software = json_object_get(c.root, "software");
	if (r == 0 && !json_is_object(software))
		r = agent_error_set(err, -EBADMSG, "manifest.missing", "the description has no group software");
	if (r == 0)
		r = agent_fill(&c, err);
	if (r == 0)
		r = trust_add(&c, err);
	if (r == 0)
		r = key_add(ctx, &c, err);
	if (r == 0)
		r = bundle_scripts_add(c.root, &c.out, options->with_scripts, script_take_part, &c, err);
	if (r == 0)
		r = group_do(&c, software, err);
	return r < 0 ? r : creation_finish(ctx, &c, &signers, err);
}
