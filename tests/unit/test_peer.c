/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agentd/common/operations.h"
#include "agentd/common/peer.h"

static const struct { int number; const char *name, *message; } failures[] = {
	{ -EBADMSG, "update.no-slot", "slot b is gone" },
	{ -EKEYREJECTED, "update.signature", "no trusted key signed it" },
	{ -ESTALE, "update.rollback", "version 3 is below the floor 4" },
	{ -EKEYEXPIRED, "password.change-due", "\xc3\xa4ndern" },
	{ -ENOTCONN, "mqtt.offline", "no broker" },
};

static int on_fail(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	struct agent_error *err = NULL;
	uint32_t i;
	int r = sd_bus_message_read(m, "u", &i);

	if (r < 0)
		return r;
	if (i == 99)
		return peer_error_reply(ret_error, -EPERM, &err);	/* no words */
	r = agent_error_set(&err, failures[i].number, failures[i].name, "%s", failures[i].message);
	return i % 2 ? peer_reply_error(m, r, &err) : peer_error_reply(ret_error, r, &err);
}

static int on_plain(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	return -ENOSPC;
}

/* Writes "hi" into the descriptor it is given, hands back a dictionary. */
static int on_write(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	static const char *const names[] = { "a", "b", NULL };
	sd_bus_message *reply = NULL;
	int fd, r;

	r = sd_bus_message_read(m, "h", &fd);
	if (r < 0 || write(fd, "hi", 2) != 2)
		return -EIO;
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "{sv}");
	if (r >= 0)
		r = peer_append_string(reply, "text", "x");
	if (r >= 0)
		r = peer_append_string(reply, "none", NULL);
	if (r >= 0)
		r = peer_append_u64(reply, "number", UINT64_MAX);
	if (r >= 0)
		r = peer_append_bool(reply, "truth", 4);
	if (r >= 0)
		r = peer_append_strings(reply, "names", names);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r < 0 ? r : 1;
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Fail", "u", "", on_fail, 0),
	SD_BUS_METHOD("Plain", "", "", on_plain, 0),
	SD_BUS_METHOD("Write", "h", "a{sv}", on_write, 0),
	SD_BUS_VTABLE_END
};

struct server {
	struct temp_dir dir;
	int listen_fd;
	pthread_t thread;
};

/* One connection, until it ends. */
static void *serve(void *userdata)
{
	struct server *server = userdata;
	sd_bus *bus = NULL;
	uint32_t uid = 0;
	int fd = -1;

	while (peer_accept(server->listen_fd, &fd, &uid) == -EAGAIN)
		usleep(1000);
	if (uid != getuid() || peer_serve(fd, &bus, NULL) < 0)
		return NULL;
	sd_bus_add_object_vtable(bus, NULL, BUS_PATH, BUS_CORE, vtable, NULL);
	for (;;) {
		int r = sd_bus_process(bus, NULL);

		if (r < 0 || (r == 0 && sd_bus_wait(bus, UINT64_MAX) < 0))
			break;
	}
	sd_bus_close_unref(bus);
	return NULL;
}

static int start(void **state)
{
	struct server *server = test_calloc(1, sizeof(*server));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	temp_dir_make(&server->dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/core-mgmt.sock", server->dir.path);
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->listen_fd, 5), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	*state = server;
	return 0;
}

static int stop(void **state)
{
	struct server *server = *state;

	pthread_join(server->thread, NULL);
	close(server->listen_fd);
	temp_dir_remove(&server->dir);
	test_free(server);
	return 0;
}

