/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/handler.h"

#include <string.h>

#include "base/macro.h"

static const struct update_handler *const update_handlers[] = {
	&handler_raw,
	&handler_rawfile,
	&handler_archive,
#if defined(HAVE_UBI)
	&handler_ubivol,
#endif
};

bool handler_compares_hash(const struct update_handler *handler, const struct manifest_image *image)
{
	return handler->read_at != NULL && image->has_chunks && manifest_image_is_plain(image);
}

const struct update_handler *handler_find(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(update_handlers); i++)
		if (strcmp(update_handlers[i]->type, type) == 0)
			return update_handlers[i];
	return NULL;
}
