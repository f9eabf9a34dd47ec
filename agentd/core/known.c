/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/core/known.h"

#include <stdio.h>
#include <string.h>

void known_add(struct known *k, const char *source, uint64_t now_us)
{
	size_t at = 0;

	if (strncmp(source, "ip:", 3) != 0 || strlen(source) > KNOWN_SOURCE_MAX)
		return;
	for (size_t i = 0; i < KNOWN_MAX; i++) {
		if (strcmp(k->rows[i].source, source) == 0) {
			at = i;
			break;
		}
		if (k->rows[i].seen_us < k->rows[at].seen_us)
			at = i;
	}
	snprintf(k->rows[at].source, sizeof(k->rows[at].source), "%s", source);
	k->rows[at].seen_us = now_us;
}

void known_forget(struct known *k)
{
	memset(k, 0, sizeof(*k));
}
