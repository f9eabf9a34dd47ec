/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_SETUP_H
#define MGMT_SETUP_H
/* One interface until the password is set. Without mgmt.setup_interface all of this lets everything through. */
#include <stdbool.h>

#include <agent/error.h>

struct listener_fds;
struct mgmt;

/* From here on nothing is accepted from the other interfaces. Error name mgmt.setup. */
int setup_new(struct mgmt *m, const struct listener_fds *fds, struct agent_error **err);
/* Closes them; the last step of a start, as it tells the manager that we are ready. Error name mgmt.setup. */
int setup_close(struct mgmt *m, struct agent_error **err);
void setup_free(struct mgmt *m);
/* What core says the setup state is, as in /v1/bootstrap; keeps it in m->setup. */
void setup_told(struct mgmt *m, const char *state);
/* Ends every connection from the network; not from inside a request. */
void setup_hang_up(struct mgmt *m);
/* Nobody has set the password yet, and only one interface is open. */
bool setup_is_waiting(const struct mgmt *m);
/* Is this socket bound to @interface and no other? Error name mgmt.setup. */
int setup_fd_check(int fd, const char *interface, struct agent_error **err);

#endif
