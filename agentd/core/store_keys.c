/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of core: files NAME.pem, NAME.auth and NAME.meta, opened on first use. */
#include "config.h"

#include "agentd/core/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <agent/attest.h>
#include <agent/recipient.h>
#include <agent/software.h>

#include "agentd/common/settings.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define PEM_MAX (16 * KIB)

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

/* ---- names ------------------------------------------------------------------------------------------------------ */

bool store_key_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > STORE_KEY_NAME_MAX || name[0] < 'a' || name[0] > 'z')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool is_reserved(const char *name)
{
	static const char *const reserved[] = { STORE_MAC, STORE_COUNTER_GENERATION, STORE_COUNTER_FLOOR, STORE_COUNTER_TRUST, STORE_COUNTER_TICKETS,
						STORE_KEY_ATTEST, STORE_KEY_RECIPIENT, "srk" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return false;
}

static void file_name(const char *key, const char *suffix, char ret_name[STORE_FILE_NAME_MAX])
{
	snprintf(ret_name, STORE_FILE_NAME_MAX, "%.40s.%s", key, suffix);
}

/* 1: the file is there, whatever is in it. */
static int has_file(struct store *store, const char *key, const char *suffix, struct agent_error **err)
{
	char file[STORE_FILE_NAME_MAX];
	struct stat st;

	file_name(key, suffix, file);
	if (fstatat(store->keys_fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : agent_error_set(err, -errno, "state.dir", "cannot look at %s: %s", file, strerror(errno));
}

static int remove_file(struct store *store, const char *key, const char *suffix, struct agent_error **err)
{
	char file[STORE_FILE_NAME_MAX];

	file_name(key, suffix, file);
	if (unlinkat(store->keys_fd, file, 0) < 0 && errno != ENOENT)
		return agent_error_set(err, -errno, "state.dir", "cannot remove %s: %s", file, strerror(errno));
	return 0;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int keep(struct store *store, const struct store_key *key, struct store_key **ret_key)
{
	/* A handshake shall find it in the TPM, whatever else was done meanwhile. */
	if (strcmp(key->name, store->settings->mqtt.key) == 0)
		agent_key_keep_loaded(key->key);
	store->keys[store->n_keys] = *key;
	*ret_key = &store->keys[store->n_keys++];
	return 0;
}

static int keep_tpm_key(struct store *store, const char *name, struct agent_key *key, struct store_key **ret_key, struct agent_error **err)
{
	struct store_key slot = { .key = key, .origin = agent_key_is_imported(key) ? KEY_IMPORTED : KEY_MADE };
	int r = agent_key_get_signer(key, &slot.signer, err);

	if (r < 0) {
		agent_key_unref(key);
		return r;
	}
	snprintf(slot.name, sizeof(slot.name), "%s", name);
	return keep(store, &slot, ret_key);
}

static int check_software(const struct store *store, const char *name, struct agent_error **err)
{
	if (store->settings->keys.allow_software)
		return 0;
	return agent_error_set(err, -EPERM, "key.software",
			       "%s is a software key, and these are not allowed on this device: whoever copies its files has it (keys.allow_software)", name);
}

static int keep_software_key(struct store *store, const char *name, const char *pem, size_t size, struct store_key **ret_key,
			     struct agent_error **err)
{
	struct store_key slot = { .origin = KEY_SOFTWARE };
	int r = check_software(store, name, err);

	if (r >= 0)
		r = agent_software_signer_new(store->ctx, pem, size, &slot.signer, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s.pem", name);
	snprintf(slot.name, sizeof(slot.name), "%s", name);
	return keep(store, &slot, ret_key);
}

static int load(struct store *store, const char *name, struct store_key **ret_key, struct agent_error **err)
{
	static const char tpm_head[] = "-----BEGIN TSS2 PRIVATE KEY-----";
	char file[STORE_FILE_NAME_MAX];
	struct agent_key *key = NULL;
	char *pem = NULL;
	size_t size = 0;
	int r;

	file_name(name, "pem", file);
	r = file_read_at(store->keys_fd, file, PEM_MAX, &pem, &size, err);
	if (r == -ENOENT)
		return agent_error_set(err, r, "key.unknown", "there is no key '%s'", name);
	if (r < 0)
		return r;
	if (size >= sizeof(tpm_head) && memcmp(pem, tpm_head, sizeof(tpm_head) - 1) == 0) {
		r = agent_key_load(store->tpm, store->keys_fd, name, &key, err);
		if (r >= 0)
			r = keep_tpm_key(store, name, key, ret_key, err);
	} else {
		r = keep_software_key(store, name, pem, size, ret_key, err);
	}
	wipe(pem, size);
	free(pem);
	return r;
}

bool store_split_next(const char *name, char ret_base[STORE_KEY_NAME_MAX + 1])
{
	const char *dot = strchr(name, '.');
	size_t n = dot == NULL ? strlen(name) : (size_t)(dot - name);

	snprintf(ret_base, STORE_KEY_NAME_MAX + 1, "%.*s", (int)(n > STORE_KEY_NAME_MAX ? 0 : n), name);
	return dot != NULL && strcmp(dot, ROTATION_NEXT) == 0;
}

int store_get_key(struct store *store, const char *name, struct store_key **ret_key, struct agent_error **err)
{
	char base[STORE_KEY_NAME_MAX + 1];

	for (size_t i = 0; i < store->n_keys; i++) {
		if (strcmp(store->keys[i].name, name) == 0) {
			*ret_key = &store->keys[i];
			return 0;
		}
	}
	if (!(store_key_name_is_valid(name) || store_split_next(name, base)) || is_reserved(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	if (store->n_keys == ARRAY_SIZE(store->keys))
		return agent_error_set(err, -EDQUOT, "key.many", "%d keys are open, and that is the limit", STORE_MAX_KEYS);
	return load(store, name, ret_key, err);
}

void store_close_keys(struct store *store)
{
	for (size_t i = 0; i < store->n_keys; i++) {
		agent_signer_unref(store->keys[i].signer);
		agent_key_unref(store->keys[i].key);
	}
	memset(store->keys, 0, sizeof(store->keys));
	store->n_keys = 0;
	store->ak = agent_key_unref(store->ak);
	store->recipient = agent_key_unref(store->recipient);
}

int store_get_ak(struct store *store, struct agent_key **ret_ak, bool *ret_is_new, struct agent_error **err)
{
	int r;

	*ret_is_new = false;
	if (store->ak == NULL) {
		*ret_is_new = faccessat(store->keys_fd, STORE_KEY_ATTEST ".pem", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
		r = agent_attest_key_open(store->tpm, store->keys_fd, STORE_KEY_ATTEST, AGENT_TPM_CREATE, &store->ak, err);
		if (r < 0)
			return agent_error_prefix(err, r, "attestation key");
	}
	*ret_ak = store->ak;
	return 0;
}

int store_get_recipient(struct store *store, bool may_make, struct agent_key **ret_key, bool *ret_is_new, struct agent_error **err)
{
	bool is_there;
	int r;

	*ret_is_new = false;
	if (store->recipient == NULL) {
		is_there = faccessat(store->keys_fd, STORE_KEY_RECIPIENT ".pem", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
		if (!is_there && !may_make)
			return agent_error_set(err, -ENOKEY, "update.recipient-key",
					       "this device has no key that bundles are encrypted to: \"agentctl update recipient\" makes it");
		r = agent_recipient_key_open(store->tpm, store->keys_fd, STORE_KEY_RECIPIENT, may_make ? AGENT_TPM_CREATE : 0, &store->recipient, err);
		if (r < 0)
			return agent_error_prefix(err, r, "the key that bundles are encrypted to");
		*ret_is_new = !is_there;
	}
	*ret_key = store->recipient;
	return 0;
}

int store_key_fingerprint(const struct store_key *key, char ret_text[65], struct agent_error **err)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	const uint8_t *spki;
	size_t size;
	unsigned n = 0;

	agent_signer_get_public(key->signer, &spki, &size);
	if (EVP_Digest(spki, size, digest, &n, EVP_sha256(), NULL) != 1 || n != 32)
		return agent_error_set(err, -ENOMEM, "key.fingerprint", "cannot compute a fingerprint");
	hex_encode(digest, n, ret_text);
	return 0;
}

/* ---- what a key is for ------------------------------------------------------------------------------------------ */

void store_default_rights(struct key_meta *ret_rights)
{
	*ret_rights = (struct key_meta){
		.purposes = PURPOSE_TLS_CLIENT | PURPOSE_CSR,
		.rules = { { .kind = RULE_PROGRAM, .text = "link", .purposes = PURPOSE_TLS_CLIENT },
			   { .kind = RULE_PROGRAM, .text = "fetch", .purposes = PURPOSE_TLS_CLIENT } },
		.n_rules = 2,
	};
}

int store_key_identity(struct store *store, const struct store_key *key, struct key_meta *meta, struct agent_error **err)
{
	const uint8_t *srk, *name;
	size_t srk_size, name_size;
	int r = agent_tpm_get_srk_name(store->tpm, &srk, &srk_size);

	if (r < 0 || srk_size * 2 > KEY_HEX_MAX)
		return agent_error_set(err, r < 0 ? r : -EMSGSIZE, "tpm.srk", "the TPM's storage root key is not known");
	hex_encode(srk, srk_size, meta->srk);
	meta->origin = key->origin;
	if (key->key == NULL)
		return store_key_fingerprint(key, meta->name, err);
	agent_key_get_object_name(key->key, &name, &name_size);
	if (name_size * 2 > KEY_HEX_MAX)
		return agent_error_set(err, -EMSGSIZE, "tpm.srk", "the TPM gave no usable Name for a key");
	hex_encode(name, name_size, meta->name);
	return 0;
}

static int write_rights(struct store *store, const struct store_key *key, const struct key_meta *rights, struct agent_error **err)
{
	struct key_meta meta = *rights;
	time_t now = time(NULL);
	int r = store_key_identity(store, key, &meta, err);

	meta.created_s = now > 0 ? (uint64_t)now : 0;
	return r < 0 ? r : key_meta_write(store->keys_fd, key->name, &meta, err);
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

/* A private key as PKCS#8 text, as OpenSSL makes it. */
static int make_software(enum agent_key_type type, struct secret *ret_pem, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = type == AGENT_KEY_EC_P256 ? EVP_EC_gen("P-256") :
						   type == AGENT_KEY_EC_P384 ? EVP_EC_gen("P-384") :
									       EVP_RSA_gen(type == AGENT_KEY_RSA_2048 ? 2048 : 3072);
	_cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_secmem());
	char *text;
	long n;

	if (pkey == NULL || bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1 ||
	    (n = BIO_get_mem_data(bio, &text)) <= 0 || secret_copy(ret_pem, text, (size_t)n) < 0)
		return agent_error_set(err, -ENOMEM, "key.software", "OpenSSL cannot make the key");
	return 0;
}

static int store_software(struct store *store, const char *name, const char *pem, size_t size, struct store_key **ret_key,
			  struct agent_error **err)
{
	char file[STORE_FILE_NAME_MAX];
	int r;

	file_name(name, "pem", file);
	r = keep_software_key(store, name, pem, size, ret_key, err);
	return r < 0 ? r : file_replace_at(store->keys_fd, file, 0600, pem, size, err);
}

static int make_key(struct store *store, const char *name, const struct store_new_key *new, struct store_key **ret_key, struct agent_error **err)
{
	_cleanup_secret_ struct secret pem = { 0 };
	struct agent_key *key = NULL;
	int r;

	if (new->is_software) {
		r = check_software(store, name, err);
		if (r >= 0 && new->pem == NULL)
			r = make_software(new->type, &pem, err);
		if (r < 0)
			return r;
		return store_software(store, name, new->pem != NULL ? new->pem : (const char *)pem.data,
				      new->pem != NULL ? new->pem_size : pem.size, ret_key, err);
	}
	if (new->pem != NULL)
		r = agent_key_import(store->tpm, store->keys_fd, name, new->pem, new->pem_size, &key, err);
	else
		r = agent_key_create(store->tpm, new->type, store->keys_fd, name, &key, err);
	return r < 0 ? r : keep_tpm_key(store, name, key, ret_key, err);
}

/* The key of an interrupted creation, if it is what was asked for; an import begins again, since it cannot be told whose key that is. */
static int complete(struct store *store, const char *name, const struct store_new_key *new, struct store_key **ret_key, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *ignored = NULL;
	struct store_key *key;

	if (new->pem == NULL && store_get_key(store, name, &key, &ignored) >= 0 && agent_signer_get_type(key->signer) == new->type &&
	    key->origin == (new->is_software ? KEY_SOFTWARE : KEY_MADE)) {
		*ret_key = key;
		return 0;
	}
	return store_remove_key(store, name, err);
}

/* 0: nobody has the name. 1: an interrupted making left NAME.pem. */
static int claim_name(struct store *store, const char *name, struct agent_error **err)
{
	char *names[STORE_MAX_KEYS];
	bool is_full, is_there = false;
	size_t n = 0;
	int r;

	if (!store_key_name_is_valid(name) || is_reserved(name))
		return agent_error_set(err, -EINVAL, "key.name",
				       "a key name has 1 to 32 of a-z, 0-9 and dash, begins with a letter and is not a reserved one");
	r = store_list_keys(store, names, &n, err);
	if (r < 0)
		return r;
	is_full = n == STORE_MAX_KEYS;
	while (n > 0) {
		is_there |= strcmp(names[--n], name) == 0;
		free(names[n]);
	}
	/* Not one more than can be listed. */
	if (!is_there && (is_full || store->n_keys == ARRAY_SIZE(store->keys)))
		return agent_error_set(err, -EDQUOT, "key.many", "%d keys are stored, and that is the limit", STORE_MAX_KEYS);
	if (!is_there)
		return 0;
	r = has_file(store, name, "meta", err);
	return r <= 0 ? (r < 0 ? r : 1) : agent_error_set(err, -EEXIST, "key.exists", "there is already a key '%s'", name);
}

int store_create_key(struct store *store, const char *name, const struct store_new_key *new, const struct key_meta *rights,
		     struct store_key **ret_key, struct agent_error **err)
{
	struct store_key *key = NULL;
	int r;

	r = key_meta_check(rights, err);
	if (r >= 0)
		r = claim_name(store, name, err);
	if (r > 0)
		r = complete(store, name, new, &key, err);
	if (r >= 0 && key == NULL)
		r = make_key(store, name, new, &key, err);
	if (r >= 0)
		r = write_rights(store, key, rights, err);
	if (r >= 0)
		*ret_key = key;
	return r;
}

int store_make_next(struct store *store, const char *name, enum agent_key_type type, bool is_software, const struct key_meta *rights,
		    struct store_key **ret_key, struct agent_error **err)
{
	const struct store_new_key new = { .type = type, .is_software = is_software };
	char next[STORE_NEXT_NAME_MAX + 1];
	int r;

	snprintf(next, sizeof(next), "%.*s" ROTATION_NEXT, STORE_KEY_NAME_MAX, name);
	store_forget_key(store, next);
	if (store->n_keys == ARRAY_SIZE(store->keys))
		return agent_error_set(err, -EDQUOT, "key.many", "%zu keys are open, and that is the limit", ARRAY_SIZE(store->keys));
	r = make_key(store, next, &new, ret_key, err);
	return r < 0 ? r : write_rights(store, *ret_key, rights, err);
}

int store_need_key(struct store *store, const char *name, const struct key_meta *rights, struct store_key **ret_key, struct agent_error **err)
{
	static const struct store_new_key new = { .type = AGENT_KEY_EC_P256 };
	int r = store_get_key(store, name, ret_key, err);

	if (r >= 0) {
		r = has_file(store, name, "meta", err);
		return r != 0 ? r : write_rights(store, *ret_key, rights, err);
	}
	if (r != -ENOENT)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	return store_create_key(store, name, &new, rights, ret_key, err);
}

void store_forget_key(struct store *store, const char *name)
{
	for (size_t i = 0; i < store->n_keys; i++) {
		struct store_key *key = &store->keys[i];

		if (strcmp(key->name, name) != 0)
			continue;
		agent_signer_unref(key->signer);
		agent_key_unref(key->key);
		*key = store->keys[--store->n_keys];
		memset(&store->keys[store->n_keys], 0, sizeof(*key));
		return;
	}
}

/* NAME.meta first: without it what is left is good for nothing. */
int store_remove_key(struct store *store, const char *name, struct agent_error **err)
{
	int r;

	store_forget_key(store, name);
	r = remove_file(store, name, "meta", err);
	if (r >= 0)
		r = remove_file(store, name, "pem", err);
	if (r >= 0)
		r = remove_file(store, name, "auth", err);
	return r < 0 ? r : dir_sync(store->keys_fd, err);
}

/* ---- list ------------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static DIR *open_list(int keys_fd)
{
	int fd = openat(keys_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir == NULL && fd >= 0)
		close(fd);
	return dir;
}

/* The next NAME.pem of a key that people may name; false at the end. */
static bool next_name(DIR *dir, char ret_name[STORE_KEY_NAME_MAX + 1])
{
	struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		size_t size = strlen(entry->d_name);

		if (size < 5 || size > STORE_KEY_NAME_MAX + 4 || strcmp(entry->d_name + size - 4, ".pem") != 0)
			continue;
		memcpy(ret_name, entry->d_name, size - 4);
		ret_name[size - 4] = '\0';
		if (store_key_name_is_valid(ret_name) && !is_reserved(ret_name))
			return true;
	}
	return false;
}

int store_list_keys(struct store *store, char *ret_names[STORE_MAX_KEYS], size_t *ret_n, struct agent_error **err)
{
	DIR *dir = open_list(store->keys_fd);
	char name[STORE_KEY_NAME_MAX + 1];
	size_t n = 0;
	int r = 0;

	if (dir == NULL)
		return agent_error_set(err, -errno, "state.dir", "cannot read the folder of keys: %s", strerror(errno));
	while (r >= 0 && next_name(dir, name)) {
		if (n == STORE_MAX_KEYS)
			r = agent_error_set(err, -EDQUOT, "key.many", "more than %d keys are stored", STORE_MAX_KEYS);
		else if ((ret_names[n] = strdup(name)) == NULL)
			r = agent_error_set(err, -ENOMEM, "state.memory", "no memory for a key's name");
		else
			n++;
	}
	closedir(dir);
	if (r < 0) {
		while (n > 0)
			free(ret_names[--n]);
		return r;
	}
	if (n > 1)
		qsort(ret_names, n, sizeof(ret_names[0]), compare_names);
	*ret_n = n;
	return 0;
}

uint64_t store_count_software(int keys_fd)
{
	DIR *dir = open_list(keys_fd);
	char name[STORE_KEY_NAME_MAX + 1];
	struct key_meta meta;
	uint64_t n = 0;

	while (dir != NULL && next_name(dir, name))
		n += key_meta_read(keys_fd, name, &meta, NULL) >= 0 && meta.origin == KEY_SOFTWARE;
	if (dir != NULL)
		closedir(dir);
	return n;
}
