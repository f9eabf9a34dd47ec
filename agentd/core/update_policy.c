/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/update_policy.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/digests.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/text.h"

#define FILE_MAX 8192
#define RETRY_MIN_S 60
#define RETRY_MAX_S 3600
#define HOUR_S 3600

static const char *const mode_names[POLICY_MODES_] = { "automatic", "window", "approval" };
static const char *const state_names[OFFER_STATES_] = { "none", "announced", "waiting", "installing", "installed", "refused" };
static const char *const wait_names[WAITS_] = { "", "approval", "window", "clock", "postponed", "retry" };

/* The table of states: from a row to each column with its bit. */
#define TO(state) (1u << OFFER_##state)
static const unsigned moves[OFFER_STATES_] = {
	[OFFER_NONE] = TO(ANNOUNCED),
	[OFFER_ANNOUNCED] = TO(ANNOUNCED) | TO(WAITING) | TO(REFUSED) | TO(INSTALLED) | TO(NONE),
	[OFFER_WAITING] = TO(ANNOUNCED) | TO(INSTALLING) | TO(INSTALLED) | TO(REFUSED) | TO(NONE),
	[OFFER_INSTALLING] = TO(WAITING) | TO(INSTALLED) | TO(REFUSED),
	[OFFER_INSTALLED] = TO(ANNOUNCED) | TO(WAITING) | TO(REFUSED) | TO(NONE),
	[OFFER_REFUSED] = TO(ANNOUNCED) | TO(NONE),
};

const char *policy_mode_name(enum policy_mode mode)
{
	return mode_names[mode];
}

bool policy_mode_find(const char *name, enum policy_mode *ret_mode)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (strcmp(mode_names[i], name) == 0) {
			*ret_mode = (enum policy_mode)i;
			return true;
		}
	}
	return false;
}

const char *offer_state_name(enum offer_state state)
{
	return state_names[state];
}

const char *offer_wait_name(enum offer_wait wait)
{
	return wait_names[wait];
}

/* ---- windows ------------------------------------------------------------------------------------------------------ */

