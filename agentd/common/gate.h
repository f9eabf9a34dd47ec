/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_GATE_H
#define COMMON_GATE_H
/*
 * Between a stranger's socket and sd-bus, which takes messages of 128 MiB: passes bytes on, whole messages only, of at most
 * GATE_MESSAGE_MAX bytes, and no descriptors. What breaks the rules, or D-Bus framing, ends the connection.
 */
#include <stdint.h>

#include <systemd/sd-event.h>

#include <agent/error.h>

#define GATE_MESSAGE_MAX (66 * 1024) /* AGENT_APP_MESSAGE_MAX, the names around it, the header */
#define GATE_HELLO_MAX 512	     /* lines of the D-Bus handshake */

struct gate;

/* Takes @fd over, also on failure. *ret_inner_fd is the end for sd-bus; the caller owns it. @on_broken: why, at most once. */
int gate_new(sd_event *event, int fd, void (*on_broken)(void *userdata, const char *why), void *userdata, int *ret_inner_fd,
	     struct gate **ret_gate, struct agent_error **err);
struct gate *gate_free(struct gate *gate);
void gate_set_userdata(struct gate *gate, void *userdata);
/* Read nothing more from the stranger for so long. */
void gate_pause(struct gate *gate, uint64_t pause_us);

#endif
