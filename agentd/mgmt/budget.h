/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_BUDGET_H
#define MGMT_BUDGET_H
/*
 * How many TLS handshakes a second this device may spend on whoever comes: a quarter of what its processor could do, as far as it is ours.
 * Measured once, when the first certificate is there.
 */
#include <stdint.h>

#include <openssl/ssl.h>

#include "agentd/mgmt/limit.h"

#define BUDGET_MIN 10	/* a second, and at most: */
#define BUDGET_MAX 500
#define BUDGET_WHOLE_CPU 1000

/*
 * Processor time of the server's half of a handshake with @ctx in microseconds: the least of a few, each within memory. Time of this thread
 * and not of the clock on the wall, so that what else the device does at its start does not count. 0: none came about.
 */
uint32_t budget_handshake_us(SSL_CTX *ctx);

/*
 * Thousandths of one processor that the control group of this process may use (cpu.max of it and of those above, or version 1's quota), at most
 * BUDGET_WHOLE_CPU, also when there is no limit or none can be read. @groups: /proc/self/cgroup, @mount: /sys/fs/cgroup, elsewhere in tests.
 * Before the sandbox, which shows neither.
 */
unsigned budget_cpu_share(const char *groups, const char *mount);

/* Handshakes a second: a quarter of @cpu_share, within the bounds; @handshake_us 0: what limit_rates[] says. */
unsigned budget_rate(uint32_t handshake_us, unsigned cpu_share);

/* A quarter of @rate is for sources somebody has logged in from, the rest for everybody. */
void budget_apply(struct limit_table *limits, unsigned rate);

#endif
