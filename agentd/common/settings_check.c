/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/settings_check.h"

#include <errno.h>
#include <string.h>

#include "agentd/common/mqtt_settings.h"
#include "agentd/common/tls_policy.h"
#include "base/macro.h"

bool settings_is_word(const char *text, size_t max)
{
	size_t n = strlen(text);

	if (n == 0 || n > max)
		return false;
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool is_client_role(const char *row)
{
	static const char *const roles[] = { "viewer ", "operator ", "admin " };
	static const char *const selectors[] = { "spki:", "cn:", "dns:", "uri:", "email:" };

	for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
		size_t n = strlen(roles[i]);

		if (strncmp(row, roles[i], n) != 0)
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(selectors); k++)
			if (strncmp(row + n, selectors[k], strlen(selectors[k])) == 0)
				return k == 0 ? strlen(row + n) == 5 + 64 && strspn(row + n + 5, "0123456789abcdefABCDEF") == 64 :
						row[n + strlen(selectors[k])] != '\0';
	}
	return false;
}

/* Each counter has two indices, its own and that of its base. */
static int check_indices(const struct settings *s, struct agent_error **err)
{
	const struct {
		const char *name;
		int64_t index;
	} counters[] = { { "nv_password", s->tpm.nv_password }, { "nv_floor", s->tpm.nv_floor }, { "nv_trust", s->tpm.nv_trust },
			 { "nv_tickets", s->tpm.nv_tickets } };

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		for (size_t k = i + 1; k < ARRAY_SIZE(counters); k++)
			if (counters[i].index - counters[k].index <= 1 && counters[k].index - counters[i].index <= 1)
				return agent_error_set(err, -EINVAL, "config.range", "%s:1: tpm.%s must be neither tpm.%s nor the index before or after it",
						       s->file, counters[i].name, counters[k].name);
	return 0;
}

static int check_source(const struct settings *s, struct agent_error **err)
{
	bool is_hawkbit = strcmp(s->source.kind, "hawkbit") == 0, is_index = strcmp(s->source.kind, "index") == 0;
	const char *url = is_hawkbit ? s->hawkbit.url : s->source.index_url;

	if (!is_hawkbit && !is_index && strcmp(s->source.kind, "none") != 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: source.kind is \"%s\", must be none, hawkbit or index", s->file, s->source.kind);
	if ((is_hawkbit || is_index) && strncmp(url, "https://", 8) != 0)
		return agent_error_set(err, -EINVAL, "config.missing", "%s:1: %s must be an address that begins with https://, as source.kind is %s", s->file,
				       is_hawkbit ? "hawkbit.url" : "source.index_url", s->source.kind);
	if (is_hawkbit && (!settings_is_word(s->hawkbit.tenant, 64) || (s->hawkbit.controller[0] != '\0' && !settings_is_word(s->hawkbit.controller, 64))))
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: hawkbit.tenant and hawkbit.controller stand in an address: at most 64 letters, digits, '.', '-' and '_'",
				       s->file);
	if (s->source.poll_min_s > s->source.poll_max_s)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: source.poll_min_s must not be above source.poll_max_s", s->file);
	return 0;
}

/* agentd-fetch may sign with the key "device" only. Where there is a broker, it judges what came. */
static int check_est(const struct settings *s, struct agent_error **err)
{
	if (s->est.url[0] == '\0')
		return 0;
	if (strncmp(s->est.url, "https://", 8) != 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: est.url must begin with https://", s->file);
	if (s->mqtt.enable && strcmp(s->mqtt.key, "device") != 0)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: with est.url the key of the broker connection, mqtt.key, must be \"device\", whose certificate comes by EST",
				       s->file);
	if (s->est.prove_url[0] != '\0' && (s->mqtt.enable || strncmp(s->est.prove_url, "https://", 8) != 0))
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: est.prove_url must begin with https://, and is for devices without mqtt.enable: where there is a "
				       "broker, a new certificate proves itself there", s->file);
	if (s->est.renew_from > s->est.renew_to || s->est.retry_min_s > s->est.retry_max_s)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: est.renew_from must not be above est.renew_to, nor est.retry_min_s above est.retry_max_s",
				       s->file);
	return 0;
}

int settings_check(const struct settings *s, struct agent_error **err)
{
	int r;

	for (char **row = s->mgmt.client_roles; row != NULL && *row != NULL; row++)
		if (!is_client_role(*row))
			return agent_error_set(err, -EINVAL, "config.range", "%s:1: mgmt.client_roles \"%s\": a row is viewer, operator or admin, a space, "
					       "and spki:HEX, cn:NAME, dns:NAME, uri:NAME or email:NAME", s->file, *row);
	r = mqtt_settings_check(s, err);
	if (r >= 0)
		r = check_indices(s, err);
	if (r >= 0)
		r = tls_policy_check(s, err);
	if (r >= 0)
		r = check_source(s, err);
	return r < 0 ? r : check_est(s, err);
}
