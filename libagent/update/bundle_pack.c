/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/bundle_pack.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "update/filter.h"
#include "update/hash.h"

#define BLOCK_BYTES ((size_t)256 * 1024)
#define ZSTD_LEVEL 12
#define ZSTD_WINDOW_LOG 20	/* the device takes up to 23 (filter.c), and needs that much memory more then; costs 1 to 2 % in size */

DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(EVP_CIPHER *, EVP_CIPHER_free)
DEFINE_CLEANUP(ZSTD_CCtx *, ZSTD_freeCCtx)

/* One pass over a part into a scratch file. */
struct pass {
	const struct part *part;
	uint8_t *in, *out;
	int fd;
	uint64_t at, written;
};

static void pass_clear(struct pass *p)
{
	free(p->in);
	free(p->out);
	close_fdp(&p->fd);
}
#define _cleanup_pass_ _cleanup_(pass_clear)

static int pass_begin(struct pass *p, const struct part *part, const char *out, struct agent_error **err)
{
	*p = (struct pass){ .part = part, .fd = -1, .in = malloc(BLOCK_BYTES), .out = malloc(BLOCK_BYTES + CIPHER_BLOCK) };
	if (p->in == NULL || p->out == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for %s", part->name);
	return out == NULL ? 0 : out_scratch(out, &p->fd, err);
}

/* The next block; *ret_size is 0 at the end. */
static int pass_read(struct pass *p, size_t *ret_size, struct agent_error **err)
{
	uint64_t left = p->part->size - p->at;
	size_t size = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
	int r = part_read(p->part, p->at, p->in, size, err);

	p->at += size;
	*ret_size = size;
	return r;
}

static int pass_write(struct pass *p, size_t size, struct agent_error **err)
{
	int r = write_all(p->fd, p->out, size);

	if (r < 0)
		return agent_error_set(err, r, "bundle.write", "cannot write what %s becomes: %s", p->part->name, strerror(-r));
	p->written += size;
	return 0;
}

/* The scratch file takes the place of what was read. */
static void pass_end(struct pass *p, struct part *part)
{
	if (part->owns_fd)
		close_fdp(&part->fd);
	free(part->data);
	part->data = NULL;
	part->fd = TAKE_FD(p->fd);
	part->owns_fd = true;
	part->offset = 0;
	part->size = p->written;
	part->is_measured = false;
}

int pack_is_packed(const struct part *part, const char *filter, bool *ret_is_packed, struct agent_error **err)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	bool is_zstd = strcmp(filter, "zstd") == 0;
	size_t n = is_zstd ? sizeof(zstd) : sizeof(gzip);
	uint8_t head[4];
	int r;

	*ret_is_packed = false;
	if (part->size < n)
		return 0;
	r = part_read(part, 0, head, n, err);
	*ret_is_packed = r == 0 && memcmp(head, is_zstd ? zstd : gzip, n) == 0;
	return r;
}