static int day_find(const char *text, size_t n)
{
	static const char *const days[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

	for (int i = 0; i < 7; i++)
		if (n == 3 && strncmp(days[i], text, 3) == 0)
			return i;
	return -1;
}

/* "mon-fri", "sat,sun", "daily"; 0 for none. */
static unsigned days_parse(const char *text, size_t n)
{
	unsigned days = 0;

	if (n == 5 && strncmp(text, "daily", 5) == 0)
		return 0x7f;
	while (n > 0) {
		size_t part = 0;
		int from, to;

		while (part < n && text[part] != ',')
			part++;
		from = day_find(text, part < 3 ? part : 3);
		to = part == 3 ? from : part == 7 && text[3] == '-' ? day_find(text + 4, 3) : -1;
		if (from < 0 || to < 0 || part + 1 == n)
			return 0;
		for (int day = from;; day = (day + 1) % 7) {
			days |= 1u << day;
			if (day == to)
				break;
		}
		n -= part < n ? part + 1 : part;
		text += part + 1;
	}
	return days;
}

static bool time_parse(const char *text, unsigned *ret_minutes)
{
	unsigned hours, minutes;

	for (size_t i = 0; i < 5; i++)
		if (i == 2 ? text[i] != ':' : !isdigit((unsigned char)text[i]))
			return false;
	hours = (unsigned)((text[0] - '0') * 10 + (text[1] - '0'));
	minutes = (unsigned)((text[3] - '0') * 10 + (text[4] - '0'));
	*ret_minutes = hours * 60 + minutes;
	return minutes < 60 && *ret_minutes <= 24 * 60;
}

int policy_window_parse(const char *text, struct policy_window *ret_window, struct agent_error **err)
{
	const char *blank = strchr(text, ' ');
	struct policy_window w = { 0 };

	if (blank != NULL)
		w.days = days_parse(text, (size_t)(blank - text));
	if (w.days == 0 || strlen(blank + 1) != 11 || !time_parse(blank + 1, &w.from_min) || blank[6] != '-' || !time_parse(blank + 7, &w.to_min) ||
	    w.from_min == 24 * 60 || w.from_min == w.to_min)
		return agent_error_set(err, -EINVAL, "update.windows", "update.windows: \"%.60s\" must be days and times, as in \"mon-fri 02:00-04:00\", "
				       "\"sat,sun 22:00-06:00\" or \"daily 00:00-24:00\"", text);
	if (w.to_min < w.from_min)
		w.to_min += 24 * 60;
	*ret_window = w;
	return 0;
}

bool policy_window_is_open(const struct policy_window *w, const struct tm *local)
{
	unsigned now = (unsigned)local->tm_hour * 60 + (unsigned)local->tm_min;
	bool began_today = (w->days & 1u << local->tm_wday) != 0 && now >= w->from_min && now < w->to_min;
	bool began_yesterday = (w->days & 1u << (local->tm_wday + 6) % 7) != 0 && now + 24 * 60 < w->to_min;

	return began_today || began_yesterday;
}

int policy_zone_check(const char *zone, struct agent_error **err)
{
	const char *p = zone;

	if (*p == '<') {
		p += strcspn(p, ">");
		p += *p == '>';
	} else {
		while (isalpha((unsigned char)*p))
			p++;
	}
	if (p - zone >= 3 && (*p == '+' || *p == '-'))
		p++;
	if (p - zone < 3 || !isdigit((unsigned char)*p) || strlen(zone) > 64)
		return agent_error_set(err, -EINVAL, "update.time_zone", "update.time_zone is \"%.64s\", must be a POSIX zone: \"UTC0\", "
				       "\"CET-1CEST,M3.5.0,M10.5.0/3\"", zone);
	return 0;
}

/* ---- the decision ------------------------------------------------------------------------------------------------- */

enum policy_mode policy_mode_now(const struct policy *p)
{
	return p->has_mode ? p->mode : p->default_mode;
}

bool policy_clock_is_trusted(const struct policy *p, const struct policy_now *now)
{
	return now->clock_is_set && now->wall_s >= p->seen_s;
}

bool policy_in_window(const struct policy *p, const struct policy_now *now)
{
	for (unsigned i = 0; i < p->n_windows; i++)
		if (policy_window_is_open(&p->windows[i], &now->local))
			return true;
	return false;
}

enum offer_wait policy_decide(const struct policy *p, const struct policy_now *now)
{
	/* Looking into a bundle changes nothing on the device, so only a server that does not answer puts it off. */
	if (now->running_s < p->retry_at_s)
		return WAIT_RETRY;
	if (p->state == OFFER_ANNOUNCED || p->approved_by[0] != '\0')
		return WAIT_NOTHING;
	if (p->postponed_s > 0)
		return WAIT_POSTPONED;
	/* Or it would be here again at once. */
	if (now->is_left)
		return WAIT_APPROVAL;
	switch (policy_mode_now(p)) {
	case POLICY_AUTOMATIC:
		return WAIT_NOTHING;
	case POLICY_WINDOW:
		if (!policy_clock_is_trusted(p, now))
			return WAIT_CLOCK;
		return policy_in_window(p, now) ? WAIT_NOTHING : WAIT_WINDOW;
	default:
		return WAIT_APPROVAL;
	}
}

/* ---- the file ----------------------------------------------------------------------------------------------------- */

static bool is_text(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static bool take_text(const char *value, char *out, size_t size)
{
	if (strlen(value) >= size || !is_text(value))
		return false;
	strcpy(out, value);
	return true;
}

static bool take_number(const char *value, uint64_t max, uint64_t *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)value[0]))
		return false;
	errno = 0;
	*ret_number = strtoull(value, &end, 10);
	return errno == 0 && *end == '\0' && *ret_number <= max;
}

static bool take_state(const char *value, enum offer_state *ret_state)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_names); i++) {
		if (strcmp(state_names[i], value) == 0) {
			*ret_state = (enum offer_state)i;
			return true;
		}
	}
	return false;
}

