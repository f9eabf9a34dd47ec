/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/macro.h"
#include "update/bootenv.h"
#include "update/lines.h"

#define STAGE(s) (1u << AGENT_UPDATE_##s)

static const struct {
	const char *name;
	unsigned next;		/* stages that may follow */
} stages[] = {
	[AGENT_UPDATE_IDLE] = { "idle", STAGE(RECEIVING) },
	[AGENT_UPDATE_RECEIVING] = { "receiving", STAGE(WRITING) | STAGE(IDLE) | STAGE(FAILED) }, /* refused: back to where it was */
	[AGENT_UPDATE_WRITING] = { "writing", STAGE(WRITTEN) | STAGE(FAILED) },
	[AGENT_UPDATE_WRITTEN] = { "written", STAGE(TRYING) | STAGE(FAILED) },
	[AGENT_UPDATE_TRYING] = { "trying", STAGE(CONFIRMED) | STAGE(FAILED) | STAGE(IDLE) }, /* IDLE: the owner took it back before the reboot */
	[AGENT_UPDATE_CONFIRMED] = { "confirmed", STAGE(IDLE) },
	[AGENT_UPDATE_FAILED] = { "failed", STAGE(RECEIVING) },
};

const char *agent_update_stage_name(enum agent_update_stage stage)
{
	return (unsigned)stage < ARRAY_SIZE(stages) ? stages[stage].name : "unknown";
}

bool journal_may_move(enum agent_update_stage from, enum agent_update_stage to)
{
	return (unsigned)from < ARRAY_SIZE(stages) && (unsigned)to < ARRAY_SIZE(stages) && (stages[from].next & (1u << to)) != 0;
}

#define ENV_PREFIX "env."

/* Values were checked when the manifest was read: no control characters. */
static int env_parse(struct journal *j, const char *name, const char *value)
{
	struct manifest_env *env = &j->env[j->n_env];

	if (j->n_env == MANIFEST_ENV_MAX || !bootenv_is_name(name) || strlen(value) >= sizeof(env->value))
		return -EBADMSG;
	strcpy(env->name, name);
	strcpy(env->value, value);
	j->n_env++;
	return 0;
}

static int line_parse(struct journal *j, const char *key, const char *value, bool *has_stage)
{
	if (strcmp(key, "stage") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
			if (strcmp(stages[i].name, value) != 0 || i == AGENT_UPDATE_RECEIVING)
				continue;
			j->stage = (enum agent_update_stage)i;
			*has_stage = true;
			return 0;
		}
		return -EBADMSG;
	}
	if (strcmp(key, "target") == 0)
		return lines_get_name(value, j->target, sizeof(j->target));
	if (strcmp(key, "version") == 0)
		return lines_get_name(value, j->version, sizeof(j->version));
	if (strcmp(key, "release_id") == 0)
		return lines_get_name(value, j->release_id, sizeof(j->release_id));
	if (strcmp(key, "failed_release_id") == 0)
		return lines_get_name(value, j->failed_release_id, sizeof(j->failed_release_id));
	if (strcmp(key, "manifest") == 0)
		return lines_get_name(value, j->manifest, sizeof(j->manifest));
	if (strcmp(key, "signers") == 0)
		return lines_get_name(value, j->signers, sizeof(j->signers));
	if (strcmp(key, "security_version") == 0)
		return lines_get_u64(value, INT64_MAX, &j->security_version);
	if (strncmp(key, ENV_PREFIX, strlen(ENV_PREFIX)) == 0)
		return env_parse(j, key + strlen(ENV_PREFIX), value);
	return -EBADMSG;
}

static int journal_print(const struct journal *j, enum agent_update_stage stage, char **ret_text, size_t *ret_size)
{
	FILE *out = open_memstream(ret_text, ret_size);

	if (out == NULL)
		return -ENOMEM;
	fprintf(out, "stage=%s\ntarget=%s\nversion=%s\nrelease_id=%s\nsecurity_version=%" PRIu64 "\nfailed_release_id=%s\nmanifest=%s\nsigners=%s\n",
		agent_update_stage_name(stage), j->target, j->version, j->release_id, j->security_version, j->failed_release_id, j->manifest, j->signers);
	for (size_t i = 0; i < j->n_env; i++)
		fprintf(out, ENV_PREFIX "%s=%s\n", j->env[i].name, j->env[i].value);
	return fclose(out) != 0 ? -ENOMEM : 0;
}

int journal_load(int dir_fd, struct journal *ret_journal, struct agent_error **err)
{
	_cleanup_free_ char *data = NULL;
	char *cursor, *key, *value;
	struct journal j = { 0 };
	bool has_stage = false;
	size_t size = 0;
	int r;

	r = file_read_at(dir_fd, JOURNAL_NAME, LINES_FILE_MAX, &data, &size, NULL);
	if (r == -ENOENT)
		return agent_error_set(err, r, "journal.missing", "there is no update journal");
	if (r < 0)
		return agent_error_set(err, r, "journal.read", "cannot read the update journal: %s", strerror(-r));
	cursor = data;
	r = strlen(data) == size ? 1 : -EBADMSG;
	while (r > 0) {
		r = lines_next(&cursor, &key, &value);
		if (r > 0 && line_parse(&j, key, value, &has_stage) < 0)
			r = -EBADMSG;
	}
	if (r < 0 || !has_stage || (j.target[0] == '\0' && j.stage != AGENT_UPDATE_IDLE && j.stage != AGENT_UPDATE_FAILED))
		return agent_error_set(err, -EBADMSG, "journal.format", "the update journal is damaged");
	*ret_journal = j;
	return 0;
}

int journal_move(int dir_fd, struct journal *journal, enum agent_update_stage stage, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	if (!journal_may_move(journal->stage, stage))
		return agent_error_set(err, -EPROTO, "journal.move", "an update cannot go from %s to %s", agent_update_stage_name(journal->stage),
				       agent_update_stage_name(stage));
	/* On the way in and back out of RECEIVING the file stays as it is. */
	if (stage != AGENT_UPDATE_RECEIVING && (journal->stage != AGENT_UPDATE_RECEIVING || stage == AGENT_UPDATE_WRITING)) {
		if (journal_print(journal, stage, &text, &size) < 0)
			return agent_error_set(err, -ENOMEM, "journal.write", "no memory for the update journal");
		r = file_replace_at(dir_fd, JOURNAL_NAME, 0600, text, size, &why);
		if (r < 0)
			return agent_error_set(err, r, "journal.write", "update journal: %s", agent_error_message(why));
	}
	journal->stage = stage;
	return 0;
}
