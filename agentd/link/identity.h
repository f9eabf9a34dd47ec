/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_IDENTITY_H
#define LINK_IDENTITY_H
/*
 * Which certificate and key to show the broker, and what to say about one that is on trial. The new pair is tried; if it is
 * refused and the old one is taken, core is told to keep the old one; as soon as it is taken, core puts it in place. Nothing here
 * touches keys: core signs with both while the trial lasts (agentd/core/op_rotation.c).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/tls.h>

#define IDENTITY_ID_MAX 65
#define IDENTITY_KEY_MAX 48
#define IDENTITY_WHY_MAX 200

/* What core says. */
struct identity_pair {
	char *pem;		     /* "": the file of the configuration, or nothing on trial */
	char id[IDENTITY_ID_MAX];    /* of pem, "" with it */
	char key[IDENTITY_KEY_MAX];  /* name of the key that signs */
};

struct identity {
	struct identity_pair current, next;
	/* the trial */
	bool uses_next;		/* the connection in use or being made */
	bool next_failed;	/* last time; the old pair has to show whether that was its fault */
	size_t broker;		/* where */
	bool was_seen;		/* our key signed before it failed: until then it can be anybody's doing */
	bool is_definite;	/* the peer said that it was */
	unsigned n_again;	/* verdicts IDENTITY_AGAIN */
	unsigned n_strikes;	/* the old pair was taken right after the new one was seen and failed */
	char why[IDENTITY_WHY_MAX];
};

enum identity_verdict {
	IDENTITY_NONE,
	IDENTITY_PROVED,
	IDENTITY_NOT_PROVED,
	IDENTITY_AGAIN /* no reason to give it up: try it once more later */
};

void identity_clear(struct identity *identity);
/* Ask core, with a bus connection of its own; blocks. On failure what was known stays. */
int identity_refresh(struct identity *identity, const char *run_dir, const char *key, struct agent_error **err);
/* The pair for the next connection. */
const struct identity_pair *identity_choose(struct identity *identity);
/* The attempt at @broker of the list failed; @name is the dotted name of the error. */
void identity_failed(struct identity *identity, size_t broker, const char *name, const char *why, enum agent_tls_shown shown);
/* That broker took us. */
enum identity_verdict identity_succeeded(struct identity *identity, size_t broker);
/* After IDENTITY_AGAIN: how many turns to wait before the next trial. Each costs the connection in use, and what is on the way may go on for ever. */
unsigned identity_patience(const struct identity *identity);
/* Tell core; blocks. */
int identity_tell(const struct identity *identity, enum identity_verdict verdict, const char *run_dir, const char *key, struct agent_error **err);

#endif
