/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts of bundles in the engine: which run, when, and with what on the device; above all which do not. No script is really started here. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <agent/bundle.h>

#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#define PRE_TEXT "echo before\n"
#define POST_TEXT "echo after\n"

/* Who is asked to run scripts, and what the device looks like then. */
struct runner {
	struct device *device;
	char log[256];		/* "name:argument:phase " of each call */
	const char *fails;	/* the call whose log begins like that */
	bool is_odd;		/* something was touched too early, or not yet there */
};

static int run(void *userdata, const struct agent_update_script *script, struct agent_error **err)
{
	struct runner *r = userdata;
	struct boot_state env = env_read(r->device);
	const struct boot_slot *b = boot_state_slot(&env, "b");
	bool boots_b = strcmp(env.primary, "b") == 0 || b->is_good || b->n_tries_left > 0;
	const char *text = strncmp(script->name, "post", 4) == 0 ? POST_TEXT : PRE_TEXT;
	char call[64];

	snprintf(call, sizeof(call), "%s:%s:%s ", script->name, script->argument == NULL ? "-" : script->argument, script->is_after ? "after" : "before");
	strcat(r->log, call);
	r->is_odd = r->is_odd || boots_b || script->size != strlen(text) || memcmp(script->text, text, script->size) != 0 ||
		    (script->is_after ? !slot_holds_image(r->device, 1) : !slot_is_untouched(r->device, 1));
	return r->fails != NULL && strncmp(call, r->fails, strlen(r->fails)) == 0 ? agent_error_set(err, -EPERM, "update.script", "script %s failed", script->name) : 0;
}

static struct agent_update *engine_running(struct device *d, struct runner *r)
{
	struct agent_update *u = engine(d);

	*r = (struct runner){ .device = d, .fails = r->fails };
	assert_int_equal(agent_update_set_script(u, run, r, NULL), 0);
	return u;
}

#define SECTIONS_MAX 1024
/* "scripts" with the three kinds of script. */
static const char *sections(char text[SECTIONS_MAX])
{
	char pre[65], post[65];

	sha256_text(PRE_TEXT, strlen(PRE_TEXT), pre);
	sha256_text(POST_TEXT, strlen(POST_TEXT), post);
	snprintf(text, SECTIONS_MAX, "scripts = ( { filename = \"both\"; type = \"shellscript\"; sha256 = \"%s\"; }, { filename = \"post\"; type = \"postinstall\"; sha256 = \"%s\"; size = %zu; }, "
				     "{ filename = \"pre\"; type = \"preinstall\"; sha256 = \"%s\"; } );", pre, post, strlen(POST_TEXT), pre);
	return text;
}

#define NAMED "scripts = [ \"both\", \"post\", \"pre\" ];"
#define BUNDLE(text) { .sections = sections(text), .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } }, .late = { { "post", POST_TEXT } } }

static void they_run_in_order_around_the_images(void **state)
{
	struct device *d = *state;
	struct runner r = { 0 };
	struct agent_update *u = engine_running(d, &r);
	char text[SECTIONS_MAX];
	const struct bundle b = BUNDLE(text);
	_cleanup_error_ struct agent_error *err = NULL;

	if (install(d, u, &b, 0, &err) < 0)
		fail_msg("%s", agent_error_message(err));
	assert_string_equal(r.log, "both:preinst:before pre:-:before both:postinst:after post:-:after ");
	assert_false(r.is_odd);
	assert_string_equal(env_read(d).primary, "b");
	agent_update_free(u);
}

/* Whatever the maker may have got wrong: refused, and nobody was asked to run anything. */
static void not_one_byte_runs_of_a_bundle_that_is_refused(void **state)
{
	static const struct {
		const char *what;
		struct bundle b;	/* sections are put in */
		bool no_runner;
		int r;
		const char *error;
	} cases[] = {
		{ "no permission", { .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT }, { "post", POST_TEXT } } }, true, -EOPNOTSUPP, "manifest.unsupported" },
		{ "a stranger signed", { .by_stranger = true, .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } } }, false, -EKEYREJECTED, "update.signer" },
		{ "edited", { .edit_after_signing = true, .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } } }, false, -EKEYREJECTED, "update.signature" },
		{ "other product", { .product = "gw:2", .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } } }, false, -EPERM, "update.product" },
		{ "below the floor", { .security_version = 1, .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } } }, false, -ESTALE, "update.stale" },
		{ "not named", { .early = { { "both", PRE_TEXT }, { "pre", PRE_TEXT } } }, false, -EOPNOTSUPP, "manifest.unsupported" },
		{ "one byte changed", { .extra_agent = NAMED, .early = { { "both", "echo Before\n" }, { "pre", PRE_TEXT } } }, false, -EBADMSG, "update.hash" },
		{ "the last one changed", { .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "pre", "echo Before\n" } } }, false, -EBADMSG, "update.hash" },
		{ "one byte more", { .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "post", POST_TEXT "\n" } } }, false, -EBADMSG, "update.size" },
		{ "empty", { .extra_agent = NAMED, .early = { { "both", "" } } }, false, -EBADMSG, "update.size" },
		{ "after the image", { .extra_agent = NAMED, .early = { { "both", PRE_TEXT } }, .late = { { "pre", PRE_TEXT } } }, false, -EBADMSG, "update.order" },
		{ "missing", { .extra_agent = NAMED, .early = { { "pre", PRE_TEXT } } }, false, -EBADMSG, "update.order" },
		{ "twice", { .extra_agent = NAMED, .early = { { "both", PRE_TEXT }, { "both", PRE_TEXT } } }, false, -EBADMSG, "container.duplicate" },
		{ "not of the manifest", { .extra_agent = NAMED, .early = { { "other", PRE_TEXT }, { "both", PRE_TEXT } } }, false, -EBADMSG, "update.member" },
	};
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct runner r = { 0 };
		struct agent_update *u = engine_running(d, &r);
		struct bundle b = cases[i].b;
		_cleanup_error_ struct agent_error *err = NULL;
		char text[SECTIONS_MAX];
		int n;

		if (cases[i].no_runner)
			assert_int_equal(agent_update_set_script(u, NULL, NULL, NULL), 0);
		b.sections = sections(text);
		n = install(d, u, &b, 2, &err);
		if (n != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0)
			fail_msg("%s: %d %s \"%s\", wanted %s", cases[i].what, n, agent_error_name(err), agent_error_message(err), cases[i].error);
		if (r.log[0] != '\0')
			fail_msg("%s: ran %s", cases[i].what, r.log);
		assert_true(slot_is_untouched(d, 1));
		assert_string_equal(env_read(d).primary, "a");
		agent_update_free(u);
	}
}

