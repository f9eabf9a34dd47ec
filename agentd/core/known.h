/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_KNOWN_H
#define CORE_KNOWN_H
/*
 * Addresses somebody has logged in from, the latest ones. agentd-mgmt gives them a reserve while strangers crowd and asks for them when it
 * starts, so that making it crash costs the owner nothing. In memory only: who logged in from where is nobody's business after a
 * power cut, a flash chip needs no write for each login, and the event log has it anyway for those who may read that.
 */
#include <stdbool.h>
#include <stdint.h>

#define KNOWN_MAX 32
#define KNOWN_SOURCE_MAX 64

struct known {
	struct {
		char source[KNOWN_SOURCE_MAX + 1];	/* "" is free */
		uint64_t seen_us;
	} rows[KNOWN_MAX];
};

/* Takes sources of the network ("ip:") only; the one seen longest ago makes room. */
void known_add(struct known *k, const char *source, uint64_t now_us);
/* A factory reset: the next owner's are others. */
void known_forget(struct known *k);

#endif
