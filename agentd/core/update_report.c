/* SPDX-License-Identifier: Apache-2.0 */
/* What agentd-install says of slots and installations, and what of it is passed on. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <agent/update.h>

#include "agentd/common/digests.h"
#include "agentd/common/fields.h"
#include "agentd/common/peer.h"
#include "agentd/core/ask.h"
#include "agentd/core/audit.h"
#include "agentd/core/clock.h"
#include "agentd/core/core.h"
#include "agentd/core/source.h"
#include "agentd/core/stream.h"
#include "agentd/core/update.h"
#include "agentd/core/update_inside.h"
#include "base/macro.h"

static int append_digests(sd_bus_message *m, const char *key, const char *text)
{
	char list[KEYS_TEXT], *cursor = list;
	const char *digests[KEYS_SHOWN + 1] = { NULL };
	size_t n = 0;

	if (text[0] == '\0')
		return 0;
	snprintf(list, sizeof(list), "%s", text);
	while (n < KEYS_SHOWN && (digests[n] = strsep(&cursor, " ")) != NULL)
		n++;
	return peer_append_strings(m, key, digests);
}

static int read_report(sd_bus_message *m, struct report *ret_report, struct update_look *ret_look)
{
	struct report report = { .is_valid = true };
	const struct field fields[] = {
		FIELD_MEMBER(FIELD_TEXT, &report, stage),
		FIELD_MEMBER(FIELD_TEXT, &report, booted_slot),
		FIELD_MEMBER(FIELD_TEXT, &report, target_slot),
		FIELD_MEMBER(FIELD_TEXT, &report, version),
		FIELD_MEMBER(FIELD_TEXT, &report, release_id),
		FIELD_MEMBER(FIELD_TEXT, &report, failed_release_id),
		FIELD_MEMBER(FIELD_TEXT, &report, manifest_sha256),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, &report, signers),
		FIELD_MEMBER(FIELD_WHOLE_TEXT, &report, trusted_keys),
		{ "done_bytes", FIELD_NUMBER, &report.done_bytes, 0 },
		{ "total_bytes", FIELD_NUMBER, &report.total_bytes, 0 },
		{ "security_version", FIELD_NUMBER, &report.security_version, 0 },
		{ "tries_left", FIELD_NUMBER, &report.tries_left, 0 },
		{ "trust_version", FIELD_NUMBER, &report.trust_version, 0 },
		{ "signed_s", FIELD_NUMBER, &report.signed_s, 0 },
		{ "offer_release_id", FIELD_TEXT, ret_look->release_id, sizeof(ret_look->release_id) },
		{ "offer_version", FIELD_TEXT, ret_look->version, sizeof(ret_look->version) },
		{ "offer_kind", FIELD_TEXT, ret_look->kind, sizeof(ret_look->kind) },
		{ "offer_advisory", FIELD_TEXT, ret_look->advisory, sizeof(ret_look->advisory) },
		{ "offer_manifest_sha256", FIELD_TEXT, ret_look->manifest_sha256, sizeof(ret_look->manifest_sha256) },
		{ "offer_security_version", FIELD_NUMBER, &ret_look->security_version, 0 },
	};
	int r = fields_read(m, fields, ARRAY_SIZE(fields));

	if (r < 0)
		return r;
	if (!are_digests(report.signers))
		report.signers[0] = '\0';
	if (!are_digests(report.trusted_keys))
		report.trusted_keys[0] = '\0';
	*ret_report = report;
	return 0;
}

int updates_take_report(struct core *core, sd_bus_message *reply, struct agent_error **err)
{
	struct updates *u = core->updates;
	int r = read_report(reply, &u->report, &u->look);

	/* What parses foreign bytes must not have the TPM count without end. */
	if (r < 0 || u->report.trust_version > AGENT_UPDATE_TRUST_VERSION_MAX) {
		u->report.trust_version = 0;
		return agent_error_set(err, -EBADMSG, "update.report", "agentd-install sent a status that cannot be read");
	}
	updates_keep_trust(core);
	clock_signed(core, CLOCK_SIGNED_BUNDLE, u->report.signed_s);
	policy_left(core);
	if (u->report.failed_release_id[0] != '\0' && !audit_knows_fallback(core, u->report.failed_release_id))
		event_add(core, EVENT_UPDATE_FELL_BACK, "release", u->report.failed_release_id, "slot", u->report.booted_slot, NULL);
	return 0;
}

