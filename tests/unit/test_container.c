/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"

#include <errno.h>

#include "update/container.h"

/* Read all members to the end; the last error, or the number of members. */
static int read_all(const void *data, size_t size, struct agent_error **err)
{
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_close_ int fd = bytes_fd(data, size);
	struct member member;
	int n = 0, r;

	assert_int_equal(container_new(fd, &c, NULL), 0);
	while ((r = container_next(c, &member, err)) > 0) {
		while (container_left(c) > 0) {
			uint8_t part[7];
			size_t want = container_left(c) < sizeof(part) ? (size_t)container_left(c) : sizeof(part);

			r = container_read(c, part, want, err);
			if (r < 0)
				return r;
		}
		n++;
	}
	return r < 0 ? r : n;
}

static void good_bundle(struct bytes *b)
{
	cpio_member(b, "sw-description", "text", 4, NULL);
	cpio_member(b, "sw-description.sig", "signed", 6, NULL);
	cpio_member(b, "image", "12345678901", 11, NULL);
	cpio_end(b);
}

static void both_formats_are_read(void **state)
{
	_cleanup_bytes_ struct bytes b = { 0 };

	cpio_member(&b, "one", "abc", 3, &(struct member_options){ .magic = "070701" });
	cpio_member(&b, "empty", "", 0, NULL);
	cpio_member(&b, "two", "abcd", 4, NULL);
	cpio_end(&b);
	assert_int_equal(read_all(b.data, b.size, NULL), 3);
}

static void data_arrives_unchanged(void **state)
{
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_bytes_ struct bytes b = { 0 };
	_cleanup_close_ int fd = -1;
	struct member member;
	char data[12] = { 0 };

	good_bundle(&b);
	fd = bytes_fd(b.data, b.size);
	assert_int_equal(container_new(fd, &c, NULL), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(container_next(c, &member, NULL), 1);
		assert_int_equal(container_read(c, data, (size_t)member.size_bytes, NULL), 0);
	}
	assert_string_equal(member.name, "image");
	assert_string_equal(data, "12345678901");
	assert_int_equal(container_next(c, &member, NULL), 0);
	assert_int_equal(container_next(c, &member, NULL), 0);
}

static void a_bundle_cut_at_any_byte_is_refused(void **state)
{
	_cleanup_bytes_ struct bytes b = { 0 };
	size_t end;

	good_bundle(&b);
	/* The block padding after the trailer is not needed; everything before it is. */
	for (end = b.size; b.data[end - 1] == 0; end--)
		;
	end = (end + 1 + 3) / 4 * 4; /* the trailer's NUL and its padding */
	for (size_t n = 0; n < b.size; n++) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r = read_all(b.data, n, &err);

		if (n >= end)
			assert_int_equal(r, 3);
		else
			assert_error(&err, -EBADMSG, "container.short");
	}
}

static void the_checksum_holds_for_any_length_and_the_largest_bytes(void **state)
{
	static uint8_t data[5000];

	memset(data, 0xff, sizeof(data));
	for (size_t n = 0; n < sizeof(data); n += n < 40 ? 1 : 509) {
		_cleanup_(container_freep) struct container *c = NULL;
		_cleanup_bytes_ struct bytes b = { 0 };
		_cleanup_close_ int fd = -1;
		struct member member;
		static uint8_t got[5000];

		cpio_member(&b, "m", data, n, NULL);
		cpio_end(&b);
		fd = bytes_fd(b.data, b.size);
		assert_int_equal(container_new(fd, &c, NULL), 0);
		assert_int_equal(container_next(c, &member, NULL), 1);
		if (n > 0)
			assert_int_equal(container_read(c, got, n, NULL), 0);
		assert_int_equal(container_next(c, &member, NULL), 0);
	}
}

static void a_member_not_read_whole_is_our_own_slip(void **state)
{
	_cleanup_(container_freep) struct container *c = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes b = { 0 };
	_cleanup_close_ int fd = -1;
	struct member member;
	char data[16];

	good_bundle(&b);
	fd = bytes_fd(b.data, b.size);
	assert_int_equal(container_new(fd, &c, NULL), 0);
	assert_int_equal(container_next(c, &member, NULL), 1);
	assert_int_equal(container_read(c, data, 5, &err), -EINVAL);
	assert_error(&err, -EINVAL, "container.order");
	assert_int_equal(container_next(c, &member, &err), -EINVAL);
	assert_error(&err, -EINVAL, "container.order");
}

