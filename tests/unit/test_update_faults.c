/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults that other updaters had, each by its name, against the whole engine: the bundle is refused for the right reason, slots and boot
 * environment stay. Those of signatures alone are in test_cms.c.
 */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <dirent.h>
#include <errno.h>

#include "update/verify.h"

#define STOCK(body) "software = { version = \"2.0\"; hardware-compatibility = [ \"1\" ]; " body " };"

static int install_bytes(struct agent_update *u, const struct bytes *bytes, uint64_t floor, struct agent_error **err)
{
	_cleanup_close_ int fd = bytes_fd(bytes->data, bytes->size);

	return agent_update_install(u, fd, floor, NOW_S, NULL, NULL, err);
}

/* A bundle of @text, signed by @b's signer, and one member. */
static void swu_make(struct device *d, const struct bundle *b, const char *text, const char *member, const void *data, size_t size, struct bytes *out)
{
	_cleanup_bytes_ struct bytes signature = { 0 };

	sign(d, b, text, &signature);
	cpio_member(out, "sw-description", text, strlen(text), NULL);
	cpio_member(out, "sw-description.sig", signature.data, signature.size, NULL);
	if (member != NULL)
		cpio_member(out, member, data, size, NULL);
	cpio_end(out);
}

static void nothing_has_changed(struct device *d)
{
	_cleanup_free_ char *env = NULL;

	assert_true(slot_is_untouched(d, 0));
	assert_true(slot_is_untouched(d, 1));
	assert_int_equal(file_read_at(AT_FDCWD, d->env, 4096, &env, NULL, NULL), 0);
	assert_string_equal(env, FACTORY_ENV);
}

/* The running slot is in charge, the other one cannot be booted. */
static void only_the_old_slot_boots(struct device *d)
{
	struct boot_state env = env_read(d);

	assert_string_equal(env.primary, "a");
	assert_true(boot_state_slot(&env, "a")->is_good);
	assert_false(boot_slot_is_bootable(boot_state_slot(&env, "b")));
	assert_true(slot_is_untouched(d, 0));
}

static void refused(struct device *d, struct agent_update *u, const struct bytes *bytes, int r, const char *error, const char *says)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int got = install_bytes(u, bytes, 0, &err);

	if (got != r || strcmp(agent_error_name(err), error) != 0 || strstr(agent_error_message(err), says) == NULL)
		fail_msg("%d %s \"%s\", wanted %d %s \"%s\"", got, agent_error_name(err), agent_error_message(err), r, error, says);
	nothing_has_changed(d);
}

/* ---- 1 -------------------------------------------------------------------------------------------------------------- */

struct editor {
	int fd;
	size_t size;
	bool is_done;
};

/* Another process that can write the file: as soon as the first chunk was taken, everything behind it changes. */
static void edit_behind(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	struct editor *e = userdata;
	off_t at = lseek(e->fd, 0, SEEK_CUR);

	if (done_bytes == 0 || e->is_done)
		return;
	e->is_done = true;
	for (off_t i = at; i < (off_t)e->size - 2048; i++)
		assert_int_equal(pwrite(e->fd, "X", 1, i), 1);
	/* The manifest too: what was parsed is what was verified, in memory. */
	assert_int_equal(pwrite(e->fd, "X", 1, 200), 1);
}

