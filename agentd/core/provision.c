/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <agent/cert.h>
#include <agent/password.h>

#include "agentd/core/audit.h"
#include "agentd/core/main.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define SIGNATURE_FD 3
#define SIGNATURE_MAX (64 * KIB)

static int write_csr(struct store *store, const struct provision_options *options, struct agent_error **err)
{
	_cleanup_free_ char *pem = NULL;
	struct store_key *key;
	int r;

	if (options->csr_out == NULL)
		return 0;
	r = store_get_key(store, STORE_KEY_DEVICE, &key, err);
	if (r >= 0)
		r = agent_csr_new(store->ctx, key->signer, options->csr_subject, &pem, err);
	if (r >= 0)
		r = file_replace_at(AT_FDCWD, options->csr_out, 0644, pem, strlen(pem), err);
	return r < 0 ? agent_error_prefix(err, r, "certificate request") : 0;
}

/* A new one. On failure nobody has read it and nothing was stored. */
static int print_secret(char secret[15], struct agent_error **err)
{
	int r = agent_factory_secret_new(secret);

	if (r < 0)
		return agent_error_set(err, r, "password.random", "no random bytes for a factory secret: %s", strerror(-r));
	if (printf("factory-secret: %s\n", secret) < 0 || fflush(stdout) != 0) {
		wipe(secret, 15);
		return agent_error_set(err, -EIO, "provision.output", "the factory secret cannot be printed, so it was not stored");
	}
	return 0;
}

/* What stands on the label beside the secret, and how far the unit is. */
static int print_unit(struct store *store, struct agent_error **err)
{
	char fingerprint[65];
	int r = agent_cert_fingerprint(store->ctx, store->device_ca_pem, fingerprint, err);

	if (r < 0)
		return agent_error_prefix(err, r, "device CA");
	if (printf("serial: %s\ndevice-ca: %s\nsetup: %s\ngeneration: %" PRIu64 "\n", store->settings->device.serial, fingerprint,
		   agent_setup_state_name(agent_password_get_state(store->password)), agent_password_get_generation(store->password)) < 0 || fflush(stdout) != 0)
		return agent_error_set(err, -EIO, "provision.output", "standard output cannot be written");
	return 0;
}

static int read_secret(char secret[15], struct agent_error **err)
{
	char text[65];
	ssize_t n = read_full(STDIN_FILENO, text, sizeof(text));
	int r = -EIO;

	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
		n--;
	if (n >= 0)
		r = agent_factory_secret_parse(text, (size_t)n, secret);
	wipe(text, sizeof(text));
	return r < 0 ? agent_error_set(err, r, "password.factory_secret", "standard input holds no factory secret: twelve random symbols of Crockford's base32") : 0;
}

/*
 * The secret goes to the label printer before its verifier is stored: interrupted in between, a rerun prints another one,
 * and no device ever has a secret that nobody read. So the last line printed by a run that ended with 0 is the valid one.
 */
static int give_secret(struct core *core, struct store *store, const struct provision_options *options, bool *ret_is_new, struct agent_error **err)
{
	enum agent_setup_state state = agent_password_get_state(store->password);
	char secret[15];
	int r;

	if (state == AGENT_SETUP_RECOVERY)
		return agent_error_set(err, -ENOKEY, "setup.recovery",
				       "%s/accounts and the TPM disagree; a factory reset with presence is needed",
				       core->settings->paths.state_dir);
	if (state != AGENT_SETUP_UNPROVISIONED && options->is_secret_given)
		return agent_error_set(err, -EEXIST, "setup.provisioned", "a factory secret was stored before: this device is in state \"%s\"",
				       agent_setup_state_name(state));
	if (state != AGENT_SETUP_UNPROVISIONED) {
		fprintf(stderr, "agentd: factory secret is already set\n");
		return 0;
	}
	r = options->is_secret_given ? read_secret(secret, err) : print_secret(secret, err);
	if (r >= 0)
		r = agent_password_provision(store->password, secret, strlen(secret), err);
	wipe(secret, sizeof(secret));
	*ret_is_new = r >= 0;
	return r;
}

/* What all steps at the bench have in common; the lock of core is taken, as there must be one user of TPM and record only. */
static void begin(struct core *core, const char *purpose, int argc, char **argv)
{
	sigset_t all;

	service_start(&core->service, "agentd", purpose, argc, argv);
	core->settings = core->service.settings;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* a signal during a TPM command breaks the connection */
	setvbuf(stdout, NULL, _IONBF, 0);     /* the secret stays out of a buffer we could not wipe */
}

/* Files that belong to another user than the daemon's would be out of its reach afterwards. */
static int check_user(const struct core *core, struct agent_error **err)
{
	const char *state_dir = core->settings->paths.state_dir;
	struct stat st;

	if (stat(state_dir, &st) < 0 || st.st_uid == geteuid())
		return 0; /* one that is not there is made, and is ours then */
	return agent_error_set(err, -EPERM, "state.owner", "%s belongs to user %lu: run this as that user (setpriv --reuid=%lu --init-groups)", state_dir,
			       (unsigned long)st.st_uid, (unsigned long)st.st_uid);
}

static int end(struct core *core, struct store *store, const char *what, int r, const struct agent_error *err)
{
	if (r < 0)
		service_log(LOG_ERR, "%s failed: %s (%s)", what, agent_error_message(err), agent_error_name(err));
	audit_close(core);
	store_free(store);
	service_stop(&core->service);
	return r < 0 ? exit_code_for(r) : EXIT_SUCCESS;
}

