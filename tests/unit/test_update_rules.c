/* SPDX-License-Identifier: Apache-2.0 */
/* What a bundle may set for the boot loader, and what of it is installed when versions are compared. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>

#include "update/versions.h"

static void boot_variables_are_left_to_bundles_by_name_only(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	static const struct {
		const char *sections, *says;
		int r;
		const char *error;
	} cases[] = {
		{ "bootenv = ( { name = \"fdtfile\"; value = \"x\"; } );", "fdtfile; update.bootenv of this device does not list it", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"vendor_x\"; value = \"1\"; }, { name = \"Vendor_x\"; value = \"1\"; } );", "Vendor_x", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"BOOT_ORDER\"; value = \"b\"; } );", "BOOT_ORDER, which decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"BOOT_b_LEFT\"; value = \"9\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"agent_security_version_b\"; value = \"9\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"bootcmd\"; value = \"run x\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"bootdelay\"; value = \"-2\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \".flags\"; value = \"vendor_x:sr\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"bootargs\"; value = \"agent.slot=a\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"slot.b.good\"; value = \"1\"; } );", "decides what boots", -EPERM, "update.bootenv" },
		{ "bootenv = ( { name = \"vendor_x\"; value = \"1\"; }, { name = \"vendor_x\"; value = \"2\"; } );", "vendor_x twice", -EBADMSG, "update.bootenv" },
		{ "bootenv = ( { name = \"vendor_x\"; value = \"1\\nprimary=b\"; } );", "control character", -EBADMSG, "manifest.value" },
		{ "bootenv = ( { name = \"vendor x\"; } );", "name may hold", -EBADMSG, "manifest.value" },
		{ "bootenv = ( { name = \"vendor_x\"; values = \"1\"; } );", "values", -EBADMSG, "manifest.unknown" },
		{ "bootenv = { a = 1; };", "bootenv must be a list", -EBADMSG, "manifest.type" },
	};

	assert_int_equal(agent_update_allow_bootenv(u, "vendor_*", NULL), 0);
	assert_int_equal(agent_update_allow_bootenv(u, "b*", NULL), 0); /* bootcmd and its like are not meant by it */
	assert_int_equal(agent_update_allow_bootenv(u, "*", NULL), -EINVAL);
	assert_int_equal(agent_update_allow_bootenv(u, "", NULL), -EINVAL);
	assert_int_equal(agent_update_allow_bootenv(u, "a*b", NULL), -EINVAL);
	assert_int_equal(agent_update_allow_bootenv(u, "BOOT_ORDER", NULL), -EPERM);
	assert_int_equal(agent_update_allow_bootenv(u, "verify", NULL), -EPERM);
	assert_int_equal(agent_update_allow_bootenv(u, ".flags", NULL), -EPERM);
	assert_int_equal(agent_update_allow_bootenv(u, "distro_bootcmd", NULL), -EPERM);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r = install(d, u, &(struct bundle){ .sections = cases[i].sections }, 0, &err);

		if (r != cases[i].r || strcmp(agent_error_name(err), cases[i].error) != 0 || strstr(agent_error_message(err), cases[i].says) == NULL)
			fail_msg("case %zu: %d %s \"%s\"", i, r, agent_error_name(err), agent_error_message(err));
		assert_true(slot_is_untouched(d, 1));
	}
	assert_int_equal(install(d, u, &(struct bundle){ .sections = "bootenv = ( { name = \"vendor_x\"; value = \"1\"; } );" }, 0, NULL), 0);
}

static void versions_compare_as_in_swupdate(void **state)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
		{ "1.0", "1.0.0.0", 0 }, { "1.10", "1.9", 1 }, { "1", "1.0.1", -1 }, { "2", "1.65535.65535.65535", 1 }, { "01.2", "1.2", 0 },
		{ "1.0.0-rc1", "1.0.0", -1 }, { "1.0.0-rc.2", "1.0.0-rc.10", -1 }, { "1.0.0-alpha", "1.0.0-1", 1 }, { "1.0.0-a", "1.0.0-a.1", -1 },
		{ "1.0.0+b1", "1.0.0+b2", 0 }, { "1.0.0-a+x", "1.0.0-a", 0 }, { "70000.0.1", "9.0.1-x", 1 }, { "1.0.0-007", "1.0.0-7", 0 },
		{ "release-9", "release-10", 1 }, { "1.2.3.4.5", "1.2.3.4.6", -1 }, { "2026-11-21", "2026-11-20", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int there = versions_compare(cases[i].a, cases[i].b), back = versions_compare(cases[i].b, cases[i].a);

		if ((there > 0) - (there < 0) != cases[i].order || (back > 0) - (back < 0) != -cases[i].order)
			fail_msg("%s and %s: %d, %d", cases[i].a, cases[i].b, there, back);
	}
}