static void one_that_fails_before_the_images_leaves_all_as_it_was(void **state)
{
	static const char *const fails[] = { "both:preinst", "pre" };
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		struct runner r = { .fails = fails[i] };
		struct agent_update *u = engine_running(d, &r);
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *before = NULL, *after = NULL;
		char text[SECTIONS_MAX];
		const struct bundle b = BUNDLE(text);

		assert_int_equal(file_read_at(AT_FDCWD, d->env, 4096, &before, NULL, NULL), 0);
		assert_int_equal(install(d, u, &b, 0, &err), -EPERM);
		assert_error(&err, -EPERM, "update.script");
		assert_string_equal(r.log, i == 0 ? "both:preinst:before " : "both:preinst:before pre:-:before ");
		assert_true(slot_is_untouched(d, 1));
		assert_int_equal(file_read_at(AT_FDCWD, d->env, 4096, &after, NULL, NULL), 0);
		assert_string_equal(before, after);
		assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
		agent_update_free(u);
	}
}

static void one_that_fails_after_the_images_leaves_a_slot_that_does_not_boot(void **state)
{
	static const char *const fails[] = { "both:postinst", "post" };
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		struct runner r = { .fails = fails[i] };
		struct agent_update *u = engine_running(d, &r);
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state env;
		char text[SECTIONS_MAX];
		const struct bundle b = BUNDLE(text);

		/* The second time it is resumed: what is in the slot already is looked at, not written. */
		assert_int_equal(install(d, u, &b, 0, &err), -EPERM);
		assert_error(&err, -EPERM, "update.script");
		assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
		env = env_read(d);
		assert_string_equal(env.primary, "a");
		assert_false(boot_state_slot(&env, "b")->is_good);
		assert_int_equal(boot_state_slot(&env, "b")->n_tries_left, 0);
		assert_string_equal(reboot(d), "a");
		agent_update_free(u);
	}
}

/* An image whose bytes are wrong comes after the scripts that run before it: those after it do not run. */
static void none_runs_after_a_broken_image(void **state)
{
	struct device *d = *state;
	struct runner r = { 0 };
	struct agent_update *u = engine_running(d, &r);
	_cleanup_error_ struct agent_error *err = NULL;
	char text[SECTIONS_MAX];
	struct bundle b = BUNDLE(text);

	b.break_chunk = 2;
	assert_int_equal(install(d, u, &b, 0, &err), -EBADMSG);
	assert_string_equal(r.log, "both:preinst:before pre:-:before ");
	assert_string_equal(env_read(d).primary, "a");
	agent_update_free(u);
}

/* The maker's side knows what the device would say, and runs nothing either. */
static void verify_says_what_a_device_says(void **state)
{
	struct device *d = *state;
	char text[SECTIONS_MAX];
	struct bundle b = BUNDLE(text);
	struct agent_bundle_policy policy = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .now_s = NOW_S };
	static const struct {
		int allow;
		bool late, missing;
		int r;
		const char *error;
	} cases[] = {
		{ 0, false, false, -EOPNOTSUPP, "manifest.unsupported" },
		{ 1, false, false, 0, NULL },
		{ 1, true, false, -EBADMSG, "update.order" },
		{ 1, false, true, -EBADMSG, "update.member" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_close_ int fd = -1;
		struct agent_bundle_facts facts = { 0 };
		struct bundle one = b;

		policy.allow_scripts = cases[i].allow;
		if (cases[i].late) {
			one.early[1].name = NULL;
			one.late[1].name = "pre";
			one.late[1].text = PRE_TEXT;
		}
		if (cases[i].missing)
			one.late[0].name = NULL;
		bundle_make(d, &one, &bytes);
		fd = bytes_fd(bytes.data, bytes.size);
		assert_int_equal(agent_bundle_verify(d->ctx, fd, &policy, &facts, &err), cases[i].r);
		if (cases[i].error == NULL)
			assert_int_equal(facts.n_scripts, 3);
		else
			assert_error(&err, cases[i].r, cases[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(they_run_in_order_around_the_images, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(not_one_byte_runs_of_a_bundle_that_is_refused, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(one_that_fails_before_the_images_leaves_all_as_it_was, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(one_that_fails_after_the_images_leaves_a_slot_that_does_not_boot, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(none_runs_after_a_broken_image, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(verify_says_what_a_device_says, device_setup, device_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
