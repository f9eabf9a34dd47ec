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

/* What was printed must have arrived, or the exit code must tell. A reader who had enough, as "head" has, needs no sentence. */
static int finish(int r)
{
	const bool is_lost = fflush(stdout) != 0 || ferror(stdout);

	if (is_lost && errno != EPIPE)
		fprintf(stderr, "agentctl: cannot write the answer: %s\n", strerror(errno));
	return is_lost && r == CTL_OK ? CTL_FAILED : r;
}

static bool is_help(const char *text)
{
	return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
}

/* Is help asked for, behind a command or with "help" before it? */
static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (is_help(argv[i]))
			return true;
	return false;
}

static int run(struct ctl *ctl, const char *config, int argc, char **argv)
{
	_cleanup_free_ char *found = NULL;
	const struct command *command;
	bool is_asked = false;
	int n_words = 0, r;

	if (argc > 0 && strcmp(argv[0], "help") == 0) {
		argc--;
		argv++;
		is_asked = true;
	}
	if ((is_asked || wants_help(argc, argv)) && commands_explain(stdout, argc, argv))
		return finish(CTL_OK);
	command = is_asked ? NULL : command_find(argc, argv, &n_words);
	if (command == NULL) {
		commands_unknown(argc, argv);
		return CTL_USAGE;
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
		} else if (strncmp(argv[i], "--socket=", 9) == 0) {
			ctl.socket = argv[i] + 9;
		} else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = ctl.config = argv[++i];
		} else if (strncmp(argv[i], "--config=", 9) == 0) {
			config = ctl.config = argv[i] + 9;
		} else if (strcmp(argv[i], "--version") == 0) {
			printf("agentctl %s\n", PACKAGE_VERSION);
			return finish(CTL_OK);
		} else if (is_help(argv[i])) {
			commands_explain(stdout, 0, NULL);
			return finish(CTL_OK);
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
