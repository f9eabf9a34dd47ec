/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agentd/core/key_rights.h"
#include "base/file.h"

#define HEAD "version 1\nsrk 000b00\nname 000b11\ncreated 1763724000\n"
#define GOOD HEAD "purposes tls-client csr\ncaller program:link tls-client\ncaller uid:1000 tls-client\n"

static void a_description_is_read_whole_or_not_at_all(void **state)
{
	static const struct {
		const char *text;
		bool is_good;
	} cases[] = {
		{ GOOD, true },
		{ HEAD "purposes none\n", true },
		{ HEAD "purposes sign-app seal\ncaller unit:a@b.service sign-app seal\ncaller gid:44 seal\n", true },
		{ HEAD "purposes csr sign-app\n", true },
		{ HEAD "origin imported\npurposes none\n", true },
		{ HEAD "origin software\npurposes csr\ncaller uid:1 csr\n", true },
		{ HEAD "origin tpm\npurposes none\n", false },					/* said by leaving it out */
		{ HEAD "origin imported\norigin imported\npurposes none\n", false },
		{ HEAD "origin elsewhere\npurposes none\n", false },
		{ HEAD "purposes none\norigin imported\n", false },
		{ HEAD "origin imported\n", false },
		{ "", false },
		{ "version 1\n", false },
		{ HEAD, false },
		{ "version 2\nsrk 000b00\nname 000b11\ncreated 1\npurposes none\n", false },
		{ "srk 000b00\nversion 1\nname 000b11\ncreated 1\npurposes none\n", false },
		{ "version 1\nsrk 000B00\nname 000b11\ncreated 1\npurposes none\n", false },
		{ "version 1\nsrk 000b0\nname 000b11\ncreated 1\npurposes none\n", false },
		{ "version 1\nsrk 000b00\nname 000b11\ncreated 01\npurposes none\n", false },
		{ "version 1\nsrk 000b00\nname 000b11\ncreated -1\npurposes none\n", false },
		{ "version 1\nsrk 000b00\nname 000b11\ncreated 99999999999999999999\npurposes none\n", false },
		{ "version 1\nsrk 000b00\nname 000b11\ncreated 1\npurposes none", false },	/* torn */
		{ "version 1\nsrk 000b00\nname 000b11\ncreated 1\npurposes \n", false },
		{ HEAD "purposes tls-client tls-client\n", false },
		{ HEAD "purposes tls-client  csr\n", false },
		{ HEAD "purposes tls-client \n", false },
		{ HEAD "purposes everything\n", false },
		{ HEAD "purposes tls-client sign-app\n", false },				/* would be an oracle */
		{ HEAD "purposes csr\ncaller uid:1 tls-client\n", false },			/* more than the key is for */
		{ HEAD "purposes csr\ncaller uid:1\n", false },
		{ HEAD "purposes csr\ncaller uid:1 none\n", false },
		{ HEAD "purposes csr\ncaller uid:-1 csr\n", false },
		{ HEAD "purposes csr\ncaller uid:4294967295 csr\n", false },
		{ HEAD "purposes csr\ncaller uid: csr\n", false },
		{ HEAD "purposes csr\ncaller user:me csr\n", false },
		{ HEAD "purposes csr\ncaller program:mgmt csr\n", false },
		{ HEAD "purposes csr\ncaller unit:x csr\n", false },
		{ HEAD "purposes csr\ncaller unit:../x.service csr\n", false },
		{ HEAD "purposes csr\ncaller unit:.service csr\n", false },
		{ HEAD "purposes csr\nowner uid:1 csr\n", false },
		{ HEAD "purposes csr\n\n", false },
		{ GOOD "version 1\n", false },
	};
	struct agent_error *err = NULL;
	struct key_meta meta;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = key_meta_parse(cases[i].text, strlen(cases[i].text), &meta, &err);

		if (cases[i].is_good != (r == 0))
			fail_msg("%s", cases[i].text);
		if (r < 0)
			assert_error(&err, -EBADMSG, "key.meta");
	}
	assert_int_equal(key_meta_parse("version 1\0\n", 11, &meta, NULL), -EBADMSG);
	/* Every beginning of a good one is refused. */
	for (size_t n = 0; n < strlen(HEAD "purposes tls-client csr"); n++)
		assert_int_equal(key_meta_parse(GOOD, n, &meta, NULL), -EBADMSG);
}

