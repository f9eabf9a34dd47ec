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
void bytes_drop(struct conn_bytes *b);
int bytes_keep(struct conn_bytes *b, const uint8_t *data, size_t size);
bool bytes_left(const struct conn_bytes *b);

struct head_scan {
	bool is_begun, is_over, is_line_start;
	bool is_past_first; /* the request line is over */
	uint8_t last;	    /* byte of the request line */
};
/*
 * How many of these bytes belong to the head that is coming in; -1 if it holds a NUL, which libmicrohttpd takes for the end of
 * a text, and then acts on half of what the client said. An empty line before a request is no end of its head, and is refused. So is a
 * request line with other white space than single blanks between its parts: libmicrohttpd takes some and gives no answer to the rest.
 */
ssize_t head_measure(struct head_scan *scan, const uint8_t *data, size_t size);

struct request;

#define CLIENT_SPKI_SIZE 65 /* SHA-256 in hex and NUL */

struct conn {
	struct conn *next, *prev;
	struct mgmt *m;
	struct source source;
	uint16_t fair_slot;	/* tls.c: one more than the place of its source among those that take turns, 0 before it was asked for */
	uint32_t uid;		/* BUS_NO_UID over the network */
	char local_ip[48];	/* address the client reached, "" on the Unix socket */
	bool is_tls, is_unix;
	bool is_client_door;	/* client.c: a certificate of the client is asked for */
	bool is_plain_door;	/* plain.c: no TLS, one page; never reaches libmicrohttpd */
	char client_spki[CLIENT_SPKI_SIZE];	/* of its certificate, "" before the handshake is over */
	char client_subject[128];
	const char *client_reason;	/* why its certificate is refused, a constant */
	uint64_t client_checked_us;	/* when its certificate was last found good */
	bool is_from_known;	/* from a source somebody has logged in from before */
	bool is_known;		/* a caller has logged in on it: no longer the first to be evicted */
	bool net_eof, mhd_open, out_eof;
	bool is_reply_due;	/* what comes from libmicrohttpd next is an answer of ours */
	int net_fd, relay_fd, mhd_fd;
	SSL *ssl;
	enum conn_state state;
	enum conn_phase phase;
	struct head_scan head;	/* of the request that is coming in */
	uint64_t may_pass;	/* bytes of the request at hand that libmicrohttpd may have; the next request waits in @in */
	uint64_t n_forgotten;	/* bytes that came after the answer */
	bool is_out_of_memory;	/* no request could be made */
	struct conn_bytes in, out;	/* left over because the other side was full */
	sd_event_source *net_io, *relay_io, *timer;
	uint64_t accepted_us, state_us, phase_us, stalled_us;
	struct request *req;
};

/*
 * To and from the client, through TLS where there is; -EAGAIN: not now; another error: it is over, -EPROTO with an alert in the socket
 * that says why. 0 bytes read: its end.
 */
ssize_t net_read(struct conn *c, void *data, size_t size);
ssize_t net_write(struct conn *c, const void *data, size_t size);
/* Take over an accepted, non-blocking socket. On failure it is closed. */
int conn_new(struct mgmt *m, int fd, const struct source *source, uint32_t uid, bool is_tls, const char *local_ip,
	     struct conn **ret_conn);
/* Close at once; with a reset when @is_rude, so that no state stays behind in the kernel. */
void conn_close(struct conn *c, bool is_rude);
void conn_set_phase(struct conn *c, enum conn_phase phase);
/* Write @size bytes to the client behind libmicrohttpd's back, then close; for answers before the body has been read. */
void conn_answer_and_close(struct conn *c, const char *data, size_t size);
/* The head that came last has been read: @body_bytes follow it, UINT64_MAX if only the parser will know. */
void conn_expect_body(struct conn *c, uint64_t body_bytes);
/* Free those that are done; from the event loop only. */
void conn_reap(struct mgmt *m);
/* libmicrohttpd has closed its end. */
void conn_mhd_closed(struct conn *c);
/* Somebody has logged in on it. */
void conn_set_known(struct conn *c);
/* The time of strangers is running out: said with the answer, so that their next request does not meet a reset. */
bool conn_ends_soon(const struct conn *c);
/* Waits for its ClientHello or for a handshake: costs a socket and no more. */
bool conn_is_waiting(const struct conn *c);
/* Closes the oldest connection nobody has logged in on, known sources and those that wait left alone; false if there is none. */
bool conn_evict(struct mgmt *m, bool is_unix);
/* Go on after the TLS queue let it through. */
void conn_start_handshake(struct conn *c);

#define LISTEN_MAX 8
/* listener.c */
struct listener_fds {
	int unix_fds[LISTEN_MAX], https_fds[LISTEN_MAX], client_fds[LISTEN_MAX], plain_fds[LISTEN_MAX];
	int setup_fds[LISTEN_MAX], setup_plain_fds[LISTEN_MAX];	/* HTTPS and page on mgmt.setup_interface */
	size_t n_unix, n_https, n_client, n_plain, n_setup, n_setup_plain;
};
int listener_new(struct mgmt *m, const struct listener_fds *fds, struct agent_error **err);
void listener_free(struct mgmt *m);
/* What may be accepted now: HTTPS only while there is a certificate, and before the password is set on one interface only. */
void listener_enable_https(struct mgmt *m);

/* client.c; m->clients is NULL without that door */
int clients_new(struct mgmt *m);
void clients_free(struct mgmt *m);
/* Makes @ctx ask for certificates; whoever is connected by one is looked at again soon. Negative: nobody can be let in now. */
int client_ctx_prepare(struct mgmt *m, SSL_CTX *ctx);
bool client_files_changed(const struct mgmt *m);
int client_handshake_done(struct conn *c);
/* Tells core why, if it was about a certificate; true then. */
bool client_handshake_failed(struct conn *c);
/* Would the certificate that opened this connection be let in now? If not, core is told, and client_reason says why. */
bool client_is_good(struct conn *c);

/* tls.c */
int tls_new(struct mgmt *m, struct agent_error **err);
void tls_free(struct mgmt *m);
/* Ask core for a certificate, now or when it is back. */
void tls_renew(struct mgmt *m);
/* It is another time than a moment ago. */
void tls_time_changed(struct mgmt *m);
bool tls_is_ready(const struct mgmt *m);
/* SHA-256 of the public key of the device CA in hex, as on the label; "" before tls_is_ready(). */
const char *tls_ca_fingerprint(const struct mgmt *m);
/* @local_ip becomes a name of the certificate if it is not one yet. */
void tls_learn_address(struct mgmt *m, const char *local_ip);
/* The owner's own certificate: ask core for it, or learn that there is none now. */
void tls_owner_ask(struct mgmt *m);
bool tls_has_owner(const struct mgmt *m);
int tls_session_new(struct mgmt *m, struct conn *c);
/* Of the door for client certificates, with what its files say now; NULL: nobody can be let in that way. Lent. */
SSL_CTX *tls_client_ctx(struct mgmt *m);
/* Room for one more that waits: from the source that was served last goes, unless that is @source itself. */
bool tls_queue_make_room(struct mgmt *m, const struct source *source);
/* Lets waiting connections start their handshake, least recently served source first. */
void tls_queue_run(struct mgmt *m);
/* No stranger has a turn now; the timer calls tls_queue_run() in time. */
bool tls_queue_is_blocked(struct mgmt *m);
/* Looks at the bytes in the kernel without reading: 1 complete, 0 wait for *ret_want bytes, negative: not a ClientHello. */
int tls_hello_check(const uint8_t *data, size_t size, size_t *ret_want);

#endif
