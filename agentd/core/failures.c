/* SPDX-License-Identifier: Apache-2.0 */
/* The counts of failed logins as they lie on disk. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agentd/core/accounts.h"

#define FAILURES_HEAD "agentd-failures 2\n"

/* In the order of enum limit_bucket. */
#define FAILURES_FORMAT(n) \
	FAILURES_HEAD "all %" n "\nstranger %" n "\ncookie %" n "\nuser %" n "\nroot %" n "\nconsole %" n "\n"

size_t failures_format(const struct limit_counts *counts, char text[FAILURES_TEXT_MAX])
{
	const uint64_t *by = counts->by;
	int n = snprintf(text, FAILURES_TEXT_MAX, FAILURES_FORMAT(PRIu64), counts->all, by[LIMIT_STRANGER], by[LIMIT_COOKIE], by[LIMIT_USER],
			 by[LIMIT_ROOT], by[LIMIT_CONSOLE]);

	return n < 0 || n >= FAILURES_TEXT_MAX ? 0 : (size_t)n;
}

int failures_parse(const char *text, size_t size, struct limit_counts *ret_counts)
{
	char again[FAILURES_TEXT_MAX];
	struct limit_counts c = { 0 };

	if (size >= sizeof(again) || memchr(text, '\0', size) != NULL)
		return -EBADMSG;
	if (sscanf(text, FAILURES_FORMAT("20" SCNu64), &c.all, &c.by[LIMIT_STRANGER], &c.by[LIMIT_COOKIE], &c.by[LIMIT_USER],
		   &c.by[LIMIT_ROOT], &c.by[LIMIT_CONSOLE]) != 1 + LIMIT_BUCKETS_)
		return -EBADMSG;
	if (failures_format(&c, again) != size || memcmp(again, text, size) != 0)
		return -EBADMSG;
	*ret_counts = c;
	return 0;
}
