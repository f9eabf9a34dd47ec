/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <agent/cert.h>
#include <agent/password.h>

#include "agentd/core/audit.h"
#include "agentd/core/main.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

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

/*
 * The secret goes to the label printer before its verifier is stored: interrupted in between, a rerun prints another one,
 * and no device ever has a secret that nobody read. So the last line printed by a run that ended with 0 is the valid one.
 */
static int give_secret(struct core *core, struct store *store, struct agent_error **err)
{
	char secret[15];
	int r;

	if (agent_password_get_state(store->password) == AGENT_SETUP_RECOVERY)
		return agent_error_set(err, -ENOKEY, "setup.recovery",
				       "%s/accounts and the TPM disagree; a factory reset with presence is needed",
				       core->settings->paths.state_dir);
	if (agent_password_get_state(store->password) != AGENT_SETUP_UNPROVISIONED) {
		fprintf(stderr, "agentd: factory secret is already set\n");
		return 0;
	}
	r = agent_factory_secret_new(secret);
	if (r < 0)
		return agent_error_set(err, r, "password.random", "no random bytes for a factory secret: %s", strerror(-r));
	if (printf("factory-secret: %s\n", secret) < 0 || fflush(stdout) != 0)
		r = agent_error_set(err, -EIO, "provision.output", "the factory secret cannot be printed, so it was not stored");
	else
		r = agent_password_provision(store->password, secret, strlen(secret), err);
	wipe(secret, sizeof(secret));
	return r;
}

int provision_main(const char *purpose, const struct provision_options *options, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN };
	struct store *store = NULL;
	bool was_provisioned = false;
	sigset_t all;
	int r;

	/* The lock of core: with the daemon running there would be two users of one TPM and one record. */
	service_start(&core.service, "agentd", purpose, argc, argv);
	core.settings = core.service.settings;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL); /* a signal during a TPM command breaks the connection */
	setvbuf(stdout, NULL, _IONBF, 0);     /* the secret stays out of a buffer we could not wipe */
	r = audit_open(&core, &err);
	if (r >= 0)
		r = store_new(core.settings, &store, &err);
	if (r >= 0)
		r = store_provision(store, &err);
	if (r >= 0)
		r = write_csr(store, options, &err);
	if (r >= 0) {
		was_provisioned = agent_password_get_state(store->password) != AGENT_SETUP_UNPROVISIONED;
		r = give_secret(&core, store, &err);
	}
	if (r >= 0 && !was_provisioned)
		event_add(&core, EVENT_PROVISIONED, "serial", core.settings->device.serial, NULL);
	if (r < 0)
		service_log(LOG_ERR, "provisioning failed: %s (%s)", agent_error_message(err), agent_error_name(err));
	audit_close(&core);
	store_free(store);
	service_stop(&core.service);
	return r < 0 ? exit_code_for(r) : EXIT_SUCCESS;
}
