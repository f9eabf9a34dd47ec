/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HTTPS_CHECK_H
#define CORE_HTTPS_CHECK_H
/* Is a chain that somebody brought good enough to be shown to browsers. */
#include <stdint.h>

#include <openssl/evp.h>

#include <agent/error.h>

#include "agentd/common/settings.h"

#define HTTPS_CHAIN_MAX (16 * 1024)

/* In ASCII and shortened: it comes from outside. */
struct https_about {
	char subject[160], issuer[160], names[400];
	char fingerprint[65];	/* SHA-256 of the leaf, as browsers show it */
	uint64_t not_before_s, not_after_s;
};

/*
 * -EINVAL with the first thing that is wrong: "https.chain" (not certificates, a private key among them, not in order, too
 * weak), "https.key" (the first one is for another key than @key), "https.dates" (at @now_s), "https.use" (not for TLS servers),
 * "https.names" (names nothing that leads here). *ret_about is written on success.
 */
int https_check(const struct settings *settings, const char *pem, EVP_PKEY *key, int64_t now_s, struct https_about *ret_about,
		struct agent_error **err);
/* Of the first certificate of @pem; "https.chain". */
int https_describe(const char *pem, struct https_about *ret_about, struct agent_error **err);

#endif
