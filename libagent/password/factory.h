/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_FACTORY_H
#define PASSWORD_FACTORY_H
/* The factory secret: 60 bits in Crockford's base32, written XXXX-XXXX-XXXX (https://www.crockford.com/base32.html). */
#include <stdbool.h>
#include <stddef.h>

#define FACTORY_SECRET_SYMBOLS 12

/*
 * What a person types from a label -> the twelve symbols in upper case, NUL after them. Case, dashes and spaces do not
 * matter, O reads as 0, I and L as 1. False if it is not twelve symbols then.
 */
bool factory_secret_normalise(const char *text, size_t size, char ret_symbols[FACTORY_SECRET_SYMBOLS + 1]);

#endif
