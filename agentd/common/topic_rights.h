/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_TOPIC_RIGHTS_H
#define COMMON_TOPIC_RIGHTS_H
/* Rows of mqtt.rights: which local program may publish to, or subscribe to, which topics. No row, no right. */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#include "agentd/common/caller.h"
#include "agentd/common/settings.h"

enum topic_action { TOPIC_PUBLISH, TOPIC_SUBSCRIBE };
enum topic_who { TOPIC_UID, TOPIC_GID, TOPIC_UNIT };

/* One row of mqtt.rights, "publish uid:1000 ~/meter/#". */
struct topic_right {
	enum topic_action action;
	enum topic_who who;
	uint32_t id;
	const char *unit;	/* of the row, lent */
	const char *filter;	/* as in the file, lent */
};

/* -EINVAL "config.range" with the row. */
int topic_right_parse(const char *row, struct topic_right *ret_right, struct agent_error **err);
/* May @caller do that with @topic (in full; a filter where it subscribes)? @prefix: of topics. */
bool topic_right_find(const struct settings *settings, const char *prefix, const struct key_caller *caller, enum topic_action action,
		      const char *topic);

#endif