static bool take_pair(struct policy *p, const char *key, const char *value)
{
	const struct {
		const char *key;
		char *text;
		size_t size;
	} texts[] = {
		{ "url", p->url, sizeof(p->url) }, { "reference", p->reference, sizeof(p->reference) },
		{ "release", p->release_id, sizeof(p->release_id) }, { "version", p->version, sizeof(p->version) },
		{ "kind", p->kind, sizeof(p->kind) }, { "advisory", p->advisory, sizeof(p->advisory) },
		{ "manifest", p->manifest_sha256, sizeof(p->manifest_sha256) },
		{ "approved_by", p->approved_by, sizeof(p->approved_by) },
		{ "source_action", p->source_action, sizeof(p->source_action) },
		{ "source_version", p->source_version, sizeof(p->source_version) },
		{ "error_name", p->error_name, sizeof(p->error_name) }, { "error", p->error, sizeof(p->error) },
		{ "reboot_release", p->reboot_release, sizeof(p->reboot_release) },
	};
	const struct {
		const char *key;
		uint64_t *number;
	} numbers[] = {
		{ "security_version", &p->security_version }, { "postponed_total_s", &p->postponed_total_s },
		{ "postponed_s", &p->postponed_s }, { "seen_s", &p->seen_s },
		{ "reboot_asked", &p->reboot_asked }, { "reboot_held_s", &p->reboot_held_s },
		{ "n_reboot_postponed", &p->n_reboot_postponed }, { "reboot_postponed_total_s", &p->reboot_postponed_total_s },
		{ "reboot_postponed_s", &p->reboot_postponed_s },
	};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].key, key) == 0)
			return take_text(value, texts[i].text, texts[i].size);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(numbers[i].key, key) == 0)
			return take_number(value, INT64_MAX, numbers[i].number);
	if (strcmp(key, "policy") == 0)
		return p->has_mode = policy_mode_find(value, &p->mode);
	if (strcmp(key, "state") == 0)
		return take_state(value, &p->state);
	if (strcmp(key, "n_postponed") == 0 && take_number(value, 1000, &n)) {
		p->n_postponed = (unsigned)n;
		return true;
	}
	return false;
}

static void offer_clear(struct policy *p)
{
	p->state = OFFER_NONE;
	p->url[0] = p->reference[0] = p->release_id[0] = p->version[0] = p->kind[0] = p->advisory[0] = p->manifest_sha256[0] = p->approved_by[0] = '\0';
	p->error_name[0] = p->error[0] = '\0';
	p->security_version = p->postponed_total_s = p->postponed_s = p->retry_at_s = 0;
	p->n_postponed = p->n_tries = 0;
}