static void rauc_CVE_2020_25860_bundle_changed_between_check_and_use(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes bytes = { 0 };
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *slot = NULL;
	struct editor e;

	bundle_make(d, &(struct bundle){ 0 }, &bytes);
	fd = bytes_fd(bytes.data, bytes.size);
	e = (struct editor){ .fd = fd, .size = bytes.size };
	assert_int_equal(agent_update_install(u, fd, 0, NOW_S, edit_behind, &e, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.chunk");
	assert_true(e.is_done);
	only_the_old_slot_boots(d);
	assert_int_equal(file_read_at(AT_FDCWD, d->slot[1], SLOT_BYTES, &slot, NULL, NULL), 0);
	assert_null(memmem(slot, SLOT_BYTES, "XXXXXXXX", 8));
}

/* ---- 2 -------------------------------------------------------------------------------------------------------------- */

static void rauc_CVE_2026_34155_lengths_that_overflow(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	static const struct {
		const char *more, *error;
		int r;
	} cases[] = {
		{ "size = 4294967295L;", "slot.size", -ENOSPC },
		{ "size = 4294967297L;", "manifest.value", -EBADMSG }, /* 1 in 32 bits */
		{ "size = 9223372036854775807L;", "manifest.value", -EBADMSG },
		{ "size = 99999L;", "update.size", -EBADMSG }, /* the header says another number */
		{ "offset = \"9223372036854775807\";", "slot.size", -ENOSPC },
		{ "offset = \"8191P\";", "manifest.value", -EBADMSG },
		{ "compressed = \"zlib\"; properties = { decompressed-size = \"9223372036854775807\"; };", "manifest.type", -EBADMSG }, /* 19 digits */
		{ "compressed = \"zlib\"; properties = { decompressed-size = \"999999999999999999\"; };", "slot.size", -ENOSPC },
		{ "compressed = \"zlib\"; offset = 9223372036854775807L; properties = { decompressed-size = \"999999999999999999\"; };", "slot.size", -ENOSPC },
	};
	char sha[65], text[1024];

	sha256_text(d->image, IMAGE_BYTES, sha);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		snprintf(text, sizeof(text), STOCK("images = ( { filename = \"image\"; sha256 = \"%s\"; %s } );"), sha, cases[i].more);
		swu_make(d, &(struct bundle){ 0 }, text, "image", d->image, IMAGE_BYTES, &bytes);
		refused(d, u, &bytes, cases[i].r, cases[i].error, "");
	}
}

/* ---- 3 -------------------------------------------------------------------------------------------------------------- */

static void mender_CVE_2025_67903_payload_without_a_signed_hash(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	static const char *const names[] = { "other", "image.gz", "imag", "IMAGE", "image ", "./image" };
	char sha[65], text[1024];

	sha256_text(d->image, IMAGE_BYTES, sha);
	snprintf(text, sizeof(text), STOCK("images = ( { filename = \"image\"; sha256 = \"%s\"; } );"), sha);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };
		bool is_name = strchr(names[i], '/') == NULL;

		swu_make(d, &(struct bundle){ 0 }, text, names[i], d->image, IMAGE_BYTES, &bytes);
		refused(d, u, &bytes, -EBADMSG, is_name ? "update.member" : "container.name", is_name ? names[i] : "");
	}
	/* "no hash" is no value. */
	for (int i = 0; i < 3; i++) {
		static const char *const hashes[] = { "", "sha256 = \"\";", "sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\";" };
		_cleanup_bytes_ struct bytes bytes = { 0 };

		snprintf(text, sizeof(text), STOCK("images = ( { filename = \"image\"; %s } );"), hashes[i]);
		swu_make(d, &(struct bundle){ 0 }, text, "image", d->image, IMAGE_BYTES, &bytes);
		refused(d, u, &bytes, -EBADMSG, i == 0 ? "manifest.missing" : "manifest.value", "image 0 (image)");
	}
	/* Twice the same name: the second was not what was hashed. */
	{
		_cleanup_bytes_ struct bytes bytes = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;

		snprintf(text, sizeof(text), STOCK("images = ( { filename = \"image\"; sha256 = \"%s\"; } );"), sha);
		swu_make(d, &(struct bundle){ 0 }, text, "image", d->image, IMAGE_BYTES, &bytes);
		for (size_t end = bytes.size; end > 0; end--)
			if (memcmp(bytes.data + end - 10, "TRAILER!!!", 10) == 0) {
				bytes.size = end - 10 - 110;
				break;
			}
		cpio_member(&bytes, "image", "x", 1, NULL);
		cpio_end(&bytes);
		assert_int_equal(install_bytes(u, &bytes, 0, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "container.duplicate");
		only_the_old_slot_boots(d);
	}
}

