/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CommandRun, CommandSigned: agentd-link brings commands from the cloud. It is exposed to the network, so nothing is taken from it but that
 * a bare command came over the broker connection; a signature is checked here, before a byte of what was signed is read.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <agent/command.h>

#include "agentd/common/command.h"
#include "agentd/common/gcra.h"
#include "agentd/core/bus.h"
#include "agentd/core/command_check.h"
#include "agentd/core/command_window.h"
#include "agentd/core/commands.h"
#include "agentd/core/dispatch.h"
#include "agentd/core/store.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define BURST 10
#define KEEP_FOR_SIGNED (COMMAND_WINDOW_SLOTS / 2)
#define REFUSALS_BURST 10
#define REFUSALS_INTERVAL_US (60 * UINT64_C(1000000))
#define REASON_MAX 400

struct commands {
	struct agent_context *ctx;
	struct command_window *window;
	enum account_role role;	/* of bare commands; ACCOUNT_NONE: there are none */
	uint64_t rate_tat_us[2], refusals_tat_us;	/* who may publish there must not use up the rate of signers */
	uint64_t n_left_out;	/* refusals that were not written down */
	int dir_fd;
};

/* Who sends it, as far as is known. */
struct sender {
	bool is_signed;
	enum account_role role;
	char signer[AGENT_COMMAND_SIGNER_MAX + 1];
};

/* ---- who ------------------------------------------------------------------------------------------------------------ */

/*
 * The role that the signature of @text is good for: the highest of those whose folder knows the signer. If there is none, all
 * reasons are told, as a signer who has run out is unknown in the other folders.
 */
static int find_signer(struct core *core, const void *text, size_t size, const void *signature, size_t signature_size, uint64_t now_s,
		       struct sender *ret_sender, struct agent_error **err)
{
	char reasons[REASON_MAX] = "";
	bool is_forged = false, is_broken = false;
	int last = -ENOKEY;

	for (enum account_role role = ACCOUNT_ADMIN; role >= ACCOUNT_VIEWER; role--) {
		_cleanup_error_ struct agent_error *why = NULL;
		_cleanup_free_ char *dir = NULL;
		size_t n = strlen(reasons);
		int r;

		if (asprintf(&dir, "%s/command/%s", core->settings->paths.trust_dir, account_role_name(role)) < 0) {
			dir = NULL;
			return agent_error_set(err, -ENOMEM, "core.memory", "no memory for a command");
		}
		r = agent_command_verify(core->commands->ctx, dir, text, size, signature, signature_size, now_s, ret_sender->signer, &why);
		if (r >= 0) {
			ret_sender->role = role;
			return 0;
		}
		if (r == -ENOMEM)
			return agent_error_move(err, &why);
		if ((r == -ENOENT || r == -ENOKEY) && strcmp(agent_error_name(why), "command.trust") == 0)
			continue;
		last = r;
		is_forged |= strcmp(agent_error_name(why), "command.signature") == 0;
		is_broken |= strcmp(agent_error_name(why), "command.trust-broken") == 0;
		snprintf(reasons + n, sizeof(reasons) - n, "%sas %s: %s", n == 0 ? "" : "; ", account_role_name(role), agent_error_message(why));
	}
	if (reasons[0] == '\0')
		return agent_error_set(err, -ENOKEY, "command.trust", "nobody is pinned as a signer of commands; see TRUST_DIR/command in agentd.conf(5)");
	/* Nobody can say who the signer is while a folder cannot be read. */
	return agent_error_set(err, last, is_forged ? "command.signature" : is_broken ? "command.trust-broken" : "command.signer", "%s", reasons);
}

/* No account can have such a name. It is written into files and lines. */
static void name_caller(const struct sender *sender, struct caller *ret_caller)
{
	*ret_caller = (struct caller){ .role = sender->role, .uid = BUS_NO_UID, .program = PROG_LINK };
	snprintf(ret_caller->user, sizeof(ret_caller->user), "@%s", sender->is_signed ? sender->signer : "cloud");
	for (char *p = ret_caller->user + 1; *p != '\0'; p++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p) == NULL)
			*p = '-';
	snprintf(ret_caller->source, sizeof(ret_caller->source), "mqtt:%s", sender->is_signed ? "signed" : "topic");
}

/* ---- what is written down ------------------------------------------------------------------------------------------- */

/* Somebody who may publish there must not push all else out of the event log. */
static void tell_refused(struct core *core, const struct sender *sender, const char *id, const char *name, const struct agent_error *why)
{
	struct commands *cs = core->commands;
	char left_out[24];

	if (!gcra_take(&cs->refusals_tat_us, running_us(), REFUSALS_INTERVAL_US, REFUSALS_BURST)) {
		cs->n_left_out++;
		return;
	}
	snprintf(left_out, sizeof(left_out), "%" PRIu64, cs->n_left_out);
	event_add(core, EVENT_COMMAND_REFUSED, "reason", agent_error_name(why), "id", id[0] == '\0' ? NULL : id, "command", name, "role",
		  account_role_name(sender->role), "signer", sender->signer[0] == '\0' ? NULL : sender->signer, "source",
		  sender->is_signed ? "mqtt:signed" : "mqtt:topic", "left_out", cs->n_left_out > 0 ? left_out : NULL, NULL);
	cs->n_left_out = 0;
}

