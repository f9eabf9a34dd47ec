/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PASSWORD_WORDS_H
#define PASSWORD_WORDS_H
/* Words and keyboard walks that make up well-known bad passwords, lower case, NULL-terminated. Ours; see docs/design/password.md. */
extern const char *const common_words[];
/* Keys in a row, as typed; runs are looked for in both directions. */
extern const char *const keyboard_rows[];

#endif