/* ---- 4 -------------------------------------------------------------------------------------------------------------- */

static void swupdate_5219f2f4_description_parsed_before_its_signature(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	static const char *const texts[] = { "software = {", "@include \"/etc/passwd\"", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]}",
					     STOCK("embedded-script = \"os.execute()\"; images = ( );"), "\x80\x81\x82" };

	/* Whatever is in it, a stranger's description is refused as a stranger's, not for what it says. */
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		swu_make(d, &(struct bundle){ .by_stranger = true }, texts[i], NULL, NULL, 0, &bytes);
		refused(d, u, &bytes, -EKEYREJECTED, "update.signer", "stranger");
	}
	/* Signed, the script is refused all the same. */
	{
		_cleanup_bytes_ struct bytes bytes = { 0 };

		swu_make(d, &(struct bundle){ 0 }, texts[3], NULL, NULL, 0, &bytes);
		refused(d, u, &bytes, -EOPNOTSUPP, "manifest.unsupported", "embedded-script");
	}
}

/* ---- 6, 14 ---------------------------------------------------------------------------------------------------------- */

static uint64_t folder_bytes(const char *path, unsigned *ret_n, unsigned *ret_open_modes)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t sum = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		struct stat st;

		if (entry->d_name[0] == '.' && (entry->d_name[1] == '\0' || entry->d_name[1] == '.'))
			continue;
		assert_int_equal(fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
		sum += (uint64_t)st.st_size;
		(*ret_n)++;
		*ret_open_modes |= st.st_mode & 077;
	}
	closedir(dir);
	return sum;
}

static void swupdate_CVE_2025_41259_shared_temporary_folders(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	struct temp_dir tmp;
	unsigned n = 0, modes = 0, n_state = 0;

	temp_dir_make(&tmp);
	assert_int_equal(setenv("TMPDIR", tmp.path, 1), 0);
	umask(0);
	assert_int_equal(install(d, u, &(struct bundle){ .compressed = "zlib" }, 0, NULL), 0);
	umask(022);
	unsetenv("TMPDIR");
	assert_int_equal(folder_bytes(tmp.path, &n, &modes), 0);
	assert_int_equal(n, 0);
	(void)folder_bytes(d->state, &n_state, &modes);
	assert_true(n_state > 0);
	assert_int_equal(modes, 0); /* nothing there for group and others */
	temp_dir_remove(&tmp);
}

static void swupdate_21_and_TMPDIR_payloads_are_never_spooled(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	unsigned n = 0, modes = 0;

	assert_int_equal(install(d, u, &(struct bundle){ .is_stock = true, .break_chunk = 4 }, 0, NULL), -EBADMSG);
	assert_true(folder_bytes(d->state, &n, &modes) < 4096);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_true(folder_bytes(d->state, &n, &modes) < 4096);
}

/* ---- 7 -------------------------------------------------------------------------------------------------------------- */

