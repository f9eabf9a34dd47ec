/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/common/topic_rights.h"
#include "agentd/common/topics.h"

/* MQTT 3.1.1 section 4.7 has these examples, and some of ours. */
static void filters_match_as_the_standard_says(void **state)
{
	static const struct {
		const char *filter, *topic;
		bool matches;
	} cases[] = {
		{ "sport/tennis/player1/#", "sport/tennis/player1", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
		{ "sport/tennis/player1/#", "sport/tennis/player10", false },
		{ "sport/#", "sport", true },
		{ "#", "a/b/c", true },
		{ "sport/tennis/+", "sport/tennis/player1", true },
		{ "sport/tennis/+", "sport/tennis/player1/ranking", false },
		{ "sport/+", "sport", false },
		{ "sport/+", "sport/", true },
		{ "+/+", "/finance", true },
		{ "/+", "/finance", true },
		{ "+", "/finance", false },
		{ "#", "$SYS/broker", false },
		{ "+/monitor/Clients", "$SYS/monitor/Clients", false },
		{ "$SYS/#", "$SYS/", true },
		{ "$SYS/monitor/+", "$SYS/monitor/Clients", true },
		{ "a/b", "a/B", false },
		{ "a/+/c/#", "a/b/c", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (topic_matches(cases[i].filter, cases[i].topic) != cases[i].matches)
			fail_msg("%s against %s", cases[i].filter, cases[i].topic);
}

/* The right decides, so a wide subscription must not pass for a narrow one. */
static void a_filter_covers_narrower_ones_only(void **state)
{
	static const struct {
		const char *outer, *inner;
		bool covers;
	} cases[] = {
		{ "a/#", "a/#", true }, { "a/#", "a/+/b", true }, { "a/#", "a", true }, { "a/+", "a/b", true }, { "a/+", "a/+", true },
		{ "a/+", "a/#", false }, { "a/b", "a/+", false }, { "a/+/c", "a/#", false }, { "#", "#", true }, { "+", "#", false },
		{ "a/#", "#", false }, { "a/#", "+/b", false }, { "#", "$SYS/#", false }, { "a/b/#", "a/#", false }, { "a", "a/#", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (topic_covers(cases[i].outer, cases[i].inner) != cases[i].covers)
			fail_msg("%s over %s", cases[i].outer, cases[i].inner);
}

static void only_topics_are_topics(void **state)
{
	static const char *const good[] = { "a", "/", "a//b", "$x", "\xc3\xa4/\xe2\x82\xac/\xf0\x9f\x98\x80", " " };
	static const char *const bad[] = { "", "a/+", "#", "a+b", "a\nb", "\x7f", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xc2\x80" };
	static const char *const good_filters[] = { "#", "+", "a/+/b/#", "+/+", "/#", "a" };
	static const char *const bad_filters[] = { "", "a#", "a/#/b", "a+", "+a", "#/", "a/b#", "a/+b" };
	char text[TOPIC_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(topic_is_valid(good[i]) && topic_filter_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (topic_is_valid(bad[i]))
			fail_msg("topic %zu is taken", i);
	for (size_t i = 0; i < ARRAY_SIZE(good_filters); i++)
		assert_true(topic_filter_is_valid(good_filters[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad_filters); i++)
		if (topic_filter_is_valid(bad_filters[i]))
			fail_msg("filter %s is taken", bad_filters[i]);
	memset(text, 'a', sizeof(text));
	text[TOPIC_MAX] = '\0';
	assert_true(topic_is_valid(text));
	text[TOPIC_MAX] = 'a';
	text[TOPIC_MAX + 1] = '\0';
	assert_false(topic_is_valid(text));
	memset(text, '/', TOPIC_LEVELS_MAX);
	text[TOPIC_LEVELS_MAX] = '\0';
	assert_false(topic_is_valid(text));
}

static void a_tilde_is_the_prefix(void **state)
{
	char topic[TOPIC_MAX + 1], prefix[TOPIC_MAX];

	assert_int_equal(topic_expand("devices/GW-1", "~/meter/#", topic), 0);
	assert_string_equal(topic, "devices/GW-1/meter/#");
	assert_int_equal(topic_expand("devices/GW-1", "a/~/b", topic), 0);
	assert_string_equal(topic, "a/~/b");
	memset(prefix, 'p', sizeof(prefix));
	prefix[sizeof(prefix) - 1] = '\0';
	assert_int_equal(topic_expand(prefix, "~/long", topic), -EMSGSIZE);
}

static int read_rows(char **rows, struct queue_classes *ret_classes, struct agent_error **err)
{
	char file[] = "agentd.conf";
	struct settings settings = { .file = file };

	settings.mqtt.queues = rows;
	return queue_classes_read(&settings, ret_classes, err);
}

static void rows_become_queues(void **state)
{
	char alarms[] = "alarms topic=~/alarm/# topic=fire loss_messages=1 priority=9 ttl_s=3600 size_kib=64 rate_per_s=5 full=drop-oldest";
	char standard[] = "default size_kib=128";
	char *rows[] = { alarms, standard, NULL };
	struct queue_classes classes;

	assert_int_equal(read_rows(rows, &classes, NULL), 0);
	assert_int_equal(classes.n, 3);
	assert_string_equal(classes.items[0].name, "alarms");
	assert_int_equal(classes.items[0].n_topics, 2);
	assert_string_equal(classes.items[0].topics[1], "fire");
	assert_int_equal(classes.items[0].loss_messages, 1);
	assert_int_equal(classes.items[0].loss_s, 60);
	assert_int_equal(classes.items[0].priority, 9);
	assert_int_equal(classes.items[0].ttl_s, 3600);
	assert_int_equal(classes.items[0].rate_per_s, 5);
	assert_int_equal(classes.items[0].full, AGENT_QUEUE_DROP_OLDEST);
	assert_string_equal(classes.items[1].name, "default");
	assert_int_equal(classes.items[1].size_kib, 128);
	assert_int_equal(classes.items[1].full, AGENT_QUEUE_REFUSE_NEW);
	assert_string_equal(classes.items[2].name, "telemetry");
	queue_classes_clear(&classes);
	assert_int_equal(read_rows(NULL, &classes, NULL), 0);
	assert_int_equal(classes.n, 2);
	assert_string_equal(classes.items[1].name, "default");
	queue_classes_clear(&classes);
}

static void bad_rows_are_named(void **state)
{
	static const struct {
		const char *row, *word;
	} cases[] = {
		{ "", "begins with a name" }, { "Alarms topic=a", "begins with a name" }, { "a/b topic=a", "begins with a name" },
		{ "abcdefghijklmnopqrstuvwxyz topic=a", "begins with a name" }, { "alarms", "no topic=" },
		{ "alarms topic=a#", "topic=a#: that is no topic filter" }, { "alarms topic=a size_kib=63", "size_kib=63: it is 64 to 4194304" },
		{ "alarms topic=a loss_messages=0", "1 to 100000" }, { "alarms topic=a priority=10", "0 to 9" },
		{ "alarms topic=a ttl_s=-1", "0 to 31536000" }, { "alarms topic=a loss_s=1x", "1 to 86400" },
		{ "alarms topic=a rate_per_s=", "0 to 10000" }, { "alarms topic=a full=maybe", "refuse-new or drop-oldest" },
		{ "alarms topic=a size=1", "unknown" }, { "alarms topic=a colour", "NAME=VALUE" },
		{ "alarms topic=1 topic=2 topic=3 topic=4 topic=5 topic=6 topic=7 topic=8 topic=9", "one topic too many" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *row = strdup(cases[i].row);
		char *rows[] = { row, NULL };
		struct agent_error *err = NULL;
		struct queue_classes classes;

		assert_int_equal(read_rows(rows, &classes, &err), -EINVAL);
		if (strstr(agent_error_message(err), cases[i].word) == NULL)
			fail_msg("%s: %s", cases[i].row, agent_error_message(err));
		assert_error(&err, -EINVAL, "config.range");
	}
}

static void a_name_is_there_once_and_the_number_is_bounded(void **state)
{
	char one[] = "a topic=a", texts[QUEUE_CLASSES_MAX][16];
	char *twice[] = { one, one, NULL }, *many[QUEUE_CLASSES_MAX + 1] = { NULL };
	struct queue_classes classes;
	struct agent_error *err = NULL;

	assert_int_equal(read_rows(twice, &classes, &err), -EINVAL);
	assert_error(&err, -EINVAL, "config.range");
	for (size_t i = 0; i < QUEUE_CLASSES_MAX; i++) {
		snprintf(texts[i], sizeof(texts[i]), "q%zu topic=a", i);
		many[i] = texts[i];
	}
	assert_int_equal(read_rows(many, &classes, &err), -EINVAL);
	assert_error(&err, -EINVAL, "config.range");
}

static bool may(const char *row, const struct key_caller *caller, enum topic_action action, const char *topic)
{
	char copy[128], *rows[] = { copy, NULL };
	struct settings settings = { .file = NULL };

	snprintf(copy, sizeof(copy), "%s", row);
	settings.mqtt.rights = rows;
	return topic_right_find(&settings, "d/1", caller, action, topic);
}

static void a_right_is_for_whom_and_what_it_says(void **state)
{
	const struct key_caller caller = { .uid = 1000, .gid = 100, .groups = { 44 }, .n_groups = 1, .unit = "meter.service" };
	const struct key_caller nobody_known = { .uid = 0, .gid = 0 };

	assert_true(may("publish uid:1000 ~/meter/#", &caller, TOPIC_PUBLISH, "d/1/meter/7"));
	assert_false(may("publish uid:1000 ~/meter/#", &caller, TOPIC_SUBSCRIBE, "d/1/meter/7"));
	assert_false(may("publish uid:1000 ~/meter/#", &caller, TOPIC_PUBLISH, "d/2/meter/7"));
	assert_false(may("publish uid:1001 ~/meter/#", &caller, TOPIC_PUBLISH, "d/1/meter/7"));
	assert_true(may("publish gid:100 a", &caller, TOPIC_PUBLISH, "a"));
	assert_true(may("publish gid:44 a", &caller, TOPIC_PUBLISH, "a"));
	assert_false(may("publish gid:45 a", &caller, TOPIC_PUBLISH, "a"));
	assert_true(may("subscribe unit:meter.service a/#", &caller, TOPIC_SUBSCRIBE, "a/+"));
	assert_false(may("subscribe unit:meter.service a/+", &caller, TOPIC_SUBSCRIBE, "a/#"));
	assert_false(may("subscribe unit:meter.servic a", &caller, TOPIC_SUBSCRIBE, "a"));
	assert_false(may("subscribe unit:meter.service2 a", &caller, TOPIC_SUBSCRIBE, "a"));
	assert_false(may("subscribe unit:meter.service a", &nobody_known, TOPIC_SUBSCRIBE, "a"));
}

static void bad_rights_are_named(void **state)
{
	static const char *const rows[] = {
		"", "publish", "publish uid:1", "publish uid:1 a#", "read uid:1 a", "publish  uid:1 a", "publish uid: a", "publish uid:-1 a",
		"publish uid:x a", "publish uid:99999999999 a", "publish uid:4294967296 a", "publish unit: a", "publish user:joe a", "publish 1000 a",
	};
	struct topic_right right;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct agent_error *err = NULL;

		if (topic_right_parse(rows[i], &right, &err) != -EINVAL)
			fail_msg("\"%s\" is taken", rows[i]);
		assert_error(&err, -EINVAL, "config.range");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_match_as_the_standard_says),
		cmocka_unit_test(a_filter_covers_narrower_ones_only),
		cmocka_unit_test(only_topics_are_topics),
		cmocka_unit_test(a_tilde_is_the_prefix),
		cmocka_unit_test(rows_become_queues),
		cmocka_unit_test(bad_rows_are_named),
		cmocka_unit_test(a_name_is_there_once_and_the_number_is_bounded),
		cmocka_unit_test(a_right_is_for_whom_and_what_it_says),
		cmocka_unit_test(bad_rights_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
