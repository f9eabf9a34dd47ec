/* SPDX-License-Identifier: Apache-2.0 */
/* Stock bundles with one member for several elements: the same boot loader at two offsets, in two partitions, as an image and as a file. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <fcntl.h>

#include <agent/bundle.h>

#define BOOT_BYTES (512 * 1024)

/* Beside the slots of the fixture class "boot", a smaller partition, and class "data", a folder. */
struct gear {
	struct device *d;
	struct agent_update *u;
	char boot[2][128], data[2][128];
};

/* A disk that said "synced" and lost a bit of this file, with the sync of that number. */
static const char *rotten;
static unsigned rots_with;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	int r = __real_fdatasync(fd);

	if (rotten != NULL && --rots_with == 0) {
		_cleanup_close_ int rotten_fd = open(rotten, O_RDWR | O_CLOEXEC);

		assert_int_equal(pwrite(rotten_fd, "rotten", 6, 1000), 6);
		rotten = NULL;
	}
	return r;
}

static void gear_make(struct gear *g)
{
	static const uint8_t old[BOOT_BYTES] = { 0xbb };
	void *fresh = NULL;

	device_setup(&fresh);
	g->d = fresh;
	g->u = engine_with(g->d, &(struct agent_update_options){ .allow_compat = 1 });
	for (int i = 0; i < 2; i++) {
		const char name[2] = { (char)('a' + i), '\0' };

		snprintf(g->boot[i], sizeof(g->boot[i]), "%.100s/boot-%s", g->d->dir.path, name);
		snprintf(g->data[i], sizeof(g->data[i]), "%.100s/data-%s", g->d->dir.path, name);
		assert_int_equal(file_replace_at(AT_FDCWD, g->boot[i], 0600, old, sizeof(old), NULL), 0);
		assert_int_equal(mkdir(g->data[i], 0700), 0);
		assert_int_equal(agent_update_add_slot(g->u, "boot", name, g->boot[i], NULL), 0);
		assert_int_equal(agent_update_add_slot(g->u, "data", name, g->data[i], NULL), 0);
	}
}

static void gear_clear(struct gear *g)
{
	void *fresh = g->d;

	agent_update_free(g->u);
	device_teardown(&fresh);
}

/* Elements of the one member there is; @HASH in one of them is its hash, @OTHER is not. */
#define ELEMENT(class, more) "{ filename = \"member\"; sha256 = \"@HASH\"; " more " properties = { slot-class = \"" class "\"; }; }"
#define IMAGES(list) "images = ( " list " ); "
#define FILES(list) "files = ( " list " ); "
/* What each bundle has: the device has these classes. */
#define BOOT ELEMENT("boot", "")
#define FILE_1 ELEMENT("data", "path = \"/f1\";")

struct shared {
	const char *body, *compressed;
	bool breaks, is_cut;
};

static void text_make(const struct shared *s, const char *sha, char *out, size_t size)
{
	size_t n = (size_t)snprintf(out, size, "software = { version = \"2.0\"; hardware-compatibility = [ \"1\" ]; ");

	for (const char *p = s->body; *p != '\0'; n += strlen(out + n)) {
		bool is_other = strncmp(p, "@OTHER", 6) == 0;

		assert_true(n + 70 < size);
		if (is_other || strncmp(p, "@HASH", 5) == 0) {
			snprintf(out + n, size - n, "%.63s%c", sha, !is_other ? sha[63] : sha[63] == '0' ? '1' : '0');
			p += is_other ? 6 : 5;
		} else {
			snprintf(out + n, size - n, "%c", *p++);
		}
	}
	snprintf(out + n, size - n, "};");
}

static void shared_make(struct gear *g, const struct shared *s, struct bytes *out)
{
	_cleanup_bytes_ struct bytes stored = { 0 }, signature = { 0 };
	char text[4096], sha[65];

	store_image(g->d, &(struct bundle){ .compressed = s->compressed }, &stored);
	sha256_text(stored.data, stored.size, sha);
	text_make(s, sha, text, sizeof(text));
	sign(g->d, &(struct bundle){ 0 }, text, &signature);
	if (s->breaks)
		stored.data[stored.size / 2] ^= 1;
	cpio_member(out, "sw-description", text, strlen(text), NULL);
	cpio_member(out, "sw-description.sig", signature.data, signature.size, NULL);
	cpio_member(out, "member", stored.data, stored.size, NULL);
	cpio_end(out);
}

static int shared_install(struct gear *g, const struct shared *s, struct agent_error **err)
{
	_cleanup_bytes_ struct bytes out = { 0 };
	_cleanup_close_ int fd = -1;

	shared_make(g, s, &out);
	fd = bytes_fd(out.data, s->is_cut ? out.size - 2000 : out.size);
	return agent_update_install(g->u, fd, 0, NOW_S, NULL, NULL, err);
}