static void images_that_are_here_already_are_not_installed(void **state)
{
	static const struct {
		const char *runs, *rule, *error;
		int r;
	} cases[] = {
		{ "1.0", "install-if-different = true;", "update.nothing-new", -EALREADY },
		{ "1.0", "install-if-higher = true;", "update.nothing-new", -EALREADY },
		{ "1.1", "install-if-higher = true;", "update.nothing-new", -EALREADY },
		{ "1.0.0", "install-if-higher = true;", "update.nothing-new", -EALREADY }, /* the same number */
		{ "1.0.0", "install-if-different = true;", "update.nothing-new", -EALREADY },
		{ "1.0.1", "install-if-different = true;", NULL, 0 },
		{ "0.9", "install-if-higher = true;", NULL, 0 },
		{ "1.1", "install-if-different = true;", NULL, 0 },
		{ "1.0", "", NULL, 0 },
		{ NULL, "install-if-different = true;", NULL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_update *u;
		struct device *d;
		char element[128];
		void *fresh = NULL;
		int r;

		device_setup(&fresh);
		d = fresh;
		u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
		if (cases[i].runs != NULL)
			assert_int_equal(agent_update_add_version(u, "system", cases[i].runs, NULL), 0);
		assert_int_equal(agent_update_add_version(u, "other", "1.0", NULL), 0);
		snprintf(element, sizeof(element), "name = \"system\"; version = \"1.0\"; %s", cases[i].rule);
		r = install(d, u, &(struct bundle){ .is_stock = true, .stock_element = element }, 0, &err);
		if (r != cases[i].r || (r < 0 && strcmp(agent_error_name(err), cases[i].error) != 0))
			fail_msg("case %zu: %d %s \"%s\"", i, r, agent_error_name(err), agent_error_message(err));
		if (r < 0) {
			assert_true(slot_is_untouched(d, 1));
			assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
		} else {
			assert_true(slot_holds_image(d, 1));
		}
		agent_update_free(u);
		device_teardown(&fresh);
	}
}

static void a_slot_is_not_written_with_a_part_that_may_only_go_up(void **state)
{
	struct versions v = { 0 };
	struct manifest m = { .release_id = "r", .n_images = 2,
			      .images = { { .member = "kernel", .name = "kernel", .version = "1.0", .if_higher = true }, { .member = "rootfs" } } };
	struct agent_error *err = NULL;

	assert_int_equal(versions_add(&v, "kernel", "1.1", NULL), 0);
	assert_int_equal(versions_check(&v, &m, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.lower");
	assert_int_equal(versions_add(&v, "kernel", "1.0", NULL), 0); /* the same one again: written for the other slot */
	assert_int_equal(versions_check(&v, &m, NULL), 0);
	assert_int_equal(versions_add(&v, "a b", "1", &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.versions");
	for (int i = 1; i < VERSIONS_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(versions_add(&v, name, "1", NULL), 0);
	}
	assert_int_equal(versions_add(&v, "one-more", "1", &err), -ENOSPC);
	assert_error(&err, -ENOSPC, "update.versions");
}

struct nested {
	struct device *d;
	struct agent_update *u;
	unsigned n;
};

/* All that would change slot or stage under the installation that calls this. */
static void begin_something_else(struct nested *n)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_status status;
	uint64_t floor = 77;

	n->n++;
	assert_int_equal(install(n->d, n->u, &(struct bundle){ .release = "r-9" }, 0, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.locked");
	assert_int_equal(agent_update_settle(n->u, NULL), -EBUSY);
	assert_int_equal(agent_update_confirm(n->u, &floor, NULL), -EBUSY);
	assert_int_equal(agent_update_confirm_done(n->u, NULL), -EBUSY);
	assert_int_equal(agent_update_rollback(n->u, 0, NULL), -EBUSY);
	assert_int_equal(agent_update_get_status(n->u, &status, NULL), 0);
	assert_int_equal(floor, 77);
}

static int nested_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err)
{
	begin_something_else(userdata);
	return 0;
}

static void nested_progress(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	begin_something_else(userdata);
}

static void a_callback_begins_nothing_else_with_its_engine(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct nested nested = { d, u, 0 };
	_cleanup_bytes_ struct bytes bytes = { 0 };
	_cleanup_close_ int fd = -1;
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_status status;

	bundle_make(d, &(struct bundle){ .release = "r-2" }, &bytes);
	fd = bytes_fd(bytes.data, bytes.size);
	assert_int_equal(agent_update_set_policy(u, nested_policy, &nested, NULL), 0);
	if (agent_update_install(u, fd, 0, NOW_S, nested_progress, &nested, &err) != 0)
		fail_msg("%s", agent_error_message(err));
	assert_true(nested.n > 3);
	assert_true(slot_holds_image(d, 1));
	assert_int_equal(agent_update_get_status(u, &status, NULL), 0);
	assert_string_equal(status.release_id, "r-2");
	/* And when it is over all of it works again, also after one that failed. */
	assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
	assert_int_equal(agent_update_install(u, fd, 0, NOW_S, nested_progress, &nested, NULL), -EBADMSG);
	assert_int_equal(agent_update_settle(u, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(boot_variables_are_left_to_bundles_by_name_only, device_setup, device_teardown),
		cmocka_unit_test_setup_teardown(a_callback_begins_nothing_else_with_its_engine, device_setup, device_teardown),
		cmocka_unit_test(images_that_are_here_already_are_not_installed),
		cmocka_unit_test(versions_compare_as_in_swupdate),
		cmocka_unit_test(a_slot_is_not_written_with_a_part_that_may_only_go_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
