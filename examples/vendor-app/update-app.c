/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor's program that updates its device by itself, with the engine of libagent and no daemon: two copies of one partition, a policy
 * of its own, and a line about the progress. Backend "file"; agentd.conf(5) has the other boot loaders.
 *
 *   update-app [OPTIONS] look BUNDLE        what is in it, and would it be installed? Changes nothing
 *   update-app [OPTIONS] install BUNDLE|-   into the slot that does not run; the boot loader tries it next
 *   update-app [OPTIONS] status | confirm | rollback
 *
 *     -t FOLDER  certificates of the signers      -p BOARD:REVISION   of this device
 *     -d FOLDER  state of the engine              -e FILE             boot environment
 *     -a PATH    slot a        -b PATH  slot b    -f FILE             rollback floor
 *     -s         security releases only
 *
 * The floor is in a file here, so that the example runs anywhere. A file can be put back to what it was; a product keeps the floor in a counter
 * of the TPM: agent_counter(3).
 */
#define _POSIX_C_SOURCE 200809L /* with -std=c11 the headers are bare */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <agent/agent.h>

struct app {
	struct agent_update_options options;
	const char *slot_a, *slot_b, *floor_path;
	int security_only, looks_only, was_shown;
	unsigned last_tenth;
	enum agent_update_stage last_stage;
};

static int failed(struct agent_error *err)
{
	fprintf(stderr, "update-app: %s (%s)\n", agent_error_message(err), agent_error_name(err));
	agent_error_free(err);
	return 1;
}

/* ---- the rollback floor ---------------------------------------------------------------------------------------------- */

static int floor_read(const struct app *app, uint64_t *ret_floor)
{
	FILE *f = fopen(app->floor_path, "r");
	int n;

	*ret_floor = 0;
	if (f == NULL && errno == ENOENT)
		return 0;	/* a new device */
	n = f == NULL ? 0 : fscanf(f, "%" SCNu64, ret_floor);
	if (f != NULL)
		fclose(f);
	return n == 1 ? 0 : -1;	/* a damaged floor is none to go on with */
}

/* Old or new after a power cut. */
static int floor_write(const struct app *app, uint64_t floor)
{
	char path[256];
	FILE *f;
	int r;

	if (snprintf(path, sizeof(path), "%s.new", app->floor_path) >= (int)sizeof(path))
		return -1;
	f = fopen(path, "w");
	if (f == NULL)
		return -1;
	r = fprintf(f, "%" PRIu64 "\n", floor) < 0 || fflush(f) != 0 || fsync(fileno(f)) < 0 ? -1 : 0;
	if (fclose(f) != 0 || r < 0)
		return -1;
	return rename(path, app->floor_path);
}

/* ---- what the engine asks and tells ------------------------------------------------------------------------------------ */

/* The manifest is signed, fits this device and is not below the floor; nothing was touched yet. The last word is ours. */
static int on_policy(void *userdata, const struct agent_update_release *release, struct agent_error **err)
{
	struct app *app = userdata;

	printf("release %s, version %s, security version %" PRIu64 ", %s, %" PRIu64 " bytes%s%s\n", release->release_id, release->version,
	       release->security_version, release->kind[0] == '\0' ? "of no kind" : release->kind, release->stored_bytes,
	       release->advisory[0] == '\0' ? "" : ": ", release->advisory);
	app->was_shown = 1;
	if (app->security_only && strcmp(release->kind, "security") != 0)
		return agent_error_set(err, -ECANCELED, "vendor.not-now", "release %s is no security release", release->release_id);
	/* Here a product looks at its battery, or asks its user. */
	return app->looks_only ? -ECANCELED : 0;
}

/* After each chunk: be quick. */
static void on_progress(void *userdata, enum agent_update_stage stage, uint64_t done_bytes, uint64_t total_bytes)
{
	unsigned tenth = total_bytes == 0 ? 0 : (unsigned)(done_bytes * 10 / total_bytes);
	struct app *app = userdata;

	if (stage == app->last_stage && tenth == app->last_tenth)
		return;
	app->last_stage = stage;
	app->last_tenth = tenth;
	printf("%s %u %%\n", agent_update_stage_name(stage), tenth * 10);
	fflush(stdout);
}

/* ---- commands ----------------------------------------------------------------------------------------------------------- */

