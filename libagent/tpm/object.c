/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <tss2/tss2_mu.h>

#include "base/file.h"
#include "tpm/keyfile.h"
#include "tpm/name.h"
#include "tpm/session.h"

/*
 * What a child of ours is: made inside and not able to leave, or all of that openly not so (imported, key_import.c). Nothing in
 * between. TPM 2.0 Part 2, 8.3: TPMA_OBJECT
 */
#define BOUND (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH)
#define IMPORTED TPMA_OBJECT_USERWITHAUTH

/* ---- authValues --------------------------------------------------------- */

TSS2_RC auth_make(struct agent_tpm *tpm, ESYS_TR session, struct secret *ret_auth)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	_cleanup_secret_ struct secret mix = { 0 }, auth = { 0 };
	TPM2B_DIGEST *random = NULL;
	TSS2_RC rc;

	if (secret_alloc(&mix, 96) < 0 || secret_alloc(&auth, OBJECT_AUTH_SIZE) < 0)
		return TSS2_ESYS_RC_MEMORY;
	rc = session_attributes(tpm, session, TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_GetRandom(tpm->esys, session, ESYS_TR_NONE, ESYS_TR_NONE, 32, &random);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	/* A chip may give less than asked for; the kernel's half is enough by itself, and neither has to be trusted alone. */
	memcpy(mix.data, random->buffer, random->size < 32 ? random->size : 32);
	wipe(random, sizeof(*random));
	Esys_Free(random);
	if (getrandom(mix.data + 32, 32, 0) != 32 ||
	    !EVP_Q_digest(tpm->libctx, "SHA256", NULL, mix.data, 64, mix.data + 64, NULL))
		return TSS2_ESYS_RC_GENERAL_FAILURE;
	for (size_t i = 0; i < OBJECT_AUTH_SIZE; i++) /* 24 bytes, 6 bits a character */
		auth.data[i] = (uint8_t)digits[(mix.data[64 + i * 6 / 8] << 8 | mix.data[65 + i * 6 / 8]) >> (10 - i * 6 % 8) & 0x3f];
	auth.size = OBJECT_AUTH_SIZE;
	secret_free(ret_auth);
	*ret_auth = auth;
	auth = (struct secret){ 0 };
	return TSS2_RC_SUCCESS;
}

int auth_read(int dir_fd, const char *path, struct secret *ret_auth, struct agent_error **err)
{
	char *text = NULL;
	size_t n = 0, n_file;
	int r;

	r = file_read_at(dir_fd, path, OBJECT_AUTH_SIZE + 1, &text, &n, err);
	if (r < 0)
		return r;
	n_file = n;
	if (n > 0 && text[n - 1] == '\n')
		n--;
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			r = -EBADMSG;
	if (n == 0 || n > OBJECT_AUTH_SIZE || r < 0)
		r = agent_error_set(err, -EBADMSG, "tpm.auth-file", "%s is not 1 to %d printable characters", path, OBJECT_AUTH_SIZE);
	else if (secret_copy(ret_auth, text, n) < 0)
		r = agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	wipe(text, n_file);
	free(text);
	return r < 0 ? r : 0;
}

/* ---- life --------------------------------------------------------------- */

static struct tpm_object *object_new(struct agent_tpm *tpm)
{
	struct tpm_object *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->tpm = agent_tpm_ref(tpm);
	o->handle = ESYS_TR_NONE;
	o->next = tpm->objects;
	tpm->objects = o;
	return o;
}

static bool is_loaded(const struct tpm_object *o)
{
	return o->handle != ESYS_TR_NONE && o->generation == o->tpm->generation;
}

void object_unload(struct tpm_object *o)
{
	if (is_loaded(o) && o->tpm->esys != NULL)
		(void)Esys_FlushContext(o->tpm->esys, o->handle);
	o->handle = ESYS_TR_NONE;
	o->generation = 0;
}

struct tpm_object *object_free(struct tpm_object *object)
{
	if (object == NULL)
		return NULL;
	object_unload(object);
	for (struct tpm_object **at = &object->tpm->objects; *at != NULL; at = &(*at)->next) {
		if (*at == object) {
			*at = object->next;
			break;
		}
	}
	agent_tpm_unref(object->tpm);
	secret_free(&object->auth);
	free(object);
	return NULL;
}

