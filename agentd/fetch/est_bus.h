/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_EST_BUS_H
#define FETCH_EST_BUS_H
/* A talk to the EST server over the bus: what core asks, and what it hears. */
#include <systemd/sd-bus.h>

#include "agentd/fetch/est.h"

/* kind, anchors, cert_pem, secret and csr of @options, and the name of the key that goes with cert_pem, all lent by @m. -EBADMSG "bus.protocol". */
int est_read_call(sd_bus_message *m, struct est_options *options, const char **ret_key, struct agent_error **err);
/* As a{sv}. @has_signed: the server asked for our certificate, and we showed it. Negative errno. */
int est_append_result(sd_bus_message *m, const struct est_result *result, bool has_signed);

#endif
