/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/topics.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/fill_in.h"
#include "base/macro.h"

/* ---- topics */

/* Well-formed UTF-8 (RFC 3629) without what MQTT 3.1.1 section 1.5.3 advises against. */
static bool is_text(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };

	while (*p != '\0') {
		unsigned n = *p < 0x80 ? 0 : *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : *p >= 0xf0 && *p < 0xf5 ? 3 : 4;
		uint32_t code;

		if (n == 4)
			return false;
		code = n == 0 ? *p : *p & (0x3fu >> n);
		p++;
		for (unsigned i = 0; i < n; i++, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			code = code << 6 | (*p & 0x3fu);
		}
		if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code < 0x20 || (code >= 0x7f && code < 0xa0))
			return false;
	}
	return true;
}

static bool has_good_size(const char *text)
{
	size_t levels = 1;

	if (text == NULL || text[0] == '\0' || strnlen(text, TOPIC_MAX + 1) > TOPIC_MAX)
		return false;
	for (const char *p = text; *p != '\0'; p++)
		levels += *p == '/';
	return levels <= TOPIC_LEVELS_MAX && is_text(text);
}

bool topic_is_valid(const char *topic)
{
	return has_good_size(topic) && strpbrk(topic, "+#") == NULL;
}

bool topic_filter_is_valid(const char *filter)
{
	if (!has_good_size(filter))
		return false;
	for (const char *p = filter; *p != '\0'; p++) {
		if (*p != '+' && *p != '#')
			continue;
		if ((p != filter && p[-1] != '/') || (p[1] != '\0' && (*p == '#' || p[1] != '/')))
			return false;
	}
	return true;
}

static size_t level_size(const char *at)
{
	return strcspn(at, "/");
}

/* One level of a filter against one of a topic or of a narrower filter. */
static bool level_fits(const char *filter, size_t n_filter, const char *level, size_t n_level)
{
	if (n_filter == 1 && *filter == '+')
		return !(n_level == 1 && *level == '#');
	return n_filter == n_level && memcmp(filter, level, n_level) == 0;
}

bool topic_covers(const char *outer, const char *inner)
{
	if (inner[0] == '$' && (outer[0] == '+' || outer[0] == '#'))
		return false;
	for (;;) {
		size_t n_outer = level_size(outer), n_inner;

		if (outer[0] == '#' && n_outer == 1)
			return true;
		if (inner == NULL)
			return false;
		n_inner = level_size(inner);
		if (!level_fits(outer, n_outer, inner, n_inner))
			return false;
		/* "a/#" is about "a" too, so the end of the narrower one is one step further. */
		inner = inner[n_inner] == '\0' ? NULL : inner + n_inner + 1;
		if (outer[n_outer] == '\0')
			return inner == NULL;
		outer += n_outer + 1;
	}
}

bool topic_matches(const char *filter, const char *topic)
{
	return topic_covers(filter, topic);
}

char *topic_prefix(const struct settings *settings)
{
	return settings_fill_in(settings, settings->mqtt.topic_prefix[0] != '\0' ? settings->mqtt.topic_prefix : "devices/{serial}", false);
}

int topic_expand(const char *prefix, const char *text, char ret_topic[TOPIC_MAX + 1])
{
	bool is_ours = strncmp(text, "~/", 2) == 0;
	int n = snprintf(ret_topic, TOPIC_MAX + 1, "%s%s", is_ours ? prefix : "", is_ours ? text + 1 : text);

	return n < 0 || n > TOPIC_MAX ? -EMSGSIZE : 0;
}

/* ---- mqtt.queues */

/* Names, ranges and defaults of the words of a row; agentd.conf(5) shows them. */
static const struct {
	const char *name;
	size_t offset;
	uint64_t min, max, standard;
} numbers[] = {
	{ "size_kib", offsetof(struct queue_class, size_kib), 64, 4 * 1024 * 1024, 1024 },
	{ "loss_messages", offsetof(struct queue_class, loss_messages), 1, 100000, 100 },
	{ "loss_s", offsetof(struct queue_class, loss_s), 1, 86400, 60 },
	{ "priority", offsetof(struct queue_class, priority), 0, 9, 5 },
	{ "ttl_s", offsetof(struct queue_class, ttl_s), 0, 31536000, 0 },
	{ "rate_per_s", offsetof(struct queue_class, rate_per_s), 0, 10000, 0 },
};

static int bad_row(const struct settings *s, const char *row, const char *word, const char *why, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "config.range", "%s:1: mqtt.queues \"%s\": %s: %s", s->file, row, word, why);
}

static int no_memory(struct agent_error **err)
{
	return agent_error_set(err, -ENOMEM, "config.memory", "out of memory");
}

static void class_clear(struct queue_class *class)
{
	for (size_t i = 0; i < class->n_topics; i++)
		free(class->topics[i]);
	class->n_topics = 0;
}

void queue_classes_clear(struct queue_classes *classes)
{
	for (size_t i = 0; i < classes->n; i++)
		class_clear(&classes->items[i]);
	classes->n = 0;
}

static bool is_name(const char *word)
{
	size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n <= QUEUE_NAME_MAX && word[n] == '\0';
}