unsigned objects_evict(struct agent_tpm *tpm)
{
	unsigned n = 0;

	for (struct tpm_object *o = tpm->objects; o != NULL; o = o->next) {
		if (!is_loaded(o))
			continue;
		object_unload(o);
		n++;
	}
	return n;
}

/* Should @a go before @b? What the attempt needs last, what is kept before that, then by age. */
static bool goes_before(const struct tpm_object *a, const struct tpm_object *b)
{
	bool a_needed = a->last_use > a->tpm->attempt_clock, b_needed = b->last_use > b->tpm->attempt_clock;

	if (a_needed != b_needed)
		return b_needed;
	if (a->is_kept != b->is_kept)
		return b->is_kept;
	return a->last_use < b->last_use;
}

void objects_make_room(struct agent_tpm *tpm)
{
	for (;;) {
		struct tpm_object *first = NULL;
		unsigned n = 0;

		for (struct tpm_object *o = tpm->objects; o != NULL; o = o->next) {
			if (!is_loaded(o))
				continue;
			n++;
			if (first == NULL || goes_before(o, first))
				first = o;
		}
		if (first == NULL || n < OBJECT_N_LOADED)
			return;
		object_unload(first);
	}
}

static bool is_in_use(const struct agent_tpm *tpm, TPM2_HANDLE handle)
{
	for (const struct tpm_object *o = tpm->objects; o != NULL; o = o->next) {
		TPM2_HANDLE ours;

		if (is_loaded(o) && Esys_TR_GetTpmHandle(tpm->esys, o->handle, &ours) == TSS2_RC_SUCCESS && ours == handle)
			return true;
	}
	return false;
}

static bool is_name_of_ours(const struct agent_tpm *tpm, const TPM2B_NAME *name)
{
	for (const struct tpm_object *o = tpm->objects; o != NULL; o = o->next)
		if (!o->is_public && o->name.size == name->size && memcmp(o->name.name, name->name, name->size) == 0)
			return true;
	return false;
}

TSS2_RC objects_flush_orphans(struct agent_tpm *tpm)
{
	TPMS_CAPABILITY_DATA *cap = NULL;
	TPMI_YES_NO more;
	TSS2_RC rc;

	rc = Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, TPM2_TRANSIENT_FIRST, 16, &more, &cap);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	for (UINT32 i = 0; i < cap->data.handles.count && i < TPM2_MAX_CAP_HANDLES; i++) {
		TPM2_HANDLE handle = cap->data.handles.handle[i];
		TPM2B_NAME *name = NULL;
		ESYS_TR tr;

		if (is_in_use(tpm, handle) ||
		    Esys_TR_FromTPMPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &tr) != TSS2_RC_SUCCESS)
			continue;
		if (Esys_TR_GetName(tpm->esys, tr, &name) != TSS2_RC_SUCCESS || !is_name_of_ours(tpm, name) ||
		    Esys_FlushContext(tpm->esys, tr) != TSS2_RC_SUCCESS)
			(void)Esys_TR_Close(tpm->esys, &tr);
		Esys_Free(name);
	}
	Esys_Free(cap);
	return TSS2_RC_SUCCESS;
}

TSS2_RC object_need(struct tpm_object *object)
{
	struct agent_tpm *tpm = object->tpm;
	TPM2B_AUTH auth = { 0 };
	ESYS_TR handle;
	TSS2_RC rc;

	object->last_use = ++tpm->use_clock;
	if (is_loaded(object))
		return TSS2_RC_SUCCESS;
	objects_make_room(tpm);
	if (object->is_public) /* in a hierarchy, because a ticket of the null hierarchy is empty: TPM 2.0 Part 3, 20.1.1 */
		rc = Esys_LoadExternal(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &object->pub, ESYS_TR_RH_OWNER, &handle);
	else /* The SRK has an empty authValue and the blob is encrypted, so a password session gives nothing away. */
		rc = Esys_Load(tpm->esys, tpm->srk, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &object->priv, &object->pub, &handle);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	auth.size = (UINT16)object->auth.size;
	if (auth.size > 0)
		memcpy(auth.buffer, object->auth.data, auth.size);
	rc = Esys_TR_SetAuth(tpm->esys, handle, &auth);
	wipe(&auth, sizeof(auth));
	if (rc != TSS2_RC_SUCCESS) {
		(void)Esys_FlushContext(tpm->esys, handle);
		return rc;
	}
	object->handle = handle;
	object->generation = tpm->generation;
	return TSS2_RC_SUCCESS;
}

