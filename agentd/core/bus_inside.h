/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_BUS_INSIDE_H
#define CORE_BUS_INSIDE_H
/* Between bus.c (connections, and who may call what) and call.c (one call and its answer). */
#include "agentd/core/core.h"

#include "agentd/common/gate.h"
#include "agentd/common/vendor.h"

#define LEFT_OUT_SIZE 24

/* One connection. */
struct peer {
	unsigned n_refs;
	struct core *core;
	struct peer *next;
	enum program program;
	sd_bus *bus; /* NULL once dropped */
	unsigned n_calls;
	uint32_t uid;
	unsigned n_holds;	 /* outgoing connections only */
	sd_event_source *idle;
	struct key_caller *caller;
	struct gate *gate;	  /* applications only */
	struct vendor_user *user; /* applications only */
};

const char *program_name(enum program program);
struct peer *peer_unref(struct peer *peer);
/* An application may not fill the event log: how many of its events go in is limited. "" in @left_out for none. */
bool peer_may_log(struct peer *peer, enum vendor_event event, char left_out[LEFT_OUT_SIZE]);

static inline const char *or_null(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

#endif
