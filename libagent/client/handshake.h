/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLIENT_HANDSHAKE_H
#define CLIENT_HANDSHAKE_H
#include <stdbool.h>

#include <systemd/sd-bus.h>

/*
 * For both ends of a point to point connection. The client must not be ANONYMOUS and has to ask for descriptors: libsystemd looks for up to three lines in
 * what came first, and aborts the process if there are more than the handshake has (assertion "i == n" in bus_socket_auth_verify_client()). A message of
 * the server right behind the handshake may well have CR LF in it; EXTERNAL with descriptors has three lines. Who the client is remains the kernel's word.
 */
static inline int handshake_set_up(sd_bus *bus)
{
	int r = sd_bus_set_trusted(bus, true);

	return r < 0 ? r : sd_bus_negotiate_fds(bus, true);
}

#endif
