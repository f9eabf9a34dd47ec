/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/bootenv.h"

#include <errno.h>
#include <string.h>

#include "base/macro.h"

/* What decides which slot boots, how often, from where and with which kernel command line. Whatever the policy says. */
static const char *const reserved[] = {
	"BOOT_*", "agent_*", "agent.*",						   /* ours: boot_uboot.c, boot_grub.c */
	/* U-Boot: what runs, what it counts, and what checks or protects that. */
	"bootcmd*", "altbootcmd", "distro_bootcmd", "bootargs*", "bootcount", "bootlimit", "upgrade_available", "preboot", "boot_targets", "bootmeths",
	"bootdelay", "bootstop*", "menucmd", "fdtcontroladdr", "verify", ".flags", ".callbacks",
	"saved_entry", "next_entry", "prev_saved_entry", "default", "fallback", "boot_once", "root", "prefix", "cmdpath",   /* GRUB */
	"primary", "booted", "slot.*", "env.*",					   /* the file */
};

static bool pattern_fits(const char *pattern, const char *name)
{
	size_t n = strlen(pattern);

	return n > 0 && pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0 : strcmp(pattern, name) == 0;
}

static bool is_reserved(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (pattern_fits(reserved[i], name))
			return true;
	return false;
}

bool bootenv_is_name(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n <= sizeof(((struct manifest_env *)NULL)->name) - 1 &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

int bootenv_pattern_check(const char *pattern, struct agent_error **err)
{
	char name[sizeof(((struct manifest_env *)NULL)->name)];
	size_t n = strlen(pattern);

	if (n > 0 && pattern[n - 1] == '*')
		n--;
	if (n > 0 && n < sizeof(name)) {
		memcpy(name, pattern, n);
		name[n] = '\0';
	}
	if (n == 0 || n >= sizeof(name) || !bootenv_is_name(name))
		return agent_error_set(err, -EINVAL, "update.bootenv", "\"%s\" is no name of a boot loader variable, nor the beginning of one with a '*' behind it", pattern);
	if (is_reserved(name))
		return agent_error_set(err, -EPERM, "update.bootenv", "the boot loader variable %s decides what boots; no bundle may be allowed to set it", name);
	return 0;
}

int bootenv_check(const struct manifest *m, char *const *allowed, size_t n_allowed, const struct boot_backend *backend, struct agent_error **err)
{
	for (size_t i = 0; i < m->n_env; i++) {
		const struct manifest_env *env = &m->env[i];
		bool is_allowed = false;

		for (size_t k = 0; k < n_allowed; k++)
			is_allowed = is_allowed || pattern_fits(allowed[k], env->name);
		if (is_reserved(env->name))
			return agent_error_set(err, -EPERM, "update.bootenv", "release %s sets the boot loader variable %s, which decides what boots; no bundle may do that",
					       m->release_id, env->name);
		if (!is_allowed)
			return agent_error_set(err, -EPERM, "update.bootenv", "release %s sets the boot loader variable %s; update.bootenv of this device does not list it",
					       m->release_id, env->name);
		if (backend->env_value_max == 0)
			return agent_error_set(err, -EOPNOTSUPP, "update.bootenv", "release %s sets the boot loader variable %s; the boot backend %s keeps no variables",
					       m->release_id, env->name, backend->name);
		if (strlen(env->value) > backend->env_value_max)
			return agent_error_set(err, -EBADMSG, "update.bootenv", "release %s: the value of the boot loader variable %s has %zu characters, %zu are possible",
					       m->release_id, env->name, strlen(env->value), backend->env_value_max);
		for (size_t k = 0; k < i; k++)
			if (strcmp(m->env[k].name, env->name) == 0)
				return agent_error_set(err, -EBADMSG, "update.bootenv", "release %s sets the boot loader variable %s twice", m->release_id, env->name);
	}
	return 0;
}
