/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TPM_LIVE_H
#define TESTS_TPM_LIVE_H
/*
 * What the programs that are run against a software TPM have in common: PROGRAM TCTI DIR COMMAND [ARGUMENT...], one command
 * per run. With KILL_AT=N in the environment the process dies just before its Nth TPM command.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/context.h>
#include <agent/tpm.h>

#include "tpm/connection.h"

static struct agent_error *err;
static struct agent_tpm *tpm;
static int dir_fd = -1;

static int fail(void)
{
	printf("error %s: %s\n", agent_error_name(err), agent_error_message(err));
	err = agent_error_free(err);
	return 1;
}

static enum tcti_verdict kill_at(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size, uint32_t *ret_rc)
{
	int *left = userdata;

	(void)command_code;
	(void)answer_size;
	(void)ret_rc;
	if (answer == NULL && --*left == 0)
		kill(getpid(), SIGKILL);
	return TCTI_PASS;
}

static void live_log(void *userdata, const char *line)
{
	(void)userdata;
	if (getenv("AGENT_TEST_VERBOSE") != NULL)
		fprintf(stderr, "%s\n", line);
}

/* Signals blocked as in core; @run returns the exit code, 2 for a command that is not one. */
static int live_main(int argc, char **argv, int (*run)(struct agent_context *ctx, int argc, char **argv))
{
	struct agent_context *ctx = NULL;
	int kill_left = 0, r;
	sigset_t all;

	if (argc < 4)
		return 2;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || agent_context_new(&ctx) < 0)
		return 2;
	agent_set_log_fn(ctx, live_log, NULL);
	if (agent_tpm_new(ctx, argv[1], 0x81000001, &tpm, &err) < 0)
		return fail();
	if (getenv("KILL_AT") != NULL) {
		kill_left = atoi(getenv("KILL_AT"));
		tpm_set_hook(tpm, kill_at, &kill_left);
	}
	r = run(ctx, argc, argv);
	tpm_set_hook(tpm, NULL, NULL);
	agent_tpm_unref(tpm);
	agent_context_unref(ctx);
	close(dir_fd);
	return r;
}

#endif
