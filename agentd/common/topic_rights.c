/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/topic_rights.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/topics.h"
#include "base/macro.h"

static int bad_right(const char *row, struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "config.range", "mqtt.rights \"%s\": a row is publish or subscribe, then uid:NUMBER, gid:NUMBER or "
			       "unit:NAME, then a topic filter, with single spaces between", row);
}

int topic_right_parse(const char *row, struct topic_right *ret_right, struct agent_error **err)
{
	static const char *const whos[] = { [TOPIC_UID] = "uid:", [TOPIC_GID] = "gid:", [TOPIC_UNIT] = "unit:" };
	const char *who = strchr(row, ' '), *filter = who == NULL ? NULL : strchr(who + 1, ' ');
	struct topic_right right = { .action = TOPIC_PUBLISH };
	size_t n_action;

	if (filter == NULL || !topic_filter_is_valid(filter + 1))
		return bad_right(row, err);
	n_action = (size_t)(who - row);
	if (n_action == 9 && memcmp(row, "subscribe", 9) == 0)
		right.action = TOPIC_SUBSCRIBE;
	else if (n_action != 7 || memcmp(row, "publish", 7) != 0)
		return bad_right(row, err);
	right.filter = filter + 1;
	who++;
	for (size_t i = 0; i < ARRAY_SIZE(whos); i++) {
		size_t n = strlen(whos[i]);
		unsigned long id;
		char *end;

		if (strncmp(who, whos[i], n) != 0)
			continue;
		right.who = (enum topic_who)i;
		right.unit = who + n;
		if (right.who == TOPIC_UNIT)
			return right.unit == filter ? bad_right(row, err) : (*ret_right = right, 0);
		errno = 0;
		id = strtoul(who + n, &end, 10);
		if (!isdigit((unsigned char)who[n]) || end != filter || errno != 0 || id > UINT32_MAX)
			return bad_right(row, err);
		right.id = (uint32_t)id;
		*ret_right = right;
		return 0;
	}
	return bad_right(row, err);
}

static bool is_for(const struct topic_right *right, const struct key_caller *caller, const char *row_end)
{
	size_t n;

	switch (right->who) {
	case TOPIC_UID:
		return caller->uid == right->id;
	case TOPIC_GID:
		for (size_t i = 0; i < caller->n_groups; i++)
			if (caller->groups[i] == right->id)
				return true;
		return caller->gid == right->id;
	case TOPIC_UNIT:
		n = (size_t)(row_end - right->unit);
		return caller->unit[0] != '\0' && strlen(caller->unit) == n && memcmp(caller->unit, right->unit, n) == 0;
	}
	return false;
}

bool topic_right_find(const struct settings *settings, const char *prefix, const struct key_caller *caller, enum topic_action action,
		      const char *topic)
{
	for (char **row = settings->mqtt.rights; row != NULL && *row != NULL; row++) {
		char filter[TOPIC_MAX + 1];
		struct topic_right right;

		if (topic_right_parse(*row, &right, NULL) >= 0 && right.action == action && is_for(&right, caller, right.filter - 1) &&
		    topic_expand(prefix, right.filter, filter) >= 0 && topic_covers(filter, topic))
			return true;
	}
	return false;
}
