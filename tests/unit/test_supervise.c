/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole supervisor with programs of our own: this binary, started under one of their names, is the program. It
 * answers "NAME PID" on each of its sockets; agentd-install leaves after one answer.
 */
#include "config.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <systemd/sd-daemon.h>

#include "agentd/common/service.h"
#include "agentd/core/supervise.h"

#define PATIENCE_MS 10000

/* ---- the pretended program ------------------------------------------------------------------------------------------ */

static int act_as(const char *name)
{
	struct pollfd polls[8];
	int n = sd_listen_fds(0);

	/* What a program may count on. */
	if (getenv("NOTIFY_SOCKET") == NULL || getenv("WATCHDOG_USEC") == NULL || getenv("HOME") != NULL || n < 0 || n > 8)
		return 1;
	if (fcntl(3 + n, F_GETFD) >= 0)
		return 1; /* a descriptor too many */
	for (int i = 0; i < n; i++)
		polls[i] = (struct pollfd){ .fd = SD_LISTEN_FDS_START + i, .events = POLLIN };
	sd_notify(0, "READY=1");
	for (;;) {
		if (poll(polls, (nfds_t)n, -1) < 0)
			return 1;
		for (int i = 0; i < n; i++) {
			int fd = polls[i].revents == 0 ? -1 : accept(polls[i].fd, NULL, NULL);

			if (fd < 0)
				continue;
			dprintf(fd, "%s %d", name, (int)getpid());
			close(fd);
			if (strcmp(name, "agentd-install") == 0)
				return 0;
			if (strcmp(name, "agentd-script") == 0)
				return EXIT_CODE_NOPERM; /* as without a user of its own */
		}
	}
}

/* ---- the test ------------------------------------------------------------------------------------------------------- */

struct lab {
	struct temp_dir dir;
	pid_t supervisor;
};

static void configure(struct lab *lab, const char *more)
{
	static const char *const programs[] = { "agentd-mgmt", "agentd-link", "agentd-fetch", "agentd-install", "agentd-script" };
	char text[1000], self[400];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int fd;

	temp_dir_make(&lab->dir);
	assert_true(n > 0);
	self[n] = '\0';
	assert_int_equal(mkdirat(lab->dir.fd, "bin", 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		snprintf(text, sizeof(text), "bin/%s", programs[i]);
		assert_int_equal(symlinkat(self, lab->dir.fd, text), 0);
	}
	n = snprintf(text, sizeof(text),
		     "device = { product = \"a:1\"; serial = \"1\"; };\n"
		     "paths = { state_dir = \"%s/state\"; link_dir = \"%s/link\"; install_dir = \"%s/install\"; run_dir = \"%s/run\"; program_dir = \"%s/bin\"; };\n"
		     "mqtt = { enable = true; host = \"x\"; };\n%s", lab->dir.path, lab->dir.path, lab->dir.path, lab->dir.path, lab->dir.path, more);
	fd = openat(lab->dir.fd, "agentd.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, (size_t)n), n);
	close(fd);
}

static pid_t start(struct lab *lab)
{
	char config[128];
	pid_t pid;

	snprintf(config, sizeof(config), "%s/agentd.conf", lab->dir.path);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char *argv[] = { (char *)(uintptr_t)"agentd", (char *)(uintptr_t)"--supervise", (char *)(uintptr_t)"--config", config, NULL };

		exit(supervise_main(4, argv));
	}
	return pid;
}

static int exit_code(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* The process id of the program behind a socket, 0 if there is no answer. */
static pid_t ask(struct lab *lab, const char *socket_name, const char *program)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), pid = 0;
	char answer[64], name[32] = "";
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	ssize_t n = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/%s", lab->dir.path, socket_name);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && poll(&poll_fd, 1, PATIENCE_MS) == 1)
		n = read(fd, answer, sizeof(answer) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	answer[n] = '\0';
	assert_int_equal(sscanf(answer, "%31s %d", name, &pid), 2);
	assert_string_equal(name, program);
	return pid;
}

static pid_t wait_for(struct lab *lab, const char *socket_name, const char *program)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += 20) {
		pid_t pid = ask(lab, socket_name, program);

		if (pid > 0)
			return pid;
		usleep(20000);
	}
	fail_msg("nobody answers on %s", socket_name);
	return 0;
}

