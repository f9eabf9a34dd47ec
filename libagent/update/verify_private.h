/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_VERIFY_PRIVATE_H
#define UPDATE_VERIFY_PRIVATE_H
/* Inside of struct verified_buf, for verify.c and for tests of the parser behind it; nobody else may include this. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/cms.h"

struct verified_buf {
	char *data;
	size_t size;
	struct cms_signers signers;
	bool is_raw;
};

#endif
