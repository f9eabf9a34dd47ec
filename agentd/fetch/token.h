/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_TOKEN_H
#define FETCH_TOKEN_H
/* The target token of hawkBit, from a file that nobody else can read. */
#include <stddef.h>

#include <agent/error.h>

#define TOKEN_MAX 128
#define TOKEN_HEADER_SIZE (sizeof("TargetToken ") + TOKEN_MAX)

/*
 * "TargetToken T" for the Authorization header; wipe it. @file: absolute path, or name of a systemd credential. -EPERM "source.token":
 * a link, not regular, owned by somebody else, or open to group or others; -EINVAL: not 1 to 128 letters and digits; -ENOENT ...
 */
int token_read(const char *file, char ret_header[TOKEN_HEADER_SIZE], struct agent_error **err);

#endif
