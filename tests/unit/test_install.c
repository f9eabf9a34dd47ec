/* SPDX-License-Identifier: Apache-2.0 */
/* agentd-install as it is installed, in its sandbox, asked over its socket as core would. */
#include "tests/unit/test.h"
#include "tests/unit/bundle.h"
#include "tests/unit/update_fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <systemd/sd-bus.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"

#define PROGRAM "./agentd-install"

struct daemon {
	struct device *device;
	pid_t pid;
	int listen_fd;
	sd_bus *bus;
	unsigned n_progress;
};

static void config_write(struct device *d, char *ret_path, size_t size)
{
	_cleanup_free_ char *text = NULL;

	snprintf(ret_path, size, "%s/agentd.conf", d->dir.path);
	assert_true(asprintf(&text,
			     "device: { product = \"gw:1\"; serial = \"S1\"; };\n"
			     "paths: { install_dir = \"%s\"; run_dir = \"%s\"; trust_dir = \"%s\"; };\n"
			     "update: { boot_config = \"%s/boot/env\"; tries = 2; slots = ( { class = \"rootfs\"; name = \"a\"; path = \"%s\"; },\n"
			     "  { class = \"rootfs\"; name = \"b\"; path = \"%s\"; } ); };\n",
			     d->state, d->dir.path, d->dir.path, d->dir.path, d->slot[0], d->slot[1]) > 0);
	assert_int_equal(file_replace_at(AT_FDCWD, ret_path, 0600, text, strlen(text), NULL), 0);
}

static void daemon_start(struct daemon *m)
{
	char config[128];

	config_write(m->device, config, sizeof(config));
	m->pid = fork();
	assert_true(m->pid >= 0);
	if (m->pid == 0) {
		char pid[24];

		snprintf(pid, sizeof(pid), "%d", getpid());
		if (m->listen_fd != 3)
			dup2(m->listen_fd, 3);
		else
			fcntl(3, F_SETFD, 0);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", "install", 1);
		setenv("LISTEN_PID", pid, 1);
		execl(PROGRAM, PROGRAM, "--config", config, NULL);
		_exit(127);
	}
	assert_int_equal(peer_connect(m->device->dir.path, "install.sock", &m->bus, NULL), 0);
}

/* The exit status; the daemon is told to stop first if it is still there. */
static int daemon_stop(struct daemon *m)
{
	int status = 0;

	m->bus = sd_bus_close_unref(m->bus);
	if (m->pid <= 0)
		return 0;
	kill(m->pid, SIGTERM);
	assert_int_equal(waitpid(m->pid, &status, 0), m->pid);
	m->pid = 0;
	return status;
}

static int setup(void **state)
{
	struct daemon *m = test_calloc(1, sizeof(*m));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	void *device = NULL;
	char path[128];

	device_setup(&device);
	m->device = device;
	/* The boot environment in a folder of its own: its folder is what the sandbox lets be written. */
	snprintf(path, sizeof(path), "%s/boot", m->device->dir.path);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(m->device->env, sizeof(m->device->env), "%s/boot/env", m->device->dir.path);
	assert_int_equal(file_replace_at(AT_FDCWD, m->device->env, 0600, FACTORY_ENV, strlen(FACTORY_ENV), NULL), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/install.sock", m->device->dir.path);
	m->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(m->listen_fd, 4), 0);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct daemon *m = *state;
	void *device = m->device;

	if (m->pid > 0) {
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
	}
	sd_bus_close_unref(m->bus);
	close(m->listen_fd);
	device_teardown(&device);
	test_free(m);
	return 0;
}

static int on_progress(sd_bus_message *signal_message, void *userdata, sd_bus_error *ret_error)
{
	struct daemon *m = userdata;
	uint64_t done, total;
	const char *stage;

	assert_true(sd_bus_message_read(signal_message, "stt", &stage, &done, &total) > 0);
	assert_true(done <= total);
	m->n_progress++;
	return 0;
}

/* One text and one number out of a status. */
static void status_read(sd_bus_message *reply, const char *wanted, char *ret_text, size_t size, uint64_t *ret_number)
{
	ret_text[0] = '\0';
	assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		const char *key, *type, *text;
		char kind;

		assert_true(sd_bus_message_read(reply, "s", &key) > 0);
		assert_true(sd_bus_message_peek_type(reply, &kind, &type) > 0);
		if (strcmp(key, wanted) == 0 && strcmp(type, "s") == 0) {
			assert_true(sd_bus_message_read(reply, "v", "s", &text) > 0);
			snprintf(ret_text, size, "%s", text);
		} else if (strcmp(key, wanted) == 0) {
			assert_true(sd_bus_message_read(reply, "v", "t", ret_number) > 0);
		} else {
			assert_true(sd_bus_message_skip(reply, "v") >= 0);
		}
		assert_true(sd_bus_message_exit_container(reply) >= 0);
	}
}

