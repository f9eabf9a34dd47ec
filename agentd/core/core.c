/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/clients.h"
#include "agentd/core/clock.h"
#include "agentd/core/commands.h"
#include "agentd/core/core.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <agent/cert.h>
#include <agent/context.h>

#include "agentd/common/sandbox.h"
#include "agentd/core/audit.h"
#include "agentd/core/bus.h"
#include "agentd/core/main.h"
#include "agentd/core/enrol.h"
#include "agentd/core/lists.h"
#include "agentd/core/refusals.h"
#include "agentd/core/source.h"
#include "agentd/core/store.h"
#include "agentd/core/update.h"
#include "agentd/core/worker_loop.h"
#include "base/buf.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define FIRST_TRY_US (UINT64_C(5) * 1000000) /* a TPM that hangs does not keep core from starting */

int exit_code_for(int r)
{
	switch (r) {
	case -EACCES:
	case -EPERM:
	case -EEXIST:
	case -EKEYREJECTED:
	case -ESTALE:
		return EXIT_CODE_NOPERM;
	case -ENODEV:
	case -ENOTSOCK:
	case -ENOENT:
		return EXIT_CODE_UNAVAILABLE;
	case -EINVAL:
		return EXIT_CODE_CONFIG;
	case -EIO:
	case -ENOSPC:
	case -EROFS:
	case -EDQUOT:
		return EXIT_CODE_IO;
	default:
		return EXIT_CODE_OS;
	}
}

/* ---- hooks of the TPM thread ------------------------------------------------------------------------------------ */

static bool tpm_is_usable(struct store *store)
{
	enum agent_tpm_state state = agent_tpm_get_state(store->tpm);

	return state == AGENT_TPM_READY || state == AGENT_TPM_LOCKED_OUT || state == AGENT_TPM_BUSY;
}

static void look_at_store(struct store *store, struct worker_news *news, bool was_opened)
{
	const uint8_t *name;
	char fingerprint[65];
	size_t size;

	news->tpm_state = store->tpm == NULL ? AGENT_TPM_OPENING : agent_tpm_get_state(store->tpm);
	snprintf(news->tpm_detail, sizeof(news->tpm_detail), "%s",
		 store->tpm == NULL ? "this device has not been provisioned: run agentd --provision" : agent_tpm_get_detail(store->tpm));
	news->n_commands = agent_tpm_get_n_commands(store->tpm);
	news->is_open = store->is_open;
	news->reset_is_done = store->reset_is_done;
	store->reset_is_done = false;
	news->has_floor = store->has_floor;
	news->floor = store->floor_value;
	news->has_trust = store->has_trust;
	news->trust = store->trust_value;
	news->has_tickets = store->has_tickets;
	news->tickets = store->tickets_value;
	/* RECOVERY and UNPROVISIONED are known also when nothing could be opened. */
	if (store->password != NULL)
		store->setup = agent_password_get_state(store->password);
	news->setup = store->is_open || store->setup_is_known ? (int)store->setup : SETUP_STATE_UNKNOWN;
	news->generation = store->password == NULL ? 0 : agent_password_get_generation(store->password);
	news->n_accounts = agent_password_get_accounts(store->password, news->accounts);
	if (!was_opened || !store->is_open)
		return;
	if (agent_tpm_get_srk_name(store->tpm, &name, &size) >= 0) {
		news->srk_name = malloc(size * 2 + 1);
		if (news->srk_name != NULL)
			hex_encode(name, size, news->srk_name);
	}
	news->device_ca_pem = strdup(store->device_ca_pem);
	if (agent_cert_fingerprint(store->ctx, store->device_ca_pem, fingerprint, NULL) >= 0)
		news->device_ca_fingerprint = strdup(fingerprint);
}

static void replace_text(char **to, char *const *from)
{
	char *copy = *from == NULL ? NULL : strdup(*from);

	if (copy == NULL)
		return;
	free(*to);
	*to = copy;
}

static void take_news(struct core *core, const struct worker_news *news)
{
	bool is_new_trouble;

	if (core->tpm_state != (int)news->tpm_state) {
		event_add(core, EVENT_TPM_STATE, "state", agent_tpm_state_name(news->tpm_state), "reason",
			  news->tpm_detail[0] != '\0' ? news->tpm_detail : news->err != NULL ? agent_error_message(news->err) : NULL, NULL);
		core->tpm_state = (int)news->tpm_state;
	}
	if (news->was_opened) {
		if (news->result >= 0)
			clock_tpm_is_open(core);
		is_new_trouble = news->result < 0 && news->result != core->open_result;
		core->open_result = news->result;
		if (is_new_trouble)
			service_log(LOG_ERR, "keys are not available: %s", agent_error_message(news->err));
		service_status(news->result < 0 ? "%s" : "ready%s", news->result < 0 ? agent_error_message(news->err) : "");
		replace_text(&core->srk_name, &news->srk_name);
		replace_text(&core->device_ca_pem, &news->device_ca_pem);
		replace_text(&core->device_ca_fingerprint, &news->device_ca_fingerprint);
	}
	if (news->has_floor) {
		core->has_floor = true;
		core->floor = news->floor;
	}
	if (news->has_trust) {
		core->has_trust = true;
		core->trust = news->trust;
	}
	if (news->has_tickets) {
		core->has_tickets = true;
		core->tickets = news->tickets;
	}
	/* Once known, the state of the record stays known while the TPM is away. */
	if (news->setup != SETUP_STATE_UNKNOWN) {
		memcpy(core->people, news->accounts, sizeof(core->people));
		core->n_people = news->n_accounts;
		core_setup_changed(core, news->setup, news->generation);
	}
	if (news->reset_is_done) {
		accounts_were_reset(core);
		policy_forget(core);
		updates_forget_ticket(core);
		enrol_were_reset(core);
		clock_was_reset(core);
	}
}

