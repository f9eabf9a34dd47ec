/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_SIGN_REQUEST_H
#define FETCH_SIGN_REQUEST_H
/*
 * A signature asked for in the download thread and got in the main thread, which owns the bus to core. One request at a
 * time; the asking thread waits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/signer.h>

struct sign_desk;

/* What is to be signed. */
struct sign_request {
	enum agent_sign_scheme scheme;
	enum agent_hash hash;
	uint8_t digest[AGENT_DIGEST_MAX];
	size_t digest_size;
};

/* @notify_fd: eventfd written when a request waits; lent. */
int sign_desk_new(int notify_fd, struct sign_desk **ret_desk);
/* No thread may be waiting; close it first. */
struct sign_desk *sign_desk_free(struct sign_desk *desk);
/* The signer for the download thread; it lends the desk. */
int sign_desk_signer(struct sign_desk *desk, const uint8_t *spki, size_t spki_size, struct agent_signer **ret_signer,
		     struct agent_error **err);

/* Main thread: take the waiting request, false if there is none. */
bool sign_desk_take(struct sign_desk *desk, struct sign_request *ret_request);
/* Main thread: answer the taken request. @r negative: takes *@err. */
void sign_desk_answer(struct sign_desk *desk, int r, const void *sig, size_t sig_size, struct agent_error **err);
/* Main thread: refuse the waiting and all later requests. */
void sign_desk_close(struct sign_desk *desk);

#endif
