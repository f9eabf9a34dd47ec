/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_FILL_IN_H
#define COMMON_FILL_IN_H
#include <stdbool.h>

#include "agentd/common/settings.h"

/* @text with {serial}, {product} and {model} filled in; @escape: for a distinguished name. The caller frees it; NULL when memory is short. */
char *settings_fill_in(const struct settings *settings, const char *text, bool escape);

#endif
