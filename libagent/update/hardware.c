/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/hardware.h"

#include <stddef.h>
#include <string.h>

#include "update/pattern.h"

#define PREFIX "#RE:"

static const char *pattern_of(const char *entry)
{
	return strncmp(entry, PREFIX, strlen(PREFIX)) == 0 ? entry + strlen(PREFIX) : NULL;
}

const char *hardware_fault(const char *entry)
{
	const char *pattern = pattern_of(entry), *fault = NULL;

	if (pattern != NULL)
		(void)pattern_matches(pattern, "", &fault);
	return fault;
}

bool hardware_fits(const char *entry, const char *product)
{
	const char *colon = strchr(product, ':'), *pattern = pattern_of(entry);
	const char *revision = colon == NULL ? product : colon + 1;

	/* SWUpdate does not anchor: "#RE:1.0" fits 21x07 there. */
	if (pattern != NULL)
		return pattern_matches(pattern, revision, NULL) || pattern_matches(pattern, product, NULL);
	return strcmp(entry, revision) == 0 || strcmp(entry, product) == 0;
}
