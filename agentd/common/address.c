/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

static int port_parse(const char *text, uint16_t *ret_port)
{
	uint32_t port = 0;
	size_t n = strlen(text);

	if (n == 0 || n > 5)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (uint32_t)(text[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	char host[INET6_ADDRSTRLEN] = "::";
	const char *colon = strrchr(text, ':'), *begin = text;
	uint16_t port;
	size_t n;

	if (colon == NULL || port_parse(colon + 1, &port) < 0)
		return -EINVAL;
	n = (size_t)(colon - text);
	if (n == 1 && *text == '*') {
		n = strlen(host);
		begin = host;
	} else if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		begin = text + 1;
		n -= 2;
	} else if (memchr(text, ':', n) != NULL) {
		return -EINVAL;	/* an IPv6 address without brackets is ambiguous */
	}
	if (n >= sizeof(host))
		return -EINVAL;
	memmove(host, begin, n);
	host[n] = '\0';

	memset(ret_address, 0, sizeof(*ret_address));
	if (*text != '[' && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		in.sin_port = htons(port);
		memcpy(ret_address, &in, sizeof(in));
		*ret_size = sizeof(in);
		return 0;
	}
	if ((*text == '[' || *text == '*') && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		in6.sin6_port = htons(port);
		memcpy(ret_address, &in6, sizeof(in6));
		*ret_size = sizeof(in6);
		return 0;
	}
	return -EINVAL;
}