static void it_works(struct gear *g, const struct shared *s)
{
	_cleanup_error_ struct agent_error *err = NULL;
	int r = shared_install(g, s, &err);

	if (r < 0)
		fail_msg("%d %s \"%s\"", r, agent_error_name(err), agent_error_message(err));
	assert_int_equal(stage_of(g->u), AGENT_UPDATE_TRYING);
	assert_true(slot_is_untouched(g->d, 0));
}

static void holds(const char *path, size_t offset, const void *data, size_t size)
{
	_cleanup_free_ char *got = NULL;
	size_t n = 0;

	assert_int_equal(file_read_at(AT_FDCWD, path, SLOT_BYTES, &got, &n, NULL), 0);
	if (n < offset + size || memcmp(got + offset, data, size) != 0)
		fail_msg("%s does not hold these %zu bytes at %zu", path, size, offset);
}

static void file_holds(const struct gear *g, const char *name, const void *data, size_t size)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", g->data[1], name);
	holds(path, 0, data, size);
}

static const struct shared usual = {
	IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("rootfs", "offset = \"512K\";") ", " BOOT) FILES(FILE_1 ", " ELEMENT("data", "path = \"/f2\"; size = 300000;")),
	NULL, false, false
};

static void holds_the_usual(const struct gear *g)
{
	holds(g->d->slot[1], 0, g->d->image, IMAGE_BYTES);
	holds(g->d->slot[1], 512 * 1024, g->d->image, IMAGE_BYTES);
	holds(g->boot[1], 0, g->d->image, IMAGE_BYTES);
	file_holds(g, "f1", g->d->image, IMAGE_BYTES);
	file_holds(g, "f2", g->d->image, IMAGE_BYTES);
}

static void two_offsets_two_partitions_and_two_files(void **state)
{
	struct gear g;

	gear_make(&g);
	it_works(&g, &usual);
	holds_the_usual(&g);
	gear_clear(&g);
}

/* Each element says for itself what becomes of the bytes. */
static void unpacked_and_as_stored(void **state)
{
	static const struct shared rows[] = {
		{ IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("rootfs", "offset = \"512K\"; compressed = \"zlib\";") ", " ELEMENT("boot", "compressed = \"zlib\";")) FILES(FILE_1),
		  "zlib", false, false },
		{ IMAGES(ELEMENT("boot", "compressed = \"zstd\";") ", " ELEMENT("rootfs", "offset = \"512K\"; compressed = \"zstd\";") ", " ELEMENT("rootfs", "")) FILES(FILE_1),
		  "zstd", false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_bytes_ struct bytes stored = { 0 };
		struct gear g;

		gear_make(&g);
		store_image(g.d, &(struct bundle){ .compressed = rows[i].compressed }, &stored);
		it_works(&g, &rows[i]);
		holds(g.d->slot[1], 0, stored.data, stored.size);
		holds(g.d->slot[1], 512 * 1024, g.d->image, IMAGE_BYTES);
		holds(g.boot[1], 0, g.d->image, IMAGE_BYTES);
		file_holds(&g, "f1", stored.data, stored.size);
		gear_clear(&g);
	}
}

static void most_seen(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	uint64_t *seen = userdata;

	seen[0] = done_bytes > seen[0] ? done_bytes : seen[0];
	seen[1] = total_bytes > seen[1] ? total_bytes : seen[1];
}

static void the_member_is_counted_once(void **state)
{
	_cleanup_bytes_ struct bytes out = { 0 };
	uint64_t seen[2] = { 0 };
	struct gear g;
	int fd;

	gear_make(&g);
	shared_make(&g, &usual, &out);
	fd = bytes_fd(out.data, out.size);
	assert_int_equal(agent_update_install(g.u, fd, 0, NOW_S, most_seen, seen, NULL), 0);
	close(fd);
	assert_int_equal(seen[0], IMAGE_BYTES);
	assert_int_equal(seen[1], IMAGE_BYTES);
	gear_clear(&g);
}