static void swupdate_CVE_2026_28525_fields_longer_than_their_buffers(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	static const size_t lengths[] = { 17, 64, 65, 255, 256, 257, 1023, 1024, 65536 };
	static const char *const formats[] = {
		"software = { version = \"%s\"; hardware-compatibility = [ \"1\" ]; images = ( { filename = \"i\"; } ); };",
		STOCK("images = ( { filename = \"%s\"; } );"),
		STOCK("images = ( { filename = \"i\"; sha256 = \"%s\"; } );"),
		STOCK("images = ( { filename = \"i\"; sha256 = \"69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116\"; type = \"%s\"; } );"),
		STOCK("images = ( { filename = \"i\"; sha256 = \"69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116\"; compressed = \"%s\"; } );"),
		STOCK("images = ( { filename = \"i\"; sha256 = \"69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116\"; encrypted = \"%s\"; } );"),
		STOCK("images = ( { filename = \"i\"; sha256 = \"69c88787ac226ee5aa3fbcaed5f922fb9d6b02ff9785337e34a2fd8e86585116\"; encrypted = true; ivt = \"%s\"; } );"),
		STOCK("images = ( { ref = \"#./%s\"; } );"),
		STOCK("bootenv = ( { name = \"%s\"; value = \"1\"; } );"),
		"{\"software\":{\"version\":\"%s\"}}",
	};

	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
			_cleanup_free_ char *field = malloc(lengths[i] + 1);
			_cleanup_bytes_ struct bytes bytes = { 0 }, text = { 0 };
			const char *hole = strstr(formats[f], "%s");

			memset(field, 'a', lengths[i]);
			bytes_add(&text, formats[f], (size_t)(hole - formats[f]));
			bytes_add(&text, field, lengths[i]);
			bytes_add(&text, hole + 2, strlen(hole + 2));
			swu_make(d, &(struct bundle){ 0 }, (const char *)text.data, NULL, NULL, 0, &bytes);
			assert_true(install_bytes(u, &bytes, 0, NULL) < 0);
			nothing_has_changed(d);
		}
	}
}

/* ---- 9, 10 ---------------------------------------------------------------------------------------------------------- */

static void swupdate_no_downgrading_and_CVE_2022_29173_older_releases(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	_cleanup_error_ struct agent_error *err = NULL;

	/* The floor is the caller's, from the TPM: no file of ours can lower it, and there is no way to leave it out. */
	assert_int_equal(install(d, u, &(struct bundle){ .security_version = 4 }, 5, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
	/* A bundle that says nothing is not newer than anything. */
	assert_int_equal(install(d, u, &(struct bundle){ .is_stock = true }, 5, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.stale");
	nothing_has_changed(d);
}

static void rauc_705_m_of_n(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .n_min_signers = 2 });
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	assert_int_equal(install(d, u, &(struct bundle){ .twice_the_same = true }, 0, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	nothing_has_changed(d);
	assert_int_equal(install(d, u, &(struct bundle){ .two_signers = true }, 0, NULL), 0);
}

/* ---- 13, 15 --------------------------------------------------------------------------------------------------------- */

static void hawkbit_3185_success_before_the_new_system_ran(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	uint64_t floor;

	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_int_equal(stage_of(u), AGENT_UPDATE_TRYING); /* not a success yet */
	assert_int_equal(agent_update_confirm(u, &floor, &err), -EPERM);
	assert_error(&err, -EPERM, "update.not-booted");
	/* It never comes up: the same release is not tried again by itself. */
	while (strcmp(reboot(d), "b") == 0)
		;
	assert_int_equal(agent_update_settle(u, NULL), 0);
	assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, &err), -EALREADY);
	assert_error(&err, -EALREADY, "update.failed-before");
}

static void rauc_1977_and_1585_half_written_slots_and_second_callers(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_update *second = NULL;
	struct agent_update_options o = { .trust_dir = d->trust, .n_min_signers = 1, .product = "gw:1", .state_dir = d->state, .boot_backend = "file",
					  .boot_config = d->env, .n_tries = 1 };

	assert_int_equal(agent_update_new(d->ctx, &o, &second, &err), -EBUSY);
	assert_error(&err, -EBUSY, "update.locked");
	assert_int_equal(install(d, u, &(struct bundle){ .break_chunk = 3 }, 0, NULL), -EBADMSG);
	only_the_old_slot_boots(d);
	{
		struct boot_state env = env_read(d);

		assert_string_equal(boot_state_slot(&env, "b")->release, ""); /* nothing says that anything is installed there */
	}
	/* The same release again: written whole, not skipped. */
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

/* ---- the rest of the family --------------------------------------------------------------------------------------------- */

static void swupdate_3394cc6c_and_CVE_2023_7216_paths_in_member_names(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	static const char *const names[] = { "../image", "/etc/passwd", "a/../../b", "..", ".", "a\nb", "a\x7f" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		swu_make(d, &(struct bundle){ 0 }, "software = { };", names[i], "x", 1, &bytes);
		/* The signature is good, so the manifest is looked at first; put the name where nothing comes before it. */
		refused(d, u, &bytes, -EBADMSG, "manifest.missing", "");
		bytes_free(&bytes);
		cpio_member(&bytes, names[i], "x", 1, NULL);
		cpio_end(&bytes);
		refused(d, u, &bytes, -EBADMSG, "container.name", "");
	}
}

static void mender_hub_6495_no_key_is_no_check(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_bytes_ struct bytes bytes = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s/signer.pem", d->trust);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/second.pem", d->trust);
	assert_int_equal(unlink(path), 0);
	bundle_make(d, &(struct bundle){ 0 }, &bytes);
	refused(d, u, &bytes, -ENOKEY, "update.trust", "no update signer is pinned");
}

static void jetkvm_1262_empty_signature(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);

	for (size_t size = 0; size < 12; size += 3) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		cpio_member(&bytes, "sw-description", "software = { };", 15, NULL);
		cpio_member(&bytes, "sw-description.sig", "\x30\x0a\0\0\0\0\0\0\0\0\0\0", size, NULL);
		cpio_end(&bytes);
		refused(d, u, &bytes, size == 0 ? -EMSGSIZE : -EBADMSG, size == 0 ? "container.size" : "update.signature", "");
	}
}

