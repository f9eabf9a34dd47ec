/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>

#include "agentd/common/address.h"

static void addresses_are_taken_or_refused(void **state)
{
	static const struct { const char *text; int r, family, port; } cases[] = {
		{ "0.0.0.0:443", 0, AF_INET, 443 },
		{ "127.0.0.1:1", 0, AF_INET, 1 },
		{ "[::]:443", 0, AF_INET6, 443 },
		{ "[::1]:65535", 0, AF_INET6, 65535 },
		{ "*:8443", 0, AF_INET6, 8443 },
		{ "", -EINVAL, 0, 0 },
		{ ":443", -EINVAL, 0, 0 },
		{ "443", -EINVAL, 0, 0 },
		{ "localhost:443", -EINVAL, 0, 0 },
		{ "127.0.0.1", -EINVAL, 0, 0 },
		{ "127.0.0.1:", -EINVAL, 0, 0 },
		{ "127.0.0.1:0", -EINVAL, 0, 0 },
		{ "127.0.0.1:65536", -EINVAL, 0, 0 },
		{ "127.0.0.1:443x", -EINVAL, 0, 0 },
		{ "127.0.0.1:+443", -EINVAL, 0, 0 },
		{ "127.0.0.1:000443", -EINVAL, 0, 0 },
		{ "::1:443", -EINVAL, 0, 0 },
		{ "[::1]443", -EINVAL, 0, 0 },
		{ "[127.0.0.1]:443", -EINVAL, 0, 0 },
		{ "[]:443", -EINVAL, 0, 0 },
		{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:443", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sockaddr_storage address;
		socklen_t size;

		assert_int_equal(address_parse(cases[i].text, &address, &size), cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_int_equal(address.ss_family, cases[i].family);
		if (cases[i].family == AF_INET)
			assert_int_equal(ntohs(((struct sockaddr_in *)(void *)&address)->sin_port), cases[i].port);
		else
			assert_int_equal(ntohs(((struct sockaddr_in6 *)(void *)&address)->sin6_port), cases[i].port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(addresses_are_taken_or_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
