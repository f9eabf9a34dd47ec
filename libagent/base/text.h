/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H
/* Text of others, before it goes into a log, a terminal or a D-Bus message. */
#include <stdbool.h>
#include <stddef.h>

/* Length of the character at @text that all of those take: RFC 3629 without controls, marks of direction and noncharacters. 0: none, also at the NUL. */
size_t text_printable(const char *text);
/* All of it, up to the NUL. */
bool text_is_printable(const char *text);
/* snprintf() may have cut a character in two at the end of its buffer: drop what is left of it. What came before has to be whole. */
void text_drop_cut(char *text);
/* Append @one to the list "A, B" in @text of @size bytes. False, and nothing is appended, when it does not fit whole. */
bool text_list_add(char *text, size_t size, const char *one);
/* "MESSAGE (NAME)": where there is no room for all of it the end of the message is left out, and the name is there. */
void text_reason(char *to, size_t size, const char *message, const char *name);

#endif
