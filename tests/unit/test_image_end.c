/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an image: too short, too long, cut off, another hash, a disk that gives back something else. Each has a name, and the member, of its own. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <fcntl.h>

#include "update/filter.h"

/* A disk that said "synced" and lost a bit of this file. */
static const char *rotten;
static off_t rotten_at;

static void rot(void)
{
	_cleanup_close_ int fd = -1;
	uint8_t byte;

	if (rotten == NULL)
		return;
	fd = open(rotten, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, rotten_at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, rotten_at), 1);
	rotten = NULL;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	int r = __real_fdatasync(fd);

	rot();
	return r;
}

/* Journal and boot environment: no power goes here, and it is a lot of them. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	return 0;
}

int __real_syncfs(int fd);
int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
	int r = __real_syncfs(fd);

	rot();
	return r;
}

static void only_the_old_slot_boots(struct device *d)
{
	struct boot_state env = env_read(d);

	assert_string_equal(env.primary, "a");
	assert_true(boot_state_slot(&env, "a")->is_good);
	assert_false(boot_slot_is_bootable(boot_state_slot(&env, "b")) && !slot_is_untouched(d, 1));
	assert_true(slot_is_untouched(d, 0));
}

static void each_fault_has_its_name_and_the_member(void **state)
{
	static const struct {
		const char *what;
		struct bundle bundle;
		bool is_cut;
		off_t rot_at;	/* 1 based, 0: a disk as it should be */
		const char *name, *says;
		bool changes_nothing;
	} rows[] = {
		{ "hash", { .other_hash = true }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "disk", { 0 }, .rot_at = 2 * CHUNK + 9, .name = "slot.readback", .says = "image: chunk 2: slot b reads back" },
		{ "disk, last byte", { 0 }, .rot_at = IMAGE_BYTES, .name = "slot.readback", .says = "image: chunk 4: slot b reads back" },
		/* Both: the chunk shows that it is the disk. */
		{ "hash and disk", { .other_hash = true }, .rot_at = 1, .name = "slot.readback", .says = "image: chunk 0: slot b reads back" },
		{ "short", { .add_to_member = -1 }, .name = "update.size", .says = "image has 299999 bytes, 300000 were signed", .changes_nothing = true },
		{ "long", { .add_to_member = 1 }, .name = "update.size", .says = "image has 300001 bytes, 300000 were signed", .changes_nothing = true },
		{ "cut", { 0 }, .is_cut = true, .name = "container.short", .says = "inside image" },
		{ "gzip, hash", { .compressed = "zlib", .other_hash = true }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "gzip, disk", { .compressed = "zlib" }, .rot_at = 5, .name = "slot.readback", .says = "image: slot b reads back" },
		{ "gzip, cut", { .compressed = "zlib" }, .is_cut = true, .name = "container.short", .says = "inside image" },
		{ "gzip, unpacks to more", { .compressed = "zlib", .short_plain_size = true }, .name = "update.size", .says = "image unpacks to more than the 299999" },
		{ "zstd, hash", { .compressed = "zstd", .other_hash = true }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "zstd, disk", { .compressed = "zstd" }, .rot_at = IMAGE_BYTES, .name = "slot.readback", .says = "image: slot b reads back" },
		{ "zstd, unpacks to more", { .compressed = "zstd", .short_plain_size = true }, .name = "update.size", .says = "image unpacks to more than the 299999" },
		{ "stock, hash", { .is_stock = true, .other_hash = true }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "stock, disk", { .is_stock = true }, .rot_at = 70000, .name = "slot.readback", .says = "image: slot b reads back" },
		{ "stock, short", { .is_stock = true, .add_to_member = -1 }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "stock, long", { .is_stock = true, .add_to_member = 1 }, .name = "update.hash", .says = "image has another SHA-256 than was signed" },
		{ "stock, signed size", { .is_stock = true, .add_to_member = 1, .stock_element = "size = 300000L;" }, .name = "update.size",
		  .says = "image has 300001 bytes, 300000 were signed", .changes_nothing = true },
		{ "stock, cut", { .is_stock = true }, .is_cut = true, .name = "container.short", .says = "inside image" },
		{ "stock, no gzip", { .is_stock = true, .stock_element = "compressed = \"zlib\";" }, .name = "update.compression", .says = "image: the gzip stream" },
		{ "stock, no zstd", { .is_stock = true, .stock_element = "compressed = \"zstd\";" }, .name = "update.compression", .says = "image: the zstd stream" },
		{ "stock, AES of no whole blocks", { .is_stock = true, .add_to_member = 1, .stock_element = "encrypted = \"aes-cbc\";" }, .name = "update.decryption",
		  .says = "image has 300001 bytes, which is no multiple of the 16", .changes_nothing = true },
		{ "stock, AES-CBC, size", { .is_stock = true, .stock_element = "encrypted = \"aes-cbc\"; properties = { decrypted-size = \"300000\"; };" }, .name = "update.size",
		  .says = "image decrypts to 299984 to 299999 bytes, 300000 were signed", .changes_nothing = true },
		{ "stock, AES-CTR, size", { .is_stock = true, .stock_element = "encrypted = \"aes-ctr\"; properties = { decrypted-size = \"299999\"; };" }, .name = "update.size",
		  .says = "image decrypts to 300000 to 300000 bytes, 299999 were signed", .changes_nothing = true },
		{ "stock, AES, padding", { .is_stock = true, .stock_element = "encrypted = \"aes-cbc\";" }, .name = "update.decryption", .says = "image: the end of the decrypted image" },
		{ "stock, too long", { .is_stock = true, .stock_element = "offset = \"800000\";" }, .name = "slot.size", .says = "image: image of 300000 bytes at offset 800000",
		  .changes_nothing = true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes bytes = { 0 };
		struct agent_update *u;
		void *fresh = NULL;
		struct device *d;
		int fd, r;

		device_setup(&fresh);
		d = fresh;
		u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
		assert_int_equal(agent_update_set_key(u, (const uint8_t *)"0123456789abcdef", 16, (const uint8_t *)"0123456789abcdef", NULL), 0);
		bundle_make(d, &rows[i].bundle, &bytes);
		if (rows[i].rot_at > 0) {
			rotten = d->slot[1];
			rotten_at = rows[i].rot_at - 1;
		}
		fd = bytes_fd(bytes.data, rows[i].is_cut ? bytes.size - 1000 : bytes.size);
		r = agent_update_install(u, fd, 0, NOW_S, NULL, NULL, &err);
		close(fd);
		if (r >= 0 || strcmp(agent_error_name(err), rows[i].name) != 0 || strstr(agent_error_message(err), rows[i].says) == NULL)
			fail_msg("%s: %d %s \"%s\", wanted %s \"%s\"", rows[i].what, r, r < 0 ? agent_error_name(err) : "", r < 0 ? agent_error_message(err) : "",
				 rows[i].name, rows[i].says);
		assert_null(rotten);
		if (rows[i].changes_nothing && !slot_is_untouched(d, 1))
			fail_msg("%s: the slot was written", rows[i].what);
		only_the_old_slot_boots(d);
		/* Nothing of it is in the way of the right bundle. */
		assert_int_equal(install(d, u, &(struct bundle){ 0 }, 0, NULL), 0);
		assert_true(slot_holds_image(d, 1));
		agent_update_free(u);
		device_teardown(&fresh);
	}
}

