/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox of agentd-install. In a file of its own because of what the boot backends bring along: others do without libagent. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <agent/update.h>

#include "agentd/common/sandbox.h"
#include "base/macro.h"

#define BOOT_PATHS_MAX 16

struct boot_paths {
	struct sandbox_path items[BOOT_PATHS_MAX];
	char *texts[BOOT_PATHS_MAX];
	size_t n;
};

static void boot_paths_free(struct boot_paths *paths)
{
	for (size_t i = 0; i < paths->n; i++)
		free(paths->texts[i]);
}

static int put_boot_path(void *userdata, const char *path, unsigned access, struct agent_error **err)
{
	struct boot_paths *paths = userdata;
	char *text;

	if (paths->n == BOOT_PATHS_MAX)
		return agent_error_set(err, -E2BIG, "sandbox.paths", "too many paths to open");
	text = strdup(path);
	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.memory", "no memory for the sandbox");
	paths->texts[paths->n] = text;
	paths->items[paths->n++] = (struct sandbox_path){
		.path = text,
		.access = (access & AGENT_UPDATE_PATH_READ ? SANDBOX_READ : 0u) | (access & AGENT_UPDATE_PATH_WRITE ? SANDBOX_WRITE : 0u) |
			  (access & AGENT_UPDATE_PATH_DEVICE ? SANDBOX_DEVICE : 0u),
	};
	return 0;
}

int sandbox_enter_install(const struct settings *settings, struct agent_error **err)
{
	_cleanup_(boot_paths_free) struct boot_paths paths = { .n = 0 };
	_cleanup_error_ struct agent_error *why = NULL;
	int r = 0;

	/* A backend or configuration that cannot be used grants nothing: whoever asks for an update gets the explanation then. */
	if (settings->update.boot_config[0] == '/' &&
	    agent_update_boot_paths(settings->update.boot_backend, settings->update.boot_config, put_boot_path, &paths, &why) < 0 &&
	    strncmp(agent_error_name(why), "sandbox.", 8) == 0)
		return agent_error_move(err, &why);
	if (settings->update.versions_file[0] == '/')
		r = put_boot_path(&paths, settings->update.versions_file, AGENT_UPDATE_PATH_READ, err);
	return r < 0 ? r : sandbox_enter(SANDBOX_INSTALL, settings, paths.items, paths.n, err);
}