static int read_number(const char *name, size_t n_name, const char *value, struct queue_class *class)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char *end;
		uint64_t number;

		if (strlen(numbers[i].name) != n_name || memcmp(numbers[i].name, name, n_name) != 0)
			continue;
		if (!isdigit((unsigned char)value[0]) || strlen(value) > 9)
			return -ERANGE;
		number = strtoull(value, &end, 10);
		if (*end != '\0' || number < numbers[i].min || number > numbers[i].max)
			return -ERANGE;
		memcpy((char *)class + numbers[i].offset, &number, sizeof(number));
		return 0;
	}
	return -ENOENT;
}

/* "size_kib is 64 to 4194304 (default 1024)" for the word it is about. */
static const char *range_of(const char *word, char *text, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strncmp(numbers[i].name, word, strcspn(word, "=")) == 0)
			snprintf(text, size, "it is %" PRIu64 " to %" PRIu64, numbers[i].min, numbers[i].max);
	return text;
}

static int read_word(const struct settings *s, const char *row, const char *word, struct queue_class *class, struct agent_error **err)
{
	const char *equals = strchr(word, '='), *value = equals == NULL ? "" : equals + 1;
	char text[64];
	int r;

	if (equals == NULL)
		return bad_row(s, row, word, "NAME=VALUE is wanted", err);
	if (strncmp(word, "topic=", 6) == 0) {
		if (!topic_filter_is_valid(value))
			return bad_row(s, row, word, "that is no topic filter", err);
		if (class->n_topics == QUEUE_TOPICS_MAX)
			return bad_row(s, row, word, "that is one topic too many", err);
		class->topics[class->n_topics] = strdup(value);
		return class->topics[class->n_topics] == NULL ? no_memory(err) : (class->n_topics++, 0);
	}
	if (strncmp(word, "full=", 5) == 0) {
		if (strcmp(value, "refuse-new") != 0 && strcmp(value, "drop-oldest") != 0)
			return bad_row(s, row, word, "it is refuse-new or drop-oldest", err);
		class->full = value[0] == 'r' ? AGENT_QUEUE_REFUSE_NEW : AGENT_QUEUE_DROP_OLDEST;
		return 0;
	}
	r = read_number(word, (size_t)(equals - word), value, class);
	if (r == -ENOENT)
		return bad_row(s, row, word, "unknown; known are topic, size_kib, loss_messages, loss_s, priority, ttl_s, full, rate_per_s", err);
	return r < 0 ? bad_row(s, row, word, range_of(word, text, sizeof(text)), err) : 0;
}

static void class_start(struct queue_class *class)
{
	*class = (struct queue_class){ .full = AGENT_QUEUE_REFUSE_NEW };
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		memcpy((char *)class + numbers[i].offset, &numbers[i].standard, sizeof(numbers[i].standard));
}

static bool has_class(const struct queue_classes *classes, const char *name)
{
	for (size_t i = 0; i < classes->n; i++)
		if (strcmp(classes->items[i].name, name) == 0)
			return true;
	return false;
}

static int read_class(const struct settings *s, const char *row, struct queue_classes *classes, struct agent_error **err)
{
	_cleanup_free_ char *copy = strdup(row);
	struct queue_class *class;
	char *rest, *word;
	int r = 0;

	if (copy == NULL)
		return no_memory(err);
	if (classes->n == QUEUE_CLASSES_MAX)
		return bad_row(s, row, "mqtt.queues", "that is one queue too many", err);
	class = &classes->items[classes->n++];
	class_start(class);
	word = strtok_r(copy, " ", &rest);
	if (word == NULL || !is_name(word))
		return bad_row(s, row, word == NULL ? "" : word, "a row begins with a name of a to z, 0 to 9 and \"-\"", err);
	if (has_class(classes, word))
		return bad_row(s, row, word, "there are two of that name", err);
	strcpy(class->name, word);
	while (r >= 0 && (word = strtok_r(NULL, " ", &rest)) != NULL)
		r = read_word(s, row, word, class, err);
	if (r >= 0 && class->n_topics == 0 && strcmp(class->name, "default") != 0)
		return bad_row(s, row, class->name, "it has no topic=", err);
	return r;
}

int queue_classes_read(const struct settings *settings, struct queue_classes *ret_classes, struct agent_error **err)
{
	/* Own telemetry: the newest counts. What nobody thought of: nothing that was acknowledged is dropped. */
	static const char *const always[] = { "telemetry topic=~/telemetry full=drop-oldest size_kib=256 loss_s=900 priority=4",
					      "default topic=#" };
	struct queue_classes classes = { .n = 0 };
	int r = 0;

	for (char **row = settings->mqtt.queues; r >= 0 && row != NULL && *row != NULL; row++)
		r = read_class(settings, *row, &classes, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(always); i++) {
		char name[QUEUE_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(always[i], " "), always[i]);
		if (!has_class(&classes, name))
			r = read_class(settings, always[i], &classes, err);
	}
	if (r < 0) {
		queue_classes_clear(&classes);
		return r;
	}
	*ret_classes = classes;
	return 0;
}
