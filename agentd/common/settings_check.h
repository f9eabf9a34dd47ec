/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SETTINGS_CHECK_H
#define COMMON_SETTINGS_CHECK_H
/* What only all settings together can tell. */
#include <stdbool.h>
#include <stddef.h>

#include <agent/error.h>

#include "agentd/common/settings.h"

/* 1 to @max letters, digits, dots, dashes and underscores. */
bool settings_is_word(const char *text, size_t max);
/* -EINVAL "config.range", "config.missing": the sentence begins with the file. */
int settings_check(const struct settings *settings, struct agent_error **err);

#endif
