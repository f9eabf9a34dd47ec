/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ROTATION_H
#define CORE_ROTATION_H
/*
 * A key and its certificate are replaced by new ones: the files, without TPM and bus, so that each step can be cut off and
 * repeated. One rotation at a time; STATE_DIR/keys/rotation says how far it is, replaced as a whole with every move:
 *
 *   version 1 / key NAME / type TYPE / state STATE / renewal yes or no / since SECONDS / reason TEXT
 *
 * The new key is NAME.next.pem with its .auth and .meta, its request NAME.next.csr, its certificate NAME.next.crt. The old pair is
 * untouched until the new one has proved itself on a live handshake; then renames put the new one in its place. A renewal is
 * the same with a new certificate for the same key. docs/design/rotation.md
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/signer.h>

#define ROTATION_FILE "rotation"
#define ROTATION_KEY_MAX 32
#define ROTATION_REASON_MAX 200
#define ROTATION_CERT_MAX (16 * 1024)
/* Behind a key's name: the one that is to replace it. No user can name it: a name has no dot. */
#define ROTATION_NEXT ".next"

enum rotation_state {
	ROTATION_NONE,	  /* there never was one */
	ROTATION_MAKING,  /* the new key and its request are made */
	ROTATION_WAITING, /* for the certificate */
	ROTATION_PROVING, /* agentd-link tries the new pair */
	ROTATION_COMMIT,  /* it proved itself: it takes the place of the old one */
	ROTATION_ABORT,	  /* what there is of the new pair goes */
	ROTATION_DONE,
	ROTATION_FAILED
};

struct rotation {
	enum rotation_state state;
	char key[ROTATION_KEY_MAX + 1];
	enum agent_key_type type;
	bool is_renewal;
	uint64_t since_s; /* when this state was reached */
	char reason[ROTATION_REASON_MAX + 1];
};

const char *rotation_state_name(enum rotation_state state);
/* Between WAITING and COMMIT nothing else may begin. */
bool rotation_is_active(const struct rotation *rotation);
bool rotation_may_move(enum rotation_state from, enum rotation_state to);

/* ROTATION_NONE when there is no file. -EBADMSG "rotation.journal". */
int rotation_load(int keys_fd, struct rotation *ret_rotation, struct agent_error **err);
/* Take the move if the table allows it and make it durable. -EPROTO "rotation.state". */
int rotation_move(int keys_fd, struct rotation *rotation, enum rotation_state state, const char *reason, struct agent_error **err);
/* Begin: -EBUSY "rotation.active" if one is under way. What an earlier one left is removed. */
int rotation_begin(int keys_fd, const char *key, enum agent_key_type type, bool is_renewal, struct rotation *ret_rotation, struct agent_error **err);
/* COMMIT, the renames, DONE. The caller has closed both keys. Purposes and callers stay those of the old key as they are now. */
int rotation_commit(int keys_fd, struct rotation *rotation, struct agent_error **err);
/* ABORT, removal, FAILED. */
int rotation_abort(int keys_fd, struct rotation *rotation, const char *reason, struct agent_error **err);
/*
 * After a start: finish a commit or an abort that was cut off; a key that was being made is given up. *ret_changed: it did
 * something, and @ret_rotation says what came of it.
 */
int rotation_recover(int keys_fd, struct rotation *ret_rotation, bool *ret_changed, struct agent_error **err);

/* NAME@suffix; the caller frees it. 0 and NULL if it is not there. */
int rotation_read(int keys_fd, const char *name, const char *suffix, char **ret_text, struct agent_error **err);
int rotation_write(int keys_fd, const char *name, const char *suffix, const char *text, struct agent_error **err);
/* What tells one certificate file from another: SHA-256 of its bytes in hex; "" for NULL. */
int rotation_id(const char *pem, char ret_id[65]);

#endif
