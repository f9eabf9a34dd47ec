/* SPDX-License-Identifier: Apache-2.0 */
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

#include <openssl/evp.h>

#include <agent/attest.h>
#include <agent/cert.h>

#include "agentd/common/settings.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"

int store_open_folder(const struct settings *settings, const char *name, int *ret_fd, struct agent_error **err)
{
	const char *state_dir = settings->paths.state_dir;
	_cleanup_close_ int parent = -1;
	int fd;

	/* Only the last component is made: a wrong state_dir must not grow a tree somewhere. */
	if (mkdir(state_dir, 0700) < 0 && errno != EEXIST)
		return agent_error_set(err, -errno, "state.dir", "cannot make %s (paths.state_dir): %s", state_dir, strerror(errno));
	parent = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return agent_error_set(err, -errno, "state.dir", "cannot open %s (paths.state_dir): %s", state_dir, strerror(errno));
	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return agent_error_set(err, -errno, "state.dir", "cannot make %s/%s: %s; it must belong to the user that runs agentd",
				       state_dir, name, strerror(errno));
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return agent_error_set(err, -errno, "state.dir", "cannot open %s/%s: %s", state_dir, name, strerror(errno));
	*ret_fd = fd;
	return 0;
}

int store_new(const struct settings *settings, struct store **ret_store, struct agent_error **err)
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (store == NULL)
		return agent_error_set(err, -ENOMEM, "state.memory", "no memory for the key store");
	store->settings = settings;
	store->keys_fd = store->accounts_fd = -1;
	r = store_open_folder(settings, "keys", &store->keys_fd, err);
	if (r >= 0)
		r = store_open_folder(settings, "accounts", &store->accounts_fd, err);
	if (r >= 0 && agent_context_new(&store->ctx) < 0)
		r = agent_error_set(err, -ENOMEM, "state.memory", "no memory for the key store");
	if (r < 0) {
		store_free(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

void store_close(struct store *store)
{
	for (size_t i = 0; i < store->n_keys; i++) {
		agent_signer_unref(store->keys[i].signer);
		agent_key_unref(store->keys[i].key);
	}
	memset(store->keys, 0, sizeof(store->keys));
	store->n_keys = 0;
	store->ak = agent_key_unref(store->ak);
	store->password = agent_password_free(store->password);
	store->generation = agent_counter_unref(store->generation);
	store->floor = agent_counter_unref(store->floor);
	store->mac = agent_mac_unref(store->mac);
	free(TAKE_PTR(store->device_ca_pem));
	store->is_open = store->has_floor = false;
}

struct store *store_free(struct store *store)
{
	if (store == NULL)
		return NULL;
	store_close(store);
	agent_tpm_unref(store->tpm);
	agent_context_unref(store->ctx);
	if (store->keys_fd >= 0)
		close(store->keys_fd);
	if (store->accounts_fd >= 0)
		close(store->accounts_fd);
	free(store);
	return NULL;
}

/* STATE_DIR/keys/srk.name: the Name of the SRK as hex and a newline. */
static int read_srk_name(struct store *store, uint8_t ret_name[STORE_NAME_MAX], size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r;

	r = file_read_at(store->keys_fd, STORE_FILE_SRK, STORE_NAME_MAX * 2 + 1, &text, &size, err);
	if (r < 0)
		return r;
	while (size > 0 && text[size - 1] == '\n')
		size--;
	if (size < 2 || size % 2 != 0 || hex_decode(text, size, ret_name, size / 2) < 0)
		return agent_error_set(err, -EBADMSG, "state.srk_name", "%s/keys/%s is not the hexadecimal Name of a key",
				       store->settings->paths.state_dir, STORE_FILE_SRK);
	*ret_size = size / 2;
	return 0;
}

static int write_srk_name(struct store *store, struct agent_error **err)
{
	char text[STORE_NAME_MAX * 2 + 2];
	const uint8_t *name;
	size_t size;
	int r;

	r = agent_tpm_get_srk_name(store->tpm, &name, &size);
	if (r < 0 || size > STORE_NAME_MAX)
		return agent_error_set(err, r < 0 ? r : -EMSGSIZE, "tpm.srk", "the TPM gave no usable Name for its storage root key");
	hex_encode(name, size, text);
	text[size * 2] = '\n';
	return file_replace_at(store->keys_fd, STORE_FILE_SRK, 0600, text, size * 2 + 1, err);
}

static int new_tpm(struct store *store, const uint8_t *name, size_t name_size, struct agent_error **err)
{
	int r = 0;

	if (store->tpm == NULL)
		r = agent_tpm_new(store->ctx, store->settings->tpm.tcti, (uint32_t)store->settings->tpm.srk_handle, &store->tpm, err);
	if (r >= 0 && name_size > 0)
		r = agent_tpm_pin_srk(store->tpm, name, name_size, err);
	return r;
}

int store_open_password(struct store *store, struct agent_error **err)
{
	char host[256] = "";
	const char *words[] = { store->settings->device.serial, store->settings->device.model, "admin", host, NULL };
	const char *filled[ARRAY_SIZE(words)];
	size_t n = 0;
	struct agent_password_options options = {
		.min_length = (unsigned)store->settings->password.min_length,
		.context_words = filled,
		.cost = (unsigned)store->settings->password.cost,
	};

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	for (size_t i = 0; words[i] != NULL; i++)
		if (words[i][0] != '\0')
			filled[n++] = words[i];
	filled[n] = NULL;
	return agent_password_open(store->ctx, store->accounts_fd, store->generation, store->mac, &options, &store->password, err);
}

/* Counter or MAC key made again or gone: the record cannot be believed any more, and must never look like a new device. */
static bool contradicts(int r)
{
	return r == -EKEYREJECTED || r == -ENOENT || r == -EBADMSG || r == -ENOKEY;
}

static int open_record(struct store *store, struct agent_error **err)
{
	const struct settings *s = store->settings;
	int r;

	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_password, store->keys_fd, STORE_COUNTER_GENERATION,
				   AGENT_TPM_FROM_ZERO, &store->generation, err);
	if (r >= 0)
		r = agent_tpm_mac_open(store->tpm, store->keys_fd, STORE_MAC, 0, &store->mac, err);
	if (r >= 0)
		r = store_open_password(store, err);
	if (r >= 0)
		store->setup = agent_password_get_state(store->password);
	else if (contradicts(r))
		store->setup = AGENT_SETUP_RECOVERY;
	return r;
}

int store_open(struct store *store, struct agent_error **err)
{
	uint8_t name[STORE_NAME_MAX];
	size_t name_size = 0, size;
	int r;

	store_close(store);
	store->setup_is_known = false;
	r = read_srk_name(store, name, &name_size, err);
	if (r == -ENOENT) {
		store->setup = AGENT_SETUP_UNPROVISIONED;
		store->setup_is_known = true;
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned",
				       "this device has no keys yet: run 'agentd --provision' as the user of agentd");
	}
	if (r < 0)
		return r;
	/* Provisioning writes it last. Its absence opens no door: an unprovisioned device accepts no password at all. */
	r = file_read_at(store->keys_fd, STORE_FILE_DEVICE_CA, 16 * KIB, &store->device_ca_pem, &size, err);
	if (r == -ENOENT) {
		store->setup = AGENT_SETUP_UNPROVISIONED;
		store->setup_is_known = true;
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned",
				       "provisioning was interrupted: run 'agentd --provision' again");
	}
	if (r >= 0)
		r = new_tpm(store, name, name_size, err);
	if (r >= 0)
		r = agent_tpm_open(store->tpm, err);
	if (r == -ENOKEY)
		r = agent_error_set(err, -EKEYREJECTED, "tpm.changed",
				    "the storage root key of provisioning is gone: the TPM was cleared or replaced");
	if (r == -EKEYREJECTED) {
		store->setup = AGENT_SETUP_RECOVERY;
		store->setup_is_known = true;
	}
	if (r < 0)
		return r;

	r = agent_tpm_counter_open(store->tpm, (uint32_t)store->settings->tpm.nv_floor, store->keys_fd, STORE_COUNTER_FLOOR,
				   AGENT_TPM_FROM_ZERO, &store->floor, err);
	if (r >= 0)
		r = agent_counter_get(store->floor, &store->floor_value, err);
	if (r < 0 && !contradicts(r))
		return agent_error_prefix(err, r, "rollback floor");
	store->has_floor = r >= 0;
	r = open_record(store, err);
	if (r < 0 && !contradicts(r))
		return agent_error_prefix(err, r, "password record");
	if (r < 0 && err != NULL)
		*err = agent_error_free(*err);
	store->is_open = true;
	return 0;
}