static int install(struct app *app, struct agent_update *update, const char *path, uint64_t floor)
{
	struct agent_error *err = NULL;
	int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0) {
		perror(path);
		return 1;
	}
	r = agent_update_set_policy(update, on_policy, app, &err);
	if (r == 0)
		r = agent_update_install(update, fd, floor, (uint64_t)time(NULL), on_progress, app, &err);
	if (fd != STDIN_FILENO)
		close(fd);
	if (r < 0 && app->looks_only && app->was_shown && strcmp(agent_error_name(err), "update.policy") == 0) {
		puts("it would be installed");
		agent_error_free(err);
		return 0;
	}
	if (r < 0)
		return failed(err);
	puts("restart to try it");
	return 0;
}

/* Only after the device was found to do its work: this is what makes the release the one to fall back to. */
static int confirm(struct app *app, struct agent_update *update, uint64_t floor)
{
	struct agent_error *err = NULL;
	uint64_t wanted = 0;
	int r = agent_update_confirm(update, &wanted, &err);

	if (r < 0)
		return failed(err);
	/* Killed here? confirm does it all again. */
	if (wanted > floor && floor_write(app, wanted) < 0) {
		perror(app->floor_path);
		return 1;
	}
	r = agent_update_confirm_done(update, &err);
	return r < 0 ? failed(err) : 0;
}

static int status(struct agent_update *update)
{
	struct agent_update_status s;
	struct agent_error *err = NULL;

	if (agent_update_get_status(update, &s, &err) < 0)
		return failed(err);
	printf("slot %s runs; %s; release %s; failed before: %s\n", s.booted_slot, agent_update_stage_name(s.stage), s.release_id == NULL ? "-" : s.release_id,
	       s.failed_release_id == NULL ? "-" : s.failed_release_id);
	return 0;
}

static int command_run(struct app *app, struct agent_update *update, const char *command, const char *bundle)
{
	struct agent_error *err = NULL;
	uint64_t floor;

	if (floor_read(app, &floor) < 0) {
		fprintf(stderr, "update-app: %s holds no floor\n", app->floor_path);
		return 1;
	}
	/* What a power cut left is finished or undone first, whatever is asked. */
	if (agent_update_settle(update, &err) < 0)
		return failed(err);
	app->looks_only = strcmp(command, "look") == 0;
	if (bundle != NULL && (app->looks_only || strcmp(command, "install") == 0))
		return install(app, update, bundle, floor);
	if (strcmp(command, "status") == 0)
		return status(update);
	if (strcmp(command, "confirm") == 0)
		return confirm(app, update, floor);
	if (strcmp(command, "rollback") == 0)
		return agent_update_rollback(update, floor, &err) < 0 ? failed(err) : 0;
	fprintf(stderr, "update-app: there is no command \"%s\"%s\n", command, bundle == NULL ? " without a bundle" : "");
	return 2;
}

int main(int argc, char **argv)
{
	struct app app = { .options = { .n_min_signers = 1, .boot_backend = "file", .n_tries = 3 } };
	struct agent_update *update = NULL;
	struct agent_context *ctx = NULL;
	struct agent_error *err = NULL;
	int c, r;

	while ((c = getopt(argc, argv, "t:p:d:e:a:b:f:s")) != -1) {
		switch (c) {
		case 't': app.options.trust_dir = optarg; break;
		case 'p': app.options.product = optarg; break;
		case 'd': app.options.state_dir = optarg; break;
		case 'e': app.options.boot_config = optarg; break;
		case 'a': app.slot_a = optarg; break;
		case 'b': app.slot_b = optarg; break;
		case 'f': app.floor_path = optarg; break;
		case 's': app.security_only = 1; break;
		default: return 2;
		}
	}
	if (optind == argc || app.slot_a == NULL || app.slot_b == NULL || app.floor_path == NULL) {
		fprintf(stderr, "usage: update-app -t TRUST -p PRODUCT -d STATE -e BOOT-ENV -a SLOT -b SLOT -f FLOOR [-s] look|install|status|confirm|rollback [BUNDLE]\n");
		return 2;
	}
	r = agent_context_new(&ctx);
	if (r < 0) {
		fprintf(stderr, "update-app: %s\n", strerror(-r));
		return 1;
	}
	/* Takes the lock of the state folder: one engine at a time. */
	r = agent_update_new(ctx, &app.options, &update, &err);
	if (r == 0)
		r = agent_update_add_slot(update, "rootfs", "a", app.slot_a, &err);
	if (r == 0)
		r = agent_update_add_slot(update, "rootfs", "b", app.slot_b, &err);
	r = r < 0 ? failed(err) : command_run(&app, update, argv[optind], optind + 1 < argc ? argv[optind + 1] : NULL);
	agent_update_free(update);
	agent_context_unref(ctx);
	return r;
}
