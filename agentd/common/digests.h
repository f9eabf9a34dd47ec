/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_DIGESTS_H
#define COMMON_DIGESTS_H
/* SHA-256 digests as text: what agentd-install says of manifests and of the keys of signers, and agentd takes from it. */
#include <stdbool.h>
#include <string.h>

#include <agent/bundle.h>

#define DIGEST_TEXT_SIZE 65		/* and the NUL, or the blank before the next one */
#define KEYS_SHOWN 80		/* certificates and bare keys that are pinned, see agent_update_get_trusted_keys() */
#define SIGNERS_TEXT (AGENT_BUNDLE_SIGNERS_MAX * DIGEST_TEXT_SIZE)
#define KEYS_TEXT (KEYS_SHOWN * DIGEST_TEXT_SIZE)

static inline bool begins_with_digest(const char *text)
{
	return strspn(text, "0123456789abcdef") == DIGEST_TEXT_SIZE - 1;
}

static inline bool is_digest(const char *text)
{
	return begins_with_digest(text) && text[DIGEST_TEXT_SIZE - 1] == '\0';
}

/* "HEX HEX", or nothing at all. */
static inline bool are_digests(const char *text)
{
	if (text[0] == '\0')
		return true;
	while (begins_with_digest(text) && text[DIGEST_TEXT_SIZE - 1] == ' ')
		text += DIGEST_TEXT_SIZE;
	return is_digest(text);
}

#endif
