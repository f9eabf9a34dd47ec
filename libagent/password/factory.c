/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "password/factory.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include <agent/password.h>

#include "base/macro.h"
#include "base/secret.h"

#define DISTINCT_MIN 5	/* fewer different symbols: chance 5e-7 in a random secret */

static const char symbols[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

bool factory_secret_normalise(const char *text, size_t size, char ret_symbols[FACTORY_SECRET_SYMBOLS + 1])
{
	char out[FACTORY_SECRET_SYMBOLS + 1] = { 0 };
	size_t n = 0;
	bool is_good = true;

	for (size_t i = 0; i < size && is_good; i++) {
		char c = text[i];

		if (c == '-' || c == ' ')
			continue;
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
		is_good = n < FACTORY_SECRET_SYMBOLS && c != '\0' && strchr(symbols, c) != NULL;
		if (is_good)
			out[n++] = c;
	}
	is_good = is_good && n == FACTORY_SECRET_SYMBOLS;
	if (is_good)
		memcpy(ret_symbols, out, sizeof(out));
	wipe(out, sizeof(out));
	return is_good;
}

/* 12 symbols -> XXXX-XXXX-XXXX, which has 14 characters. */
static void write_groups(const char *in, char ret_text[15])
{
	size_t n = 0;

	for (size_t i = 0; i < FACTORY_SECRET_SYMBOLS; i++) {
		if (i > 0 && i % 4 == 0)
			ret_text[n++] = '-';
		ret_text[n++] = in[i];
	}
	ret_text[n] = '\0';
}

int agent_factory_secret_parse(const char *text, size_t size, char ret_text[15])
{
	char plain[FACTORY_SECRET_SYMBOLS + 1];
	uint32_t seen = 0;
	size_t n = 0;

	if (text == NULL || ret_text == NULL || !factory_secret_normalise(text, size, plain))
		return -EINVAL;
	for (size_t i = 0; i < FACTORY_SECRET_SYMBOLS; i++)
		seen |= UINT32_C(1) << (strchr(symbols, plain[i]) - symbols);
	for (; seen != 0; seen &= seen - 1)
		n++;
	if (n >= DISTINCT_MIN)
		write_groups(plain, ret_text);
	wipe(plain, sizeof(plain));
	return n >= DISTINCT_MIN ? 0 : -EINVAL;
}

int agent_factory_secret_new(char ret_text[15])
{
	uint8_t random[FACTORY_SECRET_SYMBOLS];
	char plain[FACTORY_SECRET_SYMBOLS];

	if (ret_text == NULL)
		return -EINVAL;
	/* At most 256 bytes: never short, and waits until the kernel's generator is seeded (getrandom(2)). */
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	for (size_t i = 0; i < sizeof(random); i++)
		plain[i] = symbols[random[i] % 32];	/* 256 is a multiple of 32: no bias */
	write_groups(plain, ret_text);
	wipe(plain, sizeof(plain));
	wipe(random, sizeof(random));
	return 0;
}