/* No name and no time in the header, so that the same bytes come out. */
static int gzip_pass(struct pass *p, struct agent_error **err)
{
	z_stream z = { 0 };
	size_t size = 0;
	int r = 0, z_r = Z_OK;

	if (deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to compress");
	while (r == 0 && z_r != Z_STREAM_END) {
		r = pass_read(p, &size, err);
		z.next_in = p->in;
		z.avail_in = (uInt)size;
		do {
			z.next_out = p->out;
			z.avail_out = (uInt)BLOCK_BYTES;
			z_r = r < 0 ? Z_STREAM_END : deflate(&z, size == 0 ? Z_FINISH : Z_NO_FLUSH);
			if (r == 0)
				r = pass_write(p, BLOCK_BYTES - z.avail_out, err);
		} while (r == 0 && z_r != Z_STREAM_END && z.avail_out == 0);
	}
	deflateEnd(&z);
	return r;
}

static int zstd_pass(struct pass *p, struct agent_error **err)
{
	_cleanup_(ZSTD_freeCCtxp) ZSTD_CCtx *z = ZSTD_createCCtx();
	size_t size = 0, left = 1;
	int r = 0;

	if (z == NULL || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, ZSTD_WINDOW_LOG)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1)))
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to compress");
	do {
		ZSTD_inBuffer in;

		r = pass_read(p, &size, err);
		in = (ZSTD_inBuffer){ .src = p->in, .size = r == 0 ? size : 0 };
		do {
			ZSTD_outBuffer out = { .dst = p->out, .size = BLOCK_BYTES };

			left = r < 0 ? 0 : ZSTD_compressStream2(z, &out, &in, size == 0 ? ZSTD_e_end : ZSTD_e_continue);
			if (ZSTD_isError(left))
				return agent_error_set(err, -ENOMEM, "update.memory", "zstd: %s", ZSTD_getErrorName(left));
			if (r == 0)
				r = pass_write(p, out.pos, err);
		} while (r == 0 && (size == 0 ? left != 0 : in.pos < in.size));
	} while (r == 0 && size > 0);
	return r;
}

int pack_compress(struct part *part, const char *filter, const char *out, struct agent_error **err)
{
	_cleanup_pass_ struct pass p = { .fd = -1 };
	int r = pass_begin(&p, part, out, err);

	if (r == 0)
		r = strcmp(filter, "zstd") == 0 ? zstd_pass(&p, err) : gzip_pass(&p, err);
	if (r == 0)
		pass_end(&p, part);
	return r;
}

/* First half of HMAC-SHA256(key, SHA-256 of the plain bytes). */
static int iv_make(struct part *part, const struct pack_key *key, uint8_t ret_iv[CIPHER_BLOCK], struct agent_error **err)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int r = part_measure(part, 0, NULL, NULL, err);

	if (r < 0)
		return r;
	if (HMAC(EVP_sha256(), key->key, (int)key->size, part->sha256, sizeof(part->sha256), mac, &n) == NULL)
		return hash_failed(-ENOMEM, err);
	memcpy(ret_iv, mac, CIPHER_BLOCK);
	return 0;
}

static int cipher_begin(const struct cipher_type *type, const struct pack_key *key, const uint8_t *iv, EVP_CIPHER_CTX **ret_ctx, struct agent_error **err)
{
	_cleanup_(EVP_CIPHER_freep) EVP_CIPHER *evp = NULL;
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	char name[16];

	if ((key->size != 16 && key->size != 24 && key->size != 32) || (type->key_size != 0 && type->key_size != key->size))
		return agent_error_set(err, -EINVAL, "update.key", "a key of %zu bits does not suit %s", key->size * 8, type->name);
	snprintf(name, sizeof(name), "AES-%zu-%s", key->size * 8, type->mode);
	evp = EVP_CIPHER_fetch(NULL, name, NULL);
	if (evp == NULL || ctx == NULL || EVP_EncryptInit_ex2(ctx, evp, key->key, iv, NULL) != 1) {
		ERR_clear_error();
		return agent_error_set(err, -ENOMEM, "update.memory", "OpenSSL cannot set up %s", name);
	}
	*ret_ctx = TAKE_PTR(ctx);
	return 0;
}

int pack_encrypt(struct part *part, const char *cipher, const struct pack_key *key, const char *out, uint8_t ret_iv[CIPHER_BLOCK],
		 struct agent_error **err)
{
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	_cleanup_pass_ struct pass p = { .fd = -1 };
	const struct cipher_type *type = cipher_find(cipher);
	size_t size = 0;
	int n = 0, r;

