/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <jansson.h>

#include "agentd/common/bus_json.h"
#include "agentd/common/command.h"
#include "agentd/common/gcra.h"
#include "agentd/common/mqtt_settings.h"
#include "agentd/common/operations.h"
#include "agentd/common/peer.h"
#include "agentd/common/service.h"
#include "agentd/common/topics.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define PENDING_MAX 8		/* that core has not answered yet */
#define PENDING_BARE_MAX 4	/* of these without a signature */
#define RATE_FACTOR 2		/* core counts as well and writes down who is too fast; what is more than this does not get so far */
#define BURST 20
#define ANSWER_TTL_S 3600
#define CALL_US (120 * UINT64_C(1000000)) /* a quote of a slow TPM behind others */
#define TOLD_INTERVAL_US UINT64_C(1000000)
#define TOLD_BURST 3

struct commands {
	const struct settings *settings;
	char *topic, *answer_topic;	/* the first may end in "/#" */
	struct store *store;
	sd_bus *core;
	struct pending *pending;
	size_t n_pending, n_pending_bare;
	uint64_t rate_tat_us[2], told_tat_us;	/* the rate: unsigned, signed; a flood of the ones does not shut out the others */
	uint64_t n_dropped;
};

struct pending {
	struct pending *next;
	struct commands *commands;
	sd_bus_slot *slot;
	bool is_signed;
	char id[COMMAND_ID_MAX + 1];
};

/* ---- answers -------------------------------------------------------------------------------------------------------- */

/* Takes @json, which is "result" or "problem". */
static void answer(struct commands *cs, const char *id, const char *member, json_t *json)
{
	_cleanup_error_ struct agent_error *err = NULL;
	json_t *root = json_pack("{s:s, s:s, s:o}", "device", cs->settings->device.serial, "profile", "agent-answer-1", member, json);
	char *text;

	if (root != NULL && id[0] != '\0')
		json_object_set_new(root, "id", json_string(id));
	text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_SORT_KEYS);
	json_decref(root);
	if (text == NULL)
		service_log(LOG_ERR, "out of memory: a command is not answered");
	else if (cs->store != NULL &&
		 store_put(cs->store, cs->answer_topic, text, strlen(text), AGENT_MQTT_QOS1, ANSWER_TTL_S, 0, &err) < 0)
		service_log(LOG_WARNING, "a command is not answered: %s", agent_error_message(err));
	free(text);
}

static void answer_problem(struct commands *cs, const char *id, int r, const struct agent_error *why)
{
	answer(cs, id, "problem",
	       json_pack("{s:s, s:s}", "error", why == NULL ? "internal" : agent_error_name(why), "detail",
			 why == NULL ? strerror(-r) : agent_error_message(why)));
}

static void answer_result(struct commands *cs, const char *id, sd_bus_message *m)
{
	_cleanup_error_ struct agent_error *err = NULL;
	json_t *json = bus_json_read(m);
	size_t size = json == NULL ? 0 : json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (json != NULL && size < STORE_MESSAGE_MAX - KIB) {
		answer(cs, id, "result", json);
		return;
	}
	json_decref(json);
	if (json == NULL)
		agent_error_set(&err, -EPROTO, "bus.protocol", "core's answer cannot be read");
	else
		agent_error_set(&err, -EMSGSIZE, "command.answer-size", "the answer has %zu bytes, which is more than a message may have; ask for less", size);
	answer_problem(cs, id, -EPROTO, err);
}

/* ---- core ----------------------------------------------------------------------------------------------------------- */

static void forget(struct pending *pending)
{
	struct commands *cs = pending->commands;

	for (struct pending **p = &cs->pending; *p != NULL; p = &(*p)->next) {
		if (*p == pending) {
			*p = pending->next;
			break;
		}
	}
	cs->n_pending--;
	cs->n_pending_bare -= pending->is_signed ? 0 : 1;
	sd_bus_slot_unref(pending->slot);
	free(pending);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct pending *pending = userdata;

	if (sd_bus_message_is_method_error(m, NULL)) {
		int r = peer_error_from_bus(sd_bus_message_get_error(m), -EIO, &err);

		answer_problem(pending->commands, pending->id, r, err);
	} else {
		answer_result(pending->commands, pending->id, m);
	}
	forget(pending);
	return 0;
}

