/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/fetch/range.h"

static void add(struct range_head *head, const char *line)
{
	range_head_add(head, line, strlen(line));
}

static struct range_head head_of(const char *content_range)
{
	struct range_head head = { 0 };
	char line[512];

	add(&head, "HTTP/1.1 206 Partial Content\r\n");
	snprintf(line, sizeof(line), "content-range: %s\r\n", content_range);
	add(&head, line);
	add(&head, "ETag: \"one\"\r\n");
	return head;
}

static void an_answer_that_fits_describes_the_file(void **state)
{
	struct range_head head = head_of("bytes 10-19/100");
	struct range_file file = { 0 };

	assert_int_equal(range_check(&head, 10, 19, &file, NULL), 0);
	assert_true(file.is_known);
	assert_int_equal(file.size_bytes, 100);
	assert_string_equal(range_validator(&file), "\"one\"");
	/* Asked for more than there is. */
	head = head_of("bytes 90-99/100");
	assert_int_equal(range_check(&head, 90, 500, &file, NULL), 0);
}

static void other_ranges_are_refused(void **state)
{
	static const char *const wrong[] = {
		"bytes 11-19/100", "bytes 10-18/100", "bytes 10-20/100", "bytes 10-19/15", "bytes 19-10/100", "bytes 10-19/*", "bytes */100",
		"bytes 10-19", "bytes=10-19/100", "10-19/100", "", "bytes -10-19/100", "bytes 10-19/100 ", "bytes 10-19/100, 30-39/100", "bytes 0x0a-19/100",
		"bytes 10-19/18446744073709551616", "bytes 10-18446744073709551625/100", "bytes 10-19/9223372036854775808", "bytes  10-19/100",
		"bytes 10-19/100000000000000000000000000000000000000000000000000000000000000000000000000000000",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct range_head head = head_of(wrong[i]);
		struct range_file file = { 0 };

		/* Blanks at the end of a line belong to no value. */
		if (strcmp(wrong[i], "bytes 10-19/100 ") == 0) {
			assert_int_equal(range_check(&head, 10, 19, &file, &err), 0);
			continue;
		}
		assert_int_equal(range_check(&head, 10, 19, &file, &err), -EBADMSG);
		assert_string_equal(agent_error_name(err), "fetch.range");
		assert_false(file.is_known);
	}
}

static void there_is_one_content_range(void **state)
{
	struct range_head head = head_of("bytes 0-9/100");
	struct range_file file = { 0 };

	add(&head, "Content-Range: bytes 0-9/100\r\n");
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), -EBADMSG);
	/* The next answer begins anew. */
	add(&head, "HTTP/1.1 206 Partial Content\r\n");
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), -EBADMSG);
	add(&head, "Content-Range: bytes 0-9/100\r\n");
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), 0);
}

static void another_file_is_noticed(void **state)
{
	struct range_head head = head_of("bytes 0-9/100");
	struct range_file file = { 0 };

	assert_int_equal(range_check(&head, 0, 9, &file, NULL), 0);
	head = head_of("bytes 10-19/101");
	assert_int_equal(range_check(&head, 10, 19, &file, NULL), -ESTALE);
	head = head_of("bytes 10-19/100");
	add(&head, "ETag: \"two\"\r\n");
	assert_int_equal(range_check(&head, 10, 19, &file, NULL), -ESTALE);
	add(&head, "ETag: W/\"one\"\r\n");	/* a weak one says nothing */
	assert_int_equal(range_check(&head, 10, 19, &file, NULL), -ESTALE);
	head = head_of("bytes 10-19/100");
	assert_int_equal(range_check(&head, 10, 19, &file, NULL), 0);
}

static void a_date_will_do(void **state)
{
	struct range_head head = head_of("bytes 0-9/100");
	struct range_file file = { 0 };

	add(&head, "ETag: W/\"weak\"\r\n");
	add(&head, "Last-Modified:\tSat, 21 Nov 2026 12:00:00 GMT  \r\n");
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), 0);
	assert_string_equal(range_validator(&file), "Sat, 21 Nov 2026 12:00:00 GMT");
	add(&head, "Last-Modified: Sat, 21 Nov 2026 12:00:01 GMT\r\n");
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), -ESTALE);
	/* Nothing to compare with. */
	head = head_of("bytes 0-9/100");
	add(&head, "ETag: \"a\001b\"\r\n");
	file = (struct range_file){ 0 };
	assert_int_equal(range_check(&head, 0, 9, &file, NULL), 0);
	assert_null(range_validator(&file));
}

static void what_does_not_fit_is_as_if_not_sent(void **state)
{
	struct range_head head = { 0 };
	char line[600];

	memset(line, 'x', sizeof(line));
	memcpy(line, "ETag: \"", 7);
	range_head_add(&head, line, sizeof(line));
	assert_string_equal(head.etag, "");
	add(&head, "ETag:");
	add(&head, "ETag");
	add(&head, "");
	add(&head, "Content-Rangers: bytes 0-9/100");
	assert_string_equal(head.etag, "");
	assert_int_equal(head.n_content_ranges, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_that_fits_describes_the_file), cmocka_unit_test(other_ranges_are_refused),
		cmocka_unit_test(there_is_one_content_range), cmocka_unit_test(another_file_is_noticed), cmocka_unit_test(a_date_will_do),
		cmocka_unit_test(what_does_not_fit_is_as_if_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
