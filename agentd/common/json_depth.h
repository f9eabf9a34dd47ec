/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_JSON_DEPTH_H
#define COMMON_JSON_DEPTH_H
#include <stdbool.h>
#include <stddef.h>

/*
 * Is JSON text nested deeper than @max arrays and objects? Ask before parsing what somebody else wrote: jansson has a limit
 * of its own, far too generous for the stack of a small device. Text that is no JSON gets some answer; the parser refuses it.
 */
bool json_is_too_deep(const char *data, size_t size, unsigned max);

#endif
