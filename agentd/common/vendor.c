/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/vendor.h"

#include <errno.h>
#include <string.h>

#include "agentd/common/gcra.h"
#include "base/macro.h"

static bool is_idle(const struct vendor_user *user, uint64_t now_us)
{
	if (user->n_connections > 0 || user->n_calls > 0 || user->call_tat_us > now_us)
		return false;
	for (size_t i = 0; i < VENDOR_LOGS_; i++)
		if (user->logs[i].tat_us > now_us)
			return false;
	return true;
}

static struct vendor_user *find_user(struct vendors *vendors, uint32_t uid, uint64_t now_us)
{
	struct vendor_user *free_row = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(vendors->users); i++) {
		struct vendor_user *user = &vendors->users[i];

		if (user->is_used && user->uid == uid)
			return user;
		/* A row is somebody else's only once forgetting it gives nobody a full bucket early. */
		if (free_row == NULL && (!user->is_used || is_idle(user, now_us)))
			free_row = user;
	}
	if (free_row != NULL)
		*free_row = (struct vendor_user){ .is_used = true, .uid = uid };
	return free_row;
}

struct vendor_user *vendor_enter(struct vendors *vendors, uint32_t uid, uint64_t now_us, const char **ret_why)
{
	struct vendor_user *user = NULL;

	if (vendors->n_connections >= VENDOR_MAX_CONNECTIONS)
		*ret_why = "too many connections of all users together";
	else if ((user = find_user(vendors, uid, now_us)) == NULL)
		*ret_why = "too many users at a time";
	else if (user->n_connections >= vendors->limits.max_connections)
		*ret_why = "too many connections of this user";
	else {
		user->n_connections++;
		vendors->n_connections++;
		return user;
	}
	return NULL;
}

void vendor_leave(struct vendors *vendors, struct vendor_user *user)
{
	user->n_connections--;
	vendors->n_connections--;
}

int vendor_call_begin(const struct vendors *vendors, struct vendor_user *user, uint64_t now_us)
{
	if (user->n_calls >= VENDOR_MAX_CALLS)
		return -EBUSY;
	if (!gcra_take(&user->call_tat_us, now_us, UINT64_C(1000000) / vendors->limits.calls_per_s, vendors->limits.burst))
		return -EDQUOT;
	user->n_calls++;
	return 0;
}

void vendor_call_end(struct vendor_user *user)
{
	user->n_calls--;
}

bool vendor_may_log(struct vendor_user *user, enum vendor_event event, uint64_t now_us, uint64_t *ret_left_out)
{
	struct vendor_log *log = &user->logs[event];

	if (!gcra_take(&log->tat_us, now_us, VENDOR_LOG_INTERVAL_US, VENDOR_LOG_BURST)) {
		log->n_left_out++;
		return false;
	}
	*ret_left_out = log->n_left_out;
	log->n_left_out = 0;
	return true;
}
