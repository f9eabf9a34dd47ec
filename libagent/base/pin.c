/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pin.h"

#include <errno.h>
#include <string.h>

#define PREFIX "sha256/"
#define TEXT_SIZE 44 /* 256 bits, six in a character, and one of padding */

static int digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int)(at - digits);
}

int pin_parse(const char *text, uint8_t ret_pin[PIN_SIZE])
{
	uint8_t pin[PIN_SIZE];
	unsigned bits = 0, n_bits = 0;
	size_t n = 0;

	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return -EINVAL;
	text += strlen(PREFIX);
	if (strlen(text) != TEXT_SIZE || text[TEXT_SIZE - 1] != '=')
		return -EINVAL;
	for (size_t i = 0; i < TEXT_SIZE - 1; i++) {
		int d = digit(text[i]);

		if (d < 0)
			return -EINVAL;
		bits = bits << 6 | (unsigned)d;
		n_bits += 6;
		if (n_bits >= 8 && n < PIN_SIZE) {
			n_bits -= 8;
			pin[n++] = (uint8_t)(bits >> n_bits);
			bits &= (1u << n_bits) - 1;
		}
	}
	if (n != PIN_SIZE || bits != 0)
		return -EINVAL;
	memcpy(ret_pin, pin, PIN_SIZE);
	return 0;
}

int pins_parse(const char *const *texts, uint8_t ret_pins[PINS_MAX][PIN_SIZE], size_t *ret_at, const char **ret_why)
{
	size_t n;

	*ret_at = 0;
	if (texts == NULL)
		return 0;
	for (n = 0; texts[n] != NULL; n++) {
		*ret_at = n;
		if (n == PINS_MAX) {
			*ret_why = "is one too many: 16 at most";
			return -EINVAL;
		}
		if (pin_parse(texts[n], ret_pins[n]) < 0) {
			*ret_why = "is not sha256/ and the base64 text of a SHA-256 digest";
			return -EINVAL;
		}
		for (size_t i = 0; i < n; i++)
			if (memcmp(ret_pins[i], ret_pins[n], PIN_SIZE) == 0) {
				*ret_why = "is there twice";
				return -EINVAL;
			}
	}
	if (n == 1) {
		*ret_why = "is the only one: a backup pin, of a key kept elsewhere, is required, or the loss of one key cuts the device off for good";
		return -EINVAL;
	}
	return (int)n;
}
