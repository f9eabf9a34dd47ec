/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H
/* "192.0.2.1:443", "[::]:443", "*:443": an address to listen on. Names are not looked up. */
#include <sys/socket.h>

/* -EINVAL when @text is none of these; "*" means [::], which takes IPv4 as well. */
int address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_size);

#endif
