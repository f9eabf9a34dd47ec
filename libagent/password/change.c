/* SPDX-License-Identifier: Apache-2.0 */
/* Every change is a copy of the record with the next generation and one thing in it different; store_commit() does the rest. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "crypto/pwhash.h"
#include "password/factory.h"
#include "password/rules.h"
#include "password/store.h"

static int bad_argument(struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "password.argument", "a record, a name and a password are needed");
}

int agent_password_check(struct agent_password *password, const char *user, const char *text, size_t size, struct agent_error **err)
{
	const char *words[STORE_CONTEXT_WORDS + 2];
	struct rules rules;
	size_t n = 0;

	if (password == NULL || (text == NULL && size > 0))
		return bad_argument(err);
	for (size_t i = 0; password->context_words[i] != NULL; i++)
		if (user == NULL || strcmp(user, password->context_words[i]) != 0)
			words[n++] = password->context_words[i];
	if (user != NULL)
		words[n++] = user;
	words[n] = NULL;
	rules = (struct rules){
		.min_length = password->min_length,
		.context_words = words,
		.filter = &password_filter,
		.label_secret = (const char *)password->label_secret.data,
	};
	return rules_check(&rules, text == NULL ? "" : text, size, err);
}

/* A verifier of @text with a fresh salt. */
static int hash_text(struct agent_password *p, const char *name, const struct secret *text, unsigned cost, struct verifier *ret_verifier,
		     struct agent_error **err)
{
	_cleanup_secret_ struct secret hash = { 0 };
	int r = secret_alloc(&hash, PWHASH_MAX);

	if (r < 0)
		return agent_error_set(err, r, "password.memory", "no memory to hash a password");
	r = pwhash_new((const char *)text->data, text->size, cost, (char *)hash.data, err);
	return r < 0 ? r : verifier_make(p->mac, name, (const char *)hash.data, ret_verifier, err);
}

/* Does @text open @verifier now? Then it is refused as a new password, for this @reason. */
static int refuse_if_equal(struct agent_password *p, const char *name, const struct verifier *verifier, const char *text, size_t size,
			   const char *reason, struct agent_error **err)
{
	_cleanup_secret_ struct secret prepared = { 0 };
	bool is_equal;
	int r = store_compare(p, name, verifier, text, size, &prepared, &is_equal, err);

	if (r < 0)
		return r;
	return is_equal ? agent_error_set(err, -EINVAL, "password.weak", "%s", reason) : 0;
}

/* It must be the password that is in force: nothing else may be stored under another hash. */
static int refuse_unless_equal(struct agent_password *p, const char *name, const struct verifier *verifier, const char *text, size_t size,
			       struct agent_error **err)
{
	_cleanup_secret_ struct secret prepared = { 0 };
	bool is_equal;
	int r = store_compare(p, name, verifier, text == NULL ? "" : text, size, &prepared, &is_equal, err);

	return r < 0 || is_equal ? r : agent_error_set(err, -EACCES, "password.wrong", "wrong password");
}

/* Checked against all rules and hashed. */
static int make_verifier(struct agent_password *p, const char *name, const char *text, size_t size, struct verifier *ret_verifier,
			 struct agent_error **err)
{
	_cleanup_secret_ struct secret normal = { 0 };
	int r = agent_password_check(p, name, text, size, err);

	/* Also where nobody proved to know it: the label secret must not live on as the password. */
	if (r == 0 && p->has_label)
		r = refuse_if_equal(p, RECORD_LABEL_NAME, &p->label, text, size, "is the code on the label", err);
	if (r == 0)
		r = rules_normalise(text, size, &normal, err);
	return r < 0 ? r : hash_text(p, name, &normal, store_get_cost(p), ret_verifier, err);
}

/* ---- the factory secret ----------------------------------------------------------------------------------------- */

