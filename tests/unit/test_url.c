/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/fetch/url.h"

static void good_addresses_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *host, *shown;
		uint16_t port;
	} cases[] = {
		{ "https://example.test/a/b.swu", "example.test", "https://example.test/a/b.swu", 443 },
		{ "HTTPS://example.test", "example.test", "https://example.test/", 443 },
		{ "https://example.test:8443/x?token=secret", "example.test", "https://example.test:8443/x", 8443 },
		{ "https://192.0.2.7/x", "192.0.2.7", "https://192.0.2.7/x", 443 },
		{ "https://[2001:db8::7]:444/x", "2001:db8::7", "https://[2001:db8::7]:444/x", 444 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct url url;

		assert_int_equal(url_parse(cases[i].text, &url, &err), 0);
		assert_string_equal(url.text, cases[i].text);
		assert_string_equal(url.host, cases[i].host);
		assert_string_equal(url.shown, cases[i].shown);
		assert_int_equal(url.port, cases[i].port);
		url_clear(&url);
	}
}

static void everything_else_is_refused(void **state)
{
	static const char *const cases[] = {
		"", "http://example.test/", "ftp://example.test/", "file:///etc/passwd", "https:/example.test", "https://", "https:///x",
		"https://user@example.test/", "https://user:pw@example.test/", "https://example.test/#f", "https://example.test/a b",
		"https://example.test/\n", "https://example.test/\x80", "https://example.test:0/", "https://example.test:99999/",
		"https://[2001:db8::7/", "//example.test/", "gopher://x/", " https://example.test/", "httpss://x/",
	};
	char *long_url = malloc(3000);

	assert_non_null(long_url);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct url url = { 0 };

		if (url_parse(cases[i], &url, &err) != -EINVAL)
			fail_msg("accepted: %s", cases[i]);
		assert_null(url.text);
		assert_error(&err, -EINVAL, "fetch.url");
	}
	memset(long_url, 'a', 2999);
	long_url[2999] = '\0';
	memcpy(long_url, "https://", 8);
	assert_int_equal(url_parse(long_url, &(struct url){ 0 }, NULL), -EINVAL);
	free(long_url);
}

static void only_the_same_server_is_the_same_origin(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{ "https://h/x", "https://h/y", true },	       { "https://h/x", "https://H:443/y", true },
		{ "https://h/x", "https://h:8443/x", false },  { "https://h/x", "https://h.evil/x", false },
		{ "https://h/x", "https://www.h/x", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct url a, b;

		assert_int_equal(url_parse(cases[i].a, &a, NULL), 0);
		assert_int_equal(url_parse(cases[i].b, &b, NULL), 0);
		assert_int_equal(url_same_origin(&a, &b), cases[i].same);
		url_clear(&a);
		url_clear(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_addresses_are_taken_apart),
		cmocka_unit_test(everything_else_is_refused),
		cmocka_unit_test(only_the_same_server_is_the_same_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
