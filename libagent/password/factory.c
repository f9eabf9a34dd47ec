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

int agent_factory_secret_new(char ret_text[15])
{
	uint8_t random[FACTORY_SECRET_SYMBOLS];
	size_t n = 0;

	if (ret_text == NULL)
		return -EINVAL;
	/* At most 256 bytes: never short, and waits until the kernel's generator is seeded (getrandom(2)). */
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	for (size_t i = 0; i < sizeof(random); i++) {
		if (i > 0 && i % 4 == 0)
			ret_text[n++] = '-';
		ret_text[n++] = symbols[random[i] % 32];	/* 256 is a multiple of 32: no bias */
	}
	ret_text[n] = '\0';
	wipe(random, sizeof(random));
	return 0;
}