static unsigned sign_timeout(struct core *core)
{
	return (unsigned)core->settings->tpm.sign_timeout_s;
}

static int probe_tpm(struct store *store, struct agent_error **err)
{
	return agent_tpm_probe(store->tpm, NULL, err);
}

static unsigned probe_interval(struct core *core)
{
	return (unsigned)core->settings->tpm.probe_s;
}

static const struct worker_hooks hooks = {
	.open = store_open,
	.is_usable = tpm_is_usable,
	.look = look_at_store,
	.news = take_news,
	.timeout_s = sign_timeout,
	.probe = probe_tpm,
	.probe_s = probe_interval,
};

/* ---- life ------------------------------------------------------------------------------------------------------- */

/* Callers that come now would only hear that nothing is known yet. */
static void wait_for_first_try(struct core *core)
{
	uint64_t end_us = monotonic_us() + FIRST_TRY_US;

	while (!worker_has_tried(core->worker) && monotonic_us() < end_us)
		if (sd_event_run(core->event, 50000) < 0 || sd_event_get_state(core->event) == SD_EVENT_FINISHED)
			return;
	/* What it found is on its way through the loop. */
	sd_event_run(core->event, 0);
}

static int start(struct core *core, struct store **ret_store, struct agent_error **err)
{
	int r;

	r = audit_open(core, err);
	if (r >= 0)
		r = clock_start(core, err);
	if (r >= 0)
		r = store_new(core->settings, ret_store, err);
	if (r >= 0)
		core->keys_fd = (*ret_store)->keys_fd; /* lent: the store is the last to go */
	if (r >= 0)
		core_recover_rotation(core);
	if (r >= 0)
		r = bus_start(core, err);
	if (r >= 0)
		r = updates_start(core, err);
	if (r >= 0)
		r = policy_start(core, err);
	if (r >= 0)
		r = source_start(core, err);
	if (r >= 0)
		r = enrol_start(core, err);
	if (r >= 0)
		r = commands_start(core, err);
	if (r >= 0)
		r = accounts_start(core, err);
	if (r >= 0)
		r = presence_start(core, err);
	if (r >= 0)
		r = sandbox_enter(SANDBOX_CORE, core->settings, NULL, 0, err);
	/* After the sandbox: Landlock binds a thread and those it makes. */
	if (r >= 0)
		r = worker_start(core, core->event, *ret_store, &hooks, &core->worker, err);
	return r;
}

/* Nobody should find out by accident. */
static void warn_of_software_keys(const struct core *core)
{
	uint64_t n = store_count_software(core->keys_fd);

	if (core->settings->keys.allow_software)
		service_log(LOG_WARNING, "keys.allow_software is true: keys may be files without a TPM, %" PRIu64 " are; whoever copies them has the key", n);
	else if (n > 0)
		service_log(LOG_WARNING, "%" PRIu64 " software keys are stored and not used: keys.allow_software is false", n);
}

int core_main(const char *purpose, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct core core = { .setup = SETUP_STATE_UNKNOWN, .tpm_state = -1, .keys_fd = -1 };
	struct store *store = NULL;
	int r, code = EXIT_SUCCESS;

	service_start(&core.service, "agentd", purpose, argc, argv);
	core.settings = core.service.settings;
	core.event = core.service.event;
	core.start_us = monotonic_us();
	r = start(&core, &store, &err);
	if (r < 0) {
		service_log(LOG_ERR, "cannot start: %s (%s)", agent_error_message(err), agent_error_name(err));
		code = exit_code_for(r);
	} else {
		warn_of_software_keys(&core);
		wait_for_first_try(&core);
		event_add(&core, EVENT_STARTED, "version", agent_version(), "setup", core_setup_name(&core), NULL);
		configuration_look(&core);
		lists_open(&core);
		r = bus_open(&core, &err);
		if (r >= 0) {
			updates_look(&core);
			source_open(&core);
			enrol_open(&core);
			r = service_run(&core.service);
		} else {
			service_log(LOG_ERR, "cannot start: %s (%s)", agent_error_message(err), agent_error_name(err));
		}
		if (r < 0)
			code = exit_code_for(r);
	}
	r = worker_stop(core.worker);
	clients_free(&core);
	role_refusals_free(&core);
	presence_stop(&core);
	accounts_stop(&core);
	bus_stop(&core);
	commands_stop(&core);
	enrol_stop(&core);
	source_stop(&core);
	policy_stop(&core);
	updates_stop(&core);
	clock_stop(&core);
	lists_stop(&core);
	audit_close(&core);
	if (r == -EBUSY)
		_exit(code); /* a command still hangs in the TPM: its thread must not find the store gone */
	store_free(store);
	free(core.srk_name);
	free(core.device_ca_pem);
	sd_bus_message_unref(core.link_queues);
	link_stop(&core);
	free(core.device_ca_fingerprint);
	service_stop(&core.service);
	return code;
}
