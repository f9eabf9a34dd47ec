/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/keyfile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <tss2/tss2_mu.h>

#include "base/buf.h"
#include "base/der.h"
#include "base/macro.h"

/* 2.23.133.10.1.3 and .5, X.690, 8.19 */
static const uint8_t oid_loadable[] = { 0x67, 0x81, 0x05, 0x0a, 0x01, 0x03 };
static const uint8_t oid_sealed[] = { 0x67, 0x81, 0x05, 0x0a, 0x01, 0x05 };
static const char pem_name[] = "TSS2 PRIVATE KEY";

DEFINE_CLEANUP(BIO *, BIO_free_all)

static void openssl_freep(void *pp)
{
	OPENSSL_free(*(void **)pp);
}

/* ---- reading ------------------------------------------------------------ */

static int get_boolean(struct buf *b, bool *ret_value)
{
	struct buf body;
	uint8_t value;

	if (der_get_only(b, DER_BOOLEAN, &body) < 0 || body.size != 1 || buf_get_u8(&body, &value) < 0)
		return -EBADMSG;
	*ret_value = value != 0;
	return 0;
}

/* Minimal, 32 bits. Four bytes with the top bit set are negative by X.690, 8.3; older tpm2-openssl writes handles so. */
static int get_handle(struct buf *b, uint32_t *ret_handle)
{
	struct buf body;
	uint32_t value = 0;
	uint8_t byte;

	if (der_get_tag(b, DER_INTEGER, &body) < 0 || body.size == 0 || body.size > 5)
		return -EBADMSG;
	if (body.size == 5 && body.data[0] != 0)
		return -EBADMSG;
	if (body.size > 1 && body.data[0] == 0 && body.data[1] < 0x80)
		return -EBADMSG;
	while (buf_get_u8(&body, &byte) == 0)
		value = value << 8 | byte;
	*ret_handle = value;
	return 0;
}

static int skip_field(struct buf *in, uint8_t tag, bool *ret_is_there)
{
	struct buf body, before = *in;
	uint8_t seen;

	*ret_is_there = der_get(in, &seen, &body) == 0 && seen == tag;
	if (!*ret_is_there)
		*in = before;
	return 0;
}

static int parse_optional(struct buf *in, struct keyfile *file, struct agent_error **err)
{
	static const struct {
		unsigned tag;
		const char *name;
	} refused[] = { { 1, "policy" }, { 2, "secret" }, { 3, "authPolicy" } };
	struct buf field, text;
	struct buf before = *in;
	bool is_there, value;
	uint8_t tag;

	if (der_get(in, &tag, &field) == 0 && tag == DER_CONTEXT(0)) {
		if (get_boolean(&field, &file->has_empty_auth) < 0)
			return agent_error_set(err, -EBADMSG, "keyfile.format", "emptyAuth is not a BOOLEAN");
	} else {
		*in = before;
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		skip_field(in, (uint8_t)DER_CONTEXT(refused[i].tag), &is_there);
		if (is_there)
			return agent_error_set(err, -EOPNOTSUPP, "keyfile.field", "key files with a %s are not supported", refused[i].name);
	}
	before = *in;
	if (der_get(in, &tag, &field) == 0 && tag == DER_CONTEXT(4)) {
		if (der_get_only(&field, DER_UTF8STRING, &text) < 0)
			return agent_error_set(err, -EBADMSG, "keyfile.format", "description is not a UTF8String");
	} else {
		*in = before;
	}
	before = *in;
	if (der_get(in, &tag, &field) == 0 && tag == DER_CONTEXT(5)) {
		if (get_boolean(&field, &value) < 0)
			return agent_error_set(err, -EBADMSG, "keyfile.format", "rsaParent is not a BOOLEAN");
		if (value)
			return agent_error_set(err, -EOPNOTSUPP, "keyfile.field", "key files with an rsaParent are not supported");
	} else {
		*in = before;
	}
	return 0;
}

