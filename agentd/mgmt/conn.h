/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_CONN_H
#define MGMT_CONN_H
/*
 * One accepted connection: what it may cost, how long each state may last, and the relay of its plain bytes to
 * libmicrohttpd over a socketpair. libmicrohttpd never sees the network.
 */
#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>
#include <systemd/sd-event.h>

#include "agentd/mgmt/limit.h"
#include "agentd/mgmt/mgmt.h"

enum conn_state {
	CONN_HELLO,	/* TLS: the ClientHello is not complete; no SSL object yet */
	CONN_QUEUED,	/* TLS: complete, waits for a handshake token */
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_LINGER,	/* the answer is out; what the client still sends is thrown away for a moment */
	CONN_DEAD	/* socket closed; libmicrohttpd has not let go yet */
};

/* What an open connection is busy with; each has its deadline. */
enum conn_phase { PHASE_IDLE, PHASE_HEAD, PHASE_BODY, PHASE_CORE, PHASE_STREAM, PHASE_REPLY, PHASE_EVENTS };

struct conn_bytes {
	uint8_t *data;
	size_t size, pos;
};

struct request;

struct conn {
	struct conn *next, *prev;
	struct mgmt *m;
	struct source source;
	uint32_t uid;		/* BUS_NO_UID over the network */
	char local_ip[48];	/* address the client reached, "" on the Unix socket */
	bool is_tls, is_unix;
	bool is_known;		/* a caller has logged in on it: no longer the first to be evicted */
	bool net_eof, mhd_open, out_eof;
	int net_fd, relay_fd, mhd_fd;
	SSL *ssl;
	enum conn_state state;
	enum conn_phase phase;
	bool is_head_over, is_line_start;	/* of the request head that is coming in */
	struct conn_bytes in, out;	/* left over because the other side was full */
	sd_event_source *net_io, *relay_io, *timer;
	uint64_t accepted_us, state_us, phase_us, stalled_us;
	struct request *req;
};

/* Take over an accepted, non-blocking socket. On failure it is closed. */
int conn_new(struct mgmt *m, int fd, const struct source *source, uint32_t uid, bool is_tls, const char *local_ip,
	     struct conn **ret_conn);
/* Close at once; with a reset when @is_rude, so that no state stays behind in the kernel. */
void conn_close(struct conn *c, bool is_rude);
void conn_set_phase(struct conn *c, enum conn_phase phase);
/* Write @size bytes to the client behind libmicrohttpd's back, then close; for answers before the body has been read. */
void conn_answer_and_close(struct conn *c, const char *data, size_t size);
/* Free those that are done; from the event loop only. */
void conn_reap(struct mgmt *m);
/* libmicrohttpd has closed its end. */
void conn_mhd_closed(struct conn *c);
struct conn *conn_by_mhd_fd(struct mgmt *m, int fd);
/* Closes the oldest connection nobody has logged in on; false if there is none. */
bool conn_evict(struct mgmt *m, bool is_unix);
/* Go on after the TLS queue let it through. */
void conn_start_handshake(struct conn *c);

/* listener.c */
int listener_new(struct mgmt *m, const int *unix_fds, size_t n_unix, const int *https_fds, size_t n_https, struct agent_error **err);
void listener_free(struct mgmt *m);
/* HTTPS is accepted only while there is a certificate. */
void listener_enable_https(struct mgmt *m);

/* tls.c */
int tls_new(struct mgmt *m, struct agent_error **err);
void tls_free(struct mgmt *m);
/* Ask core for a certificate, now or when it is back. */
void tls_renew(struct mgmt *m);
bool tls_is_ready(const struct mgmt *m);
/* @local_ip becomes a name of the certificate if it is not one yet. */
void tls_learn_address(struct mgmt *m, const char *local_ip);
int tls_session_new(struct mgmt *m, int fd, SSL **ret_ssl);
/* Lets waiting connections start their handshake, least recently served source first. */
void tls_queue_run(struct mgmt *m);
/* Looks at the bytes in the kernel without reading: 1 complete, 0 wait for *ret_want bytes, negative: not a ClientHello. */
int tls_hello_check(const uint8_t *data, size_t size, size_t *ret_want);

#endif
