/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/common/paths.h"
#include "agentd/common/settings.h"

#define DEVICE "device = { product = \"gw:1\"; serial = \"S-1\"; };\n"

static void put(struct temp_dir *dir, const char *name, const char *text, size_t size)
{
	int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), size);
	close(fd);
}

static int load(struct temp_dir *dir, struct settings **ret, struct agent_error **err)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/agentd.conf", dir->path);
	return settings_load(path, ret, err);
}

static void bad_files_are_refused_with_name_and_line(void **state)
{
	static const struct { const char *text, *name; unsigned line; } cases[] = {
		{ "", "config.missing", 1 },
		{ "device = { product = \"gw:1\"; };", "config.missing", 1 },
		{ DEVICE "mqtt = { enable = true; };", "config.missing", 1 },
		{ DEVICE "update = { slots = (\n{ class = \"r\"; name = \"a\"; }); };", "config.missing", 3 },
		{ DEVICE "nonsense = { };", "config.unknown", 2 },
		{ DEVICE "nonsense = 3;", "config.unknown", 2 },
		{ DEVICE "mqtt = {\n\nhots = \"x\"; };", "config.unknown", 4 },
		{ DEVICE "update = { slots = ( { class = \"r\"; name = \"a\";\nsize = \"/x\"; }); };", "config.unknown", 3 },
		{ DEVICE "mqtt = 3;", "config.type", 2 },
		{ DEVICE "mqtt = { crl = \"maybe\"; };", "config.range", 1 },
		{ DEVICE "fetch = { ocsp = \"always\"; };", "config.range", 1 },
		{ DEVICE "est = { pins = [ \"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" ]; };", "config.range", 1 },
		{ DEVICE "mqtt = { pins = [ \"broker\", \"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\" ]; };", "config.range", 1 },
		{ DEVICE "mqtt = { port = \"8883\"; };", "config.type", 2 },
		{ DEVICE "mqtt = { port = 8883.0; };", "config.type", 2 },
		{ DEVICE "mqtt = { host = 3; };", "config.type", 2 },
		{ DEVICE "mqtt = { host = [ \"a\" ]; };", "config.type", 2 },
		{ DEVICE "mqtt = { enable = 1; };", "config.type", 2 },
		{ DEVICE "mgmt = { hosts = \"a\"; };", "config.type", 2 },
		{ DEVICE "mgmt = { hosts = ( \"a\", 3 ); };", "config.type", 2 },
		{ DEVICE "update = { slots = \"a\"; };", "config.type", 2 },
		{ DEVICE "update = { slots = ( \"a\" ); };", "config.type", 2 },
		{ DEVICE "mqtt = { port = 0; };", "config.range", 2 },
		{ DEVICE "mqtt = { port = 65536; };", "config.range", 2 },
		{ DEVICE "mqtt = { port = -1; };", "config.range", 2 },
		{ DEVICE "password = { min_length = 11; };", "config.range", 2 },
		{ DEVICE "tpm = { srk_handle = 0x80ffffff; };", "config.range", 2 },
		{ DEVICE "tpm = {\n srk_handle = 0x181000001; };", "config.range", 3 },
		{ DEVICE "tpm = { nv_password = 0x01800a21; };", "config.range", 1 },
		{ DEVICE "mqtt = { backoff_min_ms = 5000; backoff_max_ms = 2000; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"~/+/x\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"#\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"/#\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"a/#/#\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"~/#\"; answer_topic = \"answers\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"c/#\"; answer_topic = \"c/answers\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"c\"; answer_topic = \"c\"; };", "config.range", 1 },
		{ DEVICE "mqtt = { command_topic = \"c\"; answer_topic = \"c/+\"; };", "config.range", 1 },
		{ DEVICE "mgmt = { listen = \"443\"; };", "config.range", 2 },
		{ DEVICE "paths = { state_dir = \"lib\"; };", "config.range", 2 },
		{ DEVICE "paths = { state_dir = \"\"; };", "config.range", 2 },
		{ DEVICE "mqtt = { host = \"a\\nb\"; };", "config.range", 2 },
		{ "device = { product = \"gw:1\"; serial = \"a/b\"; };", "config.range", 1 },
		{ "device = { product = \"gw:1\"; serial = \"#\"; };", "config.range", 1 },
		{ DEVICE "update = { slots = ( { class = \"r\"; name = \"a\"; path = \"x\"; }); };", "config.range", 2 },
		{ DEVICE "update = { slots = ( { class = \"r\"; name = \"a\"; path = \"/x\"; },\n"
			 "{ class = \"r\"; name = \"b\"; path = \"/x\"; }); };", "config.range", 3 },
		{ DEVICE "update = { slots = ( { class = \"r\"; name = \"a\"; path = \"/x\"; },\n"
			 "{ class = \"r\"; name = \"a\"; path = \"/y\"; }); };", "config.range", 3 },
		{ DEVICE "mqtt = { port = 8883;\n port = 8884; };", "config.syntax", 3 },
		{ DEVICE "mqtt = { port 8883; };", "config.syntax", 2 },
		{ DEVICE "mqtt = { port = 8883;", "config.syntax", 2 },
		{ DEVICE "mqtt = { host = \"abc", "config.syntax", 2 },
		{ DEVICE "}", "config.syntax", 2 },
		{ DEVICE "\n @include \"/etc/passwd\"\n", "config.syntax", 3 },
		{ "@include \"/etc/passwd\"\n", "config.syntax", 1 },
	};
	struct temp_dir *dir = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_error *err = NULL;
		struct settings *s = NULL;
		char begin[128];

		put(dir, "agentd.conf", cases[i].text, strlen(cases[i].text));
		assert_int_equal(load(dir, &s, &err), -EINVAL);
		assert_null(s);
		snprintf(begin, sizeof(begin), "%s/agentd.conf:%u: ", dir->path, cases[i].line);
		if (strncmp(agent_error_message(err), begin, strlen(begin)) != 0 || strcmp(agent_error_name(err), cases[i].name) != 0)
			fail_msg("case %zu: %s: %s", i, agent_error_name(err), agent_error_message(err));
		agent_error_free(err);
	}
}