static void errors_cross_with_errno_name_and_sentence(void **state)
{
	struct server *server = *state;
	struct agent_error *err = NULL;
	sd_bus *bus = NULL;

	assert_int_equal(peer_connect(server->dir.path, "core-mgmt.sock", &bus, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(failures); i++) {
		sd_bus_error error = SD_BUS_ERROR_NULL;
		int r = sd_bus_call_method(bus, NULL, BUS_PATH, BUS_CORE, "Fail", &error, NULL, "u", i);

		assert_true(r < 0);
		assert_int_equal(peer_error_from_bus(&error, r, &err), failures[i].number);
		assert_string_equal(agent_error_message(err), failures[i].message);
		assert_error(&err, failures[i].number, failures[i].name);
		sd_bus_error_free(&error);
	}
	sd_bus_close_unref(bus);
}

static void errors_without_words_keep_their_errno(void **state)
{
	static const struct { const char *method; unsigned arg; int number; const char *name; } cases[] = {
		{ "Fail", 99, -EPERM, "error.none" },
		{ "Plain", 0, -ENOSPC, "bus.call" },
		{ "Absent", 0, -EBADR, "bus.call" },
	};
	struct server *server = *state;
	struct agent_error *err = NULL;
	sd_bus *bus = NULL;

	assert_int_equal(peer_connect(server->dir.path, "core-mgmt.sock", &bus, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		sd_bus_error error = SD_BUS_ERROR_NULL;
		int r = sd_bus_call_method(bus, NULL, BUS_PATH, BUS_CORE, cases[i].method, &error, NULL,
					   strcmp(cases[i].method, "Fail") == 0 ? "u" : "", cases[i].arg);

		assert_true(r < 0);
		assert_int_equal(peer_error_from_bus(&error, r, &err), cases[i].number);
		assert_error(&err, cases[i].number, cases[i].name);
		sd_bus_error_free(&error);
	}
	sd_bus_close_unref(bus);
}

static void descriptors_and_dictionaries_pass(void **state)
{
	struct server *server = *state;
	sd_bus_message *reply = NULL;
	const char *key, *text;
	sd_bus *bus = NULL;
	char bytes[3] = "";
	uint64_t number;
	int fds[2], truth;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(peer_connect(server->dir.path, "core-mgmt.sock", &bus, NULL), 0);
	assert_true(sd_bus_call_method(bus, NULL, BUS_PATH, BUS_CORE, "Write", NULL, &reply, "h", fds[1]) >= 0);
	assert_int_equal(read(fds[0], bytes, 2), 2);
	assert_string_equal(bytes, "hi");
	assert_true(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
	assert_true(sd_bus_message_read(reply, "{sv}", &key, "s", &text) > 0);
	assert_string_equal(key, "text");
	assert_true(sd_bus_message_read(reply, "{sv}", &key, "t", &number) > 0);
	assert_string_equal(key, "number");
	assert_true(number == UINT64_MAX);
	assert_true(sd_bus_message_read(reply, "{sv}", &key, "b", &truth) > 0);
	assert_int_equal(truth, 1);
	assert_true(sd_bus_message_read(reply, "{sv}", &key, "as", 2, &text, &text) > 0);
	assert_string_equal(key, "names");
	assert_true(sd_bus_message_exit_container(reply) >= 0);
	sd_bus_message_unref(reply);
	sd_bus_close_unref(bus);
	close(fds[0]);
	close(fds[1]);
}

static void nobody_there_says_so(void **state)
{
	struct agent_error *err = NULL;
	char long_dir[200];
	sd_bus *bus = NULL;

	assert_int_equal(peer_connect("/nonexistent", "core-mgmt.sock", &bus, &err), -ENOENT);
	assert_non_null(strstr(agent_error_message(err), "/nonexistent/core-mgmt.sock"));
	assert_error(&err, -ENOENT, "bus.connect");
	memset(long_dir, 'a', sizeof(long_dir) - 1);
	long_dir[sizeof(long_dir) - 1] = '\0';
	assert_int_equal(peer_connect(long_dir, "x", &bus, &err), -ENAMETOOLONG);
	assert_error(&err, -ENAMETOOLONG, "bus.connect");
	assert_null(bus);
}

static void a_lost_connection_is_named(void **state)
{
	struct agent_error *err = NULL;
	sd_bus_error error = SD_BUS_ERROR_MAKE_CONST("org.libagent.Error.nodot", "x");

	assert_int_equal(peer_error_from_bus(NULL, -ECONNRESET, &err), -ENOTCONN);
	assert_error(&err, -ENOTCONN, "bus.lost");
	assert_int_equal(peer_error_from_bus(NULL, -ETIMEDOUT, &err), -ETIMEDOUT);
	assert_error(&err, -ETIMEDOUT, "bus.timeout");
	assert_int_equal(peer_error_from_bus(&error, -EIO, &err), -EIO);
	assert_error(&err, -EIO, "bus.protocol");
}

static int on_greeting(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	const char *text;

	if (sd_bus_message_read(m, "s", &text) > 0)
		*(bool *)userdata = strcmp(text, "a\r\nb\r\n") == 0;
	return 0;
}

/* libsystemd looks for the lines of the handshake in whatever came with it. */
static void a_message_right_behind_the_handshake_may_have_lines(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	sd_bus *client = NULL, *server = NULL;
	struct temp_dir dir;
	bool has_come = false;
	int listen_fd, fd = -1;
	uint32_t uid;

	temp_dir_make(&dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/core-mgmt.sock", dir.path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listen_fd, 1), 0);
	assert_int_equal(peer_connect(dir.path, "core-mgmt.sock", &client, NULL), 0);
	assert_int_equal(peer_accept(listen_fd, &fd, &uid), 0);
	assert_int_equal(peer_serve(fd, &server, NULL), 0);
	assert_true(sd_bus_match_signal(client, NULL, NULL, "/", "a.b", "C", on_greeting, &has_come) >= 0);
	assert_true(sd_bus_emit_signal(server, "/", "a.b", "C", "s", "a\r\nb\r\n") >= 0);
	for (int i = 0; i < 20; i++)
		assert_true(sd_bus_process(server, NULL) >= 0);
	for (int i = 0; i < 20 && !has_come; i++)
		assert_true(sd_bus_process(client, NULL) >= 0);
	assert_true(has_come);
	sd_bus_close_unref(client);
	sd_bus_close_unref(server);
	close(listen_fd);
	temp_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(errors_cross_with_errno_name_and_sentence, start, stop),
		cmocka_unit_test_setup_teardown(errors_without_words_keep_their_errno, start, stop),
		cmocka_unit_test_setup_teardown(descriptors_and_dictionaries_pass, start, stop),
		cmocka_unit_test(nobody_there_says_so),
		cmocka_unit_test(a_lost_connection_is_named),
		cmocka_unit_test(a_message_right_behind_the_handshake_may_have_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
