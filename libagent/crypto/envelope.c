/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/envelope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/der.h"

#define WRAP_CHECK 8	/* RFC 3394: a wrapped key is so much longer */
#define AES_MIN 16
#define TAG_CONTENT 0x80 /* [0] IMPLICIT OCTET STRING */

/* Object identifiers as X.690, 8.19 writes them. */
struct oid {
	uint8_t size;
	uint8_t bytes[11];
	unsigned bits;
};
static const struct oid oid_enveloped = { 9, { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03 }, 0 };
static const struct oid oid_data = { 9, { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01 }, 0 };
static const struct oid oid_ec = { 7, { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01 }, 0 };
static const struct oid oid_p256 = { 8, { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 }, 0 };
/* dhSinglePass-stdDH-sha256kdf-scheme and its longer sisters, RFC 5753 section 7.1.4 */
static const struct oid oids_kdf[] = {
	{ 6, { 0x2b, 0x81, 0x04, 0x01, 0x0b, 0x01 }, 256 },
	{ 6, { 0x2b, 0x81, 0x04, 0x01, 0x0b, 0x02 }, 384 },
	{ 6, { 0x2b, 0x81, 0x04, 0x01, 0x0b, 0x03 }, 512 },
};
/* id-aes128-wrap ..., RFC 3565 section 2.3.2 */
static const struct oid oids_wrap[] = {
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x05 }, 128 },
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x19 }, 192 },
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d }, 256 },
};
/* id-aes128-CBC ..., RFC 3565 section 4.1 */
static const struct oid oids_cbc[] = {
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02 }, 128 },
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x16 }, 192 },
	{ 9, { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a }, 256 },
};

/* What is the same for all keys of one KeyAgreeRecipientInfo. */
struct sender {
	bool is_supported;
	uint8_t point[AGENT_RECIPIENT_POINT_SIZE];
	unsigned kdf_bits, wrap_bits;
};

static bool is_body(const struct buf *body, const struct oid *oid)
{
	return body->size == oid->size && memcmp(body->data, oid->bytes, oid->size) == 0;
}

/* The bits of the row that is this one, else 0. */
static unsigned bits_of(const struct buf *body, const struct oid *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_body(body, &rows[i]))
			return rows[i].bits;
	return 0;
}

static int malformed(struct agent_error **err, const char *part)
{
	return agent_error_set(err, -EBADMSG, "update.envelope", "the envelope with the key of the images is malformed: %s", part);
}

/* AlgorithmIdentifier: the identifier, and what is left of it. */
static int get_algorithm(struct buf *in, struct buf *ret_oid, struct buf *ret_parameters)
{
	struct buf seq;

	if (der_get_tag(in, DER_SEQUENCE, &seq) < 0 || der_get_tag(&seq, DER_OID, ret_oid) < 0)
		return -EBADMSG;
	*ret_parameters = buf_from(seq.data + seq.pos, buf_left(&seq));
	return 0;
}

static int skip_version(struct buf *in)
{
	struct buf version;

	return der_get_tag(in, DER_INTEGER, &version) < 0 || version.size != 1 ? -EBADMSG : 0;
}

/* OriginatorIdentifierOrKey; only a key made for this is of use: [1] OriginatorPublicKey. */
static int get_originator(struct buf *in, struct sender *s)
{
	struct buf outer, key, oid, parameters, curve, bits;
	uint8_t tag;

	if (der_get_tag(in, DER_CONTEXT(0), &outer) < 0 || der_get(&outer, &tag, &key) < 0 || buf_left(&outer) != 0)
		return -EBADMSG;
	if (tag != DER_CONTEXT(1))
		return 0;
	if (get_algorithm(&key, &oid, &parameters) < 0 || der_get_only(&key, DER_BIT_STRING, &bits) < 0)
		return -EBADMSG;
	/* Parameters may be left out, as OpenSSL does: the curve is that of the recipient. */
	s->is_supported = is_body(&oid, &oid_ec) &&
			  (buf_left(&parameters) == 0 || (der_get_only(&parameters, DER_OID, &curve) == 0 && is_body(&curve, &oid_p256)) ||
			   (parameters.size == 2 && parameters.data[0] == 0x05 && parameters.data[1] == 0)) &&
			  bits.size == 1 + sizeof(s->point) && bits.data[0] == 0 && bits.data[1] == 0x04;
	if (s->is_supported)
		memcpy(s->point, bits.data + 1, sizeof(s->point));
	return 0;
}

