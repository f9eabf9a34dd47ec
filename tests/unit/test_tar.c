/* SPDX-License-Identifier: Apache-2.0 */
/* Archives into a folder: what they may hold, and that they cannot leave it. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"

#include <errno.h>

#include "update/tar.h"

static struct temp_dir dir, outside;
static char slot_path[64];
static struct slot slot = { .slot_class = "app", .name = "b", .path = slot_path };

static int setup(void **state)
{
	temp_dir_make(&dir);
	temp_dir_make(&outside);
	snprintf(slot_path, sizeof(slot_path), "%s", dir.path);
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(&dir);
	temp_dir_remove(&outside);
	return 0;
}

struct entry {
	const char *name;
	char type;
	const char *data;
	unsigned mode;		/* 0: 0644 */
	const char *size;	/* octal, instead of that of data */
	bool bad_checksum;
};

static void tar_entry(struct bytes *out, const struct entry *e)
{
	uint8_t h[512] = { 0 };
	unsigned sum = 0;
	size_t n = e->data == NULL ? 0 : strlen(e->data);

	snprintf((char *)h, 100, "%s", e->name);
	snprintf((char *)h + 100, 8, "%07o", e->mode == 0 ? 0644 : e->mode);
	if (e->size != NULL)
		memcpy(h + 124, e->size, strlen(e->size) > 12 ? 12 : strlen(e->size));
	else
		snprintf((char *)h + 124, 12, "%011zo", n);
	snprintf((char *)h + 136, 12, "%011o", 1000000000u);
	h[156] = (uint8_t)e->type;
	memcpy(h + 257, "ustar\0" "00", 8);
	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", e->bad_checksum ? sum + 1 : sum);
	bytes_add(out, h, 512);
	bytes_add(out, e->data, n);
	bytes_pad(out, 512, 0);
}

static void tar_finish(struct bytes *out)
{
	static const uint8_t zeros[1024];

	bytes_add(out, zeros, sizeof(zeros));
}

/* In pieces of @step bytes, so that every state is left and entered again. */
static int extract(const struct bytes *bytes, size_t step, uint64_t max_bytes, struct agent_error **err)
{
	_cleanup_(tree_freep) struct tree *tree = NULL;
	_cleanup_(tar_freep) struct tar *tar = NULL;
	int r;

	r = tree_clear(&slot, err);
	if (r == 0)
		r = tree_new(&slot, &tree, err);
	if (r == 0)
		r = tar_new(tree, "", max_bytes, &tar, err);
	for (size_t at = 0; r == 0 && at < bytes->size; at += step)
		r = tar_push(tar, bytes->data + at, bytes->size - at < step ? bytes->size - at : step, err);
	if (r == 0)
		r = tar_end(tar, err);
	return r < 0 ? r : tree_verify(tree, err);
}

