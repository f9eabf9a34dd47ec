/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/delay.h"

#include <stdio.h>

#include "base/backoff.h"

uint64_t delay_after_failures_ms(unsigned n_failures, uint64_t min_ms, uint64_t max_ms, uint64_t random)
{
	return random % (backoff_ceiling(n_failures, min_ms, max_ms) + 1);
}

uint64_t delay_of_poll_ms(uint64_t wanted_s, uint64_t min_s, uint64_t max_s, uint64_t random)
{
	uint64_t ms = (wanted_s < min_s ? min_s : wanted_s > max_s ? max_s : wanted_s) * 1000;

	ms = ms - ms / 10 + random % (ms / 5 + 1);
	return ms < min_s * 1000 ? min_s * 1000 : ms;
}

uint64_t delay_parse_sleep(const char *text)
{
	unsigned h, m, s;
	int end = 0;

	if (sscanf(text, "%3u:%2u:%2u%n", &h, &m, &s, &end) != 3 || text[end] != '\0' || m > 59 || s > 59 || text[0] == '-')
		return 0;
	return (uint64_t)h * 3600 + m * 60 + s;
}