static void assert_gone(pid_t pid)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += 20) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return;
		usleep(20000);
	}
	fail_msg("process %d is still there", (int)pid);
}

static int setup(void **state)
{
	struct lab *lab = test_calloc(1, sizeof(*lab));

	configure(lab, "mgmt = { https = false; };\n");
	lab->supervisor = start(lab);
	*state = lab;
	return 0;
}

static int teardown(void **state)
{
	struct lab *lab = *state;

	if (lab->supervisor > 0) {
		kill(lab->supervisor, SIGTERM);
		assert_int_equal(exit_code(lab->supervisor), 0);
	}
	temp_dir_remove(&lab->dir);
	test_free(lab);
	return 0;
}

static void each_socket_reaches_its_program(void **state)
{
	static const struct { const char *file, *program; mode_t mode; } cases[] = {
		{ "core-mgmt.sock", "agentd", 0600 }, { "core-link.sock", "agentd", 0600 }, { "install.sock", "agentd-install", 0600 },
		{ "fetch.sock", "agentd-fetch", 0600 }, { "agentd.sock", "agentd-mgmt", 0666 },
	};
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char path[64];
		struct stat st;

		wait_for(lab, cases[i].file, cases[i].program);
		snprintf(path, sizeof(path), "run/%s", cases[i].file);
		assert_int_equal(fstatat(lab->dir.fd, path, &st, 0), 0);
		assert_int_equal(st.st_mode & 07777, cases[i].mode);
	}
}

static void a_second_one_is_refused(void **state)
{
	struct lab *lab = *state;

	wait_for(lab, "agentd.sock", "agentd-mgmt");
	assert_int_equal(exit_code(start(lab)), EXIT_CODE_TEMPFAIL);
	/* Also when only the socket tells, as under another service manager. */
	assert_int_equal(unlinkat(lab->dir.fd, "run/agentd-supervise.lock", 0), 0);
	assert_int_equal(exit_code(start(lab)), EXIT_CODE_TEMPFAIL);
	wait_for(lab, "agentd.sock", "agentd-mgmt");
}

static void a_killed_program_comes_back(void **state)
{
	static const struct { const char *file, *program; } cases[] = {
		{ "core-mgmt.sock", "agentd" }, { "agentd.sock", "agentd-mgmt" }, { "fetch.sock", "agentd-fetch" },
	};
	struct lab *lab = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t old = wait_for(lab, cases[i].file, cases[i].program), new;

		assert_int_equal(kill(old, SIGKILL), 0);
		assert_gone(old);
		new = wait_for(lab, cases[i].file, cases[i].program);
		assert_int_not_equal(old, new);
	}
}

static void a_program_on_demand_comes_each_time(void **state)
{
	struct lab *lab = *state;
	pid_t first = wait_for(lab, "install.sock", "agentd-install"), second;

	assert_gone(first);
	second = wait_for(lab, "install.sock", "agentd-install");
	assert_int_not_equal(first, second);
}

/* It will refuse again: no use in starting it as long as nobody asks, nor in having the next one wait. */
static void scripts_that_cannot_run_are_no_reason_to_restart(void **state)
{
	struct lab lab = { .supervisor = 0 };
	pid_t first, second;

	configure(&lab, "mgmt = { https = false; };\nupdate = { scripts = \"run\"; };\n");
	lab.supervisor = start(&lab);
	wait_for(&lab, "core-mgmt.sock", "agentd");
	first = wait_for(&lab, "script.sock", "agentd-script");
	assert_gone(first);
	second = wait_for(&lab, "script.sock", "agentd-script");
	assert_int_not_equal(first, second);
	assert_gone(second);
	for (int ms = 0; ms < PATIENCE_MS && faccessat(lab.dir.fd, "run/pids/agentd-script", F_OK, 0) == 0; ms += 20)
		usleep(20000);
	assert_int_equal(faccessat(lab.dir.fd, "run/pids/agentd-script", F_OK, 0), -1);
	kill(lab.supervisor, SIGTERM);
	assert_int_equal(exit_code(lab.supervisor), 0);
	temp_dir_remove(&lab.dir);
}