static void check_file(const char *name, const char *content, unsigned mode)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;

	assert_int_equal(file_read_at(dir.fd, name, 65536, &data, NULL, NULL), 0);
	assert_string_equal(data, content);
	assert_int_equal(fstatat(dir.fd, name, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(st.st_mtime, 1000000000);
}

static void files_and_folders_arrive_in_pieces_of_any_size(void **state)
{
	static const struct entry entries[] = {
		{ "./", '5', NULL, 0755, NULL, false }, { "bin/", '5', NULL, 0750, NULL, false }, { "bin/tool", '0', "#!/bin/sh\n", 0755, NULL, false },
		{ "etc/deep/er/file", '0', "x", 0600, NULL, false }, { "empty", '\0', "", 0, NULL, false },
		{ "pax", 'x', "29 path=a/name/from/extended\n12 mtime=77\n", 0, NULL, false },
		{ "short", '0', "extended", 0, NULL, false }, { "././@LongLink", 'L', "long/name/of/gnu", 0, NULL, false }, { "cut", '0', "gnu", 0, NULL, false },
		{ "global", 'g', "11 foo=bar\n", 0, NULL, false }, { "last", '0', "l", 0444, NULL, false },
	};
	static const size_t steps[] = { 1, 7, 511, 512, 513, 65536 };
	_cleanup_bytes_ struct bytes bytes = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
		tar_entry(&bytes, &entries[i]);
	tar_finish(&bytes);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct stat st;

		if (extract(&bytes, steps[i], 1000, &err) < 0)
			fail_msg("step %zu: %s", steps[i], agent_error_message(err));
		check_file("bin/tool", "#!/bin/sh\n", 0755);
		check_file("etc/deep/er/file", "x", 0600);
		check_file("empty", "", 0644);
		check_file("long/name/of/gnu", "gnu", 0644);
		check_file("last", "l", 0444);
		assert_int_equal(fstatat(dir.fd, "a/name/from/extended", &st, 0), 0);
		assert_int_equal(st.st_mtime, 77);
		assert_int_equal(fstatat(dir.fd, "bin", &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, 0750);
		assert_int_equal(fstatat(dir.fd, "cut", &st, 0), -1);
	}
}

static void what_leaves_the_folder_or_is_no_file_is_refused(void **state)
{
	static const struct {
		struct entry entry;
		int r;
		const char *error;
	} cases[] = {
		{ { "../out", '0', "x", 0, NULL, false }, -EBADMSG, "update.path" },
		{ { "a/../../out", '0', "x", 0, NULL, false }, -EBADMSG, "update.path" },
		{ { "..", '5', NULL, 0755, NULL, false }, -EBADMSG, "update.path" },
		{ { "/etc/passwd", '0', "x", 0, NULL, false }, -EBADMSG, "update.path" },
		{ { "x", 'x', "15 path=../out\n", 0, NULL, false }, -EBADMSG, NULL },
		{ { "", '0', "x", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "link", '2', NULL, 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "hard", '1', NULL, 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "node", '3', NULL, 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "fifo", '6', NULL, 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "sparse", 'S', NULL, 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "su", '0', "x", 04755, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "sg", '0', "x", 02755, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "big", '0', "x", 0, "00000002000", false }, -EMSGSIZE, "update.size" },
		{ { "huge", '0', "x", 0, "777777777777", false }, -EMSGSIZE, "update.size" },
		{ { "binary", '0', "x", 0, "\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", false }, -EBADMSG, "update.archive" },
		{ { "negative", '0', "x", 0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", false }, -EBADMSG, "update.archive" },
		{ { "letters", '0', "x", 0, "0000000zzzz", false }, -EBADMSG, "update.archive" },
		{ { "sum", '0', "x", 0, NULL, true }, -EBADMSG, "update.archive" },
		{ { "folder", '5', "x", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "pax", 'x', "9999999 path=a\n", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "pax", 'x', "7 a=\n", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "pax", 'x', "12 nothing a\n", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "pax", 'x', "29 size=99999999999999999999\n", 0, NULL, false }, -EBADMSG, "update.archive" },
		{ { "pax", 'x', "22 GNU.sparse.major=1\n", 0, NULL, false }, -EOPNOTSUPP, "update.archive" },
		{ { "pax", 'x', "", 0, NULL, false }, -EBADMSG, "update.archive" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;
		int r;

		tar_entry(&bytes, &cases[i].entry);
		tar_entry(&bytes, &(struct entry){ .name = "next", .type = '0', .data = "x" });
		tar_finish(&bytes);
		r = extract(&bytes, 4096, 512, &err);
		if (r != cases[i].r || (cases[i].error != NULL && strcmp(agent_error_name(err), cases[i].error) != 0))
			fail_msg("case %zu (%s): %d %s \"%s\"", i, cases[i].entry.name, r, agent_error_name(err), agent_error_message(err));
	}
}

static void a_refused_entry_is_named_whole(void **state)
{
	static const char *const names[] = { "a/../../out", "a/b/..", "./first/below" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;

		tar_entry(&bytes, &(struct entry){ .name = "first", .type = '0', .data = "x" });
		tar_entry(&bytes, &(struct entry){ .name = names[i], .type = '0', .data = "x" });
		tar_finish(&bytes);
		assert_int_equal(extract(&bytes, 4096, 512, &err), -EBADMSG);
		if (strcmp(agent_error_name(err), "update.path") != 0 || strstr(agent_error_message(err), names[i]) == NULL)
			fail_msg("%s: %s", names[i], agent_error_message(err));
	}
}

/* Nobody else should write there; if somebody does, no link leads us out. */
static void links_that_are_there_already_are_not_followed(void **state)
{
	_cleanup_bytes_ struct bytes bytes = { 0 };
	_cleanup_(tree_freep) struct tree *tree = NULL;
	_cleanup_(tar_freep) struct tar *tar = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	struct stat st;

	tar_entry(&bytes, &(struct entry){ .name = "way/out", .type = '0', .data = "x" });
	tar_finish(&bytes);
	assert_int_equal(symlinkat(outside.path, dir.fd, "way"), 0);
	assert_int_equal(tree_new(&slot, &tree, NULL), 0);
	assert_int_equal(tar_new(tree, "", 1000, &tar, NULL), 0);
	assert_int_equal(tar_push(tar, bytes.data, bytes.size, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.path");
	assert_int_equal(fstatat(outside.fd, "out", &st, 0), -1);
	/* And clearing removes the link, not what it leads to. */
	assert_int_equal(mkdirat(outside.fd, "precious", 0755), 0);
	assert_int_equal(tree_clear(&slot, NULL), 0);
	assert_int_equal(fstatat(outside.fd, "precious", &st, 0), 0);
	assert_int_equal(fstatat(dir.fd, "way", &st, AT_SYMLINK_NOFOLLOW), -1);
}

static void names_twice_and_cut_archives_are_refused(void **state)
{
	_cleanup_bytes_ struct bytes bytes = { 0 }, twice = { 0 };
	_cleanup_error_ struct agent_error *err = NULL;

	tar_entry(&twice, &(struct entry){ .name = "a", .type = '0', .data = "x" });
	tar_entry(&twice, &(struct entry){ .name = "./a", .type = '0', .data = "y" });
	tar_finish(&twice);
	assert_int_equal(extract(&twice, 512, 1000, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "update.path");
	tar_entry(&bytes, &(struct entry){ .name = "a", .type = '0', .data = "content" });
	tar_finish(&bytes);
	for (size_t n = 0; n < bytes.size; n += 100) {
		struct bytes cut = { .data = bytes.data, .size = n };

		assert_int_equal(extract(&cut, 512, 1000, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "update.archive");
	}
}

/* Every bit of a header, flipped: refused, or the file is where it may be. */
static void flipped_bits_stay_inside(void **state)
{
	_cleanup_bytes_ struct bytes bytes = { 0 };

	tar_entry(&bytes, &(struct entry){ .name = "a/b", .type = '0', .data = "content" });
	tar_finish(&bytes);
	for (size_t bit = 0; bit < 512 * 8; bit++) {
		uint8_t old = bytes.data[bit / 8];
		int r;

		bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		r = extract(&bytes, 4096, 1000, NULL);
		assert_true(r == 0 || r == -EBADMSG || r == -EOPNOTSUPP || r == -EMSGSIZE);
		/* One bit changes the sum, unless it is in the sum's own padding. */
		assert_true(r < 0 || (bit / 8 >= 148 && bit / 8 < 156));
		bytes.data[bit / 8] = old;
	}
}

static void a_slot_that_is_no_folder_is_refused(void **state)
{
	struct slot file = { .slot_class = "app", .name = "b" };
	_cleanup_error_ struct agent_error *err = NULL;
	struct tree *tree = NULL;
	char path[128];
	uint64_t room;

	snprintf(path, sizeof(path), "%s/file", dir.path);
	assert_int_equal(file_replace_at(dir.fd, "file", 0600, "x", 1, NULL), 0);
	file.path = path;
	assert_int_equal(tree_check(&file, &room, &err), -EINVAL);
	assert_error(&err, -EINVAL, "slot.type");
	assert_int_equal(tree_new(&file, &tree, &err), -EINVAL);
	assert_error(&err, -EINVAL, "slot.type");
	/* Nor a link to one. */
	assert_int_equal(symlinkat(outside.path, dir.fd, "link"), 0);
	snprintf(path, sizeof(path), "%s/link", dir.path);
	assert_int_equal(tree_check(&file, &room, &err), -EINVAL);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_FOLDER(files_and_folders_arrive_in_pieces_of_any_size),
		IN_A_FOLDER(what_leaves_the_folder_or_is_no_file_is_refused),
		IN_A_FOLDER(a_refused_entry_is_named_whole),
		IN_A_FOLDER(links_that_are_there_already_are_not_followed),
		IN_A_FOLDER(names_twice_and_cut_archives_are_refused),
		IN_A_FOLDER(flipped_bits_stay_inside),
		IN_A_FOLDER(a_slot_that_is_no_folder_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