	if (type == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "manifest.unsupported", "%s: encrypted = \"%s\" is not supported", part->name, cipher);
	if (key->size == 0)
		return agent_error_set(err, -ENOKEY, "bundle.key", "%s is to be encrypted, but no key for that was given", part->name);
	r = iv_make(part, key, ret_iv, err);
	if (r == 0)
		r = cipher_begin(type, key, ret_iv, &ctx, err);
	if (r == 0)
		r = pass_begin(&p, part, out, err);
	do {
		if (r == 0)
			r = pass_read(&p, &size, err);
		if (r == 0 && (size == 0 ? EVP_EncryptFinal_ex(ctx, p.out, &n) : EVP_EncryptUpdate(ctx, p.out, &n, p.in, (int)size)) != 1)
			r = agent_error_set(err, -EIO, "bundle.key", "OpenSSL cannot encrypt %s", part->name);
		if (r == 0)
			r = pass_write(&p, (size_t)n, err);
	} while (r == 0 && size > 0);
	if (r == 0)
		pass_end(&p, part);
	return r;
}

/* ---- the way back ----------------------------------------------------------------------------------------------------- */

struct unpacking {
	const struct filter *filter;
	void *state;
	struct cipher *cipher;
	uint8_t *clear;
	bool at_end;
	uint64_t n;
};

static void unpacking_clear(struct unpacking *u)
{
	if (u->filter != NULL)
		u->filter->close(u->state);
	cipher_free(u->cipher);
	free(u->clear);
}

static int unpack_block(struct unpacking *u, const uint8_t *in, size_t size, uint8_t *out, struct agent_error **err)
{
	size_t n_out = 0;
	int r = 0;

	do {
		if (u->at_end && size == 0)
			return 0;
		r = u->filter->run(u->state, &in, &size, out, BLOCK_BYTES, &n_out, &u->at_end, err);
		u->n += r == 0 ? n_out : 0;
	} while (r == 0 && (size > 0 || n_out == BLOCK_BYTES));
	return r;
}

static int unpack_step(struct unpacking *u, struct pass *p, size_t size, struct agent_error **err)
{
	const uint8_t *in = p->in;
	int r = 0;

	if (u->cipher != NULL) {
		in = u->clear;
		r = size == 0 ? cipher_end(u->cipher, u->clear, &size, err) : cipher_run(u->cipher, p->in, size, u->clear, &size, err);
	}
	return r < 0 ? r : unpack_block(u, in, size, p->out, err);
}

int pack_plain_size(const struct part *part, const char *filter, const char *cipher, const struct pack_key *key, const uint8_t *iv,
		    uint64_t *ret_size, struct agent_error **err)
{
	static const uint8_t no_iv[CIPHER_BLOCK];
	struct unpacking u = { .filter = NULL };
	_cleanup_pass_ struct pass p = { .fd = -1 };
	size_t size = 0;
	int r = pass_begin(&p, part, NULL, err);

	if (iv == NULL)
		iv = key->iv == NULL ? no_iv : key->iv;
	if (r == 0 && cipher != NULL)
		r = cipher_new(cipher_find(cipher), key->key, key->size, iv, &u.cipher, err);
	if (r == 0 && cipher != NULL && (u.clear = malloc(BLOCK_BYTES + CIPHER_BLOCK)) == NULL)
		r = agent_error_set(err, -ENOMEM, "update.memory", "no memory to read %s", part->name);
	if (r == 0) {
		u.filter = filter_find(filter);
		r = u.filter->open(&u.state, err);
	}
	do {
		if (r == 0)
			r = pass_read(&p, &size, err);
		if (r == 0)
			r = unpack_step(&u, &p, size, err);
	} while (r == 0 && size > 0);
	if (r == 0 && !u.at_end && strcmp(filter, "none") != 0)
		r = agent_error_set(err, -EBADMSG, "update.compression", "the compressed stream of %s is cut short", part->name);
	if (r == 0 && u.n == 0)
		r = agent_error_set(err, -EBADMSG, "update.size", "%s unpacks to nothing", part->name);
	*ret_size = u.n;
	unpacking_clear(&u);
	return r < 0 ? agent_error_prefix(err, r, "%s", part->name) : 0;
}
