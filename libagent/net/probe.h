/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PROBE_H
#define NET_PROBE_H
/*
 * Does somebody listen there? A thread of its own resolves the name and opens a TCP connection, so that a name server or a router that swallows
 * everything holds up nobody. No TLS: that would cost a signature of the TPM.
 */
#include <stdint.h>

struct probe;

enum probe_result { PROBE_RUNNING, PROBE_GOOD, PROBE_BAD };

/* NULL without memory or threads. @host is copied. */
struct probe *probe_start(const char *host, uint16_t port);
enum probe_result probe_get(const struct probe *probe);
/* The thread goes on until it is done and frees what it needs. Takes NULL, returns NULL. */
struct probe *probe_drop(struct probe *probe);

#endif
