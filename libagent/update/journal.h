/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_JOURNAL_H
#define UPDATE_JOURNAL_H
/* How far an update got, in STATE_DIR/journal, replaced as a whole with every move. Error names: journal.*. */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/update.h>

#include "crypto/cms.h"
#include "update/manifest.h"
#include "update/slot.h"

#define JOURNAL_NAME "journal"
#define JOURNAL_LOCK_NAME "lock"
#define JOURNAL_SIGNERS_SIZE (CMS_SIGNERS_MAX * (2 * DIGEST_SIZE + 1))

struct journal {
	enum agent_update_stage stage;
	char target[SLOT_NAME_MAX + 1];
	char version[MANIFEST_TEXT_MAX + 1];
	char release_id[MANIFEST_TEXT_MAX + 1];
	char failed_release_id[MANIFEST_TEXT_MAX + 1];
	uint64_t security_version;
	char manifest[2 * DIGEST_SIZE + 1];	/* SHA-256 of what was signed: the same again continues what broke off */
	char signers[JOURNAL_SIGNERS_SIZE];	/* SHA-256 of the keys that signed it, with '+' between them */
	struct manifest_env env[MANIFEST_ENV_MAX]; /* variables that change with the switch */
	size_t n_env;
};

/* -ENOENT journal.missing; -EBADMSG journal.format: then @ret_journal is unchanged. */
int journal_load(int dir_fd, struct journal *ret_journal, struct agent_error **err);
bool journal_may_move(enum agent_update_stage from, enum agent_update_stage to);
/*
 * Take the move to @stage, if the table allows it, and make it durable together with the other fields. RECEIVING is kept
 * in memory only: it changes nothing on the device, and a sender of junk must not wear the flash. -EPROTO journal.move.
 */
int journal_move(int dir_fd, struct journal *journal, enum agent_update_stage stage, struct agent_error **err);

#endif
