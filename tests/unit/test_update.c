/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: what goes into which slot and what is refused, confirmation and rollback, options, the policy of the caller. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>

static void installed_trying_confirmed(struct device *d)
{
	_cleanup_engine_ struct agent_update *u = engine(d);
	uint64_t floor = 0;

	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
	assert_int_equal(agent_update_confirm_done(u, NULL), 0);
}

static void a_bundle_goes_into_the_inactive_slot(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct agent_update_status s;
	struct boot_state env;

	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 5, NULL), 0);
	assert_true(slot_holds_image(d, 1));
	assert_true(slot_is_untouched(d, 0));
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_int_equal(s.stage, AGENT_UPDATE_TRYING);
	assert_string_equal(s.booted_slot, "a");
	assert_string_equal(s.target_slot, "b");
	assert_string_equal(s.version, "2.0");
	assert_string_equal(s.release_id, "r-1");
	assert_int_equal(s.security_version, 5);
	assert_null(s.failed_release_id);
	assert_int_equal(s.n_tries_left, 2);
	env = env_read(d);
	assert_string_equal(env.primary, "b");
	assert_true(boot_state_slot(&env, "a")->is_good);
	assert_false(boot_state_slot(&env, "b")->is_good);
}

static void compressed_bundles_arrive_unpacked(void **state)
{
	static const char *const kinds[] = { "zlib", "zstd" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		void *fresh = NULL;
		struct agent_update *u;

		device_setup(&fresh);
		u = engine(fresh);
		assert_int_equal(install(fresh, u, &(struct bundle){ .compressed = kinds[i] }, 0, NULL), 0);
		assert_true(slot_holds_image(fresh, 1));
		agent_update_free(u);
		device_teardown(&fresh);
	}
}

static void what_may_not_be_installed_touches_nothing(void **state)
{
	static const struct {
		struct bundle bundle;
		uint64_t floor;
		unsigned n_min_signers;
		int r;
		const char *error;
	} cases[] = {
		{ { .by_stranger = true }, 0, 1, -EKEYREJECTED, "update.signer" },
		{ { .edit_after_signing = true }, 0, 1, -EKEYREJECTED, "update.signature" },
		{ { 0 }, 0, 2, -EKEYREJECTED, "update.threshold" },
		{ { .twice_the_same = true }, 0, 2, -EKEYREJECTED, NULL },
		{ { .extra_agent = "min-signers = 2;" }, 0, 1, -EKEYREJECTED, "update.threshold" },
		{ { 0 }, 6, 1, -ESTALE, "update.stale" },
		{ { .security_version = 1001 }, 0, 1, -ERANGE, "update.jump" },
		{ { .product = "gw:2" }, 0, 1, -EPERM, "update.product" },
		{ { .product = "gw" }, 0, 1, -EPERM, "update.product" },
		{ { .extra_agent = "not-before = 1800000001L;" }, 0, 1, -ESTALE, "update.too-early" },
		{ { .extra_agent = "not-after = 1799999999L;" }, 0, 1, -ESTALE, "update.expired" },
		{ { .extra_agent = "later = 1;" }, 0, 1, -EBADMSG, "manifest.unknown" },
		{ { .image_before_table = true }, 0, 1, -EBADMSG, "update.order" },
		{ { .table_changed = true }, 0, 1, -EBADMSG, "update.chunk-table" },
		{ { .extra_member = true }, 0, 1, -EBADMSG, "update.member" },
		{ { .no_image = true }, 0, 1, -EBADMSG, "update.member" },
		{ { .is_stock = true }, 0, 1, -EBADMSG, "manifest.missing" },
	};
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .n_min_signers = cases[i].n_min_signers });
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *env = NULL;
		int r = install(d, u, &cases[i].bundle, cases[i].floor, &err);

		if (r != cases[i].r || (cases[i].error != NULL && strcmp(agent_error_name(err), cases[i].error) != 0))
			fail_msg("case %zu: %d %s \"%s\", wanted %s", i, r, agent_error_name(err), agent_error_message(err), cases[i].error);
		assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
		assert_true(slot_is_untouched(d, 1));
		assert_true(slot_is_untouched(d, 0));
		assert_int_equal(file_read_at(AT_FDCWD, d->env, 4096, &env, NULL, NULL), 0);
		assert_string_equal(env, FACTORY_ENV);
	}
}