static int append_bare(sd_bus_message *m, const struct command *c)
{
	int r = sd_bus_message_append(m, "ssts", c->id, c->device, c->expires_s, c->type->name);

	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (size_t i = 0; r >= 0 && c->type->args[i].name != NULL; i++)
		r = sd_bus_message_append_basic(m, 's', c->words[i]);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_signed(sd_bus_message *m, const struct command_message *message)
{
	int r = sd_bus_message_append_array(m, 'y', message->text, message->text_size);

	return r < 0 ? r : sd_bus_message_append_array(m, 'y', message->signature, message->signature_size);
}

static int pass_on(struct commands *cs, const struct command_message *message, struct agent_error **err)
{
	struct pending *pending;
	sd_bus_message *m = NULL;
	int r;

	if (cs->core == NULL)
		return agent_error_set(err, -ENOTCONN, "bus.lost", "agentd does not answer; try again");
	if (cs->n_pending == PENDING_MAX || (!message->is_signed && cs->n_pending_bare == PENDING_BARE_MAX))
		return agent_error_set(err, -EBUSY, "command.busy", "%zu commands are being carried out; try again", cs->n_pending);
	pending = calloc(1, sizeof(*pending));
	if (pending == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	pending->commands = cs;
	pending->is_signed = message->is_signed;
	strcpy(pending->id, message->id);
	r = sd_bus_message_new_method_call(cs->core, &m, NULL, BUS_PATH, BUS_CORE, message->is_signed ? "CommandSigned" : "CommandRun");
	if (r >= 0)
		r = message->is_signed ? append_signed(m, message) : append_bare(m, &message->command);
	if (r >= 0)
		r = sd_bus_call_async(cs->core, &pending->slot, m, on_answer, pending, CALL_US);
	sd_bus_message_unref(m);
	if (r < 0) {
		free(pending);
		return agent_error_set(err, r, "bus.call", "agentd cannot be asked: %s", strerror(-r));
	}
	pending->next = cs->pending;
	cs->pending = pending;
	cs->n_pending++;
	cs->n_pending_bare += pending->is_signed ? 0 : 1;
	return 0;
}

/* ---- messages ------------------------------------------------------------------------------------------------------- */

/* More than even core would count: one in a while is told so. */
static void drop(struct commands *cs, const char *id)
{
	_cleanup_error_ struct agent_error *err = NULL;

	cs->n_dropped++;
	if (!gcra_take(&cs->told_tat_us, monotonic_us(), TOLD_INTERVAL_US, TOLD_BURST))
		return;
	agent_error_set(&err, -EDQUOT, "command.rate", "commands come too fast; %" PRIu64 " were dropped since the last answer like this", cs->n_dropped);
	answer_problem(cs, id, -EDQUOT, err);
	service_log(LOG_NOTICE, "commands come too fast: %" PRIu64 " were dropped", cs->n_dropped);
	cs->n_dropped = 0;
}

void commands_take(struct commands *cs, const struct worker_message *message)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct command_message m = { .is_signed = false };
	int r;

	if (cs == NULL || message->topic == NULL || (message->gap != NULL && strcmp(message->gap, "size") != 0) || !topic_matches(cs->topic, message->topic))
		return;
	if (message->gap != NULL)
		r = agent_error_set(&err, -EMSGSIZE, "command.size", "the message is longer than any that is taken here");
	else
		r = command_message_parse(message->payload == NULL ? "" : message->payload, message->size, &m, &err);
	if (!gcra_take(&cs->rate_tat_us[m.is_signed], monotonic_us(), UINT64_C(60000000) / (uint64_t)(cs->settings->command.per_minute * RATE_FACTOR), BURST)) {
		drop(cs, m.id);
	} else {
		if (r >= 0)
			r = pass_on(cs, &m, &err);
		if (r < 0)
			answer_problem(cs, m.id, r, err);
	}
	command_message_clear(&m);
}

bool commands_own(const struct commands *cs, const char *topic)
{
	return cs != NULL && (topic_covers(cs->topic, topic) || strcmp(topic, cs->answer_topic) == 0);
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

void commands_attach(struct commands *cs, struct store *store, struct worker *worker)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (cs == NULL)
		return;
	cs->store = store;
	if (worker != NULL && worker_subscribe(worker, cs->topic, 1, &err) < 0)
		service_log(LOG_ERR, "no commands are taken: %s", agent_error_message(err));
}

void commands_set_core(struct commands *cs, sd_bus *core)
{
	if (cs != NULL)
		cs->core = core;
}

int commands_open(const struct settings *settings, const char *prefix, struct commands **ret_commands, struct agent_error **err)
{
	struct commands *cs;
	int r;

	*ret_commands = NULL;
	if (settings->mqtt.command_topic[0] == '\0')
		return 0;
	cs = calloc(1, sizeof(*cs));
	if (cs == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	cs->settings = settings;
	r = command_topics_read(settings, prefix, &cs->topic, &cs->answer_topic, err);
	if (r < 0) {
		commands_close(cs);
		return r;
	}
	*ret_commands = cs;
	return 0;
}

struct commands *commands_close(struct commands *cs)
{
	if (cs == NULL)
		return NULL;
	while (cs->pending != NULL)
		forget(cs->pending);
	free(cs->topic);
	free(cs->answer_topic);
	free(cs);
	return NULL;
}