int policy_load(struct policy *p, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *data = NULL;
	_cleanup_free_ struct policy *read = malloc(sizeof(*read));
	char *cursor, *line, *value;
	bool is_whole = false;
	size_t size;
	int r;

	if (read == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the offer of an update");
	r = file_read_at(p->dir_fd, POLICY_FILE, FILE_MAX, &data, &size, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return agent_error_move(err, &why);
	*read = *p;
	cursor = data;
	if (strlen(data) != size)
		r = -EBADMSG;
	while (r == 0 && (line = strsep(&cursor, "\n")) != NULL && line[0] != '\0') {
		is_whole = strcmp(line, "end") == 0;
		value = strchr(line, '=');
		if (is_whole)
			break;
		if (value != NULL)
			*value++ = '\0';
		if (value == NULL || !take_pair(read, line, value))
			r = -EBADMSG;
	}
	if (!is_whole || (read->state != OFFER_NONE && read->url[0] == '\0') ||
	    (read->state > OFFER_ANNOUNCED && read->state != OFFER_REFUSED && read->release_id[0] == '\0'))
		r = -EBADMSG;
	if (r < 0)
		return agent_error_set(err, r, "update.offer", "the file of the offered update and of the policy is damaged; the policy of the "
				       "configuration counts, and the offer has to be made again");
	*p = *read;
	if (p->state == OFFER_INSTALLING)
		p->state = OFFER_WAITING;
	/* Kept by an agent that did not know which bundle it was: it is looked into once more, and nobody has approved what is found then. */
	if (p->state == OFFER_WAITING && !is_digest(p->manifest_sha256)) {
		p->state = OFFER_ANNOUNCED;
		p->approved_by[0] = '\0';
	}
	return 0;
}

int policy_save(const struct policy *p, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	char policy[32] = "";
	int n;

	if (p->has_mode)
		snprintf(policy, sizeof(policy), "policy=%s\n", mode_names[p->mode]);
	n = asprintf(&text, "%sstate=%s\nurl=%s\nreference=%s\nrelease=%s\nversion=%s\nkind=%s\nadvisory=%s\nmanifest=%s\nsecurity_version=%" PRIu64
		     "\napproved_by=%s\nsource_action=%s\nsource_version=%s\nerror_name=%s\nerror=%s\nn_postponed=%u\npostponed_total_s=%" PRIu64
		     "\npostponed_s=%" PRIu64 "\nseen_s=%" PRIu64
		     "\nreboot_release=%s\nreboot_asked=%" PRIu64 "\nreboot_held_s=%" PRIu64 "\nn_reboot_postponed=%" PRIu64
		     "\nreboot_postponed_total_s=%" PRIu64 "\nreboot_postponed_s=%" PRIu64 "\nend\n",
		     policy, state_names[p->state], p->url, p->reference, p->release_id, p->version, p->kind, p->advisory, p->manifest_sha256,
		     p->security_version, p->approved_by, p->source_action, p->source_version, p->error_name, is_text(p->error) ? p->error : "",
		     p->n_postponed, p->postponed_total_s, p->postponed_s, p->seen_s,
		     p->reboot_release, p->reboot_asked, p->reboot_held_s, p->n_reboot_postponed, p->reboot_postponed_total_s, p->reboot_postponed_s);
	if (n < 0) {
		text = NULL;
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory for the offer of an update");
	}
	return file_replace_at(p->dir_fd, POLICY_FILE, 0600, text, (size_t)n, err);
}

/* ---- moves -------------------------------------------------------------------------------------------------------- */

int policy_move(struct policy *p, enum offer_state to, struct agent_error **err)
{
	if ((moves[p->state] & 1u << to) == 0)
		return agent_error_set(err, -EPROTO, "update.offer-move", "an offered update does not go from %s to %s", state_names[p->state], state_names[to]);
	p->state = to;
	return 0;
}

static int url_check(const char *url, struct agent_error **err)
{
	size_t n = strlen(url);

	if (n > POLICY_URL_MAX || strncmp(url, "https://", 8) != 0)
		return agent_error_set(err, -EINVAL, "update.url", "a bundle is fetched from https://, with at most %d characters", POLICY_URL_MAX);
	for (size_t i = 0; i < n; i++)
		if (url[i] <= 0x20 || url[i] > 0x7e)
			return agent_error_set(err, -EINVAL, "update.url", "the address holds a character that must be written as %%XX");
	return 0;
}

int policy_announce(struct policy *p, const char *url, const char *reference, struct agent_error **err)
{
	int r = url_check(url, err);

	if (r < 0)
		return r;
	if (strlen(reference) > POLICY_REFERENCE_MAX || !is_text(reference))
		return agent_error_set(err, -EINVAL, "update.reference", "a reference has at most %d printable characters", POLICY_REFERENCE_MAX);
	if (p->state == OFFER_INSTALLING)
		return agent_error_set(err, -EBUSY, "update.busy", "an offered update is being installed");
	if (strcmp(url, p->url) == 0 && strcmp(reference, p->reference) == 0 && p->state != OFFER_NONE && p->state != OFFER_REFUSED)
		return 0;
	/* What was said to the release before stays until it is known whether it is the same one. */
	r = policy_move(p, OFFER_ANNOUNCED, err);
	if (r < 0)
		return r;
	strcpy(p->url, url);
	strcpy(p->reference, reference);
	p->error_name[0] = p->error[0] = '\0';
	p->retry_at_s = 0;
	p->n_tries = 0;
	return 1;
}

int policy_withdraw(struct policy *p, struct agent_error **err)
{
	int r = p->state == OFFER_NONE ? 0 : policy_move(p, OFFER_NONE, err);

	if (r == 0)
		offer_clear(p);
	return r;
}

static bool is_name(const char *text)
{
	return strlen(text) <= POLICY_NAME_MAX && is_text(text);
}

int policy_looked(struct policy *p, const struct policy_found *found, struct agent_error **err)
{
	int r;

	if (found->release_id[0] == '\0' || !is_name(found->release_id) || !is_name(found->version) || !is_digest(found->manifest_sha256) ||
	    strlen(found->kind) >= sizeof(p->kind) || !is_text(found->kind) || strlen(found->advisory) > POLICY_ADVISORY_MAX || !is_text(found->advisory))
		return agent_error_set(err, -EBADMSG, "update.report", "agentd-install said what no manifest can say");
	r = policy_move(p, OFFER_WAITING, err);
	if (r < 0)
		return r;
	if (strcmp(found->release_id, p->release_id) != 0 || strcmp(found->manifest_sha256, p->manifest_sha256) != 0)
		p->approved_by[0] = '\0';
	if (strcmp(found->release_id, p->release_id) != 0) {
		p->n_postponed = 0;
		p->postponed_s = p->postponed_total_s = 0;
	}
	strcpy(p->release_id, found->release_id);
	strcpy(p->version, found->version);
	strcpy(p->kind, found->kind);
	strcpy(p->advisory, found->advisory);
	strcpy(p->manifest_sha256, found->manifest_sha256);
	p->security_version = found->security_version;
	p->error_name[0] = p->error[0] = '\0';
	p->n_tries = 0;
	return 0;
}

void policy_put_off(struct policy *p, uint64_t running_s, const struct agent_error *why)
{
	uint64_t wait_s = p->n_tries >= 6 ? RETRY_MAX_S : (uint64_t)RETRY_MIN_S << p->n_tries;

	p->n_tries++;
	p->retry_at_s = running_s + wait_s;
	snprintf(p->error_name, sizeof(p->error_name), "%s", agent_error_name(why));
	snprintf(p->error, sizeof(p->error), "%s", agent_error_message(why));
	text_drop_cut(p->error);
}

static int waiting_check(const struct policy *p, struct agent_error **err)
{
	if (p->state != OFFER_WAITING)
		return agent_error_set(err, -ENOENT, "update.nothing", "no update waits: %s",
				       p->state == OFFER_ANNOUNCED ? "the bundle that was offered has not been looked into yet" : state_names[p->state]);
	return 0;
}

int policy_approve(struct policy *p, const char *release_id, const char *manifest_sha256, const char *user, struct agent_error **err)
{
	int r = waiting_check(p, err);

	if (r < 0)
		return r;
	/* What is approved is what was shown. */
	if (strcmp(release_id, p->release_id) != 0)
		return agent_error_set(err, -EPERM, "update.policy", "release %s waits, not %.64s", p->release_id, release_id);
	if (strcmp(manifest_sha256, p->manifest_sha256) != 0)
		return agent_error_set(err, -EPERM, "update.policy", "release %s waits with the manifest %s, not %.64s: look at what is offered once more", p->release_id,
				       p->manifest_sha256, manifest_sha256);
	snprintf(p->approved_by, sizeof(p->approved_by), "%s", user);
	p->postponed_s = 0;
	p->retry_at_s = 0;
	return 0;
}

int policy_approve_action(struct policy *p, const char *action, const char *version, struct agent_error **err)
{
	if (action[0] == '\0' || strlen(action) > POLICY_ACTION_MAX || strlen(version) > POLICY_NAME_MAX || !is_text(action) || !is_text(version))
		return agent_error_set(err, -EINVAL, "update.action", "this is no action of a source of updates");
	strcpy(p->source_action, action);
	strcpy(p->source_version, version);
	return 0;
}

bool policy_action_is_approved(const struct policy *p, const char *action, const char *version)
{
	return p->source_action[0] != '\0' && strcmp(p->source_action, action) == 0 && strcmp(p->source_version, version) == 0;
}

int policy_postpone_check(const struct policy *p, const char *release_id, uint64_t n, uint64_t total_s, uint64_t hours, struct agent_error **err)
{
	uint64_t left_s = total_s < p->postpone_total_s ? p->postpone_total_s - total_s : 0;

	if (hours == 0)
		return agent_error_set(err, -EINVAL, "update.postpone", "an update is postponed by at least one hour");
	if (n >= p->n_postpone_max)
		return agent_error_set(err, -EDQUOT, "update.postpone", "release %s was postponed %" PRIu64 " times, which is as often as this device allows",
				       release_id, n);
	if (hours > left_s / HOUR_S)
		return agent_error_set(err, -EDQUOT, "update.postpone", "release %s can be postponed by %" PRIu64 " more hours, not by %" PRIu64, release_id,
				       left_s / HOUR_S, hours);
	return 0;
}

int policy_postpone(struct policy *p, uint64_t hours, struct agent_error **err)
{
	int r = waiting_check(p, err);

	if (r == 0)
		r = policy_postpone_check(p, p->release_id, p->n_postponed, p->postponed_total_s, hours, err);
	if (r < 0)
		return r;
	p->n_postponed++;
	p->postponed_total_s += hours * HOUR_S;
	p->postponed_s = hours * HOUR_S;
	p->approved_by[0] = '\0';
	return 0;
}