static int install_cut(struct device *d, struct agent_update *u, const struct bytes *bytes, size_t size, struct agent_error **err)
{
	_cleanup_close_ int fd = bytes_fd(bytes->data, size);

	return agent_update_install(u, fd, 0, NOW_S, NULL, NULL, err);
}

/* However an image is stored, and whether an installation of the same bundle broke off before: one bit that comes back wrong is noticed. */
static void a_bit_that_comes_back_wrong_is_noticed(void **state)
{
	static const struct bundle kinds[] = {
		{ .release = "raw" }, { .compressed = "zlib" }, { .compressed = "zstd" }, { .cipher = "aes-cbc" }, { .cipher = "aes-ctr" },
		{ .compressed = "zlib", .cipher = "aes-cbc" }, { .compressed = "zstd", .cipher = "aes-ctr" }, { .is_stock = true },
		{ .is_stock = true, .compressed = "zlib" }, { .is_stock = true, .cipher = "aes-cbc" }, { .is_stock = true, .compressed = "zstd", .cipher = "aes-cbc" },
		{ .is_stock = true, .stock_element = "offset = \"65536\";" }, { .is_stock = true, .stock_element = "offset = \"1000\";" },
	};
	static const off_t offsets[] = { 0, IMAGE_BYTES / 2, IMAGE_BYTES - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (size_t k = 0; k < 2 * ARRAY_SIZE(offsets); k++) {
			bool is_resumed = k >= ARRAY_SIZE(offsets);
			off_t base = kinds[i].stock_element == NULL ? 0 : strtol(kinds[i].stock_element + strlen("offset = \""), NULL, 10);
			_cleanup_error_ struct agent_error *err = NULL;
			_cleanup_bytes_ struct bytes bytes = { 0 };
			struct agent_update *u;
			void *fresh = NULL;
			struct device *d;

			device_setup(&fresh);
			d = fresh;
			u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
			assert_int_equal(agent_update_set_key(u, BUNDLE_KEY, 16, BUNDLE_IV, NULL), 0);
			bundle_make(d, &kinds[i], &bytes);
			if (is_resumed)
				assert_true(install_cut(d, u, &bytes, bytes.size - (bytes.size > IMAGE_BYTES ? IMAGE_BYTES / 3 : 700), NULL) < 0);
			rotten = d->slot[1];
			rotten_at = base + offsets[k % ARRAY_SIZE(offsets)];
			if (install_cut(d, u, &bytes, bytes.size, &err) >= 0 || strcmp(agent_error_name(err), "slot.readback") != 0)
				fail_msg("kind %zu, byte %lld, %s: \"%s\"", i, (long long)rotten_at, is_resumed ? "after one that broke off" : "at once",
					 err == NULL ? "installed" : agent_error_message(err));
			assert_null(rotten);
			only_the_old_slot_boots(d);
			assert_int_equal(install_cut(d, u, &bytes, bytes.size, NULL), 0);
			assert_true(base != 0 || slot_holds_image(d, 1));
			agent_update_free(u);
			device_teardown(&fresh);
		}
}

/* A slot that is a folder: what comes back is compared with what was written, so all of the file is hashed on its way. */
static void files_have_the_same_names(void **state)
{
	static const struct {
		struct bundle bundle;
		bool rots;
		const char *name, *says;
	} rows[] = {
		{ { .other_hash = true }, false, "update.hash", "image has another SHA-256 than was signed" },
		{ { 0 }, true, "slot.readback", "image: slot b: file reads back other bytes" },
	};
	struct device *d = *state;
	char file[128];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(unlink(d->slot[i]), 0);
		assert_int_equal(mkdir(d->slot[i], 0700), 0);
	}
	snprintf(file, sizeof(file), "%s/file", d->slot[1]);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_engine_ struct agent_update *u = engine_with(d, &(struct agent_update_options){ .allow_compat = 1 });
		_cleanup_error_ struct agent_error *err = NULL;
		struct bundle b = rows[i].bundle;

		b.list = "files";
		b.element = " type = \"rawfile\"; path = \"/file\";";
		if (rows[i].rots)
			rotten = file;
		rotten_at = 1000;
		assert_true(install(d, u, &b, 0, &err) < 0);
		if (strcmp(agent_error_name(err), rows[i].name) != 0 || strstr(agent_error_message(err), rows[i].says) == NULL)
			fail_msg("row %zu: %s \"%s\"", i, agent_error_name(err), agent_error_message(err));
		assert_null(rotten);
	}
}