static void two_signers_satisfy_a_threshold_of_two(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .n_min_signers = 2 });

	assert_int_equal(install(d, u, &(struct bundle){ .two_signers = true, .extra_agent = "min-signers = 2;" }, 0, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

static void an_image_larger_than_the_slot_is_refused_before_writing(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(truncate(d->slot[1], IMAGE_BYTES - 1), 0);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -ENOSPC);
	assert_error(&err, -ENOSPC, "slot.size");
	assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
	assert_int_equal(unlink(d->slot[1]), 0);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -ENOENT);
	assert_error(&err, -ENOENT, "slot.open");
	assert_int_equal(mkfifo(d->slot[1], 0600), 0);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -EINVAL);
	assert_error(&err, -EINVAL, "slot.type");
}

static void not_one_byte_of_a_wrong_chunk_reaches_the_slot(void **state)
{
	struct device *d = *state;

	for (int broken = 1; broken <= 5; broken++) {
		_cleanup_engine_ struct agent_update *u = engine(d);
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *data = NULL;
		struct boot_state env;
		size_t from = (size_t)(broken - 1) * CHUNK;
		static const char zeros[CHUNK];

		/* Give the slot something that differs from the image everywhere. */
		_cleanup_free_ char *old = calloc(1, SLOT_BYTES);

		assert_int_equal(file_replace_at(AT_FDCWD, d->slot[1], 0600, old, SLOT_BYTES, NULL), 0);
		assert_int_equal(install(d, u, &(struct bundle){ .break_chunk = broken }, 0, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "update.chunk");
		assert_int_equal(file_read_at(AT_FDCWD, d->slot[1], SLOT_BYTES, &data, NULL, NULL), 0);
		for (size_t i = from; i < SLOT_BYTES; i += CHUNK)
			assert_memory_equal(data + i, zeros, SLOT_BYTES - i < CHUNK ? SLOT_BYTES - i : CHUNK);
		assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
		env = env_read(d);
		assert_string_equal(env.primary, "a");
		assert_false(boot_slot_is_bootable(boot_state_slot(&env, "b")));
		/* Nothing says the release itself is bad: another try is allowed. */
		if (broken == 5)
			assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	}
}

static void compressed_streams_that_lie_are_refused(void **state)
{
	static const struct {
		struct bundle bundle;
		int r;
		const char *error;
	} cases[] = {
		{ { .compressed = "zlib", .short_plain_size = true }, -EMSGSIZE, "update.size" },
		{ { .compressed = "zstd", .short_plain_size = true }, -EMSGSIZE, "update.size" },
		{ { .compressed = "zlib", .break_chunk = 1 }, -EBADMSG, "update.chunk" },
		{ { .compressed = "zstd", .break_chunk = 1 }, -EBADMSG, "update.chunk" },
	};
	struct device *d = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_engine_ struct agent_update *u = engine(d);
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(install(d, u, &cases[i].bundle, 0, &err), cases[i].r);
		assert_error(&err, cases[i].r, cases[i].error);
		assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
	}
}

static void a_bundle_that_ends_early_leaves_the_old_slot_in_charge(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_bytes_ struct bytes bytes = { 0 };

	bundle_make(d, &(struct bundle){ 0 }, &bytes);
	for (size_t n = 0; n < bytes.size - 512; n += n < 3000 ? 97 : 29989) {
		_cleanup_close_ int fd = bytes_fd(bytes.data, n);
		struct boot_state env;

		assert_int_equal(agent_update_install(u, fd, 0, NOW_S, NULL, NULL, NULL), -EBADMSG);
		env = env_read(d);
		assert_string_equal(env.primary, "a");
		assert_false(boot_slot_is_bootable(boot_state_slot(&env, "b")));
	}
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
}