static void bad_members_are_refused(void **state)
{
	static const struct {
		const char *name;
		struct member_options options;
		const char *error;
	} cases[] = {
		{ "x", { .magic = "070707" }, "container.magic" },
		{ "x", { .magic = "070703" }, "container.magic" },
		{ "x", { .mode = 0120777 }, "container.header" },	/* link */
		{ "x", { .mode = 0040755 }, "container.header" },	/* folder */
		{ "x", { .mode = 0060600 }, "container.header" },	/* device */
		{ "x", { .add_to_checksum = 1 }, "container.checksum" },
		{ "x", { .magic = "070701", .add_to_checksum = 1 }, NULL },	/* "newc" has none */
		{ "x", { .padding = 1 }, "container.padding" },
		{ "x", { .add_to_size = 4 }, "container.magic" },	/* swallows the next header */
		{ "x", { .add_to_namesize = 1 }, "container.name" },
		{ "a/b", { 0 }, "container.name" },
		{ "/etc", { 0 }, "container.name" },
		{ "..", { 0 }, "container.name" },
		{ ".", { 0 }, "container.name" },
		{ "a b", { 0 }, NULL },
		{ "gr\xc3\xb6\xc3\x9f""e", { 0 }, NULL },
		{ "a\xc3", { 0 }, "container.name" },
		{ "a\xe4z", { 0 }, "container.name" },
		{ "a\x01", { 0 }, "container.name" },
		{ "a\n", { 0 }, "container.name" },
		{ "a\x7f", { 0 }, "container.name" },
		{ "a\xc2\x85", { 0 }, "container.name" },
		{ "", { 0 }, "container.name" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes b = { 0 };
		int r;

		cpio_member(&b, cases[i].name, "abcde", 5, &cases[i].options);
		cpio_end(&b);
		r = read_all(b.data, b.size, &err);
		if (cases[i].error == NULL) {
			assert_int_equal(r, 1);
			continue;
		}
		assert_int_equal(r, -EBADMSG);
		if (cases[i].options.add_to_size == 0)
			assert_error(&err, -EBADMSG, cases[i].error);
	}
}

static void a_name_of_254_bytes_passes_and_255_does_not(void **state)
{
	char name[300];

	for (size_t n = 254; n <= 255; n++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes b = { 0 };

		memset(name, 'n', n);
		name[n] = '\0';
		cpio_member(&b, name, "", 0, NULL);
		cpio_end(&b);
		assert_int_equal(read_all(b.data, b.size, &err), n == 254 ? 1 : -EBADMSG);
	}
}

static void a_field_that_is_no_number_is_refused(void **state)
{
	for (size_t field = 0; field < 13; field++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes b = { 0 };

		good_bundle(&b);
		b.data[6 + field * 8 + 3] = 'g';
		assert_int_equal(read_all(b.data, b.size, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "container.header");
	}
}

static void the_same_name_twice_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes b = { 0 };

	cpio_member(&b, "image", "a", 1, NULL);
	cpio_member(&b, "other", "a", 1, NULL);
	cpio_member(&b, "image", "a", 1, NULL);
	cpio_end(&b);
	assert_int_equal(read_all(b.data, b.size, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "container.duplicate");
}

static void too_many_members_are_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes b = { 0 };
	char name[16];

	for (int i = 0; i <= CONTAINER_MEMBERS_MAX; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		cpio_member(&b, name, "a", 1, NULL);
	}
	cpio_end(&b);
	assert_int_equal(read_all(b.data, b.size, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "container.members");
}

static void only_a_short_run_of_zeros_may_follow_the_trailer(void **state)
{
	static const struct {
		size_t n;
		uint8_t last;
		bool is_good;
	} cases[] = { { 0, 0, true }, { 1, 0, true }, { 511, 0, true }, { 512, 0, false }, { 5000, 0, false }, { 1, 1, false }, { 511, 7, false } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_bytes_ struct bytes b = { 0 };
		uint8_t tail[5000] = { 0 };

		cpio_member(&b, "image", "a", 1, NULL);
		cpio_member(&b, "TRAILER!!!", NULL, 0, NULL);
		if (cases[i].n > 0)
			tail[cases[i].n - 1] = cases[i].last;
		bytes_add(&b, tail, cases[i].n);
		assert_int_equal(read_all(b.data, b.size, &err), cases[i].is_good ? 1 : -EBADMSG);
		if (!cases[i].is_good)
			assert_error(&err, -EBADMSG, "container.trailing");
	}
}

static void a_trailer_with_data_is_refused(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_bytes_ struct bytes b = { 0 };

	cpio_member(&b, "TRAILER!!!", "abcd", 4, NULL);
	assert_int_equal(read_all(b.data, b.size, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "container.header");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_formats_are_read),
		cmocka_unit_test(data_arrives_unchanged),
		cmocka_unit_test(a_bundle_cut_at_any_byte_is_refused),
		cmocka_unit_test(the_checksum_holds_for_any_length_and_the_largest_bytes),
		cmocka_unit_test(a_member_not_read_whole_is_our_own_slip),
		cmocka_unit_test(bad_members_are_refused),
		cmocka_unit_test(a_name_of_254_bytes_passes_and_255_does_not),
		cmocka_unit_test(a_field_that_is_no_number_is_refused),
		cmocka_unit_test(the_same_name_twice_is_refused),
		cmocka_unit_test(too_many_members_are_refused),
		cmocka_unit_test(only_a_short_run_of_zeros_may_follow_the_trailer),
		cmocka_unit_test(a_trailer_with_data_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
