/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/password.h>

#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"
#include "context.h"
#include "crypto/pwhash.h"
#include "password/factory.h"
#include "password/rules.h"
#include "password/store.h"

#define FILE_NEW "new"
#define FILE_CURRENT "current"
#define FILE_LABEL "label"

static const char *const state_names[] = {
	[AGENT_SETUP_UNPROVISIONED] = "unprovisioned",
	[AGENT_SETUP_FACTORY] = "factory",
	[AGENT_SETUP_ACTIVE] = "active",
	[AGENT_SETUP_RECOVERY] = "recovery",
};

const char *agent_setup_state_name(enum agent_setup_state state)
{
	return (unsigned)state < ARRAY_SIZE(state_names) ? state_names[state] : "unknown";
}

struct agent_password *agent_password_free(struct agent_password *password)
{
	if (password == NULL)
		return NULL;
	secret_free(&password->label_secret);
	for (size_t i = 0; i < STORE_CONTEXT_WORDS; i++)
		free(password->context_words[i]);
	if (password->dir_fd >= 0)
		close(password->dir_fd);
	agent_mac_unref(password->mac);
	agent_counter_unref(password->generation);
	agent_context_unref(password->ctx);
	free(password);
	return NULL;
}
DEFINE_CLEANUP(struct agent_password *, agent_password_free)

enum agent_setup_state agent_password_get_state(const struct agent_password *password)
{
	return password == NULL ? AGENT_SETUP_UNPROVISIONED : password->state;
}

uint64_t agent_password_get_generation(const struct agent_password *password)
{
	return password != NULL && (password->state == AGENT_SETUP_FACTORY || password->state == AGENT_SETUP_ACTIVE) ?
		       password->record.generation : 0;
}

/* ---- what lies on disk ----------------------------------------------------------------------------------------- */

enum presence { FOUND_NONE, FOUND_BAD, FOUND_GOOD };

/* Something damaged, forged or too large is FOUND_BAD; an error means that the disk or the TPM did not answer. */
static int load(struct agent_password *p, const char *name, enum presence *ret_presence, struct record *ret_record, struct verifier *ret_label,
		struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = file_read_at(p->dir_fd, name, RECORD_MAX_BYTES, &text, &size, &why);

	*ret_presence = FOUND_NONE;
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = ret_record != NULL ? record_parse(text, size, p->mac, ret_record, &why) : label_parse(text, size, p->mac, ret_label, &why);
	if (r == -EBADMSG || r == -EMSGSIZE || r == -EINVAL || r == -ELOOP) {
		context_log(p->ctx, "accounts/%s: %s", name, agent_error_message(why));
		*ret_presence = FOUND_BAD;
		return 0;
	}
	if (r < 0) {
		agent_error_move(err, &why);
		return agent_error_prefix(err, r, "password record \"%s\"", name);
	}
	*ret_presence = FOUND_GOOD;
	return 0;
}

static int remove_new(struct agent_password *p, struct agent_error **err)
{
	if (unlinkat(p->dir_fd, FILE_NEW, 0) < 0 && errno != ENOENT)
		return agent_error_set(err, -errno, "file.write", "cannot remove accounts/" FILE_NEW ": %s", strerror(errno));
	return dir_sync(p->dir_fd, err);
}

static int rename_new(struct agent_password *p, struct agent_error **err)
{
	if (renameat(p->dir_fd, FILE_NEW, p->dir_fd, FILE_CURRENT) < 0)
		return agent_error_set(err, -errno, "file.rename", "cannot rename accounts/" FILE_NEW " to " FILE_CURRENT ": %s", strerror(errno));
	return dir_sync(p->dir_fd, err);
}

static void adopt(struct agent_password *p, const struct record *record)
{
	p->record = *record;
	p->state = record->kind == RECORD_OWNER ? AGENT_SETUP_ACTIVE : AGENT_SETUP_FACTORY;
	if (record->kind == RECORD_OWNER)
		secret_free(&p->label_secret);
}

