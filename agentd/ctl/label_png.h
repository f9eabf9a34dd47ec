/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_LABEL_PNG_H
#define CTL_LABEL_PNG_H
#include "base/secret.h"

/* Write 8-bit grey pixels as a PNG into @to, whose capacity is the limit. -ENOMEM. Only where libpng was there. */
int png_from_grey(const uint8_t *pixels, unsigned width, unsigned height, struct secret *to);

#endif