/* Verifier of a factory secret on disk, then a record without accounts that goes with it. */
static int store_secret(struct agent_password *p, uint64_t generation, unsigned cost, const char *secret, size_t secret_size, struct agent_error **err)
{
	_cleanup_secret_ struct secret symbols = { 0 };
	const struct record record = { .kind = RECORD_FACTORY, .generation = generation };
	struct verifier label;
	int r = secret_alloc(&symbols, FACTORY_SECRET_SYMBOLS + 1);

	if (r < 0)
		return agent_error_set(err, r, "password.memory", "no memory for the factory secret");
	if (!factory_secret_normalise(secret, secret_size, (char *)symbols.data))
		return agent_error_set(err, -EINVAL, "password.factory_secret", "a factory secret has %d symbols of Crockford's base32", FACTORY_SECRET_SYMBOLS);
	symbols.size = FACTORY_SECRET_SYMBOLS;
	r = hash_text(p, RECORD_LABEL_NAME, &symbols, cost, &label, err);
	if (r == 0)
		r = store_write_label(p, &label, err);
	return r < 0 ? r : store_commit(p, &record, err);
}

int agent_password_provision(struct agent_password *password, const char *secret, size_t secret_size, struct agent_error **err)
{
	unsigned cost;
	int r;

	if (password == NULL || secret == NULL)
		return bad_argument(err);
	r = store_settle(password, err);
	if (r < 0)
		return r;
	if (password->state != AGENT_SETUP_UNPROVISIONED)
		return agent_error_set(err, -EEXIST, "setup.provisioned", "a factory secret was stored before: this device is in state \"%s\"",
				       agent_setup_state_name(password->state));
	cost = password->cost;
	if (cost == 0)
		r = pwhash_calibrate(&cost, err);
	return r < 0 ? r : store_secret(password, 1, cost, secret, secret_size, err);
}

int agent_password_renew_secret(struct agent_password *password, const char *secret, size_t secret_size, struct agent_error **err)
{
	uint64_t counter;
	int r;

	if (password == NULL || secret == NULL)
		return bad_argument(err);
	r = store_settle(password, err);
	if (r < 0)
		return r;
	if (password->state != AGENT_SETUP_RECOVERY)
		return agent_error_set(err, -EPERM, "setup.provisioned", "another factory secret is for a device in recovery; this one is in state \"%s\"",
				       agent_setup_state_name(password->state));
	r = agent_counter_get(password->generation, &counter, err);
	return r < 0 ? agent_error_prefix(err, r, "password generation") : store_secret(password, counter + 1, store_get_cost(password), secret, secret_size, err);
}