static bool counts(const struct agent_password *p, enum presence presence, const struct record *record, uint64_t counter)
{
	/* Without the label nobody could ever get in, nor would it be the secret of this unit. */
	return presence == FOUND_GOOD && record->generation == counter && (record->kind == RECORD_OWNER || p->has_label);
}

/*
 * The start rule. The counter alone says which record counts; a file that does not go with it was left by a crash before
 * the counter moved, or put back by somebody. With the counter at zero nothing was ever committed, so a lone `new` is the
 * left-over of a provisioning that broke off; anything else that does not fit is RECOVERY and is left as it is.
 */
int store_settle(struct agent_password *p, struct agent_error **err)
{
	struct record new_record, current_record;
	enum presence has_new, has_current, has_label;
	uint64_t counter;
	int r;

	if (p->is_settled)
		return 0;
	r = agent_counter_get(p->generation, &counter, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password generation");
	r = load(p, FILE_NEW, &has_new, &new_record, NULL, err);
	if (r == 0)
		r = load(p, FILE_CURRENT, &has_current, &current_record, NULL, err);
	if (r == 0)
		r = load(p, FILE_LABEL, &has_label, NULL, &p->label, err);
	if (r < 0)
		return r;
	p->has_label = has_label == FOUND_GOOD;
	if (counter == 0) {
		p->state = has_current == FOUND_NONE ? AGENT_SETUP_UNPROVISIONED : AGENT_SETUP_RECOVERY;
		if (has_new != FOUND_NONE && p->state == AGENT_SETUP_UNPROVISIONED)
			r = remove_new(p, err);
	} else if (counts(p, has_new, &new_record, counter)) {
		r = rename_new(p, err);
		if (r == 0)
			adopt(p, &new_record);
	} else if (counts(p, has_current, &current_record, counter)) {
		/* Also without a `new`: the rename before a crash may not be on disk yet. */
		r = has_new == FOUND_NONE ? dir_sync(p->dir_fd, err) : remove_new(p, err);
		if (r == 0)
			adopt(p, &current_record);
	} else {
		context_log(p->ctx, "no password record of generation %" PRIu64, counter);
		p->state = AGENT_SETUP_RECOVERY;
	}
	if (r < 0)
		return r;
	p->is_settled = true;
	return 0;
}

static bool is_in_force(const struct agent_password *p, const struct record *record)
{
	if (agent_password_get_generation(p) != record->generation || p->record.kind != record->kind || p->record.n != record->n)
		return false;
	for (size_t i = 0; i < record->n; i++) {
		const struct record_account *a = &p->record.accounts[i], *b = &record->accounts[i];

		if (strcmp(a->account.name, b->account.name) != 0 || a->account.role != b->account.role ||
		    a->account.must_change != b->account.must_change || memcmp(a->verifier.mac, b->verifier.mac, AGENT_MAC_SIZE) != 0)
			return false;
	}
	return true;
}

/*
 * new + fsync + fsync of the folder, counter, rename + fsync of the folder. Before the counter moved the old record counts,
 * after it the new one; whichever step fails, store_settle() finds out which of the two it is.
 */
int store_commit(struct agent_password *p, const struct record *record, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	uint64_t counter = 0;
	size_t size;
	int r = record_format(record, p->mac, &text, &size, err);

	if (r < 0)
		return r;
	p->is_settled = false;
	r = file_write_sync_at(p->dir_fd, FILE_NEW, 0600, text, size, err);
	if (r == 0)
		r = dir_sync(p->dir_fd, err);
	if (r == 0) {
		r = agent_counter_increment(p->generation, &counter, err);
		if (r < 0)
			agent_error_prefix(err, r, "password generation");
	}
	if (r == 0 && counter != record->generation)
		r = agent_error_set(err, -ESTALE, "password.stale", "the generation counter stands at %" PRIu64 " instead of %" PRIu64, counter, record->generation);
	if (r == 0)
		r = rename_new(p, err);
	if (r == 0) {
		adopt(p, record);
		p->is_settled = true;
		return 0;
	}
	/* The counter may have moved although we were told otherwise: then the new record is the one that counts. */
	if (store_settle(p, &why) == 0 && is_in_force(p, record)) {
		if (err != NULL)
			*err = agent_error_free(*err);
		return 0;
	}
	return r;
}

unsigned store_get_cost(const struct agent_password *p)
{
	unsigned cost = p->cost != 0 ? p->cost : p->has_label ? pwhash_cost_of(p->label.setting) : 0;

	return cost != 0 ? cost : PWHASH_COST_DEFAULT;
}

int store_write_label(struct agent_password *p, const struct verifier *label, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = label_format(label, p->mac, &text, &size, err);

	if (r == 0)
		r = file_replace_at(p->dir_fd, FILE_LABEL, 0600, text, size, err);
	if (r < 0)
		return r;
	p->label = *label;
	p->has_label = true;
	return 0;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static int copy_options(struct agent_password *p, const struct agent_password_options *options, struct agent_error **err)
{
	size_t n = 0;

	p->min_length = options != NULL && options->min_length != 0 ? options->min_length : 15;
	p->cost = options != NULL ? options->cost : 0;
	if (p->min_length < RULES_MIN_LENGTH || p->min_length > 64)
		return agent_error_set(err, -EINVAL, "password.options", "shortest password of %u characters, possible are %d to 64", p->min_length, RULES_MIN_LENGTH);
	if (p->cost > 11)
		return agent_error_set(err, -EINVAL, "password.options", "hash cost %u, possible are 1 to 11", p->cost);
	for (const char *const *word = options == NULL ? NULL : options->context_words; word != NULL && *word != NULL; word++) {
		if (n == STORE_CONTEXT_WORDS)
			return agent_error_set(err, -EINVAL, "password.options", "more than %d context words", STORE_CONTEXT_WORDS);
		p->context_words[n] = strdup(*word);
		if (p->context_words[n++] == NULL)
			return agent_error_set(err, -ENOMEM, "password.memory", "no memory for context words");
	}
	return 0;
}

int agent_password_open(struct agent_context *ctx, int dir_fd, struct agent_counter *generation, struct agent_mac *mac,
			const struct agent_password_options *options, struct agent_password **ret_password, struct agent_error **err)
{
	_cleanup_(agent_password_freep) struct agent_password *p = NULL;
	int r;

	if (dir_fd < 0 || generation == NULL || mac == NULL || ret_password == NULL)
		return agent_error_set(err, -EINVAL, "password.argument", "a folder, a counter and a MAC are needed");
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return agent_error_set(err, -ENOMEM, "password.memory", "no memory for the password record");
	p->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (p->dir_fd < 0)
		return agent_error_set(err, -errno, "file.dir", "cannot use the accounts folder: %s", strerror(errno));
	p->ctx = agent_context_ref(ctx);
	p->generation = agent_counter_ref(generation);
	p->mac = agent_mac_ref(mac);
	r = copy_options(p, options, err);
	if (r == 0)
		r = store_settle(p, err);
	if (r < 0)
		return r;
	*ret_password = TAKE_PTR(p);
	return 0;
}

/* ---- verify ---------------------------------------------------------------------------------------------------- */

int store_get_ready(struct agent_password *p, struct agent_error **err)
{
	int r = store_settle(p, err);

	if (r < 0)
		return r;
	if (p->state == AGENT_SETUP_UNPROVISIONED)
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned", "the factory has not stored a secret on this device");
	if (p->state == AGENT_SETUP_RECOVERY)
		return agent_error_set(err, -ENOKEY, "setup.recovery",
				       "the password record does not go with the TPM: it was damaged, deleted or replaced by an older one");
	return 0;
}

struct record_account *store_find(struct record *record, const char *user)
{
	for (size_t i = 0; user != NULL && i < record->n; i++)
		if (strcmp(record->accounts[i].account.name, user) == 0)
			return &record->accounts[i];
	return NULL;
}

size_t agent_password_get_accounts(const struct agent_password *password, struct agent_account ret_accounts[AGENT_ACCOUNTS_MAX])
{
	if (password == NULL || ret_accounts == NULL || password->state != AGENT_SETUP_ACTIVE)
		return 0;
	for (size_t i = 0; i < password->record.n; i++)
		ret_accounts[i] = password->record.accounts[i].account;
	return password->record.n;
}

int agent_password_find(const struct agent_password *password, const char *user, struct agent_account *ret_account, struct agent_error **err)
{
	const struct record_account *found = NULL;

	if (password == NULL || user == NULL || ret_account == NULL)
		return agent_error_set(err, -EINVAL, "password.argument", "a record and a name are needed");
	if (password->state == AGENT_SETUP_ACTIVE)
		found = store_find((struct record *)&password->record, user);
	if (found == NULL)
		return agent_error_set(err, -ENOENT, "account.unknown", "there is no account of that name");
	*ret_account = found->account;
	return 0;
}

/* The form that is hashed: symbols of a factory secret, NFC otherwise. False if it cannot be a password at all. */
static int prepare(bool is_label, const char *text, size_t size, struct secret *ret_text, bool *ret_is_possible)
{
	_cleanup_error_ struct agent_error *why = NULL;
	int r;

	*ret_is_possible = false;
	if (!is_label) {
		r = rules_normalise(text, size, ret_text, &why);
		*ret_is_possible = r == 0;
		return r == -EINVAL ? 0 : r;
	}
	r = secret_alloc(ret_text, FACTORY_SECRET_SYMBOLS + 1);
	if (r < 0)
		return r;
	*ret_is_possible = factory_secret_normalise(text, size, (char *)ret_text->data);
	ret_text->size = *ret_is_possible ? FACTORY_SECRET_SYMBOLS : 0;
	return 0;
}

/* Every path that hashes takes the same steps, so that time tells nothing but whether the text could be a password. */
int store_compare(struct agent_password *p, const char *name, const struct verifier *verifier, const char *text, size_t size,
		  struct secret *ret_prepared, bool *ret_is_equal, struct agent_error **err)
{
	_cleanup_secret_ struct secret hash = { 0 };
	uint8_t mac[AGENT_MAC_SIZE];
	bool is_possible;
	int r;

	*ret_is_equal = false;
	r = prepare(verifier == &p->label, text, size, ret_prepared, &is_possible);
	if (r < 0)
		return agent_error_set(err, r, "password.memory", "no memory to check a password");
	if (!is_possible)
		return 0;
	r = secret_alloc(&hash, PWHASH_MAX);
	if (r < 0)
		return agent_error_set(err, r, "password.memory", "no memory to check a password");
	r = pwhash_compute((const char *)ret_prepared->data, ret_prepared->size, verifier->setting, (char *)hash.data, err);
	if (r == 0)
		r = verifier_compute(p->mac, name, (const char *)hash.data, mac, err);
	if (r < 0)
		return r;
	*ret_is_equal = secret_equal(&(struct secret){ .data = mac, .size = sizeof(mac) }, verifier->mac, sizeof(verifier->mac));
	return 0;
}

int agent_password_verify(struct agent_password *password, const char *user, const char *text, size_t size, struct agent_error **err)
{
	_cleanup_secret_ struct secret prepared = { 0 };
	const struct record_account *account;
	bool is_equal, is_known, is_factory;
	int r;

	if (password == NULL || (text == NULL && size > 0))
		return agent_error_set(err, -EINVAL, "password.argument", "a record and a password are needed");
	r = store_get_ready(password, err);
	if (r < 0)
		return r;
	is_factory = password->state == AGENT_SETUP_FACTORY;
	account = store_find(&password->record, user);
	is_known = is_factory ? user != NULL && strcmp(user, AGENT_FIRST_ACCOUNT) == 0 : account != NULL;
	if (account == NULL)
		account = &password->record.accounts[0];	/* for the time it takes */
	r = store_compare(password, is_factory ? RECORD_LABEL_NAME : account->account.name, is_factory ? &password->label : &account->verifier,
			  text == NULL ? "" : text, size, &prepared, &is_equal, err);
	if (r < 0)
		return r;
	if (!is_equal || !is_known)
		return agent_error_set(err, -EACCES, "password.wrong", "wrong password");
	if (is_factory) {
		secret_free(&password->label_secret);
		password->label_secret = prepared;
		prepared = (struct secret){ 0 };
	}
	return 0;
}
