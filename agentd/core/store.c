/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <agent/cert.h>
#include <agent/time.h>

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
	store_close_keys(store);
	store->password = agent_password_free(store->password);
	store->generation = agent_counter_unref(store->generation);
	store->floor = agent_counter_unref(store->floor);
	store->trust = agent_counter_unref(store->trust);
	store->tickets = agent_counter_unref(store->tickets);
	store->mac = agent_mac_unref(store->mac);
	free(TAKE_PTR(store->device_ca_pem));
	store->is_open = store->has_floor = store->has_trust = store->has_tickets = false;
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

/* The words a password must not contain. */
static int open_password(struct store *store, struct agent_error **err)
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
		r = open_password(store, err);
	if (r >= 0)
		store->setup = agent_password_get_state(store->password);
	else if (contradicts(r))
		store->setup = AGENT_SETUP_RECOVERY;
	return r;
}

/* Without it nothing is installed; the rest of the agent works. */
static int open_trust(struct store *store, struct agent_error **err)
{
	int r = agent_tpm_counter_open(store->tpm, (uint32_t)store->settings->tpm.nv_trust, store->keys_fd, STORE_COUNTER_TRUST,
				       AGENT_TPM_FROM_ZERO, &store->trust, err);

	if (r >= 0)
		r = agent_counter_get(store->trust, &store->trust_value, err);
	store->has_trust = r >= 0;
	return r;
}

/* Without it no service ticket is taken, and all else works: a device of an older release has none until it is provisioned again. */
static int open_tickets(struct store *store, struct agent_error **err)
{
	int r = agent_tpm_counter_open(store->tpm, (uint32_t)store->settings->tpm.nv_tickets, store->keys_fd, STORE_COUNTER_TICKETS,
				       AGENT_TPM_FROM_ZERO, &store->tickets, err);

	if (r >= 0)
		r = agent_counter_get(store->tickets, &store->tickets_value, err);
	store->has_tickets = r >= 0;
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
	r = open_trust(store, err);
	if (r < 0 && !contradicts(r))
		return agent_error_prefix(err, r, "version of the signers");
	if (err != NULL)
		*err = agent_error_free(*err);
	r = open_tickets(store, err);
	if (r < 0 && !contradicts(r))
		return agent_error_prefix(err, r, "counter of service tickets");
	if (err != NULL)
		*err = agent_error_free(*err);
	r = open_record(store, err);
	if (r < 0 && !contradicts(r))
		return agent_error_prefix(err, r, "password record");
	if (r < 0 && err != NULL)
		*err = agent_error_free(*err);
	r = store_finish_reset(store, err);
	if (r < 0)
		return r;
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

/* ---- provisioning ----------------------------------------------------------------------------------------------- */

static int make_device_ca(struct store *store, struct agent_error **err)
{
	_cleanup_free_ char *common_name = NULL;
	struct store_key *key;
	size_t size;
	struct agent_time_reading now;
	int r;

	/* For no caller: core itself signs certificates with it, and nothing else. */
	r = store_need_key(store, STORE_KEY_DEVICE_CA, &(struct key_meta){ .purposes = 0 }, &key, err);
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
	/* Where the clock was never set it begins with the build: 30 years from 1970 would be over. */
	agent_time_get(NULL, &now);
	r = agent_device_ca_new(store->ctx, key->signer, common_name, now.now_s, &store->device_ca_pem, err);
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
	bool is_pinned, is_new, is_changed;
	struct rotation rotation;
	int r;

	store_close(store);
	r = rotation_recover(store->keys_fd, &rotation, &is_changed, err);
	if (r < 0)
		return r;
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
	r = store_need_key(store, STORE_KEY_DEVICE, &rights, &key, err);
	if (r < 0)
		return agent_error_prefix(err, r, "key " STORE_KEY_DEVICE);
	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_floor, store->keys_fd, STORE_COUNTER_FLOOR,
				   AGENT_TPM_FROM_ZERO | AGENT_TPM_CREATE, &store->floor, err);
	if (r < 0)
		return agent_error_prefix(err, r, "rollback floor");
	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_trust, store->keys_fd, STORE_COUNTER_TRUST,
				   AGENT_TPM_FROM_ZERO | AGENT_TPM_CREATE, &store->trust, err);
	if (r < 0)
		return agent_error_prefix(err, r, "version of the signers");
	r = agent_tpm_counter_open(store->tpm, (uint32_t)s->tpm.nv_tickets, store->keys_fd, STORE_COUNTER_TICKETS,
				   AGENT_TPM_FROM_ZERO | AGENT_TPM_CREATE, &store->tickets, err);
	if (r < 0)
		return agent_error_prefix(err, r, "counter of service tickets");
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
	r = open_password(store, err);
	if (r < 0)
		return agent_error_prefix(err, r, "password record");
	store->setup = agent_password_get_state(store->password);
	r = make_device_ca(store, err);
	if (r < 0)
		return agent_error_prefix(err, r, "device CA");
	store->is_open = true;
	return 0;
}
