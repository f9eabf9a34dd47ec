/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_KEY_PERMIT_H
#define CORE_KEY_PERMIT_H
/* May the caller of an operation use a key, for what, and is it still the key those rights were given for? */
#include "agentd/core/core.h"
#include "agentd/core/key_rights.h"

/*
 * Rights of the peer on key @name for one of @purposes (enum key_purpose, or-ed). In the loop; reads one small file, no
 * TPM. A refusal is written down as key.refused. *ret_meta: for key_is_meant(); *ret_rule: the rule that allows it.
 * -EPERM "key.refused", also for a key that is not there: a stranger need not know.
 */
int key_permit(struct core *core, struct op_call *call, const char *name, unsigned purposes, struct key_meta *ret_meta,
	       struct key_rule *ret_rule, struct agent_error **err);
/* Where calls of this peer wait for the TPM. */
enum worker_priority key_priority(const struct op_call *call);
/*
 * In the TPM thread: the key that was loaded is the one that the rights name, and not another under its file's name.
 * -EKEYREJECTED "key.meta".
 */
int key_is_meant(struct store *store, const struct store_key *key, const struct key_meta *meta, struct agent_error **err);
/* In the TPM thread: load key @name, and see that it is meant. */
int key_get_meant(struct store *store, const char *name, const struct key_meta *meta, struct store_key **ret_key, struct agent_error **err);

#endif
