/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_APPS_H
#define LINK_APPS_H
/*
 * Local applications that publish and subscribe (agent_link(3)), on a socket that was handed over. Runs in the event loop and
 * never waits: what goes to the disk or the broker is answered when it is done. docs/design/link.md has the bounds.
 */
#include <systemd/sd-event.h>

#include "agentd/common/settings.h"
#include "agentd/link/commands.h"
#include "agentd/link/store.h"
#include "agentd/link/worker.h"

struct apps;

/* @prefix and @commands (whose topics are nobody else's; may be NULL) lent. Without such a socket there are no applications, and *ret_apps is NULL. */
int apps_open(const struct settings *settings, const char *prefix, const struct commands *commands, sd_event *event, struct apps **ret_apps, struct agent_error **err);
struct apps *apps_close(struct apps *apps);
/*
 * What they work with, lent; NULL while there is none, @r and @why then say why: the refusal of every call until then.
 * Whoever is connected is cut off when it is taken away.
 */
void apps_attach(struct apps *apps, struct store *store, struct worker *worker);
void apps_set_refusal(struct apps *apps, int r, const char *name, const char *why);
/* A message or gap that arrived, for whoever wants it. */
void apps_take(struct apps *apps, const struct worker_message *message);
/* After that: results that came, and what waits to be fetched. */
void apps_wake(struct apps *apps);

#endif
