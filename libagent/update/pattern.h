/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_PATTERN_H
#define UPDATE_PATTERN_H
/*
 * Extended regular expressions of POSIX over bytes, matched in time and memory that are bounded by their length: regcomp() and regexec() of the C
 * libraries take gigabytes or hours for patterns of 60 characters, and those of a bundle are not ours.
 */
#include <stdbool.h>

/*
 * Is all of @text what @pattern describes? @ret_fault, which may be NULL, is NULL or why the pattern is not taken, and then it matches nothing: a text
 * without memory of its own. Not taken are references back, GNU's word boundaries, two repetitions after each other, and what has more than 1000 steps
 * when its repetitions are written out.
 */
bool pattern_matches(const char *pattern, const char *text, const char **ret_fault);

#endif
