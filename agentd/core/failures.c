/* SPDX-License-Identifier: Apache-2.0 */
/* The count of failed logins as it lies on disk. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agentd/core/accounts.h"

#define FAILURES_HEAD "agentd-failures 1\n"

size_t failures_format(uint64_t failures, char *text, size_t size)
{
	int n = snprintf(text, size, FAILURES_HEAD "failures %" PRIu64 "\n", failures);

	return n < 0 || (size_t)n >= size ? 0 : (size_t)n;
}

int failures_parse(const char *text, size_t size, uint64_t *ret_failures)
{
	char again[64];
	uint64_t n;

	if (size >= sizeof(again) || memchr(text, '\0', size) != NULL)
		return -EBADMSG;
	if (sscanf(text, FAILURES_HEAD "failures %20" SCNu64, &n) != 1)
		return -EBADMSG;
	if (failures_format(n, again, sizeof(again)) != size || memcmp(again, text, size) != 0)
		return -EBADMSG;
	*ret_failures = n;
	return 0;
}