/* The marshalled structure has to fill its OCTET STRING exactly, inside and out. */
static int parse_blobs(struct buf *in, struct keyfile *file, struct agent_error **err)
{
	struct buf pub, priv;
	size_t used = 0;

	if (der_get_tag(in, DER_OCTET_STRING, &pub) < 0 || der_get_tag(in, DER_OCTET_STRING, &priv) < 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "pubkey and privkey are not two OCTET STRINGs");
	if (pub.size < 2 || ((size_t)pub.data[0] << 8 | pub.data[1]) != pub.size - 2 ||
	    Tss2_MU_TPM2B_PUBLIC_Unmarshal(pub.data, pub.size, &used, &file->pub) != TSS2_RC_SUCCESS || used != pub.size)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "pubkey is not a TPM2B_PUBLIC");
	used = 0;
	if (priv.size < 2 || ((size_t)priv.data[0] << 8 | priv.data[1]) != priv.size - 2 ||
	    Tss2_MU_TPM2B_PRIVATE_Unmarshal(priv.data, priv.size, &used, &file->priv) != TSS2_RC_SUCCESS || used != priv.size)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "privkey is not a TPM2B_PRIVATE");
	return 0;
}

static int parse_der(const uint8_t *der, size_t size, bool is_sealed, struct keyfile *ret_file, struct agent_error **err)
{
	const uint8_t *want = is_sealed ? oid_sealed : oid_loadable;
	struct buf all = buf_from(der, size), in, oid;
	struct keyfile file = { .is_sealed = is_sealed };
	int r;

	if (size > KEYFILE_MAX)
		return agent_error_set(err, -EMSGSIZE, "keyfile.size", "key file is %zu bytes, limit %d", size, KEYFILE_MAX);
	if (der_get_only(&all, DER_SEQUENCE, &in) < 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "key file is not one DER SEQUENCE of the length it says");
	if (der_get_tag(&in, DER_OID, &oid) < 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "key file does not begin with an OID");
	if (oid.size != sizeof(oid_loadable) || memcmp(oid.data, want, oid.size) != 0)
		return agent_error_set(err, -EOPNOTSUPP, "keyfile.type", "key file is not of type 2.23.133.10.1.%d (%s)", want[5],
				       is_sealed ? "sealed data" : "loadable key; importable and sealed ones are no keys to sign with");
	r = parse_optional(&in, &file, err);
	if (r < 0)
		return r;
	if (get_handle(&in, &file.parent) < 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "parent is not a 32-bit INTEGER");
	r = parse_blobs(&in, &file, err);
	if (r < 0)
		return r;
	if (buf_left(&in) != 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "%zu bytes follow the privkey", buf_left(&in));
	*ret_file = file;
	return 0;
}

int keyfile_parse_der(const uint8_t *der, size_t size, struct keyfile *ret_file, struct agent_error **err)
{
	return parse_der(der, size, false, ret_file, err);
}

static bool is_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
			return false;
	return true;
}

static int parse_pem(const char *text, size_t size, bool is_sealed, struct keyfile *ret_file, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	_cleanup_(openssl_freep) char *name = NULL, *header = NULL;
	_cleanup_(openssl_freep) unsigned char *der = NULL;
	char *rest = NULL;
	long der_size = 0, n_rest;
	int ok;

	if (size > KEYFILE_MAX)
		return agent_error_set(err, -EMSGSIZE, "keyfile.size", "key file is %zu bytes, limit %d", size, KEYFILE_MAX);
	if (size < 5 || memcmp(text, "-----", 5) != 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "key file is not PEM");
	bio = BIO_new_mem_buf(text, (int)size);
	if (bio == NULL)
		return agent_error_set(err, -ENOMEM, "keyfile.memory", "out of memory");
	ERR_set_mark();
	ok = PEM_read_bio(bio, &name, &header, &der, &der_size);
	ERR_pop_to_mark();
	if (!ok || der_size < 0)
		return agent_error_set(err, -EBADMSG, "keyfile.format", "key file is not PEM");
	if (strcmp(name, pem_name) != 0 || header[0] != '\0')
		return agent_error_set(err, -EBADMSG, "keyfile.format", "key file is not a plain \"%s\"", pem_name);
	n_rest = BIO_get_mem_data(bio, &rest);
	if (n_rest > 0 && !is_blank(rest, (size_t)n_rest))
		return agent_error_set(err, -EBADMSG, "keyfile.format", "%ld bytes follow the key", n_rest);
	return parse_der(der, (size_t)der_size, is_sealed, ret_file, err);
}

int keyfile_parse(const char *text, size_t size, struct keyfile *ret_file, struct agent_error **err)
{
	return parse_pem(text, size, false, ret_file, err);
}

