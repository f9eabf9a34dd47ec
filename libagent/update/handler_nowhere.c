/* SPDX-License-Identifier: Apache-2.0 */
/* For those who only verify: as large as need be, and nothing is kept. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "update/handler.h"

static int nowhere_open(const struct slot *slot, const struct manifest_image *image, uint64_t max_bytes, size_t block_bytes, void **ret_handle,
			struct agent_error **err)
{
	*ret_handle = malloc(block_bytes);
	return *ret_handle == NULL ? agent_error_set(err, -ENOMEM, "update.memory", "no memory to read an image") : 0;
}

static int nowhere_get_block(void *handle, uint8_t **ret_block, struct agent_error **err)
{
	*ret_block = handle;
	return 0;
}

static int nowhere_put_block(void *handle, size_t size, struct agent_error **err)
{
	return 0;
}

/* Nothing to read back: the stream compared all stored bytes with the signed hash. */
static int nowhere_finish(void *handle, const uint8_t sha256[32], struct agent_error **err)
{
	return 0;
}

const struct update_handler handler_nowhere = {
	.type = "nowhere",
	.open = nowhere_open,
	.get_block = nowhere_get_block,
	.put_block = nowhere_put_block,
	.finish = nowhere_finish,
	.close = free,
};