static void jetkvm_1263_a_prerelease_is_checked_like_any_other(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
	static const char *const versions[] = { "2.0-rc1", "2.0-dev", "0.0.0-dev.1", "2.0+local" };
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		snprintf(text, sizeof(text), "software = { version = \"%s\"; hardware-compatibility = [ \"1\" ]; images = ( ); };", versions[i]);
		swu_make(d, &(struct bundle){ .by_stranger = true }, text, NULL, NULL, 0, &bytes);
		refused(d, u, &bytes, -EKEYREJECTED, "update.signer", "stranger");
	}
}

static void mender_1412_header_checksums_and_state_scripts(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	static const char *const names[] = { "state-scripts", "ArtifactInstall_Enter_00", "preinstall.sh", "sw-description.sig.bak" };

	/* What the archive says of itself is compared where it is said. */
	for (int first = 0; first < 2; first++) {
		_cleanup_bytes_ struct bytes bytes = { 0 }, signature = { 0 };
		const struct member_options wrong = { .add_to_checksum = 1 };

		sign(d, &(struct bundle){ 0 }, "software = { };", &signature);
		cpio_member(&bytes, "sw-description", "software = { };", 15, first == 0 ? &wrong : NULL);
		cpio_member(&bytes, "sw-description.sig", signature.data, signature.size, first == 0 ? NULL : &wrong);
		cpio_end(&bytes);
		refused(d, u, &bytes, -EBADMSG, "container.checksum", first == 0 ? "sw-description" : "sw-description.sig");
	}
	/* No member runs or is kept that the signed manifest does not name. */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_bytes_ struct bytes good = { 0 }, bytes = { 0 };
		size_t at;

		bundle_make(d, &(struct bundle){ 0 }, &good);
		for (at = 110; memcmp(good.data + at, "table", 6) != 0; at++)
			;
		bytes_add(&bytes, good.data, at - 110);
		cpio_member(&bytes, names[i], "#!/bin/sh\n", 10, NULL);
		bytes_add(&bytes, good.data + at - 110, good.size - (at - 110));
		refused(d, u, &bytes, -EBADMSG, "update.member", names[i]);
	}
}

static void systemd_41895_no_cut_of_a_signature_ends_the_program(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_bytes_ struct bytes signature = { 0 };

	sign(d, &(struct bundle){ 0 }, "software = { };", &signature);
	for (size_t size = 1; size < signature.size; size += 7) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		cpio_member(&bytes, "sw-description", "software = { };", 15, NULL);
		cpio_member(&bytes, "sw-description.sig", signature.data, size, NULL);
		cpio_end(&bytes);
		refused(d, u, &bytes, -EBADMSG, "update.signature", "");
	}
}

