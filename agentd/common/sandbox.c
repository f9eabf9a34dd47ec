/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/sandbox.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/capability.h>

#include <agent/error.h>

#include "agentd/common/sandbox_inside.h"
#include "base/macro.h"

#define RULES_MAX 160
#define RW (SANDBOX_READ | SANDBOX_WRITE)

/* Settings that name a path; resolved by path_of(). */
enum where {
	AT_PATH, /* the text itself */
	AT_STATE,
	AT_LINK,
	AT_RUN, /* below run_dir */
	AT_INSTALL,
	AT_TRUST, /* below trust_dir */
	AT_MQTT_CA,
	AT_MQTT_CERT,
	AT_MQTT_CRL,
	AT_FETCH_CA,
	AT_EST_CA,
	AT_EST_FACTORY,
	AT_FETCH_CRL,
	AT_EST_CRL,
	AT_TOKEN,      /* of hawkBit */
	AT_TPM,	       /* folder of the device of the TCTI */
	AT_SLOTS,      /* every slot */
	AT_UBI,	       /* what sysfs says of those that are UBI volumes */
	AT_BUTTON,
	AT_SCRIPT_PATHS, /* what scripts of bundles may write */
};

#define P(p) (1u << (p))
#define CORE P(SANDBOX_CORE)
#define MGMT P(SANDBOX_MGMT)
#define LINK P(SANDBOX_LINK)
#define FETCH P(SANDBOX_FETCH)
#define INSTALL P(SANDBOX_INSTALL)
#define SCRIPT P(SANDBOX_SCRIPT)
#define ALL (CORE | MGMT | LINK | FETCH | INSTALL | SCRIPT)

/* What each program may still call. */
static const struct {
	unsigned group, programs;
} call_rows[] = {
	{ CALLS_BASE | CALLS_SOCKET | CALLS_READ_FILES, ALL },
	{ CALLS_WRITE_FILES, CORE | LINK | FETCH | INSTALL },
	{ CALLS_NETWORK, LINK | FETCH },
	{ CALLS_INTERFACES, MGMT },	     /* its own addresses are valid in Host; it accepts, it never connects */
	{ CALLS_THREADS, CORE | LINK | FETCH | INSTALL | MGMT }, /* TPM thread; name lookup of mosquitto and curl; installation */
	{ CALLS_BLOCK_DEVICE, INSTALL },
	{ CALLS_LOAD_CODE, LINK | FETCH },   /* getaddrinfo() loads name service modules on first use */
};