const char *update_text(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

int updates_append(struct core *core, sd_bus_message *m)
{
	const struct updates *u = core->updates;
	const struct report *report = &u->report;
	int r;

	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_u64(m, "id", u->last_id);
	if (r >= 0)
		r = peer_append_string(m, "stage", report->stage[0] != '\0' ? report->stage : "idle");
	if (r >= 0)
		r = peer_append_u64(m, "done_bytes", report->done_bytes);
	if (r >= 0)
		r = peer_append_u64(m, "total_bytes", report->total_bytes != 0 ? report->total_bytes : u->is_installing ? u->size : 0);
	if (r >= 0)
		r = peer_append_string(m, "booted_slot", update_text(report->booted_slot));
	if (r >= 0)
		r = peer_append_string(m, "target_slot", update_text(report->target_slot));
	if (r >= 0)
		r = peer_append_string(m, "version", update_text(report->version));
	if (r >= 0)
		r = peer_append_string(m, "release_id", update_text(report->release_id));
	if (r >= 0)
		r = peer_append_u64(m, "security_version", report->security_version);
	if (r >= 0 && core->has_floor)
		r = peer_append_u64(m, "floor", core->floor);
	if (r >= 0 && core->has_trust)
		r = peer_append_u64(m, "signers_version", core->trust);
	if (r >= 0)
		r = append_digests(m, "signers", report->signers);
	if (r >= 0)
		r = append_digests(m, "trusted_keys", report->trusted_keys);
	if (r >= 0)
		r = peer_append_bool(m, "has_key", updates_have_key(core));
	if (r >= 0)
		r = peer_append_u64(m, "tries_left", report->tries_left);
	if (r >= 0)
		r = peer_append_string(m, "failed_release_id", update_text(report->failed_release_id));
	if (r >= 0 && u->error != NULL) {
		r = peer_append_string(m, "error_name", agent_error_name(u->error));
		if (r >= 0)
			r = peer_append_string(m, "error", agent_error_message(u->error));
	}
	if (r >= 0)
		r = policy_append(core, m);
	if (r >= 0)
		r = source_append(core, m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

bool updates_are_known(const struct core *core)
{
	return core->updates->report.is_valid;
}

int updates_append_device(struct core *core, sd_bus_message *m)
{
	const struct updates *u = core->updates;
	const struct report *report = &u->report;
	const struct {
		const char *key, *text;
	} texts[] = {
		{ "stage", report->stage[0] != '\0' ? report->stage : "idle" }, { "booted_slot", report->booted_slot }, { "target_slot", report->target_slot },
		{ "version", report->version }, { "release_id", report->release_id }, { "failed_release_id", report->failed_release_id },
	};
	int r;

	r = peer_append_bool(m, "is_busy", u->is_settling || u->is_starting || u->is_installing || u->is_fetching || u->is_confirming);
	for (size_t i = 0; i < ARRAY_SIZE(texts) && r >= 0; i++)
		r = peer_append_string(m, texts[i].key, update_text(texts[i].text));
	if (r >= 0)
		r = peer_append_u64(m, "done_bytes", report->done_bytes);
	if (r >= 0)
		r = peer_append_u64(m, "total_bytes", report->total_bytes);
	return r >= 0 && core->has_floor ? peer_append_u64(m, "floor", core->floor) : r;
}

int updates_append_short(struct core *core, sd_bus_message *m)
{
	const struct report *report = &core->updates->report;
	int r;

	r = peer_append_string(m, "update_stage", report->stage[0] != '\0' ? report->stage : "idle");
	return r < 0 ? r : peer_append_string(m, "booted_slot", update_text(report->booted_slot));
}

int updates_send_report(struct core *core, struct op_call *call, struct agent_error **err)
{
	return op_reply_made(core, call, updates_append, "the update status", err);
}

static int on_status(struct core *core, struct op_call *call, sd_bus_message *reply, int r, struct agent_error **err)
{
	struct updates *u = core->updates;
	uint64_t done = u->report.done_bytes, total = u->report.total_bytes;

	if (r >= 0)
		r = updates_take_report(core, reply, err);
	if (r >= 0 && u->is_installing && u->report.done_bytes < done) {
		u->report.done_bytes = done; /* a signal may have overtaken the answer */
		u->report.total_bytes = total;
	}
	if (r < 0 && call == NULL)
		service_log(LOG_NOTICE, "the state of updates is not known: %s", agent_error_message(*err));
	if (r < 0 || call == NULL)
		return r;
	return updates_send_report(core, call, err);
}

int updates_ask_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	sd_bus_message *m;
	int r;

	r = ask_new(core, PROG_INSTALL, "Status", &m, err);
	return r < 0 ? r : ask_send(core, PROG_INSTALL, m, 30, call, on_status, err);
}

void updates_progress(struct core *core, sd_bus_message *msg)
{
	struct updates *u = core->updates;
	const char *stage;
	uint64_t done, total;

	if (!u->is_installing || sd_bus_message_read(msg, "stt", &stage, &done, &total) < 0)
		return;
	snprintf(u->report.stage, sizeof(u->report.stage), "%.15s", stage);
	u->report.done_bytes = done;
	u->report.total_bytes = total;
	stream_wake(core);
	if (u->timer != NULL)
		sd_event_source_set_time_relative(u->timer, UPDATE_STALL_US);
}

bool updates_has_release(const struct core *core, const char *release_id, const char *manifest_sha256)
{
	const struct report *report = &core->updates->report;

	return manifest_sha256[0] != '\0' && strcmp(report->manifest_sha256, manifest_sha256) == 0 && strcmp(report->release_id, release_id) == 0 &&
	       report->stage[0] != '\0' && strcmp(report->stage, "failed") != 0 && !updates_left_release(core, release_id);
}

bool updates_left_release(const struct core *core, const char *release_id)
{
	const struct report *report = &core->updates->report;

	return strcmp(report->stage, "idle") == 0 && release_id[0] != '\0' && strcmp(report->release_id, release_id) == 0 &&
	       report->target_slot[0] != '\0' && strcmp(report->target_slot, report->booted_slot) != 0;
}

bool updates_is_pending(const struct core *core)
{
	const char *stage = core->updates->report.stage;

	return strcmp(stage, "written") == 0 || strcmp(stage, "trying") == 0 || strcmp(stage, "confirmed") == 0;
}

const char *updates_awaits_reboot(const struct core *core)
{
	const struct report *report = &core->updates->report;
	bool awaits = strcmp(report->stage, "trying") == 0 && report->booted_slot[0] != '\0' && strcmp(report->booted_slot, report->target_slot) != 0;

	return awaits ? report->release_id : NULL;
}

int op_update_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return updates_ask_status(core, call, err);
}
