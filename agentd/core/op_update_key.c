/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AES key of encrypted images, the vendor's: sealed by the TPM at rest, here in memory only for as long as a job takes. agentd-install
 * gets it once per installation, over its private socket, after it found the manifest signed and an image encrypted.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/seal.h>
#include <agent/update.h>

#include "agentd/core/core.h"
#include "agentd/core/job.h"
#include "agentd/core/store.h"
#include "agentd/core/update_inside.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define FILE_KEY "update.key" /* in keys */
#define FILE_MAX (4 * KIB)

struct key_job {
	struct op_job base;
	struct secret key; /* IV, then the key of 16, 24 or 32 bytes */
	bool was_there;
};

static void key_job_free(struct op_job *base)
{
	secret_free(&((struct key_job *)base)->key);
}

bool updates_have_key(const struct core *core)
{
	return faccessat(core->keys_fd, FILE_KEY, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int set_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	_cleanup_free_ uint8_t *sealed = NULL;
	size_t size;
	int r = agent_seal(store->tpm, job->key.data, job->key.size, NULL, &sealed, &size, err);

	return r < 0 ? r : file_replace_at(store->keys_fd, FILE_KEY, 0600, sealed, size, err);
}

static int set_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	event_add(core, EVENT_UPDATE_KEY_SET, "user", base->call->caller.user, "source", base->call->caller.source, NULL);
	return op_reply(base->call, NULL);
}

static int remove_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;

	job->was_there = unlinkat(store->keys_fd, FILE_KEY, 0) == 0;
	if (!job->was_there && errno != ENOENT)
		return agent_error_set(err, -errno, "file.write", "cannot remove keys/" FILE_KEY ": %s", strerror(errno));
	return dir_sync(store->keys_fd, err);
}

static int remove_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	if (((struct key_job *)base)->was_there)
		event_add(core, EVENT_UPDATE_KEY_REMOVED, "user", base->call->caller.user, "source", base->call->caller.source, NULL);
	return op_reply(base->call, NULL);
}

static int get_run(struct store *store, struct op_job *base, struct agent_error **err)
{
	struct key_job *job = (struct key_job *)base;
	_cleanup_error_ struct agent_error *e = NULL;
	_cleanup_free_ char *sealed = NULL;
	size_t size = 0, n = 0;
	int r = file_read_at(store->keys_fd, FILE_KEY, FILE_MAX, &sealed, &size, &e);

	if (r == -ENOENT)
		return agent_error_set(err, -ENOKEY, "update.key", "the bundle is encrypted, and this device has no key for updates: agentctl update key");
	if (r < 0)
		return agent_error_move(err, &e);
	if (secret_alloc(&job->key, size) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key");
	r = agent_unseal(store->tpm, (const uint8_t *)sealed, size, NULL, job->key.data, size, &n, err);
	job->key.size = r < 0 ? 0 : n;
	return r < 0 ? agent_error_prefix(err, r, "the key for updates") : 0;
}

static int get_reply(struct core *core, struct op_job *base, struct agent_error **err)
{
	return op_job_answer_secret(base, "the key for updates", &((struct key_job *)base)->key, err);
}

static const struct op_job_type job_set = { .name = "key for updates", .run = set_run, .reply = set_reply, .free = key_job_free };
static const struct op_job_type job_remove = { .name = "key for updates", .run = remove_run, .reply = remove_reply, .free = key_job_free };
static const struct op_job_type job_get = { .name = "key for updates", .run = get_run, .reply = get_reply, .free = key_job_free };

int op_update_key_set(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	struct key_job *job;
	const void *key, *iv;
	size_t key_size, iv_size;
	int r;

	(void)sd_bus_message_sensitive(call->msg); /* wiped when it goes */
	if (sd_bus_message_read_array(call->msg, 'y', &key, &key_size) < 0 || sd_bus_message_read_array(call->msg, 'y', &iv, &iv_size) < 0)
		return op_unreadable(call, err);
	if ((key_size != 16 && key_size != 24 && key_size != 32) || (iv_size != 0 && iv_size != AGENT_UPDATE_IV_SIZE))
		return agent_error_set(err, -EINVAL, "update.key", "a key for encrypted images has 16, 24 or 32 bytes, and its IV none or %d", AGENT_UPDATE_IV_SIZE);
	r = op_job_new(call, &job_set, sizeof(*job), &base, err);
	if (r < 0)
		return r;
	job = (struct key_job *)base;
	if (secret_alloc(&job->key, AGENT_UPDATE_IV_SIZE + key_size) < 0) {
		r = agent_error_set(err, -ENOMEM, "core.memory", "no memory for a key");
	} else {
		job->key.size = AGENT_UPDATE_IV_SIZE + key_size;
		memset(job->key.data, 0, AGENT_UPDATE_IV_SIZE);
		if (iv_size > 0)
			memcpy(job->key.data, iv, iv_size);
		memcpy(job->key.data + AGENT_UPDATE_IV_SIZE, key, key_size);
	}
	return op_job_end(base, r, WORKER_WORK, 0, err);
}

int op_update_key_remove(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	int r = op_job_new(call, &job_remove, sizeof(struct key_job), &base, err);

	return r < 0 ? r : op_job_end(base, r, WORKER_WORK, 0, err);
}

/* Only for the installation that core began, and once: what parses foreign bytes must not be able to fetch it at leisure. */
int updates_check_key(const struct core *core, struct agent_error **err)
{
	const struct updates *u = core->updates;

	if (!u->is_installing || u->order.looks_only || u->gave_key)
		return agent_error_set(err, -EPERM, "update.key", "the key for updates is for one installation that is under way");
	return 0;
}

int op_update_key(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct op_job *base;
	int r = updates_check_key(core, err);

	if (r >= 0)
		r = op_job_new(call, &job_get, sizeof(struct key_job), &base, err);
	if (r < 0)
		return r;
	core->updates->gave_key = true;
	return op_job_end(base, r, WORKER_WORK, 0, err);
}
