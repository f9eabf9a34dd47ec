/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/enrol_journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/file.h"
#include "base/macro.h"

#define JOURNAL_MAX 2048

static const char *const stage_names[] = {
	[ENROL_IDLE] = "idle", [ENROL_ASKING] = "asking", [ENROL_WAITING] = "waiting", [ENROL_PROVING] = "proving",
};

static const char *const cause_names[] = {
	[ENROL_FIRST] = "first", [ENROL_DUE] = "due", [ENROL_EXPIRED] = "expired", [ENROL_PERSON] = "person",
};

/* Rows: from; bits: to. */
static const unsigned moves[] = {
	[ENROL_IDLE] = 1u << ENROL_ASKING,
	[ENROL_ASKING] = 1u << ENROL_WAITING | 1u << ENROL_PROVING | 1u << ENROL_IDLE,
	[ENROL_WAITING] = 1u << ENROL_ASKING | 1u << ENROL_IDLE,
	[ENROL_PROVING] = 1u << ENROL_IDLE | 1u << ENROL_WAITING,
};

const char *enrol_stage_name(enum enrol_stage stage)
{
	return stage_names[stage];
}

const char *enrol_cause_name(enum enrol_cause cause)
{
	return cause_names[cause];
}

static bool enrol_may_move(enum enrol_stage from, enum enrol_stage to)
{
	return from == to || (moves[from] & 1u << to) != 0;
}

static int find_name(const char *const *names, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], text) == 0)
			return (int)i;
	return -1;
}

static bool parse(const char *text, struct enrol_journal *ret_journal)
{
	struct enrol_journal j = { 0 };
	char stage[16], cause[16], new_key[8], id[65] = "";
	int n = 0, is_stage, is_cause;

	if (sscanf(text, "version 1\nstage %15s\ncause %15s\nnew-key %7s\nfailures %u\nsince %" SCNu64 "\nwait %" SCNu64 "\nwarned %u %64s\nreason%n", stage,
		   cause, new_key, &j.failures, &j.since_s, &j.wait_s, &j.warned, id, &n) != 8 || n == 0 || text[n] != ' ')
		return false;
	is_stage = find_name(stage_names, ARRAY_SIZE(stage_names), stage);
	is_cause = find_name(cause_names, ARRAY_SIZE(cause_names), cause);
	if (is_stage < 0 || is_cause < 0 || (strcmp(new_key, "yes") != 0 && strcmp(new_key, "no") != 0) || j.warned > 3)
		return false;
	text += n + 1;
	n = (int)strcspn(text, "\n");
	if (text[n] != '\n' || text[n + 1] != '\0' || n > ENROL_REASON_MAX)
		return false;
	j.stage = (enum enrol_stage)is_stage;
	j.cause = (enum enrol_cause)is_cause;
	j.new_key = strcmp(new_key, "yes") == 0;
	snprintf(j.warned_id, sizeof(j.warned_id), "%s", strcmp(id, "-") == 0 ? "" : id);
	snprintf(j.reason, sizeof(j.reason), "%.*s", n, text);
	*ret_journal = j;
	return true;
}

int enrol_load(int keys_fd, struct enrol_journal *ret_journal, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *e = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = file_read_at(keys_fd, ENROL_FILE, JOURNAL_MAX, &text, &size, &e);

	if (r == -ENOENT) {
		*ret_journal = (struct enrol_journal){ .stage = ENROL_IDLE };
		return 0;
	}
	if (r < 0)
		return agent_error_move(err, &e);
	if (strlen(text) != size || !parse(text, ret_journal))
		return agent_error_set(err, -EBADMSG, "est.journal", "keys/" ENROL_FILE " is damaged; remove it, then renewal begins anew");
	return 0;
}

void enrol_set_reason(struct enrol_journal *journal, const char *reason)
{
	snprintf(journal->reason, sizeof(journal->reason), "%s", reason);
	for (char *p = journal->reason; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

int enrol_save(int keys_fd, struct enrol_journal *journal, const struct enrol_journal *next, struct agent_error **err)
{
	char text[JOURNAL_MAX];
	int n, r;

	if (!enrol_may_move(journal->stage, next->stage))
		return agent_error_set(err, -EPROTO, "est.stage", "an enrolment that is '%s' cannot become '%s'", stage_names[journal->stage], stage_names[next->stage]);
	n = snprintf(text, sizeof(text), "version 1\nstage %s\ncause %s\nnew-key %s\nfailures %u\nsince %" PRIu64 "\nwait %" PRIu64 "\nwarned %u %s\nreason %s\n",
		     stage_names[next->stage], cause_names[next->cause], next->new_key ? "yes" : "no", next->failures, next->since_s, next->wait_s, next->warned,
		     next->warned_id[0] != '\0' ? next->warned_id : "-", next->reason);
	r = file_replace_at(keys_fd, ENROL_FILE, 0600, text, (size_t)n, err);
	if (r >= 0)
		*journal = *next;
	return r;
}

int enrol_remove(int keys_fd, const char *file, struct agent_error **err)
{
	if (unlinkat(keys_fd, file, 0) < 0)
		return errno == ENOENT ? 0 : agent_error_set(err, -errno, "file.write", "cannot remove keys/%s: %s", file, strerror(errno));
	return dir_sync(keys_fd, err);
}

int enrol_forget(int keys_fd, struct agent_error **err)
{
	static const char *const files[] = { ENROL_FILE_SECRET, ENROL_FILE_ANCHORS, ENROL_FILE_CSR, ENROL_FILE };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int r = enrol_remove(keys_fd, files[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t enrol_left_s(const struct enrol_journal *journal, uint64_t now_s)
{
	/* The clock was wrong then: begun anew at each look the wait would last until the time of that mistake. */
	if (now_s < journal->since_s || now_s - journal->since_s >= journal->wait_s)
		return 0;
	return journal->wait_s - (now_s - journal->since_s);
}

uint64_t enrol_delay_s(unsigned n_failures, uint64_t min_s, uint64_t max_s, uint64_t random)
{
	return 1 + random % backoff_ceiling(n_failures > 0 ? n_failures - 1 : 0, min_s, max_s);
}

uint64_t enrol_due_s(const char *id, uint64_t from_s, uint64_t to_s, unsigned low, unsigned high)
{
	uint64_t life_s = to_s > from_s ? to_s - from_s : 0, spread_s, bits = 0;

	for (size_t i = 0; i < 15 && id[i] != '\0'; i++)
		bits = bits << 4 | (uint64_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10);
	spread_s = life_s / 100 * (high - low);
	return from_s + life_s / 100 * low + (spread_s > 0 ? bits % (spread_s + 1) : 0);
}

unsigned enrol_warning(uint64_t from_s, uint64_t to_s, uint64_t now_s)
{
	uint64_t life_s = to_s > from_s ? to_s - from_s : 0, left_s = to_s > now_s ? to_s - now_s : 0;

	if (left_s == 0)
		return 3;
	return left_s < life_s / 20 ? 2 : left_s < life_s / 5 ? 1 : 0;
}