/* ---- the operation -------------------------------------------------------------------------------------------------- */

static const struct operation *find_operation(const char *method)
{
	for (size_t i = 0; i < n_operations; i++)
		if (strcmp(operations[i].method, method) == 0)
			return &operations[i];
	return NULL;
}

/* The arguments as the row wants them, behind (sus). */
static int append_arguments(sd_bus_message *m, const struct operation *op, const struct command *c)
{
	const char *types = op->in + strlen("(sus)");
	int r = 0;

	for (size_t i = 0; r >= 0 && types[i] != '\0'; i++) {
		uint64_t number = types[i] == 's' ? 0 : command_number(c, i);
		uint32_t small = (uint32_t)number;

		if (types[i] == 's')
			r = sd_bus_message_append_basic(m, 's', c->words[i]);
		else if (types[i] == 't')
			r = sd_bus_message_append_basic(m, 't', &number);
		else if (types[i] == 'u')
			r = sd_bus_message_append_basic(m, 'u', &small);
		else
			r = -EINVAL;
	}
	return r;
}

/* One value of the operation, or none: {} then. */
static int append_answer(sd_bus_message *m, sd_bus_message *answer)
{
	const char *types = sd_bus_message_get_signature(answer, 1);
	bool is_empty = types == NULL || types[0] == '\0';
	int r = sd_bus_message_open_container(m, 'v', is_empty ? "a{sv}" : types);

	if (r >= 0 && is_empty) {
		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	} else if (r >= 0) {
		r = sd_bus_message_copy(m, answer, 1);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static void on_answer(struct op_call *outer, sd_bus_message *answer, int result, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	sd_bus_message *reply;
	int r;

	if (answer == NULL) {
		op_fail(outer, result, err);
		return;
	}
	r = op_reply_new(outer, &reply, &why);
	if (r >= 0)
		r = op_reply_end(outer, reply, append_answer(reply, answer), "the answer of a command", &why);
	if (r < 0)
		op_fail(outer, r, &why);
}

static int run(struct core *core, struct op_call *outer, const struct operation *op, const struct command *c, const struct caller *caller,
	       struct agent_error **err)
{
	sd_bus_message *m = NULL;
	int r = op_call_message(outer, op, &m, err);

	if (r >= 0 && (r = append_arguments(m, op, c)) < 0)
		agent_error_set(err, r, "bus.call", "cannot call %s: %s", op->method, strerror(-r));
	if (r >= 0)
		r = op_call_inner(outer, op, m, caller, on_answer, err);
	sd_bus_message_unref(m);
	return r;
}

/* All that a command has to pass once it is known who sends it; then it is carried out, and answered by and by. */
static int admit(struct core *core, struct op_call *outer, const struct sender *sender, const struct command *c,
		 const struct agent_time_reading *time, struct agent_error **err)
{
	const struct operation *op = find_operation(c->type->operation);
	uint64_t ahead_s = (uint64_t)core->settings->command.ahead_s;
	struct caller caller;
	int r;

	name_caller(sender, &caller);
	r = command_check(c, core->settings->device.serial, time, ahead_s, err);
	if (r < 0)
		return r;
	if (op == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "command.unknown", "this agent has no operation %s", c->type->operation);
	if (sender->role < c->type->role)
		return agent_error_set(err, -EPERM, "session.role", "this needs the role '%s'", account_role_name(c->type->role));
	r = operation_check(op, core->setup, &caller, err);
	if (r >= 0)
		r = command_window_take(core->commands->window, c->id, c->expires_s, time->now_s, ahead_s, sender->is_signed ? 0 : KEEP_FOR_SIGNED, err);
	if (r < 0)
		return r;
	event_add(core, EVENT_COMMAND_ACCEPTED, "command", c->type->name, "id", c->id, "user", caller.user, "role", account_role_name(sender->role),
		  "signer", sender->signer[0] == '\0' ? NULL : sender->signer, "source", caller.source, NULL);
	r = run(core, outer, op, c, &caller, err);
	/* Taken, and not to be told as refused. */
	return r < 0 ? op_fail(outer, r, err) : 0;
}

/* ---- the two ways in ------------------------------------------------------------------------------------------------ */

static int begin(struct core *core, bool is_signed, struct agent_time_reading *ret_time, struct agent_error **err)
{
	struct commands *cs = core->commands;

	if (cs == NULL)
		return agent_error_set(err, -EOPNOTSUPP, "command.disabled", "mqtt.command_topic is empty: this device takes no commands");
	if (!gcra_take(&cs->rate_tat_us[is_signed], running_us(), UINT64_C(60000000) / (uint64_t)core->settings->command.per_minute, BURST))
		return agent_error_set(err, -EDQUOT, "command.rate", "more than %" PRId64 " %s commands a minute (command.per_minute)",
				       core->settings->command.per_minute, is_signed ? "signed" : "unsigned");
	agent_time_get(core->time, ret_time);
	return command_check_clock(ret_time, err);
}

static int read_bare(struct op_call *call, struct command *ret_command, char ret_id[COMMAND_ID_MAX + 1], struct agent_error **err)
{
	const char *id, *device, *name;
	char **words = NULL, *none = NULL;
	uint64_t expires_s;
	int r;

	if (sd_bus_message_read(call->msg, "ssts", &id, &device, &expires_s, &name) < 0 || sd_bus_message_read_strv(call->msg, &words) < 0)
		return op_unreadable(call, err);
	r = command_from_words(id, device, expires_s, name, words == NULL ? &none : words, ret_command, err);
	if (r >= 0)
		strcpy(ret_id, ret_command->id);
	for (size_t i = 0; words != NULL && words[i] != NULL; i++)
		free(words[i]);
	free(words);
	return r;
}

/* The end of both: a refusal is written down where commands are taken at all. */
static int end(struct core *core, const struct sender *sender, const struct command *c, const char *id, int r, struct agent_error **err)
{
	if (r < 0 && core->commands != NULL && err != NULL && *err != NULL)
		tell_refused(core, sender, id, c->type == NULL ? NULL : c->type->name, *err);
	return r;
}

int op_command_run(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct sender sender = { .role = core->commands == NULL ? ACCOUNT_NONE : core->commands->role };
	char id[COMMAND_ID_MAX + 1] = "";
	struct agent_time_reading time;
	struct command c = { 0 };
	int r = begin(core, false, &time, err);

	if (r >= 0)
		r = read_bare(call, &c, id, err);
	if (r >= 0 && sender.role == ACCOUNT_NONE)
		r = agent_error_set(err, -EACCES, "command.unsigned", "this device takes signed commands only (command.role is none)");
	if (r >= 0)
		r = admit(core, call, &sender, &c, &time, err);
	return end(core, &sender, &c, id, r, err);
}

int op_command_signed(struct core *core, struct op_call *call, struct agent_error **err)
{
	struct sender sender = { .is_signed = true };
	char id[COMMAND_ID_MAX + 1] = "";
	struct agent_time_reading time;
	const void *text, *signature;
	size_t size, signature_size;
	struct command c = { 0 };
	int r = begin(core, true, &time, err);

	if (r >= 0 && (sd_bus_message_read_array(call->msg, 'y', &text, &size) < 0 ||
		       sd_bus_message_read_array(call->msg, 'y', &signature, &signature_size) < 0))
		return op_unreadable(call, err);
	if (r >= 0 && (size > AGENT_COMMAND_MAX || signature_size > COMMAND_SIGNATURE_MAX))
		r = agent_error_set(err, -EMSGSIZE, "command.size", "a command has %zu bytes and its signature %zu", size, signature_size);
	if (r >= 0)
		r = find_signer(core, text, size, signature, signature_size, time.now_s, &sender, err);
	if (r >= 0)
		r = command_parse(text, size, &c, id, err);
	if (r >= 0)
		r = admit(core, call, &sender, &c, &time, err);
	return end(core, &sender, &c, id, r, err);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

int commands_start(struct core *core, struct agent_error **err)
{
	const struct settings *s = core->settings;
	struct commands *cs;
	int r;

	if (strcmp(s->command.role, "none") != 0 && strcmp(s->command.role, "viewer") != 0 && strcmp(s->command.role, "operator") != 0)
		return agent_error_set(err, -EINVAL, "config.range", "command.role is \"%.32s\", must be none, viewer or operator: who may publish there is not "
				       "enough to be administrator, a signature is", s->command.role);
	if (s->mqtt.command_topic[0] == '\0')
		return 0;
	cs = calloc(1, sizeof(*cs));
	if (cs == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for commands");
	core->commands = cs;
	cs->dir_fd = -1;
	cs->role = strcmp(s->command.role, "operator") == 0 ? ACCOUNT_OPERATOR : strcmp(s->command.role, "viewer") == 0 ? ACCOUNT_VIEWER : ACCOUNT_NONE;
	if (agent_context_new(&cs->ctx) < 0)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for commands");
	r = store_open_folder(s, "commands", &cs->dir_fd, err);
	return r < 0 ? r : command_window_open(cs->dir_fd, &cs->window, err);
}

void commands_stop(struct core *core)
{
	struct commands *cs = core->commands;

	if (cs == NULL)
		return;
	command_window_close(cs->window);
	agent_context_unref(cs->ctx);
	if (cs->dir_fd >= 0)
		close(cs->dir_fd);
	free(cs);
	core->commands = NULL;
}