static void rauc_1308_a_large_signature_is_refused_by_its_size(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_free_ uint8_t *zeros = calloc(1, SIGNATURE_MAX + 1);

	for (size_t more = 0; more < 2; more++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };

		cpio_member(&bytes, "sw-description", "software = { };", 15, NULL);
		cpio_member(&bytes, "sw-description.sig", zeros, SIGNATURE_MAX + more, NULL);
		cpio_end(&bytes);
		refused(d, u, &bytes, more == 0 ? -EBADMSG : -EMSGSIZE, more == 0 ? "update.signature" : "container.size", more == 0 ? "" : "sw-description.sig");
	}
}

static void mcuboot_597_and_1708_the_counter_rises_by_confirmation_only(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	uint64_t floor = 0;

	/* A number that the counter could never reach would lock the device out of every later release. */
	assert_int_equal(install(d, u, &(struct bundle){ .security_version = AGENT_UPDATE_FLOOR_STEPS_MAX + 1 }, 0, &err), -ERANGE);
	assert_error(&err, -ERANGE, "update.jump");
	assert_int_equal(install(d, u, &(struct bundle){ .security_version = INT64_MAX }, 0, NULL), -ERANGE);
	nothing_has_changed(d);
	assert_int_equal(install(d, u, &(struct bundle){ .security_version = 5 }, 4, NULL), 0);
	assert_int_equal(agent_update_confirm(u, &floor, NULL), -EPERM);
	assert_int_equal(floor, 0); /* installed is not confirmed */
	assert_string_equal(reboot(d), "b");
	assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
	assert_int_equal(floor, 5);
	/* Killed before the counter was raised: the same answer once more. And what is below it boots no more, by any way. */
	assert_int_equal(agent_update_confirm(u, &floor, NULL), 0);
	assert_int_equal(floor, 5);
	assert_int_equal(agent_update_confirm_done(u, NULL), 0);
	assert_int_equal(agent_update_rollback(u, 5, &err), -EPERM);
	assert_error(&err, -EPERM, "boot.not-bootable");
	assert_string_equal(reboot(d), "b");
}

static void rauc_1140_only_the_slot_that_runs_is_marked_good(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_error_ struct agent_error *err = NULL;
	struct boot_state env;
	uint64_t floor;

	assert_int_equal(agent_update_confirm(u, &floor, &err), -ENOENT);
	assert_error(&err, -ENOENT, "update.nothing");
	assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
	assert_int_equal(agent_update_confirm(u, &floor, &err), -EPERM);
	assert_error(&err, -EPERM, "update.not-booted");
	env = env_read(d);
	assert_false(boot_state_slot(&env, "b")->is_good);
}

static void rauc_1517_a_broken_stream_is_begun_again_without_harm(void **state)
{
	struct device *d = *state;
	_cleanup_engine_ struct agent_update *u = engine(d);
	_cleanup_bytes_ struct bytes whole = { 0 };

	bundle_make(d, &(struct bundle){ 0 }, &whole);
	for (size_t size = whole.size / 3; size < whole.size - 1024; size += whole.size / 5) {
		struct bytes cut = { whole.data, size };

		assert_true(install_bytes(u, &cut, 0, NULL) < 0);
		only_the_old_slot_boots(d);
	}
	assert_int_equal(install_bytes(u, &whole, 0, NULL), 0);
	assert_true(slot_holds_image(d, 1));
}

/* ---- streamed tampered payloads ------------------------------------------------------------------------------------------ */

static void strict_not_one_tampered_byte_in_the_slot_with_any_codec(void **state)
{
	static const char *const codecs[] = { NULL, "zlib", "zstd" };

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		void *fresh = NULL;
		struct device *d;
		struct agent_update *u;

		device_setup(&fresh);
		d = fresh;
		u = engine(d);
		assert_int_equal(install(d, u, &(struct bundle){ .compressed = codecs[i], .break_chunk = 1 }, 0, NULL), -EBADMSG);
		assert_true(slot_is_untouched(d, 1));
		only_the_old_slot_boots(d);
		agent_update_free(u);
		device_teardown(&fresh);
	}
}