int agent_password_factory_reset(struct agent_password *password, struct agent_error **err)
{
	struct record record = { .kind = RECORD_FACTORY };
	uint64_t counter;
	int r;

	if (password == NULL)
		return bad_argument(err);
	r = store_settle(password, err);
	if (r < 0)
		return r;
	if (password->state == AGENT_SETUP_UNPROVISIONED)
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned", "the factory has not stored a secret on this device");
	if (!password->has_label)
		return agent_error_set(err, -ENOKEY, "setup.label",
				       "the verifier of the code on the label is lost, so nobody could log in after a reset; nothing was changed");
	r = agent_counter_get(password->generation, &counter, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password generation");
	record.generation = counter + 1;
	return store_commit(password, &record, err);
}

/* ---- accounts --------------------------------------------------------------------------------------------------- */

/* The next record: a copy of the one in force. Outside ACTIVE there is nothing to manage. */
static int begin(struct agent_password *p, struct record *next, struct agent_error **err)
{
	int r = store_get_ready(p, err);

	if (r < 0)
		return r;
	if (p->state != AGENT_SETUP_ACTIVE)
		return agent_error_set(err, -EKEYEXPIRED, "setup.password-change-required", "a password of your own must be set before anything else can be done");
	*next = p->record;
	next->generation++;
	return 0;
}

static int begin_with(struct agent_password *p, const char *user, struct record *next, struct record_account **ret_account, struct agent_error **err)
{
	int r;

	if (p == NULL || user == NULL)
		return bad_argument(err);
	r = begin(p, next, err);
	if (r < 0)
		return r;
	*ret_account = store_find(next, user);
	return *ret_account != NULL ? 0 : agent_error_set(err, -ENOENT, "account.unknown", "there is no account of that name");
}

static bool role_is_valid(enum agent_account_role role)
{
	return role >= AGENT_ROLE_VIEWER && role <= AGENT_ROLE_ADMIN;
}

/* An administrator who never had to choose a password may have lost the first one: he does not count as one who is left. */
static int check_admins(const struct record *next, struct agent_error **err)
{
	for (size_t i = 0; i < next->n; i++)
		if (next->accounts[i].account.role == AGENT_ROLE_ADMIN && !next->accounts[i].account.must_change)
			return 0;
	return agent_error_set(err, -EPERM, "account.last-admin",
			       "this is the last administrator with a password of his own: without one nobody could manage the device");
}

int agent_password_add(struct agent_password *password, const char *user, enum agent_account_role role, const char *text, size_t size,
		       struct agent_error **err)
{
	struct record_account account = { .account = { .role = role, .must_change = true } };
	struct record next;
	int r;

	if (password == NULL || user == NULL || (text == NULL && size > 0))
		return bad_argument(err);
	r = begin(password, &next, err);
	if (r < 0)
		return r;
	if (!record_name_is_valid(user))
		return agent_error_set(err, -EINVAL, "account.name",
				       "a name has 1 to %d of a-z, 0-9, dot, dash and underscore, and begins with a letter", AGENT_ACCOUNT_NAME_MAX);
	if (!role_is_valid(role))
		return agent_error_set(err, -EINVAL, "account.role", "a role is viewer, operator or admin");
	if (store_find(&next, user) != NULL)
		return agent_error_set(err, -EEXIST, "account.exists", "there is already an account of that name");
	if (next.n == AGENT_ACCOUNTS_MAX)
		return agent_error_set(err, -EDQUOT, "account.many", "there are %d accounts, and that is the limit", AGENT_ACCOUNTS_MAX);
	memcpy(account.account.name, user, strlen(user) + 1);
	account.account.since = next.generation;
	r = make_verifier(password, user, text == NULL ? "" : text, size, &account.verifier, err);
	if (r < 0)
		return r;
	next.accounts[next.n++] = account;
	return store_commit(password, &next, err);
}

int agent_password_assign(struct agent_password *password, const char *user, const char *text, size_t size, struct agent_error **err)
{
	struct record_account *account;
	struct record next;
	int r;

	if (text == NULL && size > 0)
		return bad_argument(err);
	r = begin_with(password, user, &next, &account, err);
	if (r < 0)
		return r;
	account->account.must_change = true;
	account->account.since = next.generation;
	r = check_admins(&next, err);
	if (r == 0)
		r = make_verifier(password, user, text == NULL ? "" : text, size, &account->verifier, err);
	return r < 0 ? r : store_commit(password, &next, err);
}

int agent_password_set_role(struct agent_password *password, const char *user, enum agent_account_role role, struct agent_error **err)
{
	struct record_account *account;
	struct record next;
	int r = begin_with(password, user, &next, &account, err);

	if (r < 0)
		return r;
	if (!role_is_valid(role))
		return agent_error_set(err, -EINVAL, "account.role", "a role is viewer, operator or admin");
	if (account->account.role == role)
		return 0;
	account->account.role = role;
	account->account.since = next.generation;
	r = check_admins(&next, err);
	return r < 0 ? r : store_commit(password, &next, err);
}

int agent_password_remove(struct agent_password *password, const char *user, struct agent_error **err)
{
	struct record_account *account;
	struct record next;
	size_t at;
	int r = begin_with(password, user, &next, &account, err);

	if (r < 0)
		return r;
	at = (size_t)(account - next.accounts);
	memmove(account, account + 1, (next.n - at - 1) * sizeof(*account));
	next.n--;
	memset(&next.accounts[next.n], 0, sizeof(*account));
	r = check_admins(&next, err);
	return r < 0 ? r : store_commit(password, &next, err);
}

/* ---- a person's own password ------------------------------------------------------------------------------------ */

static int first_change(struct agent_password *p, const char *user, const char *text, size_t size, struct agent_error **err)
{
	struct record next = { .kind = RECORD_OWNER, .generation = p->record.generation + 1, .n = 1 };
	struct agent_account *account = &next.accounts[0].account;
	int r;

	if (strcmp(user, AGENT_FIRST_ACCOUNT) != 0)
		return agent_error_set(err, -ENOENT, "account.unknown", "there is no account of that name");
	*account = (struct agent_account){ .name = AGENT_FIRST_ACCOUNT, .role = AGENT_ROLE_ADMIN, .since = next.generation };
	r = make_verifier(p, user, text, size, &next.accounts[0].verifier, err);
	return r < 0 ? r : store_commit(p, &next, err);
}

int agent_password_change(struct agent_password *password, const char *user, uint64_t since, const char *text, size_t size,
			  struct agent_error **err)
{
	struct record_account *account;
	struct record next;
	int r;

	if (password == NULL || user == NULL || (text == NULL && size > 0))
		return bad_argument(err);
	text = text == NULL ? "" : text;
	r = store_get_ready(password, err);
	if (r < 0)
		return r;
	if (password->state == AGENT_SETUP_FACTORY)
		return since != password->record.generation ? agent_error_set(err, -ESTALE, "password.stale", "the password was changed in the meantime") :
							      first_change(password, user, text, size, err);
	r = begin_with(password, user, &next, &account, err);
	if (r < 0)
		return r;
	if (account->account.since != since)
		return agent_error_set(err, -ESTALE, "password.stale", "the password was changed in the meantime");
	r = agent_password_check(password, user, text, size, err);
	if (r == 0)
		r = refuse_if_equal(password, user, &account->verifier, text, size, "is the password that is in use now", err);
	if (r == 0)
		r = make_verifier(password, user, text, size, &account->verifier, err);
	if (r < 0)
		return r;
	account->account.must_change = false;
	account->account.since = next.generation;
	return store_commit(password, &next, err);
}

int agent_password_refresh(struct agent_password *password, const char *user, const char *text, size_t size, struct agent_error **err)
{
	_cleanup_secret_ struct secret normal = { 0 };
	struct record_account *account;
	struct record next;
	int r;

	if (text == NULL && size > 0)
		return bad_argument(err);
	r = begin_with(password, user, &next, &account, err);
	if (r < 0 || pwhash_cost_of(account->verifier.setting) >= store_get_cost(password))
		return r;
	r = rules_normalise(text == NULL ? "" : text, size, &normal, err);
	if (r == 0)
		r = refuse_unless_equal(password, user, &account->verifier, text, size, err);
	if (r == 0)
		r = hash_text(password, user, &normal, store_get_cost(password), &account->verifier, err);
	return r < 0 ? r : store_commit(password, &next, err);
}

int agent_password_adopt(struct agent_password *password, uint64_t generation, const char *hash, bool must_change, struct agent_error **err)
{
	struct record next = { .kind = RECORD_OWNER, .generation = generation + 1, .n = 1 };
	int r;

	if (password == NULL || hash == NULL)
		return bad_argument(err);
	r = store_get_ready(password, err);
	if (r < 0)
		return r;
	if (password->state != AGENT_SETUP_FACTORY)
		return agent_error_set(err, -EEXIST, "setup.activated", "this device has an owner's password already");
	if (password->record.generation != generation)
		return agent_error_set(err, -ESTALE, "password.stale", "this is for another generation of the password record");
	r = pwhash_check(hash, err);
	if (r < 0)
		return r;
	next.accounts[0].account = (struct agent_account){
		.name = AGENT_FIRST_ACCOUNT, .role = AGENT_ROLE_ADMIN, .must_change = must_change, .since = next.generation,
	};
	r = verifier_make(password->mac, AGENT_FIRST_ACCOUNT, hash, &next.accounts[0].verifier, err);
	return r < 0 ? r : store_commit(password, &next, err);
}
