/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/filter.h"

#include <errno.h>
#include <string.h>

#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "base/macro.h"

/* 8 MiB, which every decoder should take (RFC 8878, 3.1.1.1.2): that is "zstd -19". What wants more is refused with a message. */
#define ZSTD_WINDOW_LOG 23

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "update.memory", "no memory to decompress");
}

struct gzip {
	z_stream z;
	bool at_end;
};

static int gzip_open(void **ret_state, struct agent_error **err)
{
	struct gzip *gzip = calloc(1, sizeof(*gzip));

	/* 16 + MAX_WBITS: a gzip stream and nothing else, which is what stock SWUpdate means by "zlib" (zlib.h, inflateInit2). */
	if (gzip == NULL || inflateInit2(&gzip->z, 16 + MAX_WBITS) != Z_OK) {
		free(gzip);
		return no_memory(err);
	}
	*ret_state = gzip;
	return 0;
}

static int gzip_run(void *state, const uint8_t **in, size_t *n_in, uint8_t *out, size_t n_out, size_t *ret_out, bool *ret_end,
		    struct agent_error **err)
{
	struct gzip *gzip = state;
	z_stream *z = &gzip->z;
	int r;

	/* A second member, too: stock SWUpdate stops after the first, and the same bundle must not mean two things. */
	if (gzip->at_end)
		return agent_error_set(err, -EBADMSG, "update.compression", "bytes follow the end of the gzip stream");
	z->next_in = *in;
	z->avail_in = (uInt)*n_in;
	z->next_out = out;
	z->avail_out = (uInt)n_out;
	r = inflate(z, Z_NO_FLUSH);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return agent_error_set(err, -EBADMSG, "update.compression", "the gzip stream is damaged: %s", z->msg == NULL ? zError(r) : z->msg);
	*in = z->next_in;
	*n_in = z->avail_in;
	*ret_out = n_out - z->avail_out;
	*ret_end = gzip->at_end = r == Z_STREAM_END;
	return 0;
}

static void gzip_close(void *state)
{
	if (state == NULL)
		return;
	inflateEnd(&((struct gzip *)state)->z);
	free(state);
}

#define ZSTD_MAGIC_SIZE 4

struct zstd {
	ZSTD_DCtx *z;
	uint8_t magic[ZSTD_MAGIC_SIZE];	/* the first bytes of the frame under way */
	uint64_t n_frame;		/* how much of it was read */
};

static void zstd_close(void *state)
{
	struct zstd *zstd = state;

	if (zstd == NULL)
		return;
	ZSTD_freeDCtx(zstd->z);
	free(zstd);
}

static int zstd_open(void **ret_state, struct agent_error **err)
{
	struct zstd *zstd = calloc(1, sizeof(*zstd));

	if (zstd != NULL)
		zstd->z = ZSTD_createDCtx();
	if (zstd == NULL || zstd->z == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(zstd->z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG))) {
		zstd_close(zstd);
		return no_memory(err);
	}
	*ret_state = zstd;
	return 0;
}

/*
 * RFC 8878, 3.1.1 and 3.1.2: a frame, or one to skip. libzstd may have been built with decoders of what was there before the format was fixed, which know no
 * bound for their window.
 */
static bool is_frame(const uint8_t magic[ZSTD_MAGIC_SIZE])
{
	return memcmp(magic, "\x28\xb5\x2f\xfd", ZSTD_MAGIC_SIZE) == 0 || ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0);
}

static int zstd_run(void *state, const uint8_t **in, size_t *n_in, uint8_t *out, size_t n_out, size_t *ret_out, bool *ret_end,
		    struct agent_error **err)
{
	ZSTD_inBuffer input = { .src = *in, .size = *n_in };
	ZSTD_outBuffer output = { .dst = out, .size = n_out };
	struct zstd *zstd = state;
	size_t r;

	for (size_t i = 0; zstd->n_frame + i < ZSTD_MAGIC_SIZE && i < *n_in; i++) {
		zstd->magic[zstd->n_frame + i] = (*in)[i];
		if (zstd->n_frame + i == ZSTD_MAGIC_SIZE - 1 && !is_frame(zstd->magic))
			return agent_error_set(err, -EBADMSG, "update.compression", "the zstd stream is damaged or is followed by something: no frame of RFC 8878 begins with %02x%02x%02x%02x",
					       zstd->magic[0], zstd->magic[1], zstd->magic[2], zstd->magic[3]);
	}
	r = ZSTD_decompressStream(zstd->z, &output, &input);
	if (ZSTD_isError(r))
		return agent_error_set(err, -EBADMSG, "update.compression", "the zstd stream is damaged, is followed by something, or wants a window above %d MiB: %s",
				       1 << (ZSTD_WINDOW_LOG - 20), ZSTD_getErrorName(r));
	*in += input.pos;
	*n_in -= input.pos;
	*ret_out = output.pos;
	*ret_end = r == 0;
	zstd->n_frame = r == 0 ? 0 : zstd->n_frame + input.pos;
	return 0;
}

/* ---- none ------------------------------------------------------------------------------------------------------- */

static int none_open(void **ret_state, struct agent_error **err)
{
	*ret_state = NULL;
	return 0;
}

/* The end is where the input ends, which only the caller knows. */
static int none_run(void *state, const uint8_t **in, size_t *n_in, uint8_t *out, size_t n_out, size_t *ret_out, bool *ret_end,
		    struct agent_error **err)
{
	size_t n = *n_in < n_out ? *n_in : n_out;

	if (n > 0)
		memcpy(out, *in, n);
	*in += n;
	*n_in -= n;
	*ret_out = n;
	*ret_end = false;
	return 0;
}

static void none_close(void *state)
{
}

static const struct filter filters[] = {
	{ "none", none_open, none_run, none_close },
	{ "zlib", gzip_open, gzip_run, gzip_close },
	{ "zstd", zstd_open, zstd_run, zstd_close },
};

const struct filter *filter_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		if (strcmp(filters[i].name, name) == 0)
			return &filters[i];
	return NULL;
}
