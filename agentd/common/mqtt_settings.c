/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/mqtt_settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agentd/common/fill_in.h"
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

static int bad_topic(const struct settings *s, const char *name, const char *why, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "config.range", "%s:1: mqtt.%s: %s", s->file, name, why);
}

static bool is_tree(const char *filter)
{
	size_t n = strlen(filter);

	return topic_filter_is_valid(filter) && n > 2 && strcmp(filter + n - 2, "/#") == 0 && strcspn(filter, "+#") == n - 1;
}

int command_topics_read(const struct settings *s, const char *prefix, char **ret_filter, char **ret_answer, struct agent_error **err)
{
	static const char *const own[] = { "~/state", "~/canary", "~/telemetry" };
	_cleanup_free_ char *filter_text = settings_fill_in(s, s->mqtt.command_topic, false), *answer_text = settings_fill_in(s, s->mqtt.answer_topic, false);
	char filter[TOPIC_MAX + 1], answer[TOPIC_MAX + 1], topic[TOPIC_MAX + 1];

	if (filter_text == NULL || answer_text == NULL)
		return agent_error_set(err, -ENOMEM, "config.memory", "out of memory");
	if (topic_expand(prefix, filter_text, filter) < 0 || (!topic_is_valid(filter) && !is_tree(filter)))
		return bad_topic(s, "command_topic", "that is no topic: text without wildcards, but /# may end it", err);
	if (topic_expand(prefix, answer_text, answer) < 0 || !topic_is_valid(answer))
		return bad_topic(s, "answer_topic", "that is no topic: text without wildcards", err);
	if (topic_covers(filter, answer))
		return bad_topic(s, "answer_topic", "answers would come back as commands: mqtt.command_topic covers it", err);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (topic_expand(prefix, own[i], topic) >= 0 && topic_covers(filter, topic))
			return bad_topic(s, "command_topic", "it covers a topic of the agent's own: state, canary or telemetry", err);
	*ret_filter = strdup(filter);
	*ret_answer = strdup(answer);
	return *ret_filter == NULL || *ret_answer == NULL ? agent_error_set(err, -ENOMEM, "config.memory", "out of memory") : 0;
}

static int check_commands(const struct settings *s, struct agent_error **err)
{
	_cleanup_free_ char *prefix = topic_prefix(s), *filter = NULL, *answer = NULL;

	if (s->mqtt.command_topic[0] == '\0')
		return 0;
	if (prefix == NULL)
		return agent_error_set(err, -ENOMEM, "config.memory", "out of memory");
	return command_topics_read(s, prefix, &filter, &answer, err);
}

int mqtt_settings_check(const struct settings *s, struct agent_error **err)
{
	static const char *const versions[] = { "3.1.1", "5", "auto" };
	bool is_known = false;
	int r;

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
	r = check_commands(s, err);
	return r < 0 ? r : check_lists(s, err);
}