int keyfile_parse_sealed(const char *text, size_t size, struct keyfile *ret_file, struct agent_error **err)
{
	return parse_pem(text, size, true, ret_file, err);
}

/* ---- writing ------------------------------------------------------------ */

/* Built from the end, so that lengths are known when they are written. */
struct der_out {
	uint8_t data[KEYFILE_MAX];
	size_t at; /* first byte written; nothing is if 0 is reached early */
	bool is_full;
};

static void der_put(struct der_out *o, const void *data, size_t n)
{
	if (o->is_full || n > o->at) {
		o->is_full = true;
		return;
	}
	o->at -= n;
	memcpy(o->data + o->at, data, n);
}

static void der_put_head(struct der_out *o, uint8_t tag, size_t n)
{
	uint8_t head[4] = { tag };
	size_t n_head = 2;

	if (n < 0x80) {
		head[1] = (uint8_t)n;
	} else if (n < 0x100) {
		head[1] = 0x81;
		head[2] = (uint8_t)n;
		n_head = 3;
	} else {
		head[1] = 0x82;
		head[2] = (uint8_t)(n >> 8);
		head[3] = (uint8_t)n;
		n_head = 4;
	}
	der_put(o, head, n_head);
}

int keyfile_write(const struct keyfile *file, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	/* Written also when false: tpm2-openssl 1.1.1 takes an absent one for true. */
	const uint8_t empty_auth[] = { DER_CONTEXT(0), 3, DER_BOOLEAN, 1, file->has_empty_auth ? 0xff : 0x00 };
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	_cleanup_free_ struct der_out *o = NULL;
	uint8_t blob[sizeof(TPM2B_PUBLIC) + sizeof(TPM2B_PRIVATE)];
	uint8_t parent[5] = { 0, (uint8_t)(file->parent >> 24), (uint8_t)(file->parent >> 16), (uint8_t)(file->parent >> 8),
			      (uint8_t)file->parent };
	size_t n = 0, skip = 0;
	char *text, *copy;
	long n_text;

	o = malloc(sizeof(*o));
	if (o == NULL)
		return agent_error_set(err, -ENOMEM, "keyfile.memory", "out of memory");
	o->at = sizeof(o->data);
	o->is_full = false;
	if (Tss2_MU_TPM2B_PRIVATE_Marshal(&file->priv, blob, sizeof(blob), &n) != TSS2_RC_SUCCESS)
		return agent_error_set(err, -EINVAL, "keyfile.format", "private blob cannot be marshalled");
	der_put(o, blob, n);
	der_put_head(o, DER_OCTET_STRING, n);
	n = 0;
	if (Tss2_MU_TPM2B_PUBLIC_Marshal(&file->pub, blob, sizeof(blob), &n) != TSS2_RC_SUCCESS)
		return agent_error_set(err, -EINVAL, "keyfile.format", "public area cannot be marshalled");
	der_put(o, blob, n);
	der_put_head(o, DER_OCTET_STRING, n);
	/* X.690, 8.3.2: shortest form, with a zero byte where the top bit would mean minus */
	while (skip < 4 && parent[skip] == 0 && parent[skip + 1] < 0x80)
		skip++;
	der_put(o, parent + skip, sizeof(parent) - skip);
	der_put_head(o, DER_INTEGER, sizeof(parent) - skip);
	der_put(o, empty_auth, sizeof(empty_auth));
	der_put(o, file->is_sealed ? oid_sealed : oid_loadable, sizeof(oid_loadable));
	der_put_head(o, DER_OID, sizeof(oid_loadable));
	der_put_head(o, DER_SEQUENCE, sizeof(o->data) - o->at);
	if (o->is_full)
		return agent_error_set(err, -EMSGSIZE, "keyfile.size", "key file would be over %d bytes", KEYFILE_MAX);
	bio = BIO_new(BIO_s_mem());
	if (bio == NULL || PEM_write_bio(bio, pem_name, "", o->data + o->at, (long)(sizeof(o->data) - o->at)) <= 0 ||
	    (n_text = BIO_get_mem_data(bio, &text)) <= 0 || (copy = malloc((size_t)n_text + 1)) == NULL)
		return agent_error_set(err, -ENOMEM, "keyfile.memory", "out of memory");
	memcpy(copy, text, (size_t)n_text);
	copy[n_text] = '\0';
	*ret_text = copy;
	*ret_size = (size_t)n_text;
	return 0;
}