static void absent_huge_and_binary_files_are_refused(void **state)
{
	struct temp_dir *dir = *state;
	_cleanup_free_ char *large = calloc(1, 300 * KIB);
	struct agent_error *err = NULL;
	struct settings *s = NULL;

	assert_int_equal(load(dir, &s, &err), -ENOENT);
	assert_error(&err, -ENOENT, "file.open");
	memset(large, '\n', 300 * KIB);
	put(dir, "agentd.conf", large, 300 * KIB);
	assert_int_equal(load(dir, &s, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "file.size");
	put(dir, "agentd.conf", DEVICE "\0garbage {", sizeof(DEVICE "\0garbage {") - 1);
	assert_int_equal(load(dir, &s, &err), -EINVAL);
	assert_error(&err, -EINVAL, "config.syntax");
	assert_null(s);
}

static void defaults_hold_and_the_file_overrides(void **state)
{
	struct temp_dir *dir = *state;
	static const char text[] = DEVICE "mqtt: { port = 0x22b3; host = \"b\\\"r\\\\k\"; }\ntpm = { srk_handle = 0x81000002; nv_floor = 25168432L; }\n"
		"mgmt = { hosts = ( \"a\", \"b\" ); https = false; }\n";
	struct settings *s = NULL;

	put(dir, "agentd.conf", text, strlen(text));
	assert_int_equal(load(dir, &s, NULL), 0);
	assert_string_equal(s->device.model, "gateway");
	assert_string_equal(s->device.serial, "S-1");
	assert_string_equal(s->mqtt.host, "b\"r\\k");
	assert_int_equal(s->mqtt.port, 8883);
	assert_int_equal(s->mqtt.keepalive_s, 60);
	assert_true(s->tpm.srk_handle == 0x81000002);
	assert_true(s->tpm.nv_floor == 25168432);
	assert_false(s->mgmt.https);
	assert_string_equal(s->mgmt.hosts[1], "b");
	assert_null(s->mgmt.hosts[2]);
	assert_int_equal(s->update.slots.n, 0);
	settings_free(s);
}

static void drop_ins_are_read_in_name_order(void **state)
{
	struct temp_dir *dir = *state;
	struct agent_error *err = NULL;
	struct settings *s = NULL;
	char *path;

	put(dir, "agentd.conf", DEVICE, strlen(DEVICE));
	assert_int_equal(mkdirat(dir->fd, "agentd.conf.d", 0700), 0);
	put(dir, "agentd.conf.d/20-b.conf", "mqtt = { port = 2; };", 21);
	put(dir, "agentd.conf.d/10-a.conf", "mqtt = { port = 1; host = \"x\"; };", 33);
	put(dir, "agentd.conf.d/.30.conf", "garbage", 7);
	put(dir, "agentd.conf.d/40.conf.bak", "garbage", 7);
	assert_int_equal(load(dir, &s, NULL), 0);
	assert_int_equal(s->mqtt.port, 2);
	assert_string_equal(s->mqtt.host, "x");
	path = settings_trust_path(s, "", "broker/ca.pem");
	assert_string_equal(path, AGENT_SYSCONFDIR "/agentd/trust/broker/ca.pem");
	free(path);
	path = settings_trust_path(s, "/a", "broker/ca.pem");
	assert_string_equal(path, "/a");
	free(path);
	path = settings_trust_path(s, NULL, "update");
	assert_string_equal(path, AGENT_SYSCONFDIR "/agentd/trust/update");
	free(path);
	s = settings_free(s);
	put(dir, "agentd.conf.d/50.conf", "\nfoo = { };", 11);
	assert_int_equal(load(dir, &s, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "agentd.conf.d/50.conf:2: "));
	assert_error(&err, -EINVAL, "config.unknown");
}

static char *printed(const struct settings *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	settings_print(s, out);
	fclose(out);
	return text;
}

static void printing_and_loading_again_changes_nothing(void **state)
{
	static const char text[] = "device = { product = \"gw:1 \\\"x\\\\\"; serial = \"S.1\"; };\nmgmt = { hosts = [ \"a\", \"b\\\\c\" ]; };\n"
		"tpm = { nv_floor = 0x01bffffe; }\nupdate = { allow_compat = true; slots = (\n{ class = \"rootfs\"; name = \"a\"; path = \"/dev/a\"; },\n"
		"{ class = \"rootfs\"; name = \"b\"; path = \"/dev/b\"; } ); };";
	struct temp_dir *dir = *state;
	struct settings *s = NULL, *again = NULL;
	char *first, *second;

	put(dir, "agentd.conf", text, strlen(text));
	assert_int_equal(load(dir, &s, NULL), 0);
	first = printed(s);
	put(dir, "agentd.conf", first, strlen(first));
	assert_int_equal(load(dir, &again, NULL), 0);
	second = printed(again);
	assert_string_equal(first, second);
	assert_string_equal(again->device.product, "gw:1 \"x\\");
	assert_int_equal(again->update.slots.n, 2);
	assert_string_equal(again->update.slots.items[1].path, "/dev/b");
	assert_true(again->tpm.nv_floor == 0x01bffffe);
	free(first);
	free(second);
	settings_free(s);
	settings_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bad_files_are_refused_with_name_and_line, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(absent_huge_and_binary_files_are_refused, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(defaults_hold_and_the_file_overrides, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(drop_ins_are_read_in_name_order, temp_dir_setup, temp_dir_teardown),
		cmocka_unit_test_setup_teardown(printing_and_loading_again_changes_nothing, temp_dir_setup, temp_dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