static TSS2_RC attempt_load(struct agent_tpm *tpm, void *userdata)
{
	(void)tpm;
	return object_need(userdata);
}

static int compute_name(struct agent_tpm *tpm, struct tpm_object *o, struct agent_error **err)
{
	uint8_t area[sizeof(TPMT_PUBLIC)];
	size_t n = 0;

	if (Tss2_MU_TPMT_PUBLIC_Marshal(&o->pub.publicArea, area, sizeof(area), &n) != TSS2_RC_SUCCESS ||
	    name_of_public(tpm->libctx, area, n, &o->name) < 0)
		return agent_error_set(err, -EBADMSG, "tpm.public", "public area has no Name with SHA-256 or better");
	return 0;
}

int object_adopt(struct agent_tpm *tpm, const TPM2B_PUBLIC *pub, const TPM2B_PRIVATE *priv, const void *auth, size_t auth_size,
		 struct tpm_object **ret_object, struct agent_error **err)
{
	_cleanup_(object_freep) struct tpm_object *o = object_new(tpm);
	int r;

	if (o == NULL || (auth_size > 0 && secret_copy(&o->auth, auth, auth_size) < 0))
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	o->pub = *pub;
	o->is_public = priv == NULL;
	if (priv != NULL)
		o->priv = *priv;
	r = compute_name(tpm, o, err);
	if (r < 0)
		return r;
	*ret_object = TAKE_PTR(o);
	return 0;
}

/* ---- making ------------------------------------------------------------- */

struct create {
	const TPM2B_PUBLIC *pub;
	struct tpm_object *object;
};

static TSS2_RC attempt_create(struct agent_tpm *tpm, void *userdata)
{
	static const TPM2B_DATA outside;
	static const TPML_PCR_SELECTION pcrs;
	struct create *c = userdata;
	TPM2B_SENSITIVE_CREATE sensitive = { 0 };
	TPM2B_PRIVATE *priv = NULL;
	TPM2B_PUBLIC *pub = NULL;
	ESYS_TR session = ESYS_TR_NONE;
	TSS2_RC rc;

	objects_make_room(tpm);
	rc = session_start_salted(tpm, &session);
	if (rc != TSS2_RC_SUCCESS)
		return rc;
	rc = auth_make(tpm, session, &c->object->auth);
	if (rc == TSS2_RC_SUCCESS)
		rc = session_attributes(tpm, session, TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT);
	if (rc == TSS2_RC_SUCCESS) {
		sensitive.sensitive.userAuth.size = (UINT16)c->object->auth.size;
		memcpy(sensitive.sensitive.userAuth.buffer, c->object->auth.data, c->object->auth.size);
		rc = Esys_Create(tpm->esys, tpm->srk, session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, c->pub, &outside, &pcrs, &priv,
				 &pub, NULL, NULL, NULL);
		wipe(&sensitive, sizeof(sensitive));
	}
	session_end(tpm, &session, rc, true);
	if (rc == TSS2_RC_SUCCESS) {
		c->object->priv = *priv;
		c->object->pub = *pub;
	}
	Esys_Free(priv);
	Esys_Free(pub);
	return rc;
}

int object_create(struct agent_tpm *tpm, const TPM2B_PUBLIC *pub, struct tpm_object **ret_object, struct agent_error **err)
{
	_cleanup_(object_freep) struct tpm_object *o = object_new(tpm);
	struct create c = { .pub = pub, .object = o };
	int r;

	if (o == NULL)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	r = tpm_run(tpm, "making a key", TPM_RUN_SRK_AUTH, attempt_create, &c, err);
	if (r < 0)
		return r;
	if (o->pub.publicArea.objectAttributes != pub->publicArea.objectAttributes)
		return agent_error_set(err, -EIO, "tpm.answer", "the TPM made a key with attributes 0x%x, not 0x%x as asked for",
				       o->pub.publicArea.objectAttributes, pub->publicArea.objectAttributes);
	r = compute_name(tpm, o, err);
	if (r < 0)
		return r;
	*ret_object = TAKE_PTR(o);
	return 0;
}