static void assert_stage(struct daemon *m, const char *stage)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	char text[64];

	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Status", &error, &reply, NULL) >= 0);
	status_read(reply, "stage", text, sizeof(text), NULL);
	assert_string_equal(text, stage);
	sd_bus_message_unref(reply);
	sd_bus_error_free(&error);
}

static int call_order(struct daemon *m, int fd, uint64_t floor, bool looks_only, const char *release_id, const char *manifest, sd_bus_message **ret_reply,
		      sd_bus_error *error)
{
	sd_bus_message *call = NULL;
	int r;

	assert_true(sd_bus_message_new_method_call(m->bus, &call, NULL, BUS_PATH, BUS_INSTALL, "Begin") >= 0);
	assert_true(sd_bus_message_append(call, "htttbsssst", fd, floor, UINT64_C(0), NOW_S, (int)looks_only, release_id, manifest, "", "", UINT64_C(0)) >= 0);
	r = sd_bus_call(m->bus, call, 60 * 1000000, error, ret_reply);
	sd_bus_message_unref(call);
	return r;
}

static int call_begin(struct daemon *m, int fd, uint64_t floor, sd_bus_error *error)
{
	sd_bus_message *reply = NULL;
	int r = call_order(m, fd, floor, false, "", "", &reply, error);

	if (r >= 0) {
		char text[64];

		status_read(reply, "release_id", text, sizeof(text), NULL);
		assert_string_equal(text, "r-1");
	}
	sd_bus_message_unref(reply);
	return r;
}

static void a_bundle_is_installed_confirmed_and_reported(void **state)
{
	struct daemon *m = *state;
	_cleanup_bytes_ struct bytes bytes = { 0 };
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	uint64_t floor = 0;
	pid_t writer;
	int fds[2];

	daemon_start(m);
	assert_stage(m, "idle");
	assert_true(sd_bus_match_signal(m->bus, NULL, NULL, BUS_PATH, BUS_INSTALL, "Progress", on_progress, m) >= 0);
	bundle_make(m->device, &(struct bundle){ 0 }, &bytes);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	writer = fork();
	if (writer == 0) {
		close(fds[0]);
		_exit(write_all(fds[1], bytes.data, bytes.size) == 0 ? 0 : 1);
	}
	close(fds[1]);
	assert_true(call_begin(m, fds[0], 5, &error) >= 0);
	close(fds[0]);
	waitpid(writer, NULL, 0);
	while (sd_bus_process(m->bus, NULL) > 0)
		;
	assert_true(m->n_progress > 0);
	assert_true(slot_holds_image(m->device, 1));
	assert_stage(m, "trying");
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Confirm", &error, NULL, NULL) < 0);
	assert_string_equal(error.name, BUS_ERROR_PREFIX "EPERM.update.not_booted");
	sd_bus_error_free(&error);
	assert_true(WIFEXITED(daemon_stop(m)));

	assert_string_equal(reboot(m->device), "b");
	daemon_start(m);
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Confirm", &error, &reply, NULL) >= 0);
	assert_true(sd_bus_message_read(reply, "t", &floor) > 0);
	assert_int_equal(floor, 5);
	sd_bus_message_unref(reply);
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "ConfirmDone", &error, NULL, NULL) >= 0);
	assert_stage(m, "idle");
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Rollback", &error, NULL, "t", floor) < 0);
	assert_string_equal(error.name, BUS_ERROR_PREFIX "EPERM.boot.not_bootable");
	sd_bus_error_free(&error);
	assert_true(WIFEXITED(daemon_stop(m)));
}

static void what_is_refused_comes_back_with_its_name(void **state)
{
	static const struct {
		struct bundle bundle;
		uint64_t floor;
		const char *name;
	} cases[] = {
		{ { .by_stranger = true }, 0, "EKEYREJECTED.update.signer" },
		{ { 0 }, 6, "ESTALE.update.stale" },
		{ { .product = "other:1" }, 0, "EPERM.update.product" },
		{ { .break_chunk = 2 }, 0, "EBADMSG.update.chunk" },
	};
	struct daemon *m = *state;

	daemon_start(m);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_bytes_ struct bytes bytes = { 0 };
		sd_bus_error error = SD_BUS_ERROR_NULL;
		_cleanup_close_ int fd = -1;
		char name[96];

		bundle_make(m->device, &cases[i].bundle, &bytes);
		fd = bytes_fd(bytes.data, bytes.size);
		assert_true(call_begin(m, fd, cases[i].floor, &error) < 0);
		snprintf(name, sizeof(name), BUS_ERROR_PREFIX "%s", cases[i].name);
		assert_string_equal(error.name, name);
		sd_bus_error_free(&error);
	}
	assert_stage(m, "failed");
	assert_true(WIFEXITED(daemon_stop(m)));
}

