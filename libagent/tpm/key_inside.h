/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_KEY_INSIDE_H
#define TPM_KEY_INSIDE_H
/* struct agent_key for the files that work on one: key.c, attest.c. */
#include <agent/key.h>

#include "base/macro.h"
#include "tpm/key_type.h"
#include "tpm/object.h"

struct agent_key {
	unsigned n_refs;
	char *name;
	const struct key_type *kt;
	struct tpm_object *object;
	EVP_PKEY *pkey; /* public key, to check what the TPM signs */
};

/* A key that can @use (TPMA_OBJECT_SIGN_ENCRYPT or _DECRYPT). Takes @object over, also when it fails. */
int key_from_object(struct tpm_object *object, const char *name, TPMA_OBJECT use, struct agent_key **ret_key, struct agent_error **err);
/* One signature, made and verified. -EOPNOTSUPP "tpm.pss", "import.tpm" ... */
int key_try(struct agent_key *key, struct agent_error **err);
/* -EINVAL if @name is none, -EEXIST "tpm.exists" if there is such a key. */
int key_name_is_free(int dir_fd, const char *name, struct agent_error **err);
/* The row of a type; NULL if there is none. */
const struct key_type *key_type_find(enum agent_key_type type);
/* The row for a public area; NULL if there is none. */
const struct key_type *key_type_of(const TPMT_PUBLIC *pub);

/* The signing attestation key's area: template of attest.c, and what verifiers accept (attest_verify.c). */
bool attest_is_key_area(const TPMT_PUBLIC *pub);
/* -EINVAL "attest.nonce-size" */
int attest_check_nonce(size_t nonce_size, struct agent_error **err);

DEFINE_CLEANUP(struct agent_key *, agent_key_unref)

#endif