static void programs_end_with_the_supervisor(void **state)
{
	struct lab *lab = *state;
	pid_t mgmt = wait_for(lab, "agentd.sock", "agentd-mgmt"), core = wait_for(lab, "core-mgmt.sock", "agentd");

	/* Killed: the kernel ends the programs, and the sockets left behind do not hinder the next one. */
	kill(lab->supervisor, SIGKILL);
	assert_int_equal(exit_code(lab->supervisor), 1000 + SIGKILL);
	assert_gone(mgmt);
	assert_gone(core);
	assert_int_equal(faccessat(lab->dir.fd, "run/agentd.sock", F_OK, 0), 0);
	lab->supervisor = start(lab);
	mgmt = wait_for(lab, "agentd.sock", "agentd-mgmt");

	/* Asked to stop: everything is gone when it is. */
	kill(lab->supervisor, SIGTERM);
	assert_int_equal(exit_code(lab->supervisor), 0);
	lab->supervisor = 0;
	assert_int_equal(kill(mgmt, 0), -1);
	assert_int_equal(faccessat(lab->dir.fd, "run/agentd.sock", F_OK, 0), -1);
	assert_int_equal(faccessat(lab->dir.fd, "run/pids/agentd", F_OK, 0), -1);
}

static void a_program_left_out_has_no_listener(void **state)
{
	struct lab lab = { .supervisor = 0 };

	configure(&lab, "mgmt = { https = false; };\n");
	unlinkat(lab.dir.fd, "bin/agentd-fetch", 0);
	lab.supervisor = start(&lab);
	wait_for(&lab, "agentd.sock", "agentd-mgmt");
	assert_int_equal(faccessat(lab.dir.fd, "run/fetch.sock", F_OK, 0), 0);
	assert_int_equal(ask(&lab, "fetch.sock", "agentd-fetch"), 0);
	kill(lab.supervisor, SIGTERM);
	assert_int_equal(exit_code(lab.supervisor), 0);
	temp_dir_remove(&lab.dir);
}

static void what_it_cannot_do_has_an_exit_code(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	struct lab lab = { .supervisor = 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char more[100];

	/* The port is taken. */
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	snprintf(more, sizeof(more), "mgmt = { listen = \"127.0.0.1:%d\"; };", ntohs(address.sin_port));
	configure(&lab, more);
	assert_int_equal(exit_code(start(&lab)), EXIT_CODE_UNAVAILABLE);
	close(fd);

	/* A program that may not be executed. */
	unlinkat(lab.dir.fd, "bin/agentd-mgmt", 0);
	close(openat(lab.dir.fd, "bin/agentd-mgmt", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(exit_code(start(&lab)), EXIT_CODE_NOPERM);

	/* Something else where a socket should be. */
	close(openat(lab.dir.fd, "run/notify.sock", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	unlinkat(lab.dir.fd, "run/core-mgmt.sock", 0);
	assert_int_equal(mkdirat(lab.dir.fd, "run/core-mgmt.sock", 0700), 0);
	assert_true(exit_code(start(&lab)) > 0);

	unlinkat(lab.dir.fd, "agentd.conf", 0);
	assert_int_equal(exit_code(start(&lab)), EXIT_CODE_CONFIG);
	temp_dir_remove(&lab.dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_socket_reaches_its_program, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_one_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_killed_program_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_program_on_demand_comes_each_time, setup, teardown),
		cmocka_unit_test(scripts_that_cannot_run_are_no_reason_to_restart),
		cmocka_unit_test_setup_teardown(programs_end_with_the_supervisor, setup, teardown),
		cmocka_unit_test(a_program_left_out_has_no_listener),
		cmocka_unit_test(what_it_cannot_do_has_an_exit_code),
	};
	const char *slash = strrchr(argv[0], '/'), *name = slash == NULL ? argv[0] : slash + 1;

	if (strncmp(name, "agentd", 6) == 0)
		return act_as(name);
	/* As root it would want the agent's users. */
	if (geteuid() == 0 && (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 || access("/proc/self/exe", X_OK) < 0)) {
		fprintf(stderr, "skipped: cannot go on without root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