int store_get_password(struct store *store, struct agent_password **ret_password, struct agent_error **err)
{
	if (store->setup == AGENT_SETUP_UNPROVISIONED)
		return agent_error_set(err, -ENOKEY, "setup.unprovisioned", "this device has no factory secret yet");
	if (store->password == NULL)
		return agent_error_set(err, -ENOKEY, "setup.recovery",
				       "the password record and the TPM disagree; the device needs a factory reset with presence");
	*ret_password = store->password;
	return 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

bool store_key_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > 32 || name[0] < 'a' || name[0] > 'z')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool is_reserved(const char *name)
{
	static const char *const reserved[] = { STORE_MAC, STORE_COUNTER_GENERATION, STORE_COUNTER_FLOOR, STORE_KEY_ATTEST, "srk" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return false;
}

static int keep_key(struct store *store, struct agent_key *key, struct store_key **ret_key, struct agent_error **err)
{
	struct store_key *slot = &store->keys[store->n_keys];
	int r;

	r = agent_key_get_signer(key, &slot->signer, err);
	if (r < 0) {
		agent_key_unref(key);
		return r;
	}
	slot->key = key;
	store->n_keys++;
	*ret_key = slot;
	return 0;
}

int store_get_key(struct store *store, const char *name, struct store_key **ret_key, struct agent_error **err)
{
	struct agent_key *key = NULL;
	int r;

	for (size_t i = 0; i < store->n_keys; i++) {
		if (strcmp(agent_key_get_name(store->keys[i].key), name) == 0) {
			*ret_key = &store->keys[i];
			return 0;
		}
	}
	if (!store_key_name_is_valid(name) || is_reserved(name))
		return agent_error_set(err, -ENOENT, "key.unknown", "there is no key of that name");
	if (store->n_keys == STORE_MAX_KEYS)
		return agent_error_set(err, -EDQUOT, "key.many", "%d keys are open, and that is the limit", STORE_MAX_KEYS);
	r = agent_key_load(store->tpm, store->keys_fd, name, &key, err);
	if (r == -ENOENT)
		return agent_error_set(err, r, "key.unknown", "there is no key '%s'", name);
	return r < 0 ? r : keep_key(store, key, ret_key, err);
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

void store_default_rights(struct key_meta *ret_rights)
{
	*ret_rights = (struct key_meta){
		.purposes = PURPOSE_TLS_CLIENT | PURPOSE_CSR,
		.rules = { { .kind = RULE_PROGRAM, .text = "link", .purposes = PURPOSE_TLS_CLIENT },
			   { .kind = RULE_PROGRAM, .text = "fetch", .purposes = PURPOSE_TLS_CLIENT } },
		.n_rules = 2,
	};
}

static int write_rights(struct store *store, const struct store_key *key, const struct key_meta *rights, struct agent_error **err)
{
	struct key_meta meta = *rights;
	const uint8_t *srk, *name;
	size_t srk_size, name_size;
	time_t now = time(NULL);
	int r;

	r = agent_tpm_get_srk_name(store->tpm, &srk, &srk_size);
	agent_key_get_object_name(key->key, &name, &name_size);
	if (r < 0 || srk_size * 2 > KEY_HEX_MAX || name_size * 2 > KEY_HEX_MAX)
		return agent_error_set(err, r < 0 ? r : -EMSGSIZE, "tpm.srk", "the TPM gave no usable Name for a key");
	hex_encode(srk, srk_size, meta.srk);
	hex_encode(name, name_size, meta.name);
	meta.created_s = now > 0 ? (uint64_t)now : 0;
	return key_meta_write(store->keys_fd, agent_key_get_name(key->key), &meta, err);
}

/* 1: NAME.meta is there, whatever is in it. */
static int has_rights(struct store *store, const char *name, struct agent_error **err)
{
	char file[48];
	struct stat st;

	snprintf(file, sizeof(file), "%s.meta", name);
	if (fstatat(store->keys_fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : agent_error_set(err, -errno, "state.dir", "cannot look at %s: %s", file, strerror(errno));
}

/* The key of an interrupted creation. */
static int complete_key(struct store *store, const char *name, enum agent_key_type type, const struct key_meta *rights,
			struct store_key **ret_key, struct agent_error **err)
{
	struct store_key *key;
	int r;

	r = has_rights(store, name, err);
	if (r > 0)
		r = agent_error_set(err, -EEXIST, "key.exists", "there is already a key '%s'", name);
	if (r >= 0)
		r = store_get_key(store, name, &key, err);
	if (r >= 0 && agent_key_get_type(key->key) != type)
		r = agent_error_set(err, -EEXIST, "key.exists", "there is already a key '%s' of another type", name);
	if (r >= 0)
		r = write_rights(store, key, rights, err);
	if (r >= 0)
		*ret_key = key;
	return r;
}

int store_create_key(struct store *store, const char *name, enum agent_key_type type, const struct key_meta *rights,
		     struct store_key **ret_key, struct agent_error **err)
{
	char *names[STORE_MAX_KEYS];
	struct agent_key *key = NULL;
	bool is_full, is_there = false;
	size_t n = 0;
	int r;

	if (!store_key_name_is_valid(name) || is_reserved(name))
		return agent_error_set(err, -EINVAL, "key.name",
				       "a key name has 1 to 32 of a-z, 0-9 and dash, begins with a letter and is not a reserved one");
	r = key_meta_check(rights, err);
	if (r >= 0)
		r = store_list_keys(store, names, &n, err);
	if (r < 0)
		return r;
	is_full = n == STORE_MAX_KEYS;
	while (n > 0) {
		is_there |= strcmp(names[--n], name) == 0;
		free(names[n]);
	}
	if (is_there)
		return complete_key(store, name, type, rights, ret_key, err);
	/* Not one more than can be listed. */
	if (is_full || store->n_keys == STORE_MAX_KEYS)
		return agent_error_set(err, -EDQUOT, "key.many", "%d keys are stored, and that is the limit", STORE_MAX_KEYS);
	r = agent_key_create(store->tpm, type, store->keys_fd, name, &key, err);
	if (r >= 0)
		r = keep_key(store, key, ret_key, err);
	return r < 0 ? r : write_rights(store, *ret_key, rights, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int store_list_keys(struct store *store, char *ret_names[STORE_MAX_KEYS], size_t *ret_n, struct agent_error **err)
{
	int fd = openat(store->keys_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	size_t n = 0;
	int r = 0;

	if (dir == NULL) {
		r = agent_error_set(err, -errno, "state.dir", "cannot read the folder of keys: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r >= 0 && (entry = readdir(dir)) != NULL) {
		size_t size = strlen(entry->d_name);
		char name[64];

		if (size < 5 || size >= sizeof(name) || strcmp(entry->d_name + size - 4, ".pem") != 0)
			continue;
		memcpy(name, entry->d_name, size - 4);
		name[size - 4] = '\0';
		if (!store_key_name_is_valid(name) || is_reserved(name))
			continue;
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

/* ---- provisioning ----------------------------------------------------------------------------------------------- */

static int make_key(struct store *store, const char *name, const struct key_meta *rights, struct store_key **ret_key,
		    struct agent_error **err)
{
	int r = store_get_key(store, name, ret_key, err);

	if (r >= 0) {
		r = has_rights(store, name, err);
		return r != 0 ? r : write_rights(store, *ret_key, rights, err);
	}
	if (r != -ENOENT)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	return store_create_key(store, name, AGENT_KEY_EC_P256, rights, ret_key, err);
}

static int make_device_ca(struct store *store, struct agent_error **err)
{
	_cleanup_free_ char *common_name = NULL;
	struct store_key *key;
	size_t size;
	time_t now = time(NULL);
	int r;

	/* For no caller: core itself signs certificates with it, and nothing else. */
	r = make_key(store, STORE_KEY_DEVICE_CA, &(struct key_meta){ .purposes = 0 }, &key, err);
	if (r < 0)
		return r;
	r = file_read_at(store->keys_fd, STORE_FILE_DEVICE_CA, 16 * KIB, &store->device_ca_pem, &size, err);
	if (r != -ENOENT)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	if (asprintf(&common_name, "Device CA of %s", store->settings->device.serial) < 0) {
		common_name = NULL;
		return agent_error_set(err, -ENOMEM, "state.memory", "no memory for the device CA");
	}
	r = agent_device_ca_new(store->ctx, key->signer, common_name, now > 0 ? (uint64_t)now : 0, &store->device_ca_pem, err);
	if (r < 0)
		return r;
	return file_replace_at(store->keys_fd, STORE_FILE_DEVICE_CA, 0644, store->device_ca_pem, strlen(store->device_ca_pem), err);
}

/* Every step finds what an earlier, interrupted run made; the device CA certificate is the last, and store_open() asks for it. */
int store_provision(struct store *store, struct agent_error **err)
{
	const struct settings *s = store->settings;
	uint8_t name[STORE_NAME_MAX];
	size_t name_size = 0;
	struct key_meta rights;
	struct store_key *key;
	struct agent_key *ak;
	bool is_pinned, is_new;
	int r;

	store_close(store);
	r = read_srk_name(store, name, &name_size, err);
	is_pinned = r >= 0;
	if (r < 0 && r != -ENOENT)
		return r;
	if (r < 0 && err != NULL)
		*err = agent_error_free(*err);
	r = new_tpm(store, name, name_size, err);
	if (r >= 0)
		r = agent_tpm_provision_srk(store->tpm, err);
	if (r >= 0 && !is_pinned)
		r = write_srk_name(store, err);
	if (r < 0)
		return agent_error_prefix(err, r, "storage root key");
	store_default_rights(&rights);
	r = make_key(store, STORE_KEY_DEVICE, &rights, &key, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key " STORE_KEY_DEVICE);
	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_floor, store->keys_fd, STORE_COUNTER_FLOOR,
				   AGENT_TPM_FROM_ZERO | AGENT_TPM_CREATE, &store->floor, err);
	if (r < 0)
		return agent_error_prefix(err, r, "rollback floor");
	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_password, store->keys_fd, STORE_COUNTER_GENERATION,
				   AGENT_TPM_FROM_ZERO | AGENT_TPM_CREATE, &store->generation, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password generation");
	r = agent_tpm_mac_open(store->tpm, store->keys_fd, STORE_MAC, AGENT_TPM_CREATE, &store->mac, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password key");
	r = store_get_ak(store, &ak, &is_new, err);
	if (r < 0)
		return r;
	r = store_open_password(store, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password record");
	store->setup = agent_password_get_state(store->password);
	r = make_device_ca(store, err);
	if (r < 0)
		return agent_error_prefix(err, r, "device CA");
	store->is_open = true;
	return 0;
}