/* The bundle that was looked into, and no other one that the right people signed under the same release id. */
static void only_the_bundle_that_was_looked_into_is_installed(void **state)
{
	static const struct {
		const char *release_id;
		bool is_other, is_refused;
	} rows[] = { { "r-1", true, true }, { "r-9", false, true }, { "", true, true }, { "r-1", false, false } };
	struct daemon *m = *state;
	_cleanup_bytes_ struct bytes bytes = { 0 }, other = { 0 };
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	char seen[65];
	int fd;

	daemon_start(m);
	bundle_make(m->device, &(struct bundle){ 0 }, &bytes);
	bundle_make(m->device, &(struct bundle){ .extra_agent = "advisory = \"another\";" }, &other);
	fd = bytes_fd(bytes.data, bytes.size);
	assert_true(call_order(m, fd, 0, true, "", "", &reply, &error) >= 0);
	close(fd);
	status_read(reply, "offer_manifest_sha256", seen, sizeof(seen), NULL);
	assert_int_equal(strlen(seen), 64);
	sd_bus_message_unref(reply);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct bytes *b = rows[i].is_other ? &other : &bytes;
		int r;

		reply = NULL;
		fd = bytes_fd(b->data, b->size);
		r = call_order(m, fd, 0, false, rows[i].release_id, seen, &reply, &error);
		close(fd);
		sd_bus_message_unref(reply);
		assert_int_equal(r < 0, rows[i].is_refused);
		if (!rows[i].is_refused)
			continue;
		assert_string_equal(error.name, BUS_ERROR_PREFIX "EPERM.update.policy");
		sd_bus_error_free(&error);
		assert_true(slot_is_untouched(m->device, 1));
	}
	assert_true(slot_holds_image(m->device, 1));
	assert_true(WIFEXITED(daemon_stop(m)));
}

static void questions_are_answered_while_a_bundle_is_awaited(void **state)
{
	struct daemon *m = *state;
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *call = NULL;
	int fds[2], status;

	daemon_start(m);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(sd_bus_message_new_method_call(m->bus, &call, NULL, BUS_PATH, BUS_INSTALL, "Begin") >= 0);
	assert_true(sd_bus_message_append(call, "htttbsssst", fds[0], UINT64_C(0), UINT64_C(0), NOW_S, 0, "", "", "", "", UINT64_C(0)) >= 0);
	assert_true(sd_bus_call_async(m->bus, NULL, call, NULL, NULL, 0) >= 0);
	sd_bus_message_unref(call);
	assert_stage(m, "receiving");
	assert_true(call_begin(m, fds[0], 0, &error) < 0);
	assert_string_equal(error.name, BUS_ERROR_PREFIX "EBUSY.update.busy");
	sd_bus_error_free(&error);
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Rollback", &error, NULL, "t", UINT64_C(0)) < 0);
	assert_string_equal(error.name, BUS_ERROR_PREFIX "EBUSY.update.busy");
	sd_bus_error_free(&error);
	/* Core goes away: the pipe may never end, so the program does. */
	m->bus = sd_bus_close_unref(m->bus);
	assert_int_equal(waitpid(m->pid, &status, 0), m->pid);
	m->pid = 0;
	assert_true(WIFEXITED(status));
	close(fds[0]);
	close(fds[1]);
}

static void without_a_boot_environment_every_question_gets_the_reason(void **state)
{
	struct daemon *m = *state;
	sd_bus_error error = SD_BUS_ERROR_NULL;

	assert_int_equal(unlink(m->device->env), 0);
	daemon_start(m);
	assert_true(sd_bus_call_method(m->bus, NULL, BUS_PATH, BUS_INSTALL, "Status", &error, NULL, NULL) < 0);
	assert_string_equal(error.name, BUS_ERROR_PREFIX "ENOENT.boot.missing");
	sd_bus_error_free(&error);
	/* It comes later: no restart is needed. */
	assert_int_equal(file_replace_at(AT_FDCWD, m->device->env, 0600, FACTORY_ENV, strlen(FACTORY_ENV), NULL), 0);
	assert_stage(m, "idle");
	assert_true(WIFEXITED(daemon_stop(m)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_bundle_is_installed_confirmed_and_reported),
		T(what_is_refused_comes_back_with_its_name),
		T(only_the_bundle_that_was_looked_into_is_installed),
		T(questions_are_answered_while_a_bundle_is_awaited),
		T(without_a_boot_environment_every_question_gets_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
