/* SPDX-License-Identifier: Apache-2.0 */
/* Each case runs in a child of its own, as there is no way out of a sandbox. */
#include "config.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agentd/common/sandbox.h"

#define CORE SANDBOX_CORE
#define MGMT SANDBOX_MGMT
#define LINK SANDBOX_LINK
#define FETCH SANDBOX_FETCH
#define INSTALL SANDBOX_INSTALL

static struct temp_dir dir;
static struct settings *settings;

/* What the child tries; returns 0 or a negative errno. */
static int try_socket(const char *arg)
{
	int domain = arg[0] == '4' ? AF_INET : arg[0] == '6' ? AF_INET6 : arg[0] == 'n' ? AF_NETLINK : arg[0] == 'p' ? AF_PACKET : AF_UNIX;

	return socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0 ? -errno : 0;
}

static int try_listen(const char *arg)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

static const char *absolute(const char *name, char *buf, size_t size)
{
	if (name[0] == '/')
		return name;
	snprintf(buf, size, "%s/%s", dir.path, name);
	return buf;
}

static int try_read(const char *name)
{
	char path[200];

	return open(absolute(name, path, sizeof(path)), O_RDONLY | O_CLOEXEC) < 0 ? -errno : 0;
}

static int try_write(const char *name)
{
	char path[200], other[210];
	int fd = open(absolute(name, path, sizeof(path)), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (write(fd, "x", 1) != 1 || fsync(fd) < 0 || ftruncate(fd, 0) < 0 || fchmod(fd, 0640) < 0)
		return -errno;
	snprintf(other, sizeof(other), "%s.new", path);
	if (rename(path, other) < 0 || rename(other, path) < 0)
		return -errno;
	return 0;
}

/* An open slot can be written, but a slot must not be made. */
static int try_slot(const char *name)
{
	char path[200];
	int fd = open(absolute(name, path, sizeof(path)), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, "x", 1) == 1 && fdatasync(fd) == 0 ? 0 : -errno;
}

static int try_exec(const char *path)
{
	execl(path, path, (char *)NULL);
	return -errno;
}

static int try_fork(const char *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -errno : 0;
}

static void *nothing(void *arg)
{
	return arg;
}

static int try_thread(const char *arg)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, nothing, NULL);

	return r != 0 ? -r : -pthread_join(thread, NULL);
}

static int try_code(const char *arg)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -errno : 0;
}

static int try_call(const char *arg)
{
	switch (arg[0]) {
	case 'p':
		return syscall(SYS_ptrace, 0, 0, 0, 0) < 0 ? -errno : 0;
	case 'm':
		return syscall(SYS_mount, "a", "b", "c", 0, 0) < 0 ? -errno : 0;
	case 'u':
		return syscall(SYS_unshare, 0x40000000) < 0 ? -errno : 0;
	case 'c':
		return syscall(SYS_clone3, NULL, 0) < 0 ? -errno : 0;
	case 'k':
		return kill(1, 0) < 0 ? -errno : 0;
	default:
		return syscall(SYS_setuid, 0) < 0 ? -errno : 0;
	}
}

static int try_privileges(const char *arg)
{
	struct rlimit core;

	if (prctl(PR_GET_DUMPABLE) != 0)
		return -EDOM;
	return getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0 ? -ERANGE : 0;
}

static int try_stdio(const char *arg)
{
	FILE *f = fopen("/dev/null", "w");

	if (f == NULL)
		return -errno;
	setvbuf(f, NULL, _IOLBF, 0);
	return fprintf(f, "x\n") == 2 && fclose(f) == 0 ? 0 : -errno;
}

