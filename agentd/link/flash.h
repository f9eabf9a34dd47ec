/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_FLASH_H
#define LINK_FLASH_H
/* How long a medium lasts that goes on being written like this. */
#include <stdint.h>

#define FLASH_LIFE_MAX_DAYS 36500
/* A sync rewrites the page that the newest record ends in and that of a superblock, however little of them is new. */
#define FLASH_SYNC_BYTES (2 * 4096)

static inline uint64_t flash_life_days(uint64_t endurance_bytes, uint64_t written_bytes, uint64_t n_syncs, uint64_t seconds)
{
	/* As double: the product goes over 64 bits, and the result is a guess to one digit. */
	double bytes = (double)written_bytes + (double)n_syncs * FLASH_SYNC_BYTES;
	double days = bytes <= 0 || seconds == 0 ? FLASH_LIFE_MAX_DAYS : (double)endurance_bytes / bytes * (double)seconds / 86400;

	return days >= FLASH_LIFE_MAX_DAYS ? FLASH_LIFE_MAX_DAYS : (uint64_t)days;
}

#endif