static void what_is_written_is_read_again(void **state)
{
	struct temp_dir dir;
	struct key_meta meta, again;
	struct agent_error *err = NULL;
	struct stat st;
	char many[4096] = HEAD "purposes seal\n";

	temp_dir_make(&dir);
	assert_int_equal(key_meta_parse(GOOD, strlen(GOOD), &meta, NULL), 0);
	assert_int_equal(key_meta_write(dir.fd, "app", &meta, &err), 0);
	assert_int_equal(key_meta_read(dir.fd, "app", &again, &err), 0);
	assert_memory_equal(&meta, &again, sizeof(meta));
	assert_int_equal(fstatat(dir.fd, "app.meta", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(key_meta_read(dir.fd, "none", &again, NULL), -ENOENT);
	for (enum key_origin origin = KEY_MADE; origin <= KEY_SOFTWARE; origin++) {
		meta.origin = origin;
		assert_int_equal(key_meta_write(dir.fd, "app", &meta, &err), 0);
		assert_int_equal(key_meta_read(dir.fd, "app", &again, &err), 0);
		assert_int_equal(again.origin, origin);
	}
	assert_string_equal(key_origin_name(KEY_IMPORTED), "imported");
	meta.purposes |= PURPOSE_SIGN_APP;
	assert_int_equal(key_meta_write(dir.fd, "app", &meta, &err), -EINVAL);
	assert_error(&err, -EINVAL, "key.purpose");
	for (int i = 0; i < KEY_RULES_MAX; i++)
		sprintf(many + strlen(many), "caller uid:%d seal\n", i);
	assert_int_equal(key_meta_parse(many, strlen(many), &meta, NULL), 0);
	strcat(many, "caller uid:99 seal\n");
	assert_int_equal(key_meta_parse(many, strlen(many), &meta, NULL), -EBADMSG);
	temp_dir_remove(&dir);
}

static void a_rule_is_for_its_caller_and_its_purpose(void **state)
{
	static const char text[] = HEAD "purposes tls-client csr seal\ncaller program:link tls-client\ncaller uid:1000 tls-client\n"
					"caller gid:44 seal\ncaller unit:meter.service tls-client seal\n";
	static const struct {
		struct key_caller caller;
		unsigned purpose;
		int rule; /* -1: none */
	} cases[] = {
		{ { .program = "link", .uid = 1 }, PURPOSE_TLS_CLIENT, 0 },
		{ { .program = "link", .uid = 1 }, PURPOSE_CSR, -1 },
		{ { .program = "fetch", .uid = 1 }, PURPOSE_TLS_CLIENT, -1 },
		/* Our own programs get nothing by uid, applications nothing by a program's name. */
		{ { .program = "fetch", .uid = 1000, .unit = "meter.service" }, PURPOSE_TLS_CLIENT, -1 },
		{ { .uid = 1000 }, PURPOSE_TLS_CLIENT, 1 },
		{ { .uid = 1000 }, PURPOSE_SEAL, -1 },
		{ { .uid = 1000 }, PURPOSE_SIGN_APP, -1 },
		{ { .uid = 0 }, PURPOSE_TLS_CLIENT, -1 }, /* nobody is asked for by being root */
		{ { .uid = 5, .gid = 44 }, PURPOSE_SEAL, 2 },
		{ { .uid = 5, .gid = 7, .groups = { 8, 44 }, .n_groups = 2 }, PURPOSE_SEAL, 2 },
		{ { .uid = 44, .gid = 7, .groups = { 8, 44 }, .n_groups = 1 }, PURPOSE_SEAL, -1 },
		{ { .uid = 5, .unit = "meter.service" }, PURPOSE_TLS_CLIENT, 3 },
		{ { .uid = 5, .unit = "meter" }, PURPOSE_TLS_CLIENT, -1 },
		{ { .uid = 5, .unit = "" }, PURPOSE_TLS_CLIENT, -1 },
	};
	struct key_meta meta;

	assert_int_equal(key_meta_parse(text, strlen(text), &meta, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct key_rule *rule = key_meta_match(&meta, &cases[i].caller, cases[i].purpose);

		if (rule != (cases[i].rule < 0 ? NULL : &meta.rules[cases[i].rule]))
			fail_msg("case %zu", i);
	}
}

static void the_unit_is_the_first_one_below_the_slices(void **state)
{
	static const struct {
		const char *text, *unit;
	} cases[] = {
		{ "0::/system.slice/meter.service\n", "meter.service" },
		{ "0::/system.slice/system-meter.slice/meter@a.service\n", "meter@a.service" },
		{ "0::/meter.service\n", "meter.service" },
		/* What a unit or a user makes below is his own naming. */
		{ "0::/system.slice/meter.service/other.service\n", "meter.service" },
		{ "0::/user.slice/user-1000.slice/user@1000.service/app.slice/meter.service\n", "user@1000.service" },
		{ "0::/user.slice/user-1000.slice/session-1.scope\n", "session-1.scope" },
		{ "12:pids:/x\n1:name=systemd:/system.slice/meter.service\n0::/\n", "meter.service" },
		{ "1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n", "b.service" },
		{ "0::/system.slice/_cgroup.service\n", "cgroup.service" },
		{ "9:name=x:/system.slice/meter.service\n0::/\n", NULL },
		{ "0::/\n", NULL },
		{ "0::/system.slice\n", NULL },
		{ "0::/docker/0123/meter.service\n", NULL },
		{ "0::/../system.slice/meter.service\n", NULL },
		{ "0::/.service\n", NULL },
		{ "0::/system.slice//meter.service\n", NULL },
		{ "0::system.slice/meter.service\n", NULL },
		{ "x0::/system.slice/meter.service\n", NULL },
		{ "0::/system.slice/meter.service (deleted)\n", NULL },
		{ "", NULL },
		{ "0::/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.service\n", NULL },
	};
	char unit[UNIT_NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool found = unit_from_cgroup(cases[i].text, unit);

		if (found != (cases[i].unit != NULL) || (found && strcmp(unit, cases[i].unit) != 0))
			fail_msg("%s: %s", cases[i].text, found ? unit : "none");
	}
}

static void the_kernel_says_who_is_there(void **state)
{
	struct key_caller caller;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(caller_from_socket(pair[0], &caller), 0);
	assert_int_equal(caller.uid, geteuid());
	assert_int_equal(caller.gid, getegid());
	assert_null(caller.program);
	close(pair[0]);
	close(pair[1]);
	assert_true(caller_from_socket(-1, &caller) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_description_is_read_whole_or_not_at_all),
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(a_rule_is_for_its_caller_and_its_purpose),
		cmocka_unit_test(the_unit_is_the_first_one_below_the_slices),
		cmocka_unit_test(the_kernel_says_who_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
