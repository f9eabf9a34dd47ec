/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/mqtt_settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agentd/common/topic_rights.h"
#include "agentd/common/topics.h"
#include "base/macro.h"

#define ALPN_MAX 64

static int bad_row(const char *text, const char *why, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "config.range", "mqtt.brokers \"%s\": %s; a row is HOST, then perhaps port=PORT and name=NAME", text, why);
}

static int take(char *to, const char *word, size_t size)
{
	if (size == 0 || size > BROKER_HOST_MAX)
		return -EINVAL;
	for (size_t i = 0; i < size; i++)
		if (word[i] <= 0x20 || word[i] > 0x7e || word[i] == '/' || word[i] == '=')
			return -EINVAL;
	memcpy(to, word, size);
	to[size] = '\0';
	return 0;
}

static int take_port(const char *word, size_t size, uint16_t *ret_port)
{
	unsigned long n = 0;

	if (size == 0 || size > 5)
		return -EINVAL;
	for (size_t i = 0; i < size; i++) {
		if (word[i] < '0' || word[i] > '9')
			return -EINVAL;
		n = n * 10 + (unsigned long)(word[i] - '0');
	}
	if (n == 0 || n > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)n;
	return 0;
}

int broker_row_parse(const char *text, uint16_t port, struct broker_row *ret_row, struct agent_error **err)
{
	struct broker_row row = { .port = port };
	size_t n;

	for (const char *p = text + strspn(text, " "); *p != '\0'; p += n, p += strspn(p, " ")) {
		n = strcspn(p, " ");
		if (row.host[0] == '\0') {
			if (take(row.host, p, n) < 0)
				return bad_row(text, "it does not begin with a host of 1 to 253 characters", err);
		} else if (strncmp(p, "port=", 5) == 0) {
			if (take_port(p + 5, n - 5, &row.port) < 0)
				return bad_row(text, "the port is not 1 to 65535", err);
		} else if (strncmp(p, "name=", 5) == 0) {
			if (take(row.name, p + 5, n - 5) < 0)
				return bad_row(text, "the name is not 1 to 253 characters", err);
		} else {
			return bad_row(text, "what follows the host is not port= or name=", err);
		}
	}
	if (row.host[0] == '\0')
		return bad_row(text, "it is empty", err);
	if (row.name[0] == '\0')
		memcpy(row.name, row.host, sizeof(row.name));
	*ret_row = row;
	return 0;
}

static int check_brokers(const struct settings *s, struct agent_error **err)
{
	struct broker_row row;
	size_t n = 0;
	int r;

	for (char **text = s->mqtt.brokers; text != NULL && *text != NULL; text++) {
		if (++n > BROKER_ROWS_MAX)
			return agent_error_set(err, -EINVAL, "config.range", "%s:1: mqtt.brokers has more than %d rows", s->file, BROKER_ROWS_MAX);
		r = broker_row_parse(*text, (uint16_t)s->mqtt.port, &row, err);
		if (r < 0)
			return agent_error_prefix(err, r, "%s:1", s->file);
	}
	return 0;
}

static int check_lists(const struct settings *s, struct agent_error **err)
{
	struct queue_classes classes;
	struct topic_right right;
	int r = queue_classes_read(s, &classes, err);

	if (r < 0)
		return r;
	queue_classes_clear(&classes);
	for (char **row = s->mqtt.rights; row != NULL && *row != NULL; row++) {
		r = topic_right_parse(*row, &right, err);
		if (r < 0)
			return agent_error_prefix(err, r, "%s:1", s->file);
	}
	return check_brokers(s, err);
}

int mqtt_settings_check(const struct settings *s, struct agent_error **err)
{
	static const char *const versions[] = { "3.1.1", "5", "auto" };
	bool is_known = false;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		is_known |= strcmp(s->mqtt.version, versions[i]) == 0;
	if (!is_known)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: mqtt.version is 3.1.1, 5 or auto, not \"%s\"", s->file, s->mqtt.version);
	if (s->mqtt.enable && s->mqtt.host[0] == '\0')
		return agent_error_set(err, -EINVAL, "config.missing", "%s:1: mqtt.host must be set when mqtt.enable is true", s->file);
	if (s->mqtt.backoff_min_ms > s->mqtt.backoff_max_ms)
		return agent_error_set(err, -EINVAL, "config.range",
				       "%s:1: mqtt.backoff_min_ms must not be above mqtt.backoff_max_ms", s->file);
	if (s->mqtt.keepalive_min_s > s->mqtt.keepalive_max_s)
		return agent_error_set(err, -EINVAL, "config.range",
				       "%s:1: mqtt.keepalive_min_s must not be above mqtt.keepalive_max_s", s->file);
	if (strlen(s->mqtt.alpn) > ALPN_MAX)
		return agent_error_set(err, -EINVAL, "config.range", "%s:1: mqtt.alpn has more than %d characters", s->file, ALPN_MAX);
	return check_lists(s, err);
}
