/* SPDX-License-Identifier: Apache-2.0 */
/* "archive": a tar archive, plain, gzip or zstd, into a slot that is a folder. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "update/filter.h"
#include "update/handler.h"
#include "update/tar.h"

#define PLAIN_BYTES ((size_t)64 * 1024)

struct extraction {
	struct tree *tree;
	struct tar *tar;
	const struct filter *filter;	/* NULL until the first bytes told */
	void *state;
	bool at_end;
	uint8_t *block, *plain;
};

static void archive_close(void *handle)
{
	struct extraction *x = handle;

	if (x == NULL)
		return;
	if (x->filter != NULL)
		x->filter->close(x->state);
	tar_free(x->tar);
	tree_free(x->tree);
	free(x->block);
	free(x->plain);
	free(x);
}

static int archive_check(const struct slot *slot, const struct manifest_image *image, uint64_t *ret_max_bytes, struct agent_error **err)
{
	return tree_check(slot, ret_max_bytes, err);
}

static int archive_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
			struct agent_error **err)
{
	struct extraction *x = calloc(1, sizeof(*x));
	int r;

	if (x != NULL) {
		x->block = malloc(block_bytes);
		x->plain = malloc(PLAIN_BYTES);
	}
	if (x == NULL || x->block == NULL || x->plain == NULL) {
		archive_close(x);
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to extract an archive");
	}
	r = tree_new(slot, &x->tree, err);
	if (r == 0)
		r = tar_new(x->tree, image->path, max_bytes, &x->tar, err);
	if (r < 0) {
		archive_close(x);
		return r;
	}
	*ret_handle = x;
	return 0;
}

static int archive_get_block(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	struct extraction *x = handle;

	*ret_block = x->block;
	return 0;
}

/* rootfs.tar.gz often comes without "compressed", as other readers recognise it. */
static int filter_choose(struct extraction *x, size_t size, struct agent_error **err)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	const char *name = "none";

	if (size >= sizeof(gzip) && memcmp(x->block, gzip, sizeof(gzip)) == 0)
		name = "zlib";
	else if (size >= sizeof(zstd) && memcmp(x->block, zstd, sizeof(zstd)) == 0)
		name = "zstd";
	x->filter = filter_find(name);
	return x->filter->open(&x->state, err);
}

static int archive_put_block(void *handle, size_t size, struct agent_error **err)
{
	struct extraction *x = handle;
	const uint8_t *in = x->block;
	size_t n_out;
	int r = x->filter == NULL ? filter_choose(x, size, err) : 0;

	if (r < 0)
		return r;
	do {
		if (x->at_end && size == 0)
			return 0;
		r = x->filter->run(x->state, &in, &size, x->plain, PLAIN_BYTES, &n_out, &x->at_end, err);
		if (r == 0)
			r = tar_push(x->tar, x->plain, n_out, err);
	} while (r == 0 && (size > 0 || n_out == PLAIN_BYTES));
	return r;
}

/* The bytes of the archive were compared on their way; here the files are read back. */
static int archive_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	struct extraction *x = handle;
	int r = 0;

	if (x->filter == NULL || (strcmp(x->filter->name, "none") != 0 && !x->at_end))
		r = agent_error_set(err, -EBADMSG, "update.compression", "the compressed archive is cut short");
	if (r == 0)
		r = tar_end(x->tar, err);
	return r < 0 ? r : tree_verify(x->tree, err);
}

const struct update_handler handler_archive = {
	.type = "archive",
	.prepare = tree_clear,
	.check = archive_check,
	.open = archive_open,
	.get_block = archive_get_block,
	.put_block = archive_put_block,
	.finish = archive_finish,
	.close = archive_close,
};
