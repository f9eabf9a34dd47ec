/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/key_permit.h"

#include <errno.h>
#include <string.h>

#include "agentd/core/store.h"
#include "base/macro.h"

static int refuse(struct op_call *call, const char *name, const char *reason, struct agent_error **err)
{
	op_call_refused(call, name, reason);
	return agent_error_set(err, -EPERM, "key.refused", "agentd does not let this program use that key for %s", call->op->method);
}

int key_permit(struct core *core, struct op_call *call, const char *name, unsigned purposes, struct key_meta *ret_meta,
	       struct key_rule *ret_rule, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	const struct key_caller *caller = op_call_key_caller(call);
	const struct key_rule *rule = NULL;
	char base[STORE_KEY_NAME_MAX + 1];
	struct key_meta meta;
	bool is_next;
	int r;

	/* While a new key proves itself, agentd-link signs with it: NAME.next. Nobody else knows of it. */
	is_next = store_split_next(name, base) && caller->program != NULL;
	if (!store_key_name_is_valid(is_next ? base : name))
		return refuse(call, "?", "not a name", err);
	/* Each of our programs has one key, whatever the rights say: a broken agentd-link cannot become the device CA. */
	if (caller->program != NULL &&
	    strcmp(base, strcmp(caller->program, "link") == 0 ? core->settings->mqtt.key : STORE_KEY_DEVICE) != 0)
		return refuse(call, name, "not the key of this program", err);
	r = key_meta_read(core->keys_fd, name, &meta, &why);
	if (r == -ENOENT)
		return refuse(call, name, "no such key, or one without NAME.meta", err);
	if (r < 0)
		return refuse(call, name, agent_error_message(why), err);
	rule = key_meta_match(&meta, caller, purposes);
	if (rule == NULL)
		return refuse(call, name, (meta.purposes & purposes) == 0 ? "not what the key is for" : "no rule for this caller", err);
	*ret_rule = *rule;
	*ret_meta = meta;
	return 0;
}

enum worker_priority key_priority(const struct op_call *call)
{
	return op_call_key_caller(call)->program == NULL ? WORKER_VENDOR : WORKER_SIGN;
}

int key_is_meant(struct store *store, const struct store_key *key, const struct key_meta *meta, struct agent_error **err)
{
	struct key_meta is;
	int r = store_key_identity(store, key, &is, err);

	if (r < 0 || (strcmp(is.srk, meta->srk) == 0 && strcmp(is.name, meta->name) == 0 && is.origin == meta->origin))
		return r;
	return agent_error_set(err, -EKEYREJECTED, "key.meta", "%s.pem is not the key that %s.meta was written for", key->name, key->name);
}

int key_get_meant(struct store *store, const char *name, const struct key_meta *meta, struct store_key **ret_key, struct agent_error **err)
{
	int r = store_get_key(store, name, ret_key, err);

	return r < 0 ? r : key_is_meant(store, *ret_key, meta, err);
}