static void compat_a_tampered_payload_leaves_an_invalid_slot_with_any_codec(void **state)
{
	struct device *d = *state;
	static const char *const codecs[] = { NULL, "zlib", "zstd" };
	char sha[65], text[1024], compressed[64] = "";

	for (size_t i = 0; i < ARRAY_SIZE(codecs); i++) {
		_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
		_cleanup_bytes_ struct bytes stored = { 0 };

		store_image(d, &(struct bundle){ .compressed = codecs[i] }, &stored);
		if (codecs[i] != NULL)
			snprintf(compressed, sizeof(compressed), "compressed = \"%s\";", codecs[i]);
		sha256_text(stored.data, stored.size, sha);
		snprintf(text, sizeof(text), STOCK("images = ( { filename = \"image\"; %s sha256 = \"%s\"; } );"), compressed, sha);
		for (size_t at = 0; at < stored.size; at += stored.size / 7 + 1) {
			_cleanup_bytes_ struct bytes bytes = { 0 };
			struct boot_state env;

			stored.data[at] ^= 1;
			swu_make(d, &(struct bundle){ 0 }, text, "image", stored.data, stored.size, &bytes);
			stored.data[at] ^= 1;
			assert_int_equal(install_bytes(u, &bytes, 0, NULL), -EBADMSG);
			env = env_read(d);
			assert_string_equal(env.primary, "a");
			assert_false(boot_slot_is_bootable(boot_state_slot(&env, "b")));
			assert_int_equal(stage_of(u), AGENT_UPDATE_FAILED);
		}
	}
}

#define ON_A_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_setup, device_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_DEVICE(rauc_CVE_2020_25860_bundle_changed_between_check_and_use),
		ON_A_DEVICE(rauc_CVE_2026_34155_lengths_that_overflow),
		ON_A_DEVICE(mender_CVE_2025_67903_payload_without_a_signed_hash),
		ON_A_DEVICE(swupdate_5219f2f4_description_parsed_before_its_signature),
		ON_A_DEVICE(swupdate_CVE_2025_41259_shared_temporary_folders),
		ON_A_DEVICE(swupdate_21_and_TMPDIR_payloads_are_never_spooled),
		ON_A_DEVICE(swupdate_CVE_2026_28525_fields_longer_than_their_buffers),
		ON_A_DEVICE(swupdate_no_downgrading_and_CVE_2022_29173_older_releases),
		ON_A_DEVICE(rauc_705_m_of_n),
		ON_A_DEVICE(hawkbit_3185_success_before_the_new_system_ran),
		ON_A_DEVICE(rauc_1977_and_1585_half_written_slots_and_second_callers),
		ON_A_DEVICE(swupdate_3394cc6c_and_CVE_2023_7216_paths_in_member_names),
		ON_A_DEVICE(mender_hub_6495_no_key_is_no_check),
		ON_A_DEVICE(jetkvm_1262_empty_signature),
		ON_A_DEVICE(jetkvm_1263_a_prerelease_is_checked_like_any_other),
		ON_A_DEVICE(mender_1412_header_checksums_and_state_scripts),
		ON_A_DEVICE(systemd_41895_no_cut_of_a_signature_ends_the_program),
		ON_A_DEVICE(rauc_1308_a_large_signature_is_refused_by_its_size),
		ON_A_DEVICE(mcuboot_597_and_1708_the_counter_rises_by_confirmation_only),
		ON_A_DEVICE(rauc_1140_only_the_slot_that_runs_is_marked_good),
		ON_A_DEVICE(rauc_1517_a_broken_stream_is_begun_again_without_harm),
		cmocka_unit_test(strict_not_one_tampered_byte_in_the_slot_with_any_codec),
		ON_A_DEVICE(compat_a_tampered_payload_leaves_an_invalid_slot_with_any_codec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
