/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Back to the state of the factory: accounts gone, the code on the label good again, the owner's keys gone. May be cut off
 * anywhere: before the counter moved nothing happened, after it store_open() finishes what is left. What lets somebody do this
 * is decided elsewhere: an administrator's password (op_account.c), a held button (presence.c), or agentd --factory-reset.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agentd/core/enrol_journal.h"
#include "agentd/core/store.h"
#include "agentd/core/update_policy.h"
#include "base/file.h"
#include "base/macro.h"

#define FILE_MARK "resetting"	/* beside the record: the reset has not been reported yet */

/* Made by the factory and known outside (certificate, label): not the owner's. */
static bool is_of_the_factory(const char *name)
{
	return strcmp(name, STORE_KEY_DEVICE) == 0 || strcmp(name, STORE_KEY_DEVICE_CA) == 0;
}

static int remove_owner_keys(struct store *store, struct agent_error **err)
{
	char *names[STORE_MAX_KEYS];
	size_t n = 0;
	int r = store_list_keys(store, names, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (r >= 0 && !is_of_the_factory(names[i]))
			r = store_remove_key(store, names[i], err);
		free(names[i]);
	}
	return r;
}

static int remove_mark(struct store *store, struct agent_error **err)
{
	if (unlinkat(store->accounts_fd, FILE_MARK, 0) < 0)
		return errno == ENOENT ? 0 : agent_error_set(err, -errno, "file.write", "cannot remove accounts/" FILE_MARK ": %s", strerror(errno));
	return dir_sync(store->accounts_fd, err);
}

/* What the former owner said to updates. */
static int remove_offer(struct store *store, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r = store_open_folder(store->settings, "update", &fd, err);

	if (r < 0)
		return r;
	if (unlinkat(fd, POLICY_FILE, 0) < 0)
		return errno == ENOENT ? 0 : agent_error_set(err, -errno, "file.write", "cannot remove update/" POLICY_FILE ": %s", strerror(errno));
	return dir_sync(fd, err);
}

/* A running agent writes it anew, from the build on. */
static int remove_time(struct store *store, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r = store_open_folder(store->settings, "time", &fd, err);

	if (r < 0)
		return r;
	if (unlinkat(fd, "saved", 0) < 0)
		return errno == ENOENT ? 0 : agent_error_set(err, -errno, "file.write", "cannot remove time/saved: %s", strerror(errno));
	return dir_sync(fd, err);
}

int store_finish_reset(struct store *store, struct agent_error **err)
{
	bool has_mark = faccessat(store->accounts_fd, FILE_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	int r;

	if (store->password == NULL || agent_password_get_state(store->password) != AGENT_SETUP_FACTORY)
		return has_mark ? remove_mark(store, err) : 0; /* it did not come to that */
	/* The first record is the factory's own. In factory state nobody can have made a key, so all there are were there before. */
	if (agent_password_get_generation(store->password) <= 1)
		return 0;
	r = remove_owner_keys(store, err);
	if (r >= 0)
		r = store_remove_https(store, err);
	if (r >= 0)
		r = remove_offer(store, err);
	if (r >= 0)
		r = enrol_forget(store->keys_fd, err);
	if (r < 0)
		return agent_error_prefix(err, r, "factory reset");
	if (has_mark) {
		/* Not at later starts: what was learned since is not from before. */
		r = remove_time(store, err);
		if (r < 0)
			return agent_error_prefix(err, r, "factory reset");
		if (unlinkat(store->accounts_fd, STORE_FILE_FAILURES, 0) < 0 && errno != ENOENT)
			return agent_error_set(err, -errno, "file.write", "cannot remove accounts/" STORE_FILE_FAILURES ": %s", strerror(errno));
		store->failures_are_void = store->reset_is_done = true;
		r = remove_mark(store, err);
	}
	return r;
}

int store_factory_reset(struct store *store, struct agent_error **err)
{
	int r;

	if (store->password == NULL)
		return agent_error_set(err, -ENOKEY, "setup.replaced",
				       "the TPM or its password key is not the one of provisioning: a reset cannot help, see 'recovery' in agentd(8)");
	r = file_replace_at(store->accounts_fd, FILE_MARK, 0600, "", 0, err);
	if (r >= 0)
		r = agent_password_factory_reset(store->password, err);
	if (r < 0) {
		(void)remove_mark(store, NULL);
		return r;
	}
	store->setup = agent_password_get_state(store->password);
	return store_finish_reset(store, err);
}
