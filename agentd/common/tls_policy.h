/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_TLS_POLICY_H
#define COMMON_TLS_POLICY_H
/* Revocation lists, stapled answers and pins for one kind of server, as the settings say. */
#include <stddef.h>

#include <agent/error.h>
#include <agent/tls.h>

#include "agentd/common/settings.h"

enum tls_peer { TLS_PEER_MQTT, TLS_PEER_FETCH, TLS_PEER_EST, TLS_PEERS_ };

struct tls_policy {
	char *crl_file;
	enum agent_tls_crl crl;
	enum agent_tls_ocsp ocsp;
	const char *const *pins; /* lent by the settings */
};

/* -ENOMEM; -EINVAL "config.range". tls_policy_clear() afterwards. */
int tls_policy_read(const struct settings *settings, enum tls_peer peer, struct tls_policy *ret_policy, struct agent_error **err);
/* All of them, for settings_load(). */
int tls_policy_check(const struct settings *settings, struct agent_error **err);
void tls_policy_clear(struct tls_policy *policy);
/* @options borrows from @policy. NULL: nothing is put there. */
static inline void tls_policy_put(const struct tls_policy *policy, struct agent_tls_options *options)
{
	if (policy == NULL)
		return;
	options->crl_file = policy->crl_file;
	options->crl = policy->crl;
	options->ocsp = policy->ocsp;
	options->pins = policy->pins;
}

#endif
