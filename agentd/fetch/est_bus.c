/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/est_bus.h"

#include <errno.h>

#include "agentd/common/peer.h"

static const char *if_any(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

int est_read_call(sd_bus_message *m, struct est_options *options, const char **ret_key, struct agent_error **err)
{
	const char *anchors, *certificate, *secret, *csr, *key;
	uint32_t kind;

	if (sd_bus_message_rewind(m, true) < 0 || sd_bus_message_read(m, "usssss", &kind, &anchors, &certificate, &secret, &csr, &key) < 0 || kind > EST_PROVE)
		return agent_error_set(err, -EBADMSG, "bus.protocol", "a talk to the EST server needs its kind and five texts");
	options->kind = (enum est_kind)kind;
	options->anchors = if_any(anchors);
	options->cert_pem = if_any(certificate);
	options->secret = if_any(secret);
	options->csr = if_any(csr);
	*ret_key = key;
	return 0;
}

int est_append_result(sd_bus_message *m, const struct est_result *result, bool has_signed)
{
	const struct est_attributes *a = &result->attributes;
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = peer_append_bool(m, "is_issued", result->is_issued);
	if (r >= 0)
		r = peer_append_bool(m, "has_signed", has_signed);
	if (r >= 0)
		r = peer_append_u64(m, "retry_after_s", result->retry_after_s);
	if (r >= 0)
		r = peer_append_string(m, "pem", result->pem);
	if (r >= 0)
		r = peer_append_bool(m, "wants_challenge", a->wants_challenge);
	if (r >= 0)
		r = peer_append_bool(m, "wants_serial", a->wants_serial);
	if (r >= 0)
		r = peer_append_string(m, "key_type", if_any(a->key_type));
	if (r >= 0)
		r = peer_append_u64(m, "n_unknown", a->n_unknown);
	return r < 0 ? r : sd_bus_message_close_container(m);
}
