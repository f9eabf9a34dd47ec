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

const struct update_handler *handler_find(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(update_handlers); i++)
		if (strcmp(update_handlers[i]->type, type) == 0)
			return update_handlers[i];
	return NULL;
}
