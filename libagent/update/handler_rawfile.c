/* SPDX-License-Identifier: Apache-2.0 */
/* "rawfile": one file in a slot that is a folder, at the path of the manifest. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "update/handler.h"
#include "update/tree.h"

struct rawfile {
	struct tree *tree;
	uint8_t *block;
	uint64_t plain_bytes, max_bytes, written_bytes;
};

static void rawfile_close(void *handle)
{
	struct rawfile *file = handle;

	if (file == NULL)
		return;
	tree_free(file->tree);
	free(file->block);
	free(file);
}

static int rawfile_check(const struct slot *slot, const struct manifest_image *image, uint64_t *ret_max_bytes, struct agent_error **err)
{
	int r = tree_check(slot, ret_max_bytes, err);

	if (r == 0 && image->plain_bytes > *ret_max_bytes)
		r = agent_error_set(err, -ENOSPC, "slot.size", "%" PRIu64 " bytes do not fit slot %s of %" PRIu64 " bytes",
				    image->plain_bytes, slot->name, *ret_max_bytes);
	return r;
}

static int rawfile_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
			struct agent_error **err)
{
	struct rawfile *file = calloc(1, sizeof(*file));
	int r;

	if (file == NULL || (file->block = malloc(block_bytes)) == NULL) {
		free(file);
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory to write a file");
	}
	file->plain_bytes = image->plain_bytes;
	file->max_bytes = image->plain_bytes != 0 ? image->plain_bytes : max_bytes;
	r = tree_new(slot, &file->tree, err);
	if (r == 0)
		r = tree_file_begin(file->tree, image->path, image->makes_folders, err);
	if (r < 0) {
		rawfile_close(file);
		return r;
	}
	*ret_handle = file;
	return 0;
}

static int rawfile_get_block(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	struct rawfile *file = handle;

	*ret_block = file->block;
	return 0;
}

static int rawfile_put_block(void *handle, size_t size, struct agent_error **err)
{
	struct rawfile *file = handle;

	if (size > file->max_bytes - file->written_bytes)
		return agent_error_set(err, -EMSGSIZE, "update.size", "file is longer than the %" PRIu64 " bytes that were signed or have room", file->max_bytes);
	file->written_bytes += size;
	return tree_file_write(file->tree, file->block, size, err);
}

/* What is read back is compared with what was written, and that was hashed on its way. */
static int rawfile_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	struct rawfile *file = handle;
	int r;

	if (file->plain_bytes != 0 && file->written_bytes != file->plain_bytes)
		return agent_error_set(err, -EBADMSG, "update.size", "file has %" PRIu64 " bytes, %" PRIu64 " were signed", file->written_bytes, file->plain_bytes);
	r = tree_file_end(file->tree, 0644, 0, err);
	return r < 0 ? r : tree_verify(file->tree, err);
}

const struct update_handler handler_rawfile = {
	.type = "rawfile",
	.prepare = tree_clear,
	.check = rawfile_check,
	.open = rawfile_open,
	.get_block = rawfile_get_block,
	.put_block = rawfile_put_block,
	.finish = rawfile_finish,
	.close = rawfile_close,
};