/* Which files each program may still open. */
static const struct {
	enum where where;
	const char *text;
	unsigned access, programs;
} path_rows[] = {
	{ AT_PATH, "/dev/null", RW, ALL },
	{ AT_PATH, "/dev/urandom", SANDBOX_READ, ALL },
	{ AT_PATH, "/etc/localtime", SANDBOX_READ, ALL },
	{ AT_PATH, "/usr/share/zoneinfo", SANDBOX_READ, ALL },
	{ AT_PATH, "/etc/ssl/openssl.cnf", SANDBOX_READ, ALL },
	{ AT_PATH, "/usr/share/crypto-policies", SANDBOX_READ, ALL },
	{ AT_STATE, NULL, RW, CORE },
	/* Opened again after an I/O error. Its folder, since a driver that goes and comes back makes a new node; which devices
	 * there are open to this user is up to ownership and DeviceAllow=. */
	{ AT_TPM, NULL, SANDBOX_NODES | SANDBOX_DEVICE, CORE },
	{ AT_BUTTON, NULL, SANDBOX_READ, CORE }, /* its folder: the file may come and go */
	{ AT_PATH, "/proc", SANDBOX_READ, CORE | LINK }, /* the unit of an application, /proc/PID/cgroup */
	{ AT_LINK, NULL, RW, LINK | FETCH },
	{ AT_RUN, "link", RW, LINK }, /* messages in RAM */
	{ AT_TRUST, "broker", SANDBOX_READ, LINK },
	{ AT_MQTT_CA, NULL, SANDBOX_READ, LINK },
	{ AT_MQTT_CERT, NULL, SANDBOX_READ, LINK },
	{ AT_MQTT_CRL, NULL, SANDBOX_READ, LINK },
	/* Certificates: when the one in use ends, and who may issue the next. */
	{ AT_TRUST, "broker", SANDBOX_READ, CORE },
	{ AT_MQTT_CERT, NULL, SANDBOX_READ, CORE },
	{ AT_TRUST, "fetch", SANDBOX_READ, CORE },
	{ AT_TRUST, "command", SANDBOX_READ, CORE }, /* who signs commands; read at each */
	{ AT_TRUST, "est", SANDBOX_READ, CORE },
	{ AT_EST_CA, NULL, SANDBOX_READ, CORE },
	{ AT_EST_FACTORY, NULL, SANDBOX_READ, CORE },
	{ AT_TRUST, "mgmt", SANDBOX_READ, MGMT },
	{ AT_TRUST, "fetch", SANDBOX_READ, FETCH },
	{ AT_FETCH_CA, NULL, SANDBOX_READ, FETCH },
	{ AT_FETCH_CRL, NULL, SANDBOX_READ, FETCH },
	{ AT_TRUST, "est", SANDBOX_READ, FETCH }, /* revocation lists */
	{ AT_EST_CRL, NULL, SANDBOX_READ, FETCH },
	{ AT_TOKEN, NULL, SANDBOX_READ, FETCH },
	/* Name lookup. resolv.conf is replaced while we run, so its folder is granted and not the file; the user's rights
	 * (none of them root) still hide what is secret in /etc. */
	{ AT_PATH, "/etc", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/run/systemd/resolve", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/run/resolvconf", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/run/NetworkManager", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/run/connman", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/usr/lib", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/usr/lib64", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/lib", SANDBOX_READ, LINK | FETCH },
	{ AT_PATH, "/lib64", SANDBOX_READ, LINK | FETCH },
	{ AT_INSTALL, NULL, RW, INSTALL },
	{ AT_TRUST, "update", SANDBOX_READ, INSTALL },
	{ AT_SLOTS, NULL, RW | SANDBOX_DEVICE, INSTALL },
	{ AT_UBI, NULL, SANDBOX_READ, INSTALL },
	/* A script finds the system, what it may write and little else; no sockets, by seccomp. */
	{ AT_PATH, "/usr", SANDBOX_READ | SANDBOX_EXECUTE, SCRIPT },
	{ AT_PATH, "/bin", SANDBOX_READ | SANDBOX_EXECUTE, SCRIPT },
	{ AT_PATH, "/sbin", SANDBOX_READ | SANDBOX_EXECUTE, SCRIPT },
	{ AT_PATH, "/lib", SANDBOX_READ | SANDBOX_EXECUTE, SCRIPT },
	{ AT_PATH, "/lib64", SANDBOX_READ | SANDBOX_EXECUTE, SCRIPT },
	{ AT_PATH, "/etc", SANDBOX_READ, SCRIPT },
	{ AT_PATH, "/proc", SANDBOX_READ, SCRIPT },
	{ AT_PATH, "/sys", SANDBOX_READ, SCRIPT },
	{ AT_PATH, "/dev/zero", SANDBOX_READ, SCRIPT },
	{ AT_PATH, "/dev/random", SANDBOX_READ, SCRIPT },
	{ AT_RUN, "script", RW, SCRIPT },
	{ AT_SCRIPT_PATHS, NULL, RW, SCRIPT },
	{ AT_PATH, "/proc/cmdline", SANDBOX_READ, INSTALL }, /* agent.slot= */
#if defined(AGENT_COVERAGE)
	{ AT_PATH, "/", RW, ALL & ~SCRIPT }, /* profile files lie beside the objects */
#elif defined(AGENT_SANITIZERS)
	{ AT_PATH, "/proc", SANDBOX_READ, ALL },
	{ AT_PATH, "/usr/lib", SANDBOX_READ, ALL },
#endif
};

struct rules {
	struct path_rule items[RULES_MAX];
	size_t n;
	char *owned[32];
	size_t n_owned;
};

static void rules_free(struct rules *rules)
{
	for (size_t i = 0; i < rules->n_owned; i++)
		free(rules->owned[i]);
}

static int put(struct rules *rules, const char *path, unsigned access, struct agent_error **err)
{
	if (path == NULL || path[0] == '\0')
		return 0;
	if (rules->n == RULES_MAX)
		return agent_error_set(err, -E2BIG, "sandbox.paths", "more than %d paths to open", RULES_MAX);
	rules->items[rules->n++] = (struct path_rule){ path, access };
	return 0;
}

/* @path becomes the rules' property. */
static int put_owned(struct rules *rules, char *path, unsigned access, struct agent_error **err)
{
	if (path == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.memory", "no memory for the sandbox");
	if (rules->n_owned == ARRAY_SIZE(rules->owned)) {
		free(path);
		return agent_error_set(err, -E2BIG, "sandbox.paths", "too many paths to open");
	}
	rules->owned[rules->n_owned++] = path;
	return put(rules, path, access, err);
}

/* A device may be reached through a link; one that is not there yet will be where its name says. */
static int put_device(struct rules *rules, const char *path, unsigned access, struct agent_error **err)
{
	char *real = realpath(path, NULL), *folder = real != NULL ? real : strdup(path);
	char *slash = folder == NULL ? NULL : strrchr(folder, '/');

	if (slash == NULL) { /* no memory, or no path of a device at all */
		free(folder);
		return 0;
	}
	slash[slash == folder] = '\0';
	return put_owned(rules, folder, access, err);
}

/* The folder of a character device in sysfs; false for anything else. */
static bool sysfs_of(const char *path, char ret_folder[64])
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return false;
	snprintf(ret_folder, 64, "/sys/dev/char/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return true;
}

static bool is_ubi_volume(const char *path)
{
	char folder[64], attribute[96];

	if (!sysfs_of(path, folder))
		return false;
	snprintf(attribute, sizeof(attribute), "%s/reserved_ebs", folder);
	return access(attribute, F_OK) == 0;
}

static int put_ubi(struct rules *rules, const struct settings *s, unsigned access, struct agent_error **err)
{
	char folder[64];
	int r = 0;

	for (size_t i = 0; i < s->update.slots.n && r >= 0; i++)
		if (sysfs_of(s->update.slots.items[i].path, folder))
			r = put_owned(rules, strdup(folder), access, err);
	return r;
}

static int put_row(struct rules *rules, enum where where, const char *text, unsigned access, const struct settings *s,
		   struct agent_error **err)
{
	char *joined;
	int r = 0;

	switch (where) {
	case AT_PATH:
		return put(rules, text, access, err);
	case AT_STATE:
		return put(rules, s->paths.state_dir, access, err);
	case AT_LINK:
		return put(rules, s->paths.link_dir, access, err);
	case AT_RUN:
		return put_owned(rules, asprintf(&joined, "%s/%s", s->paths.run_dir, text) < 0 ? NULL : joined, access, err);
	case AT_INSTALL:
		return put(rules, s->paths.install_dir, access, err);
	case AT_TRUST:
		return put_owned(rules, asprintf(&joined, "%s/%s", s->paths.trust_dir, text) < 0 ? NULL : joined, access, err);
	case AT_MQTT_CA:
		return put(rules, s->mqtt.ca_file, access, err);
	case AT_MQTT_CERT:
		return put(rules, s->mqtt.cert_file, access, err);
	case AT_FETCH_CA:
		return put(rules, s->fetch.ca_file, access, err);
	case AT_EST_CA:
		return put(rules, s->est.ca_file, access, err);
	case AT_EST_FACTORY:
		return put(rules, s->est.factory_cert, access, err);
	case AT_MQTT_CRL: /* its folder: a new list comes by rename */
		return s->mqtt.crl_file[0] != '\0' ? put_device(rules, s->mqtt.crl_file, access, err) : 0;
	case AT_FETCH_CRL:
		return s->fetch.crl_file[0] != '\0' ? put_device(rules, s->fetch.crl_file, access, err) : 0;
	case AT_EST_CRL:
		return s->est.crl_file[0] != '\0' ? put_device(rules, s->est.crl_file, access, err) : 0;
	case AT_TOKEN: /* its folder: a new token comes by rename */
		if (s->hawkbit.token_file[0] == '/')
			return put_device(rules, s->hawkbit.token_file, access, err);
		return put(rules, s->hawkbit.token_file[0] != '\0' ? getenv("CREDENTIALS_DIRECTORY") : NULL, access, err);
	case AT_TPM:
		return strncmp(s->tpm.tcti, "device:", 7) == 0 ? put_device(rules, s->tpm.tcti + 7, access, err) : 0;
	case AT_BUTTON:
		return s->reset.button[0] != '\0' ? put_device(rules, s->reset.button, access, err) : 0;
	case AT_SCRIPT_PATHS:
		for (char **path = s->update.script_paths; *path != NULL && r >= 0; path++)
			r = (*path)[0] == '/' ? put(rules, *path, access, err)
					      : agent_error_set(err, -EINVAL, "sandbox.paths", "update.script_paths: \"%s\" is no absolute path", *path);
		return r;
	case AT_SLOTS:
		for (size_t i = 0; i < s->update.slots.n && r >= 0; i++)
			r = put(rules, s->update.slots.items[i].path, access, err);
		return r;
	case AT_UBI:
		return put_ubi(rules, s, access, err);
	}
	return 0;
}

/* Landlock and capabilities bind the calling thread only: another thread would be a way out. */
static int refuse_threads(struct agent_error **err)
{
#if !defined(AGENT_SANITIZERS)
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	int n = 0;

	if (tasks == NULL)
		return 0;
	while ((entry = readdir(tasks)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(tasks);
	if (n > 1)
		return agent_error_set(err, -EBUSY, "sandbox.threads", "there are %d threads already; enter the sandbox first", n);
#endif
	return 0;
}

/* agentd owns no network socket, so a software TPM must be on a Unix socket; its library must not be unloaded and loaded again. */
static int prepare_tpm(const struct settings *s, struct agent_error **err)
{
	const char *tcti = s->tpm.tcti;
	size_t n = strcspn(tcti, ":");
	char library[256];

	if (strncmp(tcti, "mssim", 5) == 0 || (strncmp(tcti, "swtpm", 5) == 0 && strstr(tcti, "path=") == NULL))
		return agent_error_set(err, -EINVAL, "sandbox.tcti",
				       "tpm.tcti \"%s\" is a network connection, which agentd may not have; use swtpm:path=SOCKET", tcti);
	if (n > 0 && n < 200) {
		bool is_file = memchr(tcti, '/', n) != NULL;

		snprintf(library, sizeof(library), "%s%.*s%s", is_file ? "" : "libtss2-tcti-", (int)n, tcti, is_file ? "" : ".so.0");
		(void)dlopen(library, RTLD_NOW | RTLD_NODELETE);
	}
	return 0;
}

static int forbid_privileges(struct agent_error **err)
{
	const struct rlimit no_core = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return agent_error_set(err, -errno, "sandbox.privileges", "cannot set no_new_privs: %s", strerror(errno));
	(void)setrlimit(RLIMIT_CORE, &no_core);
#if !defined(AGENT_SANITIZERS)
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* memory holds secrets: no core file, no debugger of the same user */
#endif
	return 0;
}

/* Keep the capabilities in @keep, whatever user we are. */
static int drop_capabilities(uint64_t keep, struct agent_error **err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	/* Without CAP_SETPCAP the bounding set stays; no_new_privs makes it harmless. */
	for (unsigned cap = 0; cap < 64; cap++)
		if (!(keep & (1ULL << cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) < 0)
		return agent_error_set(err, -errno, "sandbox.privileges", "cannot read the capabilities: %s", strerror(errno));
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return agent_error_set(err, -errno, "sandbox.privileges", "cannot drop the capabilities: %s", strerror(errno));
	return 0;
}

static int enter_supervisor(struct agent_error **err)
{
	/* Change to the role users, stop them, give them files and sockets, put agentd-install where no network is. */
	const uint64_t keep = 1ULL << CAP_SETUID | 1ULL << CAP_SETGID | 1ULL << CAP_SETPCAP | 1ULL << CAP_KILL | 1ULL << CAP_CHOWN |
			      1ULL << CAP_FOWNER | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_SYS_ADMIN;
	int r = forbid_privileges(err);

	if (r >= 0)
		r = drop_capabilities(keep, err);
	return r < 0 ? r : seccomp_enter_supervisor(err);
}

/*
 * The kernel asks for it when a UBI volume is updated, in ioctl UBI_IOCVOLUP, which no other program may call. It is kept only where a slot or the
 * boot environment is such a volume, and only if the service manager gave it.
 */
static uint64_t keep_for_flash(const struct settings *s, const struct sandbox_path *extra, size_t n_extra)
{
	bool has_volume = false;

	for (size_t i = 0; i < s->update.slots.n; i++)
		has_volume = has_volume || is_ubi_volume(s->update.slots.items[i].path);
	for (size_t i = 0; i < n_extra; i++)
		has_volume = has_volume || ((extra[i].access & SANDBOX_DEVICE) != 0 && is_ubi_volume(extra[i].path));
	return has_volume ? UINT64_C(1) << CAP_SYS_RESOURCE : 0;
}

int sandbox_enter(enum sandbox_program program, const struct settings *settings, const struct sandbox_path *extra,
		  size_t n_extra, struct agent_error **err)
{
	_cleanup_(rules_free) struct rules rules = { 0 };
	unsigned groups = 0;
	uint64_t keep;
	int r;

	r = refuse_threads(err);
	if (r < 0)
		return r;
	if (program == SANDBOX_SUPERVISE)
		return enter_supervisor(err);
	for (size_t i = 0; i < ARRAY_SIZE(call_rows); i++)
		if (call_rows[i].programs & P(program))
			groups |= call_rows[i].group;
	for (size_t i = 0; i < ARRAY_SIZE(path_rows); i++)
		if (path_rows[i].programs & P(program)) {
			r = put_row(&rules, path_rows[i].where, path_rows[i].text, path_rows[i].access, settings, err);
			if (r < 0)
				return r;
		}
	for (size_t i = 0; i < n_extra; i++) {
		r = put(&rules, extra[i].path, extra[i].access, err);
		if (r < 0)
			return r;
	}
	if (program == SANDBOX_SCRIPT && !landlock_is_there())
		return agent_error_set(err, -EOPNOTSUPP, "sandbox.landlock", "scripts of bundles run only where the kernel has Landlock");
	if (program == SANDBOX_CORE) {
		r = prepare_tpm(settings, err);
		if (r < 0)
			return r;
	}
	keep = program == SANDBOX_INSTALL ? keep_for_flash(settings, extra, n_extra) : 0;
	r = forbid_privileges(err);
	if (r >= 0)
		r = landlock_enter(rules.items, rules.n, (groups & CALLS_NETWORK) != 0, err);
	if (r >= 0)
		r = drop_capabilities(keep, err);
	if (r < 0)
		return r;
	return program == SANDBOX_SCRIPT ? seccomp_enter_scripts(err) : seccomp_enter(groups, err);
}

int sandbox_enter_script(pid_t parent, struct agent_error **err)
{
	int r = landlock_nest(err);

	return r < 0 ? r : seccomp_enter_one_script(parent, err);
}