/* Said by name; what goes wrong after the first byte leaves the old slot in charge, and the right bundle goes in afterwards. */
static void wrong_ones_have_names(void **state)
{
	const struct {
		struct shared shared;
		bool rots;
		const char *name, *says;
		bool changes_nothing;
	} rows[] = {
		/* What SWUpdate does not install either: tests/e2e/41-stock-bundles.sh. */
		{ { .body = IMAGES(ELEMENT("rootfs", "installed-directly = true;") ", " BOOT) FILES(FILE_1) }, false, "manifest.duplicate", "installed-directly", true },
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("boot", "installed-directly = true;")) FILES(FILE_1) }, false, "manifest.duplicate", "installed-directly", true },
		{ { .body = IMAGES("{ filename = \"member\"; sha256 = \"@OTHER\"; properties = { slot-class = \"rootfs\"; }; }, " BOOT) FILES(FILE_1) }, false,
		  "manifest.duplicate", "another sha256", true },
		/* Our own rules. */
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("rootfs", "") ", " BOOT) FILES(FILE_1) }, false, "manifest.duplicate", "both for the slot class rootfs", true },
		{ { .body = IMAGES(ELEMENT("rootfs", "size = 300000;") ", " ELEMENT("rootfs", "offset = 299999;") ", " BOOT) FILES(FILE_1) }, false, "update.overlap", "member reaches into member", true },
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("rootfs", "offset = 299999;") ", " BOOT) FILES(FILE_1) }, false, "slot.size", "room for 299999", true },
		{ { .body = IMAGES(ELEMENT("rootfs", "compressed = \"zlib\";") ", " ELEMENT("rootfs", "offset = 299999;") ", " BOOT) FILES(FILE_1), .compressed = "zlib" }, false,
		  "update.size", "member unpacks to more than the 299999", false },
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " BOOT) FILES(FILE_1 ", " FILE_1) }, false, "update.path", "f1", false },
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " BOOT) FILES(ELEMENT("data", "path = \"/f1\"; size = 299999;")) }, false, "update.size", "299999 were signed", true },
		/* Of each element what it says itself. */
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("boot", "compressed = \"zlib\";")) FILES(FILE_1) }, false, "update.compression", "member: the gzip", false },
		{ { .body = IMAGES(ELEMENT("rootfs", "") ", " ELEMENT("boot", "encrypted = true;")) FILES(FILE_1) }, false, "update.key", "member is encrypted", true },
		{ { .body = usual.body, .breaks = true }, false, "update.hash", "member has another SHA-256", false },
		{ { .body = usual.body, .is_cut = true }, false, "container.short", "inside member", false },
		{ { .body = usual.body }, true, "slot.readback", "member: slot b reads back", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct boot_state env;
		struct gear g;
		int r;

		gear_make(&g);
		rotten = rows[i].rots ? g.boot[1] : NULL;
		rots_with = 3; /* two of class rootfs, then this one */
		r = shared_install(&g, &rows[i].shared, &err);
		if (r >= 0 || strcmp(agent_error_name(err), rows[i].name) != 0 || strstr(agent_error_message(err), rows[i].says) == NULL)
			fail_msg("row %zu: %d %s \"%s\", wanted %s \"%s\"", i, r, r < 0 ? agent_error_name(err) : "", r < 0 ? agent_error_message(err) : "",
				 rows[i].name, rows[i].says);
		assert_null(rotten);
		if (rows[i].changes_nothing && !slot_is_untouched(g.d, 1))
			fail_msg("row %zu: the slot was written", i);
		env = env_read(g.d);
		assert_string_equal(env.primary, "a");
		assert_false(!rows[i].changes_nothing && boot_slot_is_bootable(boot_state_slot(&env, "b")));
		it_works(&g, &usual);
		holds_the_usual(&g);
		gear_clear(&g);
	}
}

/* Without slots, as "agentctl bundle verify" does it. */
static void a_trial_reads_it_too(void **state)
{
	struct agent_bundle_policy policy = { .n_min_signers = 1, .now_s = NOW_S, .allow_compat = 1 };
	struct shared broken = usual;
	struct gear g;

	broken.breaks = true;
	gear_make(&g);
	policy.trust_dir = g.d->trust;
	for (int i = 0; i < 2; i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes out = { 0 };
		struct agent_bundle_facts facts;
		int fd, r;

		shared_make(&g, i == 0 ? &usual : &broken, &out);
		fd = bytes_fd(out.data, out.size);
		r = agent_bundle_verify(g.d->ctx, fd, &policy, &facts, &err);
		close(fd);
		if (r != (i == 0 ? 0 : -EBADMSG))
			fail_msg("%d: %d %s \"%s\"", i, r, r < 0 ? agent_error_name(err) : "", r < 0 ? agent_error_message(err) : "");
		if (i == 0)
			assert_int_equal(facts.n_images, 5);
		else
			assert_string_equal(agent_error_name(err), "update.hash");
	}
	assert_true(slot_is_untouched(g.d, 1));
	gear_clear(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_offsets_two_partitions_and_two_files),
		cmocka_unit_test(unpacked_and_as_stored),
		cmocka_unit_test(the_member_is_counted_once),
		cmocka_unit_test(wrong_ones_have_names),
		cmocka_unit_test(a_trial_reads_it_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