/* Key material of the sender, which nobody uses. */
static void skip_ukm(struct buf *in, struct sender *s)
{
	struct buf ukm;

	if (der_get_tag(in, DER_CONTEXT(1), &ukm) == 0)
		s->is_supported = false;
}

static int get_agreement(struct buf *in, struct sender *s)
{
	struct buf scheme, wrap, parameters, nothing;

	if (get_algorithm(in, &scheme, &parameters) < 0)
		return -EBADMSG;
	s->kdf_bits = bits_of(&scheme, oids_kdf, ARRAY_SIZE(oids_kdf));
	if (s->kdf_bits == 0) {
		s->is_supported = false;
		return 0;
	}
	if (get_algorithm(&parameters, &wrap, &nothing) < 0 || buf_left(&parameters) != 0)
		return -EBADMSG;
	s->wrap_bits = bits_of(&wrap, oids_wrap, ARRAY_SIZE(oids_wrap));
	s->is_supported = s->is_supported && s->wrap_bits != 0 && nothing.size == 0;
	return 0;
}

/* RecipientEncryptedKey; one whose key is named by a certificate is passed over. */
static int get_key(struct buf *in, const struct sender *s, struct envelope *e, const char **ret_part)
{
	struct buf seq, rid, id, wrapped;
	struct agent_recipient *r;
	uint8_t tag;

	*ret_part = "a wrapped key";
	if (der_get_tag(in, DER_SEQUENCE, &seq) < 0 || der_get(&seq, &tag, &rid) < 0 || der_get_only(&seq, DER_OCTET_STRING, &wrapped) < 0)
		return -EBADMSG;
	if (tag != DER_CONTEXT(0))
		return tag == DER_SEQUENCE ? 0 : -EBADMSG;
	if (der_get_tag(&rid, DER_OCTET_STRING, &id) < 0)
		return -EBADMSG;
	if (id.size != AGENT_RECIPIENT_ID_SIZE)
		return 0;
	*ret_part = "more than 128 recipients";
	if (e->n_recipients == AGENT_RECIPIENTS_MAX)
		return -EBADMSG;
	r = &e->recipients[e->n_recipients++];
	memcpy(r->key_id, id.data, sizeof(r->key_id));
	if (!s->is_supported)
		return 0;
	*ret_part = "the size of a wrapped key";
	if (wrapped.size < AES_MIN + WRAP_CHECK || wrapped.size > sizeof(r->wrapped))
		return -EBADMSG;
	memcpy(r->wrapped, wrapped.data, wrapped.size);
	r->wrapped_size = wrapped.size;
	memcpy(r->point, s->point, sizeof(r->point));
	r->kdf_bits = s->kdf_bits;
	r->wrap_bits = s->wrap_bits;
	return 0;
}

static int get_agreed(struct buf *in, struct envelope *e, const char **ret_part)
{
	struct sender s = { 0 };
	struct buf keys;
	int r;

	*ret_part = "the beginning of a recipient";
	r = skip_version(in);
	if (r == 0) {
		*ret_part = "the public key of a sender";
		r = get_originator(in, &s);
	}
	if (r == 0) {
		*ret_part = "the algorithm of a recipient";
		skip_ukm(in, &s);
		r = get_agreement(in, &s);
	}
	if (r < 0)
		return r;
	*ret_part = "the keys of a recipient";
	if (der_get_only(in, DER_SEQUENCE, &keys) < 0)
		return -EBADMSG;
	while (r == 0 && buf_left(&keys) > 0)
		r = get_key(&keys, &s, e, ret_part);
	return r;
}