int provision_main(const char *purpose, const struct provision_options *options, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN };
	struct store *store = NULL;
	bool is_new = false;
	int r;

	begin(&core, purpose, argc, argv);
	r = check_user(&core, &err);
	if (r >= 0)
		r = audit_open(&core, &err);
	if (r >= 0)
		r = store_new(core.settings, &store, &err);
	if (r >= 0)
		r = store_provision(store, &err);
	if (r >= 0)
		r = write_csr(store, options, &err);
	if (r >= 0)
		r = print_unit(store, &err);
	if (r >= 0 && !options->is_keys_only) {
		r = give_secret(&core, store, options, &is_new, &err);
		if (r < 0)
			event_add(&core, EVENT_PROVISION_REFUSED, "reason", agent_error_message(err), NULL);
	}
	if (is_new)
		event_add(&core, EVENT_PROVISIONED, "serial", core.settings->device.serial, "source",
			  options->is_secret_given ? "secret given" : "secret made", NULL);
	return end(&core, store, "provisioning", r, err);
}

static int open_all(struct core *core, struct store **ret_store, struct agent_error **err)
{
	int r = check_user(core, err);

	if (r >= 0)
		r = audit_open(core, err);
	if (r >= 0)
		r = store_new(core->settings, ret_store, err);
	return r < 0 ? r : store_open(*ret_store, err);
}

int reset_main(const char *purpose, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN };
	struct store *store = NULL;
	int r;

	begin(&core, purpose, argc, argv);
	r = open_all(&core, &store, &err);
	if (r >= 0) {
		event_add(&core, EVENT_FACTORY_RESET_REQUESTED, "source", "console", "reason", "presence", NULL);
		r = store_factory_reset(store, &err);
		if (r < 0)
			event_add(&core, EVENT_FACTORY_RESET_FAILED, "source", "console", "reason", agent_error_message(err), NULL);
	}
	if (r >= 0 || (store != NULL && store->reset_is_done))
		event_add(&core, EVENT_FACTORY_RESET_DONE, "source", "console", NULL);
	return end(&core, store, "factory reset", r, err);
}

int renew_main(const char *purpose, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN };
	struct store *store = NULL;
	char secret[15];
	int r;

	begin(&core, purpose, argc, argv);
	r = open_all(&core, &store, &err);
	if (r >= 0 && store->password == NULL)
		r = agent_error_set(&err, -ENOKEY, "setup.replaced",
				    "the TPM or its password key is not the one of provisioning: see 'recovery' in agentd(8)");
	if (r >= 0 && agent_password_get_state(store->password) != AGENT_SETUP_RECOVERY)
		r = agent_error_set(&err, -EPERM, "setup.provisioned", "another factory secret is for a device in recovery; this one is in state \"%s\"",
				    agent_setup_state_name(agent_password_get_state(store->password)));
	if (r >= 0)
		r = print_secret(secret, &err);
	if (r >= 0) {
		r = agent_password_renew_secret(store->password, secret, strlen(secret), &err);
		wipe(secret, sizeof(secret));
	}
	if (r >= 0)
		r = store_finish_reset(store, &err);
	if (r >= 0)
		event_add(&core, EVENT_SECRET_RENEWED, "source", "console", NULL);
	return end(&core, store, "renewing the factory secret", r, err);
}

/* All of it, in memory of ours; @what for the reader. */
static int read_input(int fd, const char *what, size_t max, char **ret_data, size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *data = malloc(max + 1);
	ssize_t n;

	if (data == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for %s", what);
	n = read_full(fd, data, max + 1);
	if (n < 0)
		return agent_error_set(err, (int)n, "provision.input", "%s cannot be read: %s", what, strerror((int)-n));
	if ((size_t)n > max)
		return agent_error_set(err, -EMSGSIZE, "provision.format", "%s is larger than %zu bytes", what, max);
	*ret_data = TAKE_PTR(data);
	*ret_size = (size_t)n;
	return 0;
}

static int activate(struct core *core, struct store *store, char id[AGENT_ORDER_ID_MAX + 1], struct agent_error **err)
{
	_cleanup_free_ char *text = NULL, *signature = NULL, *trust_dir = settings_trust_path(core->settings, "", "provision");
	struct agent_password_order order = { .trust_dir = trust_dir, .serial = core->settings->device.serial };
	time_t now = time(NULL);
	int r;

	if (trust_dir == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a path");
	if (store->password == NULL)
		return agent_error_set(err, -ENOKEY, "setup.replaced",
				       "the TPM or its password key is not the one of provisioning: see 'recovery' in agentd(8)");
	r = read_input(STDIN_FILENO, "the provisioning file", AGENT_ORDER_MAX, &text, &order.text_size, err);
	if (r >= 0)
		r = read_input(SIGNATURE_FD, "its signature", SIGNATURE_MAX, &signature, &order.signature_size, err);
	if (r < 0)
		return r;
	order.text = text;
	order.signature = signature;
	order.now_s = now < 0 ? 0 : (uint64_t)now;
	return agent_password_adopt_signed(store->password, &order, id, err);
}

int activate_main(const char *purpose, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN };
	struct store *store = NULL;
	char id[AGENT_ORDER_ID_MAX + 1] = "";
	int r;

	begin(&core, purpose, argc, argv);
	r = open_all(&core, &store, &err);
	if (r >= 0)
		r = activate(&core, store, id, &err);
	if (r >= 0)
		event_add(&core, EVENT_ACTIVATED, "id", id, "serial", core.settings->device.serial, NULL);
	else if (core.audit != NULL)
		event_add(&core, EVENT_ACTIVATION_REFUSED, "reason", agent_error_message(err), NULL);
	if (r >= 0)
		printf("activated: %s\n", id); /* for agentctl: what was done is done, also if nobody hears of it */
	return end(&core, store, "activation by a provisioning file", r, err);
}
