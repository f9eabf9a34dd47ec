/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTALL_ASKED_H
#define INSTALL_ASKED_H
/* A bundle on a server, through agentd-fetch: the asking end of agentd/common/asks.h. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

struct asked {
	int fd;
	uint64_t position, left;	/* of the answer under way: next byte, and how many are still to come */
};

/* Does @fd, lent, lead to somebody who answers asks? */
bool asked_is_source(int fd);
/*
 * Ask for the beginning; waits for the answer. @ret_is_stream: the server knows no ranges, and what follows on @fd is the bundle.
 * -EPIPE update.lost.
 */
int asked_open(int fd, struct asked *ret_asked, bool *ret_is_stream, struct agent_error **err);
/* For agent_update_install_from(). */
int asked_read(void *asked, uint64_t offset, uint64_t n_ahead, void *data, size_t size, size_t *ret_size, struct agent_error **err);

#endif