/* ---- files -------------------------------------------------------------- */

int object_exists(int dir_fd, const char *name, struct agent_error **err)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%s.pem", name);
	if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	return agent_error_set(err, -errno, "file.open", "%s: %s", path, strerror(errno));
}

int object_store(const struct tpm_object *object, int dir_fd, const char *name, struct agent_error **err)
{
	struct keyfile file = { .parent = object->tpm->srk_handle, .pub = object->pub, .priv = object->priv };
	_cleanup_free_ char *text = NULL;
	size_t n = 0;
	char path[80];
	int r;

	r = keyfile_write(&file, &text, &n, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s.auth", name);
	r = file_replace_at(dir_fd, path, 0600, object->auth.data, object->auth.size, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s.pem", name);
	return file_replace_at(dir_fd, path, 0600, text, n, err);
}

/* A policy would be needed to duplicate an imported key, so it must have none. */
static bool has_attributes(const TPMT_PUBLIC *pub, TPMA_OBJECT restricted)
{
	TPMA_OBJECT bound = pub->objectAttributes & BOUND;

	if ((pub->objectAttributes & TPMA_OBJECT_RESTRICTED) != restricted || pub->authPolicy.size != 0)
		return false;
	return bound == BOUND || (bound == IMPORTED && restricted == 0);
}

static int open_object(struct agent_tpm *tpm, int dir_fd, const char *name, TPMA_OBJECT restricted, struct tpm_object **ret_object,
		       struct agent_error **err)
{
	_cleanup_(object_freep) struct tpm_object *o = NULL;
	_cleanup_error_ struct agent_error *e = NULL;
	_cleanup_free_ char *text = NULL;
	struct keyfile file;
	size_t n = 0;
	char path[80];
	int r;

	snprintf(path, sizeof(path), "%s.pem", name);
	r = file_read_at(dir_fd, path, KEYFILE_MAX, &text, &n, err);
	if (r < 0)
		return r;
	r = keyfile_parse(text, n, &file, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", path);
	/* 0x40000001 means the ECC P-256 primary of the owner hierarchy; made by the usual template, that is our SRK, and if not, Load says so. */
	if (file.parent != tpm->srk_handle && file.parent != TPM2_RH_OWNER)
		return agent_error_set(err, -EKEYREJECTED, "tpm.foreign", "%s: its parent is 0x%08x, the storage root key is 0x%08x", path,
				       file.parent, tpm->srk_handle);
	if (!has_attributes(&file.pub.publicArea, restricted))
		return agent_error_set(err, -EKEYREJECTED, "tpm.attributes",
				       "%s: attributes 0x%x: not a%s key that was made in this TPM and cannot leave it%s", path,
				       file.pub.publicArea.objectAttributes, restricted != 0 ? " restricted" : "n unrestricted",
				       restricted != 0 ? "" : ", and none imported without a policy");
	o = object_new(tpm);
	if (o == NULL)
		return agent_error_set(err, -ENOMEM, "tpm.memory", "out of memory");
	o->pub = file.pub;
	o->priv = file.priv;
	r = compute_name(tpm, o, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", path);
	snprintf(path, sizeof(path), "%s.auth", name);
	/* tpm2_encodeobject 5.4 says emptyAuth of keys that have one, so a file that is there counts more. */
	r = auth_read(dir_fd, path, &o->auth, &e);
	if (r < 0 && !(r == -ENOENT && file.has_empty_auth))
		return agent_error_move(err, &e);
	r = tpm_run(tpm, "loading a key", TPM_RUN_SRK_AUTH, attempt_load, o, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s.pem", name);
	*ret_object = TAKE_PTR(o);
	return 0;
}

int object_open(struct agent_tpm *tpm, int dir_fd, const char *name, struct tpm_object **ret_object, struct agent_error **err)
{
	return open_object(tpm, dir_fd, name, 0, ret_object, err);
}

int object_open_restricted(struct agent_tpm *tpm, int dir_fd, const char *name, struct tpm_object **ret_object,
			   struct agent_error **err)
{
	return open_object(tpm, dir_fd, name, TPMA_OBJECT_RESTRICTED, ret_object, err);
}
