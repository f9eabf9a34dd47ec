/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

size_t text_printable(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	uint32_t c = s[0];
	size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };

	if (n == 1)
		return c >= 0x20 && c != 0x7f ? 1 : 0;
	if (c < 0xc0 || c > 0xf4)
		return 0;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	/* Marks that turn the direction of what follows, and separators of lines: a terminal would show something else than there is. */
	if (c == 0x61c || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
		return 0;
	if (c < least[n] || c > 0x10ffff || (c & 0xfffff800u) == 0xd800 || (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe)
		return 0;
	return n;
}

bool text_is_printable(const char *text)
{
	while (*text != '\0') {
		size_t n = text_printable(text);

		if (n == 0)
			return false;
		text += n;
	}
	return true;
}

void text_drop_cut(char *s)
{
	size_t n = strlen(s), back = 0;

	while (back < n && back < 4 && ((unsigned char)s[n - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back < n && ((unsigned char)s[n - 1 - back] & 0x80)) {
		unsigned char lead = (unsigned char)s[n - 1 - back];
		size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;

		if (back != want)
			s[n - 1 - back] = '\0';
	}
}

bool text_list_add(char *text, size_t size, const char *one)
{
	size_t used = strlen(text), n = strlen(one);

	if (used + n + sizeof(", ") > size)
		return false;
	if (used > 0) {
		memcpy(text + used, ", ", 2);
		used += 2;
	}
	memcpy(text + used, one, n + 1);
	return true;
}

void text_reason(char *to, size_t size, const char *message, const char *name)
{
	size_t tail = strlen(name) + 3; /* " (" and ")" */
	int n = snprintf(to, size, "%s (%s)", message, name);

	if (n < 0 || (size_t)n < size || size < tail + sizeof(" ..."))
		return;
	to[size - tail - sizeof(" ...")] = '\0';
	text_drop_cut(to);
	n = (int)strlen(to);
	snprintf(to + n, size - (size_t)n, " ... (%s)", name);
}
