/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_CONN_INSIDE_H
#define MGMT_CONN_INSIDE_H
/* Between conn.c, which knows how long a connection may do what, and conn_relay.c, which moves its bytes. */
#include "agentd/mgmt/conn.h"

/* Its state has changed, or what it waits for: set its timer. */
void conn_arm(struct conn *c);
void conn_set_state(struct conn *c, enum conn_state state);
/* OpenSSL has failed and told the other side in an alert: let that arrive before the socket is closed. */
void conn_linger_after_alert(struct conn *c);
/* Its last error was that the other side left without a word, so there is nobody to tell. */
bool tls_peer_left(void);
/* Someone known is served before strangers. */
void conn_prefer(struct conn *c);

/* Moves what can be moved now, in both directions; the connection may be dead afterwards. */
void conn_pump(struct conn *c);
/* Which ends to wait for next. */
void conn_update_events(struct conn *c);
void conn_close_relay(struct conn *c);

#endif
