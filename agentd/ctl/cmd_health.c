/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "update health": run at each boot, by agentd-health.service or the start script of a container. With a release under trial it
 * waits for the checks of agentd.conf, then confirms; after the deadline it rolls back and says so by its exit code, upon which
 * the caller reboots. Programs are started here, as the user who calls: no daemon of the agent may start any.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "agentd/common/settings.h"
#include "agentd/ctl/commands.h"
#include "base/macro.h"
#include "base/monotonic.h"

#define POLL_MS 1000
#define ARGUMENTS_MAX 32

extern char **environ;

static void pause_ms(int64_t ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L }, NULL);
}

static bool ends_well(char **argv, int64_t timeout_ms)
{
	const int64_t deadline = (int64_t)monotonic_ms() + timeout_ms;
	posix_spawnattr_t attributes;
	int status = 0, r;
	sigset_t none;
	pid_t pid;

	/* A process group of its own, so that what it started ends with it. */
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	r = posix_spawnp(&pid, argv[0], NULL, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	if (r != 0) {
		fprintf(stderr, "agentctl: cannot start %s: %s\n", argv[0], strerror(r));
		return false;
	}
	while ((r = (int)waitpid(pid, &status, WNOHANG)) == 0 && (int64_t)monotonic_ms() < deadline)
		pause_ms(20);
	if (r == 0) {
		fprintf(stderr, "agentctl: %s takes longer than health.command_timeout_s\n", argv[0]);
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
		return false;
	}
	return r == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool command_is_well(const char *command, int64_t timeout_ms)
{
	_cleanup_free_ char *text = strdup(command);
	char *argv[ARGUMENTS_MAX + 1], *cursor = text, *word;
	size_t n = 0;

	while (text != NULL && n < ARGUMENTS_MAX && (word = strsep(&cursor, " \t")) != NULL)
		if (word[0] != '\0')
			argv[n++] = word;
	argv[n] = NULL;
	return n > 0 && argv[0][0] == '/' && ends_well(argv, timeout_ms);
}

static bool unit_is_active(const char *unit, int64_t timeout_ms)
{
	char *argv[] = { (char *)(uintptr_t)"systemctl", (char *)(uintptr_t)"is-active", (char *)(uintptr_t)"--quiet", (char *)(uintptr_t)"--", (char *)(uintptr_t)unit, NULL };

	return ends_well(argv, timeout_ms);
}

static const char *text_of(const struct reply *reply, const char *member)
{
	const char *text = json_string_value(json_object_get(reply->body, member));

	return text == NULL ? "" : text;
}

/* Connected is not enough: something has to have come through. All of it is kept in RAM, so it was since this boot. */
static bool link_is_alive(struct ctl *ctl)
{
	struct reply reply;
	bool is_alive;
	int r = http_request(ctl, "GET", "/v1/status", NULL, &reply);

	is_alive = r == CTL_OK && strcmp(text_of(&reply, "link_state"), "online") == 0 && strcmp(text_of(&reply, "link_alive"), "alive") == 0;
	reply_free(&reply);
	return is_alive;
}

/* What is not well yet, or NULL. */
static const char *first_complaint(struct ctl *ctl, const struct settings *s)
{
	const int64_t timeout_ms = s->health.command_timeout_s * 1000;

	for (char **unit = s->health.units; unit != NULL && *unit != NULL; unit++)
		if (!unit_is_active(*unit, timeout_ms))
			return *unit;
	for (char **command = s->health.commands; command != NULL && *command != NULL; command++)
		if (!command_is_well(*command, timeout_ms))
			return *command;
	if (s->health.mqtt && s->mqtt.enable && !link_is_alive(ctl))
		return "the broker has not brought a message back yet";
	return NULL;
}

enum trial { TRIAL_NONE, TRIAL_RUNNING, TRIAL_CONFIRMED, TRIAL_UNKNOWN };

/*
 * Before the owner's first password nothing can be installed or confirmed, and no reboot would change that. In every other state the
 * agent tells root about a trial: on the test bench and in recovery there is none; a release that broke the setup is one.
 */
static bool is_factory(struct ctl *ctl)
{
	struct reply reply;
	bool is = http_request(ctl, "GET", "/v1/bootstrap", NULL, &reply) == CTL_OK && strcmp(text_of(&reply, "state"), "factory") == 0;

	reply_free(&reply);
	return is;
}

/* Is a release being tried, in the slot that runs? */
static enum trial trial_look(struct ctl *ctl)
{
	enum trial trial = TRIAL_NONE;
	struct reply reply;

	if (is_factory(ctl))
		return TRIAL_NONE;
	if (http_request(ctl, "GET", "/v1/update", NULL, &reply) != CTL_OK)
		trial = TRIAL_UNKNOWN;
	else if (strcmp(text_of(&reply, "stage"), "confirmed") == 0)
		trial = TRIAL_CONFIRMED;
	else if (strcmp(text_of(&reply, "stage"), "trying") == 0 && strcmp(text_of(&reply, "booted_slot"), text_of(&reply, "target_slot")) == 0)
		trial = TRIAL_RUNNING;
	reply_free(&reply);
	return trial;
}

static int give_up(struct ctl *ctl, const char *complaint)
{
	fprintf(stderr, "agentctl: the new release is not healthy: %s\n", complaint);
	if (http_do(ctl, "POST", "/v1/update/rollback", NULL) != CTL_OK)
		fputs("agentctl: it could not be rolled back; the boot loader falls back when its tries are used up\n", stderr);
	return CTL_UNHEALTHY;
}

static int watch(struct ctl *ctl, const struct settings *s)
{
	const int64_t deadline = (int64_t)monotonic_ms() + s->health.deadline_s * 1000;
	const char *complaint = "the agent does not answer";
	bool is_trial = false;

	for (;;) {
		enum trial trial = trial_look(ctl);

		if (trial == TRIAL_NONE && !is_trial) {
			print_done(ctl, "No release is being tried.", "{\"trial\":\"none\"}");
			return CTL_OK;
		}
		/* Somebody else confirmed it or took it back meanwhile. */
		if (trial == TRIAL_NONE)
			return CTL_OK;
		is_trial = is_trial || trial == TRIAL_RUNNING;
		if (trial == TRIAL_RUNNING)
			complaint = first_complaint(ctl, s);
		/* CONFIRMED: power failed between the boot environment and the floor. */
		if ((trial == TRIAL_CONFIRMED || (trial == TRIAL_RUNNING && complaint == NULL)) && http_do(ctl, "POST", "/v1/update/confirm", NULL) == CTL_OK) {
			print_done(ctl, "The new release is healthy and confirmed.", "{\"trial\":\"confirmed\"}");
			return CTL_OK;
		}
		if (trial == TRIAL_RUNNING && complaint == NULL)
			complaint = "it cannot be confirmed";
		if ((int64_t)monotonic_ms() >= deadline)
			return trial == TRIAL_CONFIRMED ? CTL_FAILED : give_up(ctl, complaint);
		pause_ms(POLL_MS);
	}
}

int cmd_update_health(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct settings *settings = NULL;
	int r;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = settings_load(ctl->config, &settings, &err);
	if (r < 0) {
		fprintf(stderr, "agentctl: %s\n", agent_error_message(err));
		return CTL_FAILED;
	}
	if (settings->update.slots.n == 0) {
		print_done(ctl, "No release is being tried: there are no slots.", "{\"trial\":\"none\"}");
		r = CTL_OK;
	} else {
		r = watch(ctl, settings);
	}
	settings_free(settings);
	return r;
}
