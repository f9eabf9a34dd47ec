/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_PLAIN_H
#define MGMT_PLAIN_H
/* The door without TLS (port 80): one page that says how to recognise the device, and the way to HTTPS. No state, no cookie. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct mgmt;

#define PLAIN_HEAD_MAX 4096

struct plain_request {
	bool is_get, is_head, is_root, has_body;
	char host[256];	/* as it came, bytes of a host name or address only */
};

/* @head as far as it has arrived: 0 it is not complete yet, 200 it may be answered, else the status that refuses it. */
unsigned plain_head_read(const char *head, size_t size, struct plain_request *ret_req);

/* May one more come in? The oldest goes when all places are taken. @n_plain: connections of this source at this door. */
bool plain_has_place(struct mgmt *m, size_t n_plain);
/* @c is a new connection of this door. */
void plain_begin(struct conn *c);
/* Bytes have arrived, or @is_over: no more will. */
void plain_read(struct conn *c, bool is_over);

#endif
