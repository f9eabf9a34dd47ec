/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PIN_H
#define BASE_PIN_H
#include <stddef.h>
#include <stdint.h>

#define PIN_SIZE 32
#define PINS_MAX 16

/* "sha256/" and 44 characters of base64 (RFC 7469 section 2.1.1), canonical. 0, or -EINVAL. */
int pin_parse(const char *text, uint8_t ret_pin[PIN_SIZE]);
/*
 * A list that ends with NULL, or NULL itself. None, or two to PINS_MAX that differ: with a single one the loss of its key cuts the device off.
 * Returns how many, or -EINVAL and what is wrong as the rest of a sentence about pin number *@ret_at (from 0).
 */
int pins_parse(const char *const *texts, uint8_t ret_pins[PINS_MAX][PIN_SIZE], size_t *ret_at, const char **ret_why);

#endif