static int get_recipients(struct buf *in, struct envelope *e, const char **ret_part)
{
	struct buf set, one;
	uint8_t tag;
	int r = 0;

	*ret_part = "the list of recipients";
	if (der_get_tag(in, DER_SET, &set) < 0)
		return -EBADMSG;
	while (r == 0 && buf_left(&set) > 0) {
		*ret_part = "the list of recipients";
		if (der_get(&set, &tag, &one) < 0 || (tag != DER_SEQUENCE && (tag < DER_CONTEXT(1) || tag > DER_CONTEXT(4))))
			return -EBADMSG;
		/* RSA, shared keys and passwords are for others. */
		r = tag == DER_CONTEXT(1) ? get_agreed(&one, e, ret_part) : 0;
	}
	return r;
}

static int unsupported(struct agent_error **err, const char *what)
{
	return agent_error_set(err, -EOPNOTSUPP, "update.recipient-algorithm", "the envelope with the key of the images %s", what);
}

static int get_content(struct buf *in, struct envelope *e, struct agent_error **err)
{
	struct buf seq, type, cipher, parameters, iv, content;
	unsigned bits;

	if (der_get_tag(in, DER_SEQUENCE, &seq) < 0 || der_get_tag(&seq, DER_OID, &type) < 0 || !is_body(&type, &oid_data) ||
	    get_algorithm(&seq, &cipher, &parameters) < 0)
		return malformed(err, "what is in it");
	bits = bits_of(&cipher, oids_cbc, ARRAY_SIZE(oids_cbc));
	if (bits == 0)
		return unsupported(err, "must be encrypted with AES-CBC");
	if (der_get_only(&parameters, DER_OCTET_STRING, &iv) < 0 || iv.size != sizeof(e->iv))
		return malformed(err, "the IV");
	if (der_get_only(&seq, TAG_CONTENT, &content) < 0 || content.size == 0 || content.size > sizeof(e->content) || content.size % ENVELOPE_BLOCK != 0)
		return malformed(err, "the size of what is in it");
	e->key_size = bits / 8;
	memcpy(e->iv, iv.data, iv.size);
	memcpy(e->content, content.data, content.size);
	e->content_size = content.size;
	return 0;
}

int envelope_parse(const void *der, size_t size, struct envelope **ret_envelope, struct agent_error **err)
{
	_cleanup_(envelope_freep) struct envelope *e = calloc(1, sizeof(*e));
	struct buf all = buf_from(der, size), info, type, tagged, data;
	const char *part = "";
	int r;

	if (e == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for an envelope");
	if (size > ENVELOPE_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.envelope", "the envelope with the key of the images has %zu bytes, limit %d", size, ENVELOPE_MAX);
	if (size >= 5 && memcmp(der, "-----", 5) == 0)
		return malformed(err, "it is PEM, make it with -outform DER");
	if (der_get_only(&all, DER_SEQUENCE, &info) < 0)
		return malformed(err, "it is not one structure in DER");
	if (der_get_tag(&info, DER_OID, &type) < 0 || !is_body(&type, &oid_enveloped))
		return malformed(err, "it is not EnvelopedData");
	if (der_get_only(&info, DER_CONTEXT(0), &tagged) < 0 || der_get_only(&tagged, DER_SEQUENCE, &data) < 0 || skip_version(&data) < 0)
		return malformed(err, "its beginning");
	if (get_recipients(&data, e, &part) < 0)
		return malformed(err, part);
	r = get_content(&data, e, err);
	if (r < 0)
		return r;
	if (buf_left(&data) != 0)
		return malformed(err, "something follows what is in it");
	if (e->n_recipients == 0)
		return unsupported(err, "names no recipient by the identifier of an EC key (openssl cms -encrypt -keyid)");
	for (size_t i = 0; i < e->n_recipients; i++)
		if (e->recipients[i].kdf_bits != 0 && e->recipients[i].wrapped_size != e->key_size + WRAP_CHECK)
			return malformed(err, "the size of a wrapped key");
	*ret_envelope = TAKE_PTR(e);
	return 0;
}

struct envelope *envelope_free(struct envelope *e)
{
	free(e);
	return NULL;
}
