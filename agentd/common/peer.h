/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_PEER_H
#define COMMON_PEER_H
/*
 * D-Bus point to point over private Unix sockets, and how a struct agent_error crosses it: the D-Bus error name is
 * org.libagent.Error.ERRNO_NAME.DOTTED_NAME (dashes as underscores), the message is the sentence.
 *
 * Sockets in RUN_DIR: core-mgmt.sock, core-link.sock (core listens; the socket a peer came through is its role, and its
 * uid must be that of the role's user), install.sock, fetch.sock (those programs listen, core connects; core offers
 * BUS_CORE on that connection too, so fetch can have signatures made).
 */
#include <systemd/sd-bus.h>

#include <agent/error.h>

/* Client side: connect to RUN_DIR/@name. Error name bus.connect, with what to look at. Blocks a few ms at most. */
int peer_connect(const char *run_dir, const char *name, sd_bus **ret_bus, struct agent_error **err);
/* Server side: speak D-Bus as the server on an accepted connection, which is taken over also on failure. */
int peer_serve(int fd, sd_bus **ret_bus, struct agent_error **err);
/* Accept one connection: non-blocking, CLOEXEC; *ret_uid from SO_PEERCRED. -EAGAIN when there is none. */
int peer_accept(int listen_fd, int *ret_fd, uint32_t *ret_uid);
/* The same where only @uid has business: others are named in the log and closed, which is -EAGAIN as well. */
int peer_accept_from(int listen_fd, uint32_t uid, int *ret_fd);

/* struct agent_error -> sd_bus_error (takes and frees *err); returns the negative errno, fit for "return" in a vtable handler. */
int peer_error_reply(sd_bus_error *ret_error, int r, struct agent_error **err);
/* sd_bus_error -> struct agent_error; returns the negative errno. A lost connection becomes -ENOTCONN "bus.lost". */
int peer_error_from_bus(const sd_bus_error *error, int r, struct agent_error **err);
/* Reply to @call with the error, for asynchronous answers; takes and frees *err. */
int peer_reply_error(sd_bus_message *call, int r, struct agent_error **err);

/* Append one "{sv}" entry to an open a{sv} container. @text NULL is skipped. */
int peer_append_string(sd_bus_message *m, const char *key, const char *text);
int peer_append_u64(sd_bus_message *m, const char *key, uint64_t value);
int peer_append_bool(sd_bus_message *m, const char *key, int value);
int peer_append_strings(sd_bus_message *m, const char *key, const char *const *texts);

#endif
