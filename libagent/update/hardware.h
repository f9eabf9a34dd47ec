/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_HARDWARE_H
#define UPDATE_HARDWARE_H
/* "hardware-compatibility" of a stock bundle: revisions, or patterns behind "#RE:". */
#include <stdbool.h>

/* Does one entry fit @product, "board:revision"? A pattern that is not taken fits nothing. */
bool hardware_fits(const char *entry, const char *product);
/* NULL, or why the entry is a pattern that is not taken: a text without memory of its own. */
const char *hardware_fault(const char *entry);

#endif
