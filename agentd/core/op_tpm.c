/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the TPM is, how it is, and what to do about it. Neither answer waits for a TPM that is gone or hangs: after
 * LOOK_TIMEOUT_S it is given from what is known.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agentd/common/peer.h"
#include "agentd/common/settings.h"
#include "agentd/core/core.h"
#include "agentd/core/store.h"
#include "base/macro.h"

#define LOOK_TIMEOUT_S 3
#define FINDINGS_MAX 16

struct finding {
	const char *check, *result; /* "ok", "warn" or "bad" */
	char means[640];
	const char *remedy; /* "" with ok */
};

struct tpm_job {
	struct op_call *call;
	bool is_doctor;
	/* out of the thread; not to be read after a timeout */
	bool has_info;
	struct agent_tpm_info info;
	bool is_open, has_floor, has_generation;
	uint64_t floor, generation;
	char bad_file[80]; /* a key file that others may read */
};

/* ---- in the thread ---------------------------------------------------------------------------------------------- */

/* NAME of a file of secrets that is not ours alone, or "". */
static void check_files(int keys_fd, char *ret_name, size_t size)
{
	static const char *const secrets[] = { ".pem", ".auth", ".nvauth", ".pin" };
	int fd = openat(keys_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		const char *dot = strrchr(entry->d_name, '.');
		struct stat st;

		for (size_t i = 0; dot != NULL && i < ARRAY_SIZE(secrets); i++)
			if (strcmp(dot, secrets[i]) == 0 && fstatat(keys_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			    (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 || st.st_uid != geteuid()))
				snprintf(ret_name, size, "%.*s", (int)size - 1, entry->d_name);
	}
	closedir(dir);
}

static int look_run(struct store *store, void *data, struct agent_error **err)
{
	struct tpm_job *job = data;
	int r;

	check_files(store->keys_fd, job->bad_file, sizeof(job->bad_file));
	if (store->tpm == NULL)
		return 0;
	r = agent_tpm_probe(store->tpm, &job->info, err);
	if (err != NULL)
		*err = agent_error_free(*err); /* state and detail say it */
	job->has_info = r >= 0;
	job->is_open = store->is_open;
	job->has_floor = store->has_floor;
	job->floor = store->floor_value;
	if (r < 0 || job->is_doctor || !store->is_open)
		return 0;
	/* The counters' own secrets, exempt from lockout; still nothing for the doctor. */
	job->has_floor = store->floor != NULL && agent_counter_get(store->floor, &job->floor, NULL) >= 0;
	job->has_generation = store->generation != NULL && agent_counter_get(store->generation, &job->generation, NULL) >= 0;
	return 0;
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

static int append_info(sd_bus_message *m, const struct agent_tpm_info *info)
{
	const struct { const char *key; uint64_t value; } numbers[] = {
		{ "lockout_counter", info->lockout_counter },	  { "lockout_max", info->lockout_max },
		{ "lockout_interval_s", info->lockout_interval_s }, { "lockout_recovery_s", info->lockout_recovery_s },
		{ "objects_free", info->n_objects_free },	  { "sessions_free", info->n_sessions_free },
		{ "persistent_free", info->n_persistent_free },	  { "nv_indices", info->n_nv_indices },
		{ "nv_counters", info->n_nv_counters },		  { "nv_counters_free", info->n_nv_counters_free },
	};
	char firmware[48];
	int r;

	snprintf(firmware, sizeof(firmware), "%u.%u.%u.%u", info->firmware_1 >> 16, info->firmware_1 & 0xffff, info->firmware_2 >> 16,
		 info->firmware_2 & 0xffff);
	r = peer_append_string(m, "manufacturer", info->manufacturer);
	if (r >= 0)
		r = peer_append_string(m, "vendor", info->vendor);
	if (r >= 0)
		r = peer_append_string(m, "firmware", firmware);
	if (r >= 0)
		r = peer_append_bool(m, "locked_out", info->is_locked_out);
	if (r >= 0)
		r = peer_append_bool(m, "resource_manager", !info->is_raw);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(numbers); i++)
		r = peer_append_u64(m, numbers[i].key, numbers[i].value);
	return r;
}

static int append_status(struct core *core, const struct tpm_job *job, sd_bus_message *m)
{
	struct worker_info now;
	int r;

	worker_get_info(core->worker, &now);
	r = sd_bus_message_open_container(m, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_string(m, "state", agent_tpm_state_name(now.tpm_state));
	if (r >= 0)
		r = peer_append_string(m, "detail", now.tpm_detail[0] != '\0' ? now.tpm_detail : NULL);
	if (r >= 0)
		r = peer_append_string(m, "tcti", core->settings->tpm.tcti);
	if (r >= 0)
		r = peer_append_string(m, "srk_name", core->srk_name);
	if (r >= 0)
		r = peer_append_u64(m, "commands", now.n_commands);
	if (r >= 0)
		r = peer_append_u64(m, "requests_waiting", now.n_waiting);
	if (r >= 0)
		r = peer_append_u64(m, "software_keys", store_count_software(core->keys_fd));
	if (r >= 0 && job != NULL && job->has_info)
		r = append_info(m, &job->info);
	if (r >= 0 && job != NULL && job->has_floor)
		r = peer_append_u64(m, "floor_increments", job->floor);
	if (r >= 0 && job != NULL && job->has_generation)
		r = peer_append_u64(m, "password_increments", job->generation);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- doctor ----------------------------------------------------------------------------------------------------- */

struct findings {
	struct finding rows[FINDINGS_MAX];
	size_t n;
};

static void add(struct findings *f, const char *check, const char *result, const char *remedy, const char *fmt, ...) AGENT_PRINTF(5, 6);
static void add(struct findings *f, const char *check, const char *result, const char *remedy, const char *fmt, ...)
{
	struct finding *row = &f->rows[f->n];
	va_list ap;

	if (f->n == FINDINGS_MAX)
		return;
	f->n++;
	row->check = check;
	row->result = result;
	row->remedy = remedy;
	va_start(ap, fmt);
	vsnprintf(row->means, sizeof(row->means), fmt, ap);
	va_end(ap);
}

static const char *remedy_when_absent(const char *tcti)
{
	if (strncmp(tcti, "device:", 7) != 0)
		return "start the software TPM or broker that tpm.tcti names";
	if (access(tcti + 7, R_OK | W_OK) == 0)
		return "the device can be opened but does not answer: look for tpm in the kernel log, then switch power off and on";
	if (errno == EACCES)
		return "the user of agentd may not open the device: put it into group tss, and look at the udev rule of the TPM";
	return "the kernel has no such device: look for tpm in its log, at the device tree and at the TPM settings of the firmware";
}

static void judge_state(struct findings *f, const struct core *core, const struct worker_info *now)
{
	static const char *const remedies[] = {
		[AGENT_TPM_OPENING] = "wait a moment; if the device was never provisioned, run agentd --provision",
		[AGENT_TPM_LOCKED_OUT] = "try no passwords; wait, or let the holder of lockoutAuth run tpm2_dictionarylockout -c",
		[AGENT_TPM_BUSY] = "wait; if it stays so, find the program that holds the TPM (fuser, tpm2_getcap handles-transient) and end it",
		[AGENT_TPM_CHANGED] = "put the old TPM or its storage root key back; if it is lost for good, reset to factory state and provision: "
				      "keys, counters and password are made anew",
		[AGENT_TPM_FAILED] = "switch power off and on; if it says it was not started, the boot firmware has to; if it stays so, replace the TPM",
	};
	const char *remedy;

	if (now->tpm_state == AGENT_TPM_READY) {
		add(f, "tpm", "ok", "", "READY: the TPM answers and is the one of provisioning");
		return;
	}
	remedy = now->tpm_state == AGENT_TPM_ABSENT ? remedy_when_absent(core->settings->tpm.tcti) : remedies[now->tpm_state];
	add(f, "tpm", now->tpm_state == AGENT_TPM_LOCKED_OUT || now->tpm_state == AGENT_TPM_OPENING ? "warn" : "bad", remedy, "%s: %s",
	    agent_tpm_state_name(now->tpm_state), now->tpm_detail[0] != '\0' ? now->tpm_detail : "it is being opened");
}

static void judge_info(struct findings *f, const struct agent_tpm_info *info)
{
	if (info->is_raw)
		add(f, "resource-manager", "warn", "use device:/dev/tpmrm0; for a software TPM this is as it should be",
		    "there is no resource manager: what a dead program left in the TPM stays there until agentd frees it");
	else
		add(f, "resource-manager", "ok", "", "a resource manager keeps programs apart");
	if (info->is_locked_out)
		add(f, "lockout", "bad", "try no passwords; wait, or let the holder of lockoutAuth run tpm2_dictionarylockout -c",
		    "%u wrong passwords of %u: locked, and one is forgiven every %u s", info->lockout_counter, info->lockout_max,
		    info->lockout_interval_s);
	else if (info->lockout_counter > 0)
		add(f, "lockout", "warn", "find the program that tries passwords; agentd never does",
		    "%u wrong passwords of %u; one is forgiven every %u s", info->lockout_counter, info->lockout_max, info->lockout_interval_s);
	else
		add(f, "lockout", "ok", "", "no wrong passwords; %u in a row would lock the TPM", info->lockout_max);
	if (!info->has_lockout_auth || !info->has_owner_auth)
		add(f, "hierarchy-passwords", "warn", "after provisioning set them: tpm2_changeauth -c lockout, tpm2_changeauth -c owner",
		    "no password on the %s hierarchy: whoever may open the TPM can clear it or remove its counters; agentd would notice",
		    info->has_lockout_auth ? "owner" : info->has_owner_auth ? "lockout" : "lockout and owner");
	else
		add(f, "hierarchy-passwords", "ok", "", "lockout and owner hierarchy have passwords");
	if (info->is_srk_exempt)
		add(f, "storage-root-key", "ok", "", "it is exempt from lockout");
	else
		add(f, "storage-root-key", "warn", "provision with an empty 0x81000001 to get one that is exempt",
		    "it is under dictionary-attack protection: during a lockout keys cannot be loaded");
	if (info->n_objects_free == 0 || info->n_sessions_free == 0)
		add(f, "slots", info->is_raw ? "bad" : "warn", "end the program that holds them, or tpm2_flushcontext -t and -l",
		    "%u slots for objects and %u for sessions are free", info->n_objects_free, info->n_sessions_free);
	else
		add(f, "slots", "ok", "", "%u slots for objects and %u for sessions are free", info->n_objects_free, info->n_sessions_free);
	if (info->n_persistent_free == 0 || info->n_nv_counters_free == 0)
		add(f, "nv", "warn", "remove what nobody needs: tpm2_nvundefine, tpm2_evictcontrol",
		    "NV memory is full: %u indices; agentd works on, but provisioning again would not", info->n_nv_indices);
	else
		add(f, "nv", "ok", "", "%u indices, room for %u counters", info->n_nv_indices, info->n_nv_counters_free);
}

static void judge_record(struct findings *f, const struct core *core, const struct tpm_job *job)
{
	if (job->has_floor)
		add(f, "rollback-floor", "ok", "", "the counter is there and the one that was pinned; the floor is %" PRIu64, job->floor);
	else if (job->is_open)
		add(f, "rollback-floor", "bad", "no update is installed like this; find out who removed it, then provision again",
		    "the NV counter of the rollback floor is gone or was made again");
	if (core->setup == AGENT_SETUP_RECOVERY)
		add(f, "password-record", "bad", "reset to factory state with presence, unless the TPM can be put right first",
		    "the password record and the TPM disagree: nobody can log in");
	else if (core->setup == AGENT_SETUP_ACTIVE || core->setup == AGENT_SETUP_FACTORY)
		add(f, "password-record", "ok", "", "record and TPM agree");
	if (job->bad_file[0] != '\0')
		add(f, "key-files", "warn", "chmod 600 and chown to the user of agentd; look how it came about",
		    "keys/%s can be read by others or belongs to somebody else", job->bad_file);
	else
		add(f, "key-files", "ok", "", "key files belong to agentd alone");
}

static int append_findings(struct core *core, const struct tpm_job *job, sd_bus_message *m)
{
	struct findings *f = calloc(1, sizeof(*f));
	struct worker_info now;
	int r;

	if (f == NULL)
		return -ENOMEM;
	worker_get_info(core->worker, &now);
	judge_state(f, core, &now);
	if (job != NULL && job->has_info)
		judge_info(f, &job->info);
	else
		add(f, "details", "warn", "put right what is said above, then ask again", "the TPM could not be asked for anything else");
	if (job != NULL)
		judge_record(f, core, job);
	if (now.n_waiting > 8)
		add(f, "load", "warn", "find out who asks so often: see the log", "%" PRIu64 " requests wait for the TPM", now.n_waiting);
	r = sd_bus_message_open_container(m, 'a', "a{sv}");
	for (size_t i = 0; r >= 0 && i < f->n; i++) {
		r = sd_bus_message_open_container(m, 'a', "{sv}");
		if (r >= 0)
			r = peer_append_string(m, "check", f->rows[i].check);
		if (r >= 0)
			r = peer_append_string(m, "result", f->rows[i].result);
		if (r >= 0)
			r = peer_append_string(m, "means", f->rows[i].means);
		if (r >= 0)
			r = peer_append_string(m, "do", f->rows[i].remedy);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	free(f);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

/* @job is NULL if the thread has not looked. */
static int answer(struct core *core, struct op_call *call, bool is_doctor, const struct tpm_job *job, struct agent_error **err)
{
	sd_bus_message *reply;
	int r = op_reply_new(call, &reply, err);

	if (r < 0)
		return r;
	r = is_doctor ? append_findings(core, job, reply) : append_status(core, job, reply);
	return op_reply_end(call, reply, r, "the state of the TPM", err);
}

static void look_done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct tpm_job *job = data;

	r = answer(core, job->call, job->is_doctor, r >= 0 ? job : NULL, err);
	if (r < 0)
		op_fail(job->call, r, err);
}

static void look_free(void *data)
{
	struct tpm_job *job = data;

	op_call_unref(job->call);
	free(job);
}

static const struct job_ops look_ops = { .name = "look at the TPM", .runs_closed = true, .run = look_run, .done = look_done, .free = look_free };

static int look(struct core *core, struct op_call *call, bool is_doctor, struct agent_error **err)
{
	struct tpm_job *job = calloc(1, sizeof(*job));
	int r;

	if (job == NULL)
		return agent_error_set(err, -ENOMEM, "core.memory", "no memory to look at the TPM");
	job->call = op_call_ref(call);
	job->is_doctor = is_doctor;
	r = worker_submit(core->worker, WORKER_SIGN, &look_ops, job, LOOK_TIMEOUT_S, err);
	if (r >= 0)
		return 0;
	look_free(job);
	if (r != -EBUSY)
		return r;
	/* Too much is waiting for it: that is part of the answer. */
	if (err != NULL)
		*err = agent_error_free(*err);
	return answer(core, call, is_doctor, NULL, err);
}

int op_tpm_status(struct core *core, struct op_call *call, struct agent_error **err)
{
	return look(core, call, false, err);
}

int op_tpm_doctor(struct core *core, struct op_call *call, struct agent_error **err)
{
	return look(core, call, true, err);
}
