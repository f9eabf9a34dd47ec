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

static int zstd_open(void **ret_state, struct agent_error **err)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();

	if (z == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG))) {
		ZSTD_freeDCtx(z);
		return no_memory(err);
	}
	*ret_state = z;
	return 0;
}

static int zstd_run(void *state, const uint8_t **in, size_t *n_in, uint8_t *out, size_t n_out, size_t *ret_out, bool *ret_end,
		    struct agent_error **err)
{
	ZSTD_inBuffer input = { .src = *in, .size = *n_in };
	ZSTD_outBuffer output = { .dst = out, .size = n_out };
	size_t r = ZSTD_decompressStream(state, &output, &input);

	if (ZSTD_isError(r))
		return agent_error_set(err, -EBADMSG, "update.compression", "the zstd stream is damaged, is followed by something, or wants a window above %d MiB: %s",
				       1 << (ZSTD_WINDOW_LOG - 20), ZSTD_getErrorName(r));
	*in += input.pos;
	*n_in -= input.pos;
	*ret_out = output.pos;
	*ret_end = r == 0;
	return 0;
}

static void zstd_close(void *state)
{
	ZSTD_freeDCtx(state);
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
