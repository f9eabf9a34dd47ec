/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/tls_policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/pin.h"

struct texts {
	const char *group, *crl_file, *fallback, *crl, *ocsp;
	char *const *pins;
};

static struct texts texts_of(const struct settings *s, enum tls_peer peer)
{
	const struct texts rows[] = {
		[TLS_PEER_MQTT] = { "mqtt", s->mqtt.crl_file, "broker/ca.crl", s->mqtt.crl, s->mqtt.ocsp, s->mqtt.pins },
		[TLS_PEER_FETCH] = { "fetch", s->fetch.crl_file, "fetch/ca.crl", s->fetch.crl, s->fetch.ocsp, s->fetch.pins },
		[TLS_PEER_EST] = { "est", s->est.crl_file, "est/ca.crl", s->est.crl, s->est.ocsp, s->est.pins },
	};

	return rows[peer];
}

/* Number of the word in @words, or -1. */
static int find(const char *const words[3], const char *word)
{
	for (int i = 0; i < 3; i++)
		if (strcmp(words[i], word) == 0)
			return i;
	return -1;
}

int tls_policy_read(const struct settings *s, enum tls_peer peer, struct tls_policy *ret_policy, struct agent_error **err)
{
	static const char *const crl_words[] = { [AGENT_TLS_CRL_OFF] = "off", [AGENT_TLS_CRL_IF_PRESENT] = "if-present", [AGENT_TLS_CRL_REQUIRED] = "required" };
	static const char *const ocsp_words[] = { [AGENT_TLS_OCSP_OFF] = "off", [AGENT_TLS_OCSP_IF_STAPLED] = "if-stapled", [AGENT_TLS_OCSP_REQUIRED] = "required" };
	struct texts t = texts_of(s, peer);
	int crl = find(crl_words, t.crl), ocsp = find(ocsp_words, t.ocsp);
	uint8_t pins[PINS_MAX][PIN_SIZE];
	const char *why = "";
	size_t at;

	if (crl < 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: %s.crl is \"%s\", must be off, if-present or required", s->file, t.group, t.crl);
	if (ocsp < 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: %s.ocsp is \"%s\", must be off, if-stapled or required", s->file, t.group, t.ocsp);
	if (pins_parse((const char *const *)t.pins, pins, &at, &why) < 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: %s.pins: pin %zu, \"%.64s\", %s", s->file, t.group, at + 1, t.pins[at], why);
	*ret_policy = (struct tls_policy){ .crl = (enum agent_tls_crl)crl, .ocsp = (enum agent_tls_ocsp)ocsp, .pins = (const char *const *)t.pins };
	ret_policy->crl_file = settings_trust_path(s, t.crl_file, t.fallback);
	return ret_policy->crl_file == NULL ? agent_error_set(err, -ENOMEM, "config.memory", "out of memory") : 0;
}

void tls_policy_clear(struct tls_policy *policy)
{
	free(policy->crl_file);
	*policy = (struct tls_policy){ .crl_file = NULL };
}

int tls_policy_check(const struct settings *s, struct agent_error **err)
{
	struct tls_policy policy;
	int r = 0;

	for (int i = 0; r >= 0 && i < TLS_PEERS_; i++) {
		r = tls_policy_read(s, (enum tls_peer)i, &policy, err);
		if (r >= 0)
			tls_policy_clear(&policy);
	}
	return r;
}