static void stock_bundles_need_permission_and_a_floor_of_zero(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(install(d, u, &(struct bundle){ .is_stock = true }, 1, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
	assert_int_equal(install(d, u, &(struct bundle){ .is_stock = true, .break_chunk = 2 }, 0, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.hash");
	assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
	assert_int_equal(install(d, u, &(struct bundle){ .is_stock = true }, 0, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

static void confirm_marks_good_and_says_where_the_floor_belongs(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state env;
	uint64_t floor = 0;

	assert_int_equal(agent_update_confirm(u, &floor, &err), -ENOENT);
	assert_error(&err, -ENOENT, "update.nothing");
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_int_equal(agent_update_confirm(u, &floor, &err), -EPERM);
	assert_error(&err, -EPERM, "update.not-booted");
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 0, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.pending");
	assert_string_equal(reboot(d), "b");
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 0, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.pending");
	for (int i = 0; i < 2; i++) { /* repeatable */
		assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
		assert_int_equal(floor, 5);
		assert_int_equal(stage_of(u), AGENT_UPDATE_CONFIRMED);
	}
	env = env_read(d);
	assert_true(boot_state_slot(&env, "b")->is_good);
	assert_int_equal(boot_state_slot(&env, "b")->n_tries_left, 0);
	assert_false(boot_slot_is_bootable(boot_state_slot(&env, "a"))); /* 0 is below 5 */
	assert_int_equal(agent_update_rollback(u, 0, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.pending");
	assert_int_equal(agent_update_confirm_done(u, NULL), 0);
	assert_int_equal(agent_update_confirm_done(u, NULL), 0);
	assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
	assert_string_equal(reboot(d), "b");
	/* And the next one goes the other way round. */
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 5, NULL), 0);
	assert_true(slot_holds_image(d, 0));
	assert_string_equal(reboot(d), "a");
	assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
	env = env_read(d);
	assert_true(boot_state_slot(&env, "b")->is_good); /* 5 is not below 5 */
}

static void a_release_that_does_not_start_is_remembered(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_status s;
	struct boot_state env;
	uint64_t floor;

	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
	assert_string_equal(reboot(d), "b");
	assert_string_equal(reboot(d), "a");
	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_int_equal(s.stage, AGENT_UPDATE_FAILED);
	assert_string_equal(s.failed_release_id, "r-1");
	assert_int_equal(agent_update_confirm(u, &floor, &err), -ENOENT);
	assert_error(&err, -ENOENT, "update.nothing");
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -EALREADY);
	assert_error(&err, -EALREADY, "update.failed-before");
	env = env_read(d);
	assert_string_equal(env.primary, "a");
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
}

static void rollback_chooses_the_other_slot_if_it_may_run(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_status s;

	u = engine(d);
	assert_int_equal(agent_update_rollback(u, 0, &err), -EPERM);
	assert_error(&err, -EPERM, "boot.not-bootable");
	/* before the reboot: taken back, and may be tried again */
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
	for (int i = 0; i < 2; i++) { /* before and after that reboot: it is in the other slot, which is not what an installed one is */
		assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
		assert_int_equal(s.stage, AGENT_UPDATE_IDLE);
		assert_string_equal(s.release_id, "r-1");
		assert_string_equal(s.target_slot, "b");
		assert_string_equal(s.booted_slot, "a");
		assert_null(s.failed_release_id);
		assert_string_equal(reboot(d), "a");
	}
	/* while it is being tried */
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(agent_update_rollback(u, 1, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
	assert_int_equal(agent_update_rollback(u, 0, NULL), 0);
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_int_equal(s.stage, AGENT_UPDATE_FAILED);
	assert_string_equal(s.failed_release_id, "r-1");
	assert_string_equal(reboot(d), "a");
	assert_int_equal(agent_update_settle(u, NULL), 0);
}

static void rollback_between_two_good_slots_goes_there_and_back(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_status s;
	uint64_t floor = 0;

	installed_trying_confirmed(d);
	u = engine(d);
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-2" }, 5, NULL), 0);
	assert_string_equal(reboot(d), "a");
	assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
	assert_int_equal(agent_update_confirm_done(u, NULL), 0);
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_null(s.target_slot); /* r-2 runs */
	assert_int_equal(agent_update_rollback(u, 6, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
	assert_int_equal(agent_update_rollback(u, 5, NULL), 0);
	assert_int_equal(agent_update_rollback(u, 5, NULL), 0);
	assert_string_equal(reboot(d), "b");
	assert_int_equal(agent_update_rollback(u, 5, NULL), 0);
	assert_int_equal(agent_update_get_status(u, &s, NULL), 0);
	assert_string_equal(s.target_slot, "a"); /* r-2 does not run any more */
	assert_string_equal(reboot(d), "a");
	/* A new installation overrides a rollback that waits for its reboot. */
	assert_int_equal(agent_update_rollback(u, 5, NULL), 0);
	assert_int_equal(install(d, u, &(struct bundle){ .release = "r-3", .break_chunk = 1 }, 5, NULL), -EBADMSG);
	assert_string_equal(reboot(d), "a");
}

/* ---- the object itself --------------------------------------------------------------------------------------------------- */

static void a_second_engine_on_the_same_folder_is_refused(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update_options o = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .state_dir = d->state, .boot_backend = "file",
					  .boot_config = d->env, .n_tries = 2 };
	struct agent_update *second = NULL;

	assert_int_equal(agent_update_new(d->ctx, &o, &second, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.locked");
	u = agent_update_free(u);
	assert_int_equal(agent_update_new(d->ctx, &o, &second, NULL), 0);
	agent_update_free(second);
}

static void options_out_of_range_are_refused(void **state)
{
	struct device *d = *state;
	const struct agent_update_options good = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .state_dir = d->state, .boot_backend = "file",
						   .boot_config = d->env, .n_tries = 2 };
	struct agent_update_options bad[9];
	struct agent_update *u = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].n_min_signers = 0;
	bad[1].n_min_signers = 9;
	bad[2].n_tries = 0;
	bad[3].n_tries = 10;
	bad[4].trust_dir = "";
	bad[5].product = NULL;
	bad[6].boot_backend = "lilo";
	bad[7].booted_slot = "A B";
	bad[8].boot_config = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(agent_update_new(d->ctx, &bad[i], &u, NULL), -EINVAL);
	assert_int_equal(agent_update_new(NULL, &good, &u, NULL), -EINVAL);
	assert_int_equal(agent_update_new(d->ctx, NULL, &u, NULL), -EINVAL);
	assert_null(agent_update_free(NULL));
}

static void slots_are_two_names_with_paths_of_their_own(void **state)
{
	static const struct {
		const char *slot_class, *name, *path;
		int r;
	} cases[] = {
		{ "rootfs", "a", "/x", -EEXIST }, { "boot", "c", "/x", -EINVAL }, { "boot", "a", "relative", -EINVAL }, { "Boot", "a", "/x", -EINVAL },
		{ "boot", "", "/x", -EINVAL }, { "boot", "a", "/x", 0 }, { "data", "b", "/x", -EEXIST }, { NULL, "a", "/x", -EINVAL },
	};
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(agent_update_add_slot(u, cases[i].slot_class, cases[i].name, cases[i].path, NULL), cases[i].r);
	/* A bundle that leaves a class out would put its number on older bytes. */
	assert_int_equal(agent_update_add_slot(u, "boot", "b", "/y", NULL), 0);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.classes");
}

static void the_running_slot_must_be_known(void **state)
{
	struct device *d = *state;
	struct agent_update_options o = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .state_dir = d->state, .boot_backend = "file",
					  .boot_config = d->env, .n_tries = 2 };
	_cleanup_engine_ struct agent_update *u = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(unlink(d->env), 0);
	assert_int_equal(agent_update_new(d->ctx, &o, &u, NULL), 0);
	assert_int_equal(agent_update_settle(u, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.missing");
	assert_int_equal(file_replace_at(AT_FDCWD, d->env, 0600, "primary=a\n", 10, NULL), 0);
	assert_int_equal(agent_update_settle(u, &err), -ENOENT);
	assert_error(&err, -ENOENT, "boot.booted");
	u = agent_update_free(u);
	/* With the boot loader's word for it a new device may begin without an environment. */
	assert_int_equal(unlink(d->env), 0);
	o.booted_slot = "a";
	assert_int_equal(agent_update_new(d->ctx, &o, &u, NULL), 0);
	assert_int_equal(agent_update_add_slot(u, "rootfs", "a", d->slot[0], NULL), 0);
	assert_int_equal(agent_update_add_slot(u, "rootfs", "b", d->slot[1], NULL), 0);
	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_string_equal(reboot(d), "b");
}

/* ---- the policy of the caller --------------------------------------------------------------------------------------------- */

struct word {
	int answer;
	unsigned n_asked;
	bool says_why;
	char release_id[65], kind[9], advisory[256];
	uint64_t security_version, stored_bytes;
};

static int on_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err)
{
	struct word *w = userdata;

	w->n_asked++;
	strcpy(w->release_id, release->release_id);
	strcpy(w->kind, release->kind);
	strcpy(w->advisory, release->advisory);
	w->security_version = release->security_version;
	w->stored_bytes = release->stored_bytes;
	return w->says_why ? agent_error_set(err, w->answer, "vendor.not-now", "the machine is running") : w->answer;
}

static void a_policy_is_asked_before_anything_is_touched(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct agent_error *err = NULL;
	struct word w = { .answer = -EPERM };
	const struct bundle good = { .extra_agent = "kind = \"security\"; advisory = \"CVE-2026-1: mends \\\"it\\\".\";" };

	assert_int_equal(agent_update_set_policy(u, on_policy, &w, NULL), 0);
	assert_int_equal(install(d, u, &good, 0, &err), -EPERM);
	assert_error(&err, -EPERM, "update.policy");
	assert_string_equal(w.release_id, "r-1");
	assert_string_equal(w.kind, "security");
	assert_string_equal(w.advisory, "CVE-2026-1: mends \"it\".");
	assert_int_equal(w.security_version, 5);
	assert_int_equal(w.stored_bytes, IMAGE_BYTES);
	assert_true(slot_is_untouched(d, 1));
	assert_int_equal(stage_of(u), AGENT_UPDATE_IDLE);
	w.says_why = true;
	assert_int_equal(install(d, u, &good, 0, &err), -EPERM);
	assert_error(&err, -EPERM, "vendor.not-now");
	/* What is not good without it is never shown to it. */
	w.n_asked = 0;
	assert_int_equal(install(d, u, &(struct bundle){ .by_stranger = true }, 0, &err), -EKEYREJECTED);
	err = agent_error_free(err);
	assert_int_equal(install(d, u, &(struct bundle){ .product = "other:1" }, 0, &err), -EPERM);
	err = agent_error_free(err);
	assert_int_equal(install(d, u, &(struct bundle){ .security_version = 3 }, 4, &err), -ESTALE);
	err = agent_error_free(err);
	assert_int_equal(w.n_asked, 0);
	w.answer = 0;
	w.says_why = false;
	assert_int_equal(install(d, u, &good, 0, NULL), 0);
	assert_int_equal(w.n_asked, 1);
	assert_true(slot_holds_image(d, 1));
	assert_int_equal(agent_update_set_policy(NULL, on_policy, &w, &err), -EINVAL);
	assert_error(&err, -EINVAL, "update.argument");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, device_setup, device_teardown)
		T(a_bundle_goes_into_the_inactive_slot),
		T(compressed_bundles_arrive_unpacked),
		T(what_may_not_be_installed_touches_nothing),
		T(two_signers_satisfy_a_threshold_of_two),
		T(an_image_larger_than_the_slot_is_refused_before_writing),
		T(not_one_byte_of_a_wrong_chunk_reaches_the_slot),
		T(compressed_streams_that_lie_are_refused),
		T(a_bundle_that_ends_early_leaves_the_old_slot_in_charge),
		T(stock_bundles_need_permission_and_a_floor_of_zero),
		T(confirm_marks_good_and_says_where_the_floor_belongs),
		T(a_release_that_does_not_start_is_remembered),
		T(rollback_chooses_the_other_slot_if_it_may_run),
		T(rollback_between_two_good_slots_goes_there_and_back),
		T(a_second_engine_on_the_same_folder_is_refused),
		T(options_out_of_range_are_refused),
		T(slots_are_two_names_with_paths_of_their_own),
		T(the_running_slot_must_be_known),
		T(a_policy_is_asked_before_anything_is_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
