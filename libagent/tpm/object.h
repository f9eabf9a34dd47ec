/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_OBJECT_H
#define TPM_OBJECT_H
/*
 * A child of the SRK: wrapped in NAME.pem, its authValue in NAME.auth, loaded when needed. Few chips have more than
 * three slots and the SRK wants one during salted commands, so at most OBJECT_N_LOADED of ours stay loaded; the least
 * recently used one makes room, one that is_kept only if no other can.
 */
#include <stdbool.h>
#include <stdint.h>

#include <tss2/tss2_esys.h>

#include "base/secret.h"
#include "tpm/connection.h"

#define OBJECT_N_LOADED 2

/* 24 random bytes as base64url: printable, so that field tools take it as -passin file:NAME.auth; no trailing zero. */
#define OBJECT_AUTH_SIZE 32

struct tpm_object {
	struct agent_tpm *tpm; /* referenced */
	struct tpm_object *next;
	TPM2B_PUBLIC pub;
	TPM2B_PRIVATE priv;
	TPM2B_NAME name;
	struct secret auth;
	bool is_public; /* a public key alone: no priv */
	bool is_kept;	/* others make room first */
	ESYS_TR handle;
	uint64_t generation; /* of handle; 0 is never loaded */
	uint64_t last_use;
};

/* One whose parts come from elsewhere; loaded when needed. Without @priv: a public key alone, TPM2_LoadExternal. @auth is copied. */
int object_adopt(struct agent_tpm *tpm, const TPM2B_PUBLIC *pub, const TPM2B_PRIVATE *priv, const void *auth, size_t auth_size,
		 struct tpm_object **ret_object, struct agent_error **err);
/* Make one in the TPM from @pub; nothing on disk yet. */
int object_create(struct agent_tpm *tpm, const TPM2B_PUBLIC *pub, struct tpm_object **ret_object, struct agent_error **err);
/* NAME.auth, then NAME.pem: what is left by a kill between them is overwritten next time. */
int object_store(const struct tpm_object *object, int dir_fd, const char *name, struct agent_error **err);
/* Read the files and load it once, to see that it belongs here. */
int object_open(struct agent_tpm *tpm, int dir_fd, const char *name, struct tpm_object **ret_object, struct agent_error **err);
/* The same for a restricted key (attestation); object_open() refuses those, and this one all others. */
int object_open_restricted(struct agent_tpm *tpm, int dir_fd, const char *name, struct tpm_object **ret_object,
			   struct agent_error **err);
/* 1 if NAME.pem is there, else 0. */
int object_exists(int dir_fd, const char *name, struct agent_error **err);
/* Out of the TPM, wiped, freed. */
struct tpm_object *object_free(struct tpm_object *object);

/* Within an attempt: see that it is loaded. */
TSS2_RC object_need(struct tpm_object *object);
/* Within an attempt: free its slot now. */
void object_unload(struct tpm_object *object);
/* Within an attempt: unload until one more fits, but nothing that the attempt itself needs. */
void objects_make_room(struct agent_tpm *tpm);
/* Within an attempt: unload all; returns how many. */
unsigned objects_evict(struct agent_tpm *tpm);

/*
 * Within an attempt, on a raw TPM: unload objects with the Name of one of ours that this process did not load. A run of this
 * program that was killed left them. Two commands for each, and one to ask.
 */
TSS2_RC objects_flush_orphans(struct agent_tpm *tpm);

/* @n bytes of randomness from the TPM (over the salted @session), mixed with the kernel's, as base64url text of OBJECT_AUTH_SIZE. */
TSS2_RC auth_make(struct agent_tpm *tpm, ESYS_TR session, struct secret *ret_auth);
/* Read a file with an authValue; at most OBJECT_AUTH_SIZE printable characters and perhaps a newline. */
int auth_read(int dir_fd, const char *path, struct secret *ret_auth, struct agent_error **err);

DEFINE_CLEANUP(struct tpm_object *, object_free)

#endif
