/* SPDX-License-Identifier: Apache-2.0 */
/* agentctl: the agent's API for people, over the Unix socket. */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "agentd/common/settings.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/token.h"
#include "base/macro.h"
#include "base/secret.h"

#define DEFAULT_SOCKET "/run/agentd/agentd.sock"

/* From agentd.conf; a user who may not read it gets the usual place. */
static char *socket_from_config(const char *file)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct settings *settings = NULL;
	char *path = NULL;
	int r = settings_load(file, &settings, &err);

	if (r == 0 && asprintf(&path, "%s/agentd.sock", settings->paths.run_dir) < 0)
		path = NULL;
	settings_free(settings);
	if (r == 0 && path != NULL)
		return path;
	if (file == NULL && (r == -ENOENT || r == -EACCES))
		return strdup(DEFAULT_SOCKET);
	fprintf(stderr, "agentctl: %s\n", err == NULL ? "no memory" : agent_error_message(err));
	return NULL;
}

/* Passwords and tokens pass through jansson's memory: whatever it frees is wiped first. */
static void *wiping_malloc(size_t size)
{
	return malloc(size);
}

static void wiping_free(void *p)
{
	if (p != NULL)
		wipe(p, malloc_usable_size(p));
	free(p);
}

/* What was printed must have arrived, or the exit code must tell. */
static int finish(int r)
{
	if (fflush(stdout) != 0 && r == CTL_OK) {
		fprintf(stderr, "agentctl: cannot write the answer: %s\n", strerror(errno));
		return CTL_FAILED;
	}
	return r;
}

static int run(struct ctl *ctl, const char *config, int argc, char **argv)
{
	_cleanup_free_ char *found = NULL;
	const struct command *command;
	int n_words = 0, r;

	command = command_find(argc, argv, &n_words);
	if (command == NULL) {
		if (argc > 0)
			fprintf(stderr, "agentctl: unknown command %s%s%s\n", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
		commands_help(stderr);
		return CTL_USAGE;
	}
	for (int i = n_words; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0) {
			command_help(stdout, command);
			return CTL_OK;
		}
	if (command->is_offline)
		return finish(command->run(ctl, argc - n_words, argv + n_words));
	if (ctl->socket == NULL) {
		found = socket_from_config(config);
		if (found == NULL)
			return CTL_USAGE;
		ctl->socket = found;
	}
	if (curl_global_init(CURL_GLOBAL_NOTHING) != 0)
		return CTL_FAILED;
	ctl->token = token_load(ctl->socket);
	ctl->is_stored_token = ctl->token != NULL;
	r = command->run(ctl, argc - n_words, argv + n_words);
	token_free(ctl->token);
	curl_global_cleanup();
	return finish(r);
}

int main(int argc, char **argv)
{
	struct ctl ctl = { 0 };
	const char *config = NULL;
	int i;

	signal(SIGPIPE, SIG_IGN);
	json_set_alloc_funcs(wiping_malloc, wiping_free);
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			ctl.is_json = true;
		} else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc) {
			ctl.socket = argv[++i];
		} else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = ctl.config = argv[++i];
		} else if (strcmp(argv[i], "--version") == 0) {
			printf("agentctl %s\n", PACKAGE_VERSION);
			return CTL_OK;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			commands_help(stdout);
			return CTL_OK;
		} else {
			fprintf(stderr, "agentctl: unknown option %s, or its value is missing; try --help\n", argv[i]);
			return CTL_USAGE;
		}
	}
	/* --json is also taken after the command, where people type it. */
	for (int k = i; k < argc; k++) {
		if (strcmp(argv[k], "--") == 0)
			break;
		if (strcmp(argv[k], "--json") == 0) {
			ctl.is_json = true;
			memmove(&argv[k], &argv[k + 1], (size_t)(argc - k) * sizeof(argv[0]));
			argc--;
			k--;
		}
	}
	return run(&ctl, config, argc - i, argv + i);
}