/* Runs in the child: 0 to 199 is -errno, 200 says the sandbox could not be entered, 201 that the system has none. */
static int in_child(enum sandbox_program program, int (*attempt)(const char *), const char *arg)
{
	struct agent_error *err = NULL;
	int r, status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGSYS, SIG_DFL); /* cmocka catches it */
		r = program == SANDBOX_INSTALL ? sandbox_enter_install(settings, &err) : sandbox_enter(program, settings, NULL, 0, &err);
		if (r < 0) {
			fprintf(stderr, "%s\n", agent_error_message(err));
			_exit(200);
		}
		_exit(-attempt(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return 1000 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static void each_program_can_do_its_work_and_no_more(void **state)
{
	enum { DIES = 1000 + SIGSYS };
	static const struct {
		enum sandbox_program program;
		int (*attempt)(const char *);
		const char *arg;
		int result;
	} cases[] = {
		{ CORE, try_privileges, "", 0 }, { MGMT, try_privileges, "", 0 },
		{ CORE, try_stdio, "", 0 }, { MGMT, try_stdio, "", 0 }, { LINK, try_stdio, "", 0 }, { INSTALL, try_stdio, "", 0 },
		{ CORE, try_socket, "unix", 0 }, { CORE, try_socket, "4", DIES }, { CORE, try_socket, "6", DIES }, { CORE, try_socket, "netlink", DIES },
		{ MGMT, try_socket, "unix", 0 }, { MGMT, try_socket, "4", DIES }, { MGMT, try_socket, "6", DIES }, { MGMT, try_socket, "packet", DIES },
		{ INSTALL, try_socket, "unix", 0 }, { INSTALL, try_socket, "4", DIES }, { INSTALL, try_socket, "6", DIES }, { INSTALL, try_socket, "netlink", DIES },
		{ LINK, try_socket, "4", 0 }, { LINK, try_socket, "6", 0 }, { LINK, try_socket, "netlink", 0 }, { LINK, try_socket, "packet", DIES },
		{ FETCH, try_socket, "4", 0 }, { FETCH, try_socket, "packet", DIES },
		{ LINK, try_listen, "", EACCES }, { FETCH, try_listen, "", EACCES },
		{ CORE, try_write, "state/file", 0 }, { CORE, try_write, "link/file", EACCES }, { CORE, try_write, "install/file", EACCES },
		{ CORE, try_read, "trust/update/ca.pem", EACCES }, { CORE, try_read, "/etc/passwd", EACCES },
		{ MGMT, try_read, "state/secret", EACCES }, { MGMT, try_read, "/etc/shadow", EACCES }, { MGMT, try_read, "/etc/passwd", EACCES },
		{ MGMT, try_read, "trust/broker/ca.pem", EACCES }, { MGMT, try_write, "state/file", EACCES }, { MGMT, try_read, "link/secret", EACCES },
		{ LINK, try_write, "link/file", 0 }, { LINK, try_write, "state/file", EACCES }, { LINK, try_read, "state/secret", EACCES },
		{ LINK, try_read, "trust/broker/ca.pem", 0 }, { LINK, try_slot, "trust/broker/ca.pem", EACCES },
		{ LINK, try_read, "trust/update/ca.pem", EACCES }, { LINK, try_read, "/etc/passwd", 0 }, { LINK, try_slot, "slot-a", EACCES },
		{ FETCH, try_write, "link/file", 0 }, { FETCH, try_read, "trust/fetch/ca.pem", 0 }, { FETCH, try_slot, "slot-a", EACCES },
		{ INSTALL, try_write, "install/file", 0 }, { INSTALL, try_write, "boot/env", 0 }, { INSTALL, try_slot, "slot-a", 0 },
		{ INSTALL, try_slot, "slot-b", 0 }, { INSTALL, try_read, "trust/update/ca.pem", 0 }, { INSTALL, try_slot, "trust/update/ca.pem", EACCES },
		{ INSTALL, try_write, "slot-c", EACCES }, { INSTALL, try_read, "state/secret", EACCES }, { INSTALL, try_read, "/etc/passwd", EACCES },
		{ CORE, try_thread, "", 0 }, { LINK, try_thread, "", 0 }, { INSTALL, try_thread, "", 0 }, { FETCH, try_thread, "", 0 },
		{ CORE, try_fork, "", DIES }, { MGMT, try_fork, "", DIES }, { LINK, try_fork, "", DIES }, { INSTALL, try_fork, "", DIES },
		{ CORE, try_exec, "/bin/true", DIES }, { MGMT, try_exec, "/bin/true", DIES }, { FETCH, try_exec, "/bin/true", DIES },
		{ CORE, try_code, "", DIES }, { MGMT, try_code, "", DIES }, { INSTALL, try_code, "", DIES }, { LINK, try_code, "", 0 },
		{ CORE, try_call, "ptrace", DIES }, { LINK, try_call, "mount", DIES }, { MGMT, try_call, "unshare", DIES },
		{ MGMT, try_call, "kill", DIES }, { CORE, try_call, "setuid", DIES }, { INSTALL, try_call, "clone3", ENOSYS },
		{ SANDBOX_SUPERVISE, try_fork, "", 0 }, { SANDBOX_SUPERVISE, try_call, "ptrace", EPERM },
		{ SANDBOX_SUPERVISE, try_call, "mount", EPERM },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int result = in_child(cases[i].program, cases[i].attempt, cases[i].arg);

		if (result != cases[i].result)
			fail_msg("case %zu (program %d, %s): got %d, expected %d", i, (int)cases[i].program, cases[i].arg, result, cases[i].result);
	}
}

static int enter_again(const char *tcti)
{
	return 0;
}

static void a_tpm_over_tcp_is_refused_with_a_reason(void **state)
{
	static const char *const refused[] = { "swtpm:host=localhost,port=2321", "mssim:port=2321", "swtpm", "mssim" };

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		char *old = settings->tpm.tcti;

		settings->tpm.tcti = (char *)(uintptr_t)refused[i];
		assert_int_equal(in_child(CORE, enter_again, ""), 200);
		settings->tpm.tcti = old;
	}
}

static void *wait_forever(void *arg)
{
	pause();
	return arg;
}

static void threads_before_the_sandbox_are_refused(void **state)
{
	struct agent_error *err = NULL;
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, wait_forever, NULL);
		_exit(sandbox_enter(MGMT, settings, NULL, 0, &err) == -EBUSY && strcmp(agent_error_name(err), "sandbox.threads") == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void put(const char *name)
{
	int fd = openat(dir.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static int setup(void **state)
{
	static const char *const folders[] = { "state", "link", "install", "boot", "trust", "trust/update", "trust/broker", "trust/fetch" };
	static const char *const files[] = { "state/secret", "link/secret", "slot-a", "slot-b", "trust/update/ca.pem", "trust/broker/ca.pem", "trust/fetch/ca.pem" };
	char text[1000], path[100];
	int n;

	temp_dir_make(&dir);
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		assert_int_equal(mkdirat(dir.fd, folders[i], 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(files[i]);
	n = snprintf(text, sizeof(text),
		     "device = { product = \"a:1\"; serial = \"1\"; };\n"
		     "paths = { state_dir = \"%s/state\"; link_dir = \"%s/link\"; install_dir = \"%s/install\"; trust_dir = \"%s/trust\"; };\n"
		     "update = { boot_config = \"%s/boot/env\"; slots = ( { class = \"r\"; name = \"a\"; path = \"%s/slot-a\"; },\n"
		     "{ class = \"r\"; name = \"b\"; path = \"%s/slot-b\"; } ); };\n",
		     dir.path, dir.path, dir.path, dir.path, dir.path, dir.path, dir.path);
	snprintf(path, sizeof(path), "%s/agentd.conf", dir.path);
	put("agentd.conf");
	{
		FILE *f = fopen(path, "w");

		assert_int_equal(fwrite(text, 1, (size_t)n, f), n);
		fclose(f);
	}
	return settings_load(path, &settings, NULL);
}

static int teardown(void **state)
{
	settings_free(settings);
	temp_dir_remove(&dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_program_can_do_its_work_and_no_more),
		cmocka_unit_test(a_tpm_over_tcp_is_refused_with_a_reason),
		cmocka_unit_test(threads_before_the_sandbox_are_refused),
	};

#if defined(AGENT_SANITIZERS) || defined(AGENT_COVERAGE)
	fprintf(stderr, "skipped: this build lets the calls of its run times through\n");
	return 77;
#endif
	/* qemu-user and old kernels have neither; containers may forbid them. */
	if (prctl(PR_GET_SECCOMP) < 0 || syscall(444, NULL, 0, 1) < 0) {
		fprintf(stderr, "skipped: no seccomp or no Landlock here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
