/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_FOLD_H
#define PASSWORD_FOLD_H
/*
 * Look-alikes fall together: case, leet, and what only separates goes. ASCII; shared with the program that makes the filter while we
 * build, so that both sides mean the same. Returns 0 for a separator.
 */
static inline char fold_ascii(char c)
{
	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	switch (c) {
	case ' ': case '-': case '_': case '.': case ',': case ':': case ';': case '/': case '\\': case '\'': case '"': case '*':
	case '#': case '+': case '~': case '=': case '&': case '?': case '(': case ')': case '[': case ']': case '<': case '>':
		return 0;
	case '0': return 'o';
	case '1': case '!': case '|': case 'l': return 'i';
	case '3': return 'e';
	case '4': case '@': return 'a';
	case '5': case '$': return 's';
	case '7': return 't';
	case '8': return 'b';
	case '9': return 'g';
	default: return c;
	}
}

#endif