/* Frames of zstd 0.5 to 0.7, which libzstd may still read with a window of any size; also where the magic is cut in two, and in a second frame. */
static void frames_of_old_formats_are_refused(void **state)
{
	static const uint8_t old[] = { 0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0 }, skip[] = { 0x5a, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x' };
	const struct filter *filter = filter_find("zstd");
	uint8_t frame[64], stream[128], out[64];
	size_t n_frame = ZSTD_compress(frame, sizeof(frame), "abc", 3, 1);

	for (size_t first = 1; first < 8; first++) {
		for (int is_old = 0; is_old < 2; is_old++) {
			_cleanup_error_ struct agent_error *err = NULL;
			const uint8_t *in = stream;
			size_t n = 0, n_out, sum = 0;
			bool at_end = false;
			void *z = NULL;
			int r = 0;

			memcpy(stream, skip, sizeof(skip));
			memcpy(stream + sizeof(skip), frame, n_frame);
			memcpy(stream + sizeof(skip) + n_frame, is_old ? old : frame, is_old ? sizeof(old) : n_frame);
			n = sizeof(skip) + n_frame + (is_old ? sizeof(old) : n_frame);
			assert_int_equal(filter->open(&z, NULL), 0);
			while (r == 0 && n > 0) {
				size_t part = n < first ? n : first, left = part;

				r = filter->run(z, &in, &left, out, sizeof(out), &n_out, &at_end, &err);
				n -= part - left;
				sum += r == 0 ? n_out : 0;
			}
			filter->close(z);
			assert_int_equal(sum, is_old ? 3 : 6);
			if (is_old)
				assert_error(&err, -EBADMSG, "update.compression");
			else
				assert_true(r == 0 && at_end);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_of_old_formats_are_refused),
		cmocka_unit_test(each_fault_has_its_name_and_the_member),
		cmocka_unit_test(a_bit_that_comes_back_wrong_is_noticed),
		cmocka_unit_test_setup_teardown(files_have_the_same_names, device_setup, device_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
