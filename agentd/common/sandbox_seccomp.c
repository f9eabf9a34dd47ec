/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/sandbox_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/sockios.h>
#include <mtd/mtd-user.h>
#include <mtd/ubi-user.h>
#include <seccomp.h>

#include "agentd/common/sandbox_calls.h"
#include "base/macro.h"

#if defined(__s390__) || defined(__s390x__)
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#if defined(AGENT_SANITIZERS) || defined(AGENT_COVERAGE)
#define IS_TEST_BUILD true
#else
#define IS_TEST_BUILD false
#endif

#if defined(AGENT_SANITIZERS)
/* A test build names the call that is missing in the list before it dies. */
#define DEFAULT_ACTION SCMP_ACT_TRAP
static void name_the_call(int signal_number, siginfo_t *info, void *context)
{
	char line[] = "sandbox: forbidden system call 0000\n";
	int n = info->si_syscall;

	for (size_t i = sizeof(line) - 3; line[i] == '0'; i--, n /= 10)
		line[i] = (char)('0' + n % 10);
	(void)!write(STDERR_FILENO, line, sizeof(line) - 1);
	_exit(128 + SIGSYS);
}

static void catch_traps(void)
{
	struct sigaction action = { .sa_sigaction = name_the_call, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
}
#else
#define DEFAULT_ACTION SCMP_ACT_KILL_PROCESS
static void catch_traps(void)
{
}
#endif

/* seccomp_rule_add() by name; a call this processor or this libseccomp does not know cannot be made either. */
static int add(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned n_args, const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name), r;

	if (number == __NR_SCMP_ERROR)
		return 0;
	r = seccomp_rule_add_array(ctx, action, number, n_args, args);
	return r == -EEXIST || r == -EDOM ? 0 : r;
}

static int add_all(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = add(ctx, action, names[i], 0, NULL);
	return r;
}

/* @name only with argument @arg equal to one of @values. */
static int add_values(scmp_filter_ctx ctx, const char *name, unsigned arg, const uint64_t *values, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		struct scmp_arg_cmp cmp = SCMP_CMP(arg, SCMP_CMP_EQ, values[i]);

		r = add(ctx, SCMP_ACT_ALLOW, name, 1, &cmp);
	}
	return r;
}

/* @name only when the bits @mask of argument @arg are @bits. */
static int add_masked(scmp_filter_ctx ctx, const char *name, unsigned arg, uint64_t mask, uint64_t bits)
{
	struct scmp_arg_cmp cmp = SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, bits);

	return add(ctx, SCMP_ACT_ALLOW, name, 1, &cmp);
}

static int add_sockets(scmp_filter_ctx ctx, unsigned groups)
{
	const uint64_t local[] = { AF_UNIX }, interfaces[] = { AF_NETLINK }, network[] = { AF_INET, AF_INET6, AF_NETLINK };
	int r = add_all(ctx, SCMP_ACT_ALLOW, calls_socket, ARRAY_SIZE(calls_socket));

	if (r >= 0)
		r = add_values(ctx, "socket", 0, local, ARRAY_SIZE(local));
	if (r >= 0)
		r = add_values(ctx, "socketpair", 0, local, ARRAY_SIZE(local));
	if (r >= 0 && (groups & CALLS_INTERFACES))
		r = add_values(ctx, "socket", 0, interfaces, ARRAY_SIZE(interfaces));
	if (r >= 0 && (groups & CALLS_INTERFACES))
		r = add(ctx, SCMP_ACT_ALLOW, "bind", 0, NULL);
	if (r >= 0 && (groups & CALLS_INTERFACES))
		r = add(ctx, SCMP_ACT_ALLOW, "listen", 0, NULL); /* again on what was handed over: mgmt.setup_interface */
	if (r >= 0 && (groups & CALLS_NETWORK))
		r = add_values(ctx, "socket", 0, network, ARRAY_SIZE(network));
	if (r >= 0 && (groups & CALLS_NETWORK))
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_network, ARRAY_SIZE(calls_network));
	return r;
}

static int add_memory(scmp_filter_ctx ctx, unsigned groups)
{
	static const char *const names[] = { "mmap", "mmap2", "mprotect" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && r >= 0; i++)
		r = groups & CALLS_LOAD_CODE ? add(ctx, SCMP_ACT_ALLOW, names[i], 0, NULL) : add_masked(ctx, names[i], 2, PROT_EXEC, 0);
	return r;
}

static int add_threads(scmp_filter_ctx ctx)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

	return add_masked(ctx, "clone", CLONE_FLAGS_ARG, CLONE_THREAD | namespaces, CLONE_THREAD);
}

static int add_common_with_arguments(scmp_filter_ctx ctx, unsigned groups)
{
	/* isatty() of stdio, bytes waiting, non-blocking as OpenSSL and curl set it */
	const uint64_t ioctls[] = { TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX, TIOCOUTQ };
	const uint64_t block_ioctls[] = { BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKROGET, BLKFLSBUF, BLKDISCARD, BLKZEROOUT };
	/* a U-Boot environment in flash: erase, unlock, bad blocks; update of a UBI volume, also of one that is a slot */
	const uint64_t flash_ioctls[] = { MEMGETINFO, MEMERASE, MEMUNLOCK, MEMLOCK, MEMGETBADBLOCK, UBI_IOCVOLUP };
	/* an EFI variable that is marked immutable; without the capability the answer is no */
	const uint64_t efi_ioctls[] = { FS_IOC_GETFLAGS, FS_IOC_SETFLAGS };
	const uint64_t prctls[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE };
	const uint64_t self[] = { (uint64_t)getpid() }, none[] = { 0 };
	int r;

	r = add_values(ctx, "ioctl", 1, ioctls, ARRAY_SIZE(ioctls));
	if (r >= 0 && (groups & CALLS_BLOCK_DEVICE))
		r = add_values(ctx, "ioctl", 1, block_ioctls, ARRAY_SIZE(block_ioctls));
	if (r >= 0 && (groups & CALLS_BLOCK_DEVICE))
		r = add_values(ctx, "ioctl", 1, flash_ioctls, ARRAY_SIZE(flash_ioctls));
	if (r >= 0 && (groups & CALLS_BLOCK_DEVICE))
		r = add_values(ctx, "ioctl", 1, efi_ioctls, ARRAY_SIZE(efi_ioctls));
	if (r >= 0)
		r = add_values(ctx, "prctl", 0, prctls, ARRAY_SIZE(prctls));
	if (r >= 0)
		r = add_values(ctx, "tgkill", 0, self, 1);		/* abort() */
	if (r >= 0)
		r = add_values(ctx, "prlimit64", 2, none, 1);		/* getrlimit(): no new limits */
	if (r >= 0)
		r = add(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL); /* its flags are in memory; the C library falls back to clone */
	return r;
}

static int fill(scmp_filter_ctx ctx, unsigned groups)
{
	int r = add_all(ctx, SCMP_ACT_ALLOW, calls_base, ARRAY_SIZE(calls_base));

	if (r >= 0 && IS_TEST_BUILD)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_of_test_builds, ARRAY_SIZE(calls_of_test_builds));
	if (r >= 0 && !IS_TEST_BUILD)
		r = add_memory(ctx, groups);
	if (r >= 0 && !IS_TEST_BUILD)
		r = add_common_with_arguments(ctx, groups);
	if (r >= 0 && !IS_TEST_BUILD && (groups & CALLS_THREADS))
		r = add_threads(ctx);
	if (r >= 0 && (groups & CALLS_SOCKET))
		r = add_sockets(ctx, groups);
	if (r >= 0 && (groups & CALLS_READ_FILES))
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_read_files, ARRAY_SIZE(calls_read_files));
	if (r >= 0 && (groups & CALLS_WRITE_FILES))
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_write_files, ARRAY_SIZE(calls_write_files));
	return r;
}

static int load(scmp_filter_ctx ctx, int r, struct agent_error **err)
{
	if (r >= 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0); /* set before */
	if (r >= 0)
		(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* binary tree: a few comparisons per call */
	catch_traps();
	if (r >= 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	if (r < 0)
		return agent_error_set(err, r, "sandbox.seccomp", "cannot load the system call filter: %s", strerror(-r));
	return 0;
}

int seccomp_enter(unsigned call_groups, struct agent_error **err)
{
	scmp_filter_ctx ctx = seccomp_init(DEFAULT_ACTION);

	if (ctx == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.seccomp", "no memory for the system call filter");
	return load(ctx, fill(ctx, call_groups), err);
}

int seccomp_enter_supervisor(struct agent_error **err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (ctx == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.seccomp", "no memory for the system call filter");
#if defined(AGENT_SANITIZERS)
	r = 0; /* the leak check of a child traces it */
#else
	r = add_all(ctx, SCMP_ACT_ERRNO(EPERM), calls_never, ARRAY_SIZE(calls_never));
#endif
	return load(ctx, r, err);
}

/* Processes and threads as they like, but in no namespaces of their own. */
static int add_processes(scmp_filter_ctx ctx)
{
	const uint64_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	int r = add_masked(ctx, "clone", CLONE_FLAGS_ARG, namespaces, 0);

	return r < 0 ? r : add(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
}

int seccomp_enter_scripts(struct agent_error **err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (ctx == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.seccomp", "no memory for the system call filter");
	r = add_all(ctx, SCMP_ACT_ALLOW, calls_base, ARRAY_SIZE(calls_base));
	if (r >= 0)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_socket, ARRAY_SIZE(calls_socket));
	if (r >= 0)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_read_files, ARRAY_SIZE(calls_read_files));
	if (r >= 0)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_write_files, ARRAY_SIZE(calls_write_files));
	if (r >= 0)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_script, ARRAY_SIZE(calls_script));
	if (r >= 0 && IS_TEST_BUILD)
		r = add_all(ctx, SCMP_ACT_ALLOW, calls_of_test_builds, ARRAY_SIZE(calls_of_test_builds));
	if (r >= 0 && !IS_TEST_BUILD)
		r = add_processes(ctx);
	return load(ctx, r, err);
}

/* @name with @value in argument @arg, of which the kernel looks at 32 bits. */
static int refuse_value(scmp_filter_ctx ctx, const char *name, unsigned arg, uint32_t value)
{
	struct scmp_arg_cmp cmp = SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, UINT64_C(0xffffffff), (uint64_t)value);

	return add(ctx, SCMP_ACT_ERRNO(EPERM), name, 1, &cmp);
}

static int refuse_pid(scmp_filter_ctx ctx, const char *name, pid_t pid)
{
	return refuse_value(ctx, name, 0, (uint32_t)pid);
}

/* Whoever "owns" a descriptor gets a signal of the script's choice when it can be read. Landlock sees to that only from Linux 6.12 on. */
static int refuse_owners(scmp_filter_ctx ctx)
{
	static const char *const names[] = { "fcntl", "fcntl64" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && r >= 0; i++) {
		r = refuse_value(ctx, names[i], 1, F_SETOWN);
		if (r >= 0)
			r = refuse_value(ctx, names[i], 1, F_SETOWN_EX);
	}
	if (r >= 0)
		r = refuse_value(ctx, "ioctl", 1, FIOSETOWN);
	return r < 0 ? r : refuse_value(ctx, "ioctl", 1, SIOCSPGRP);
}

int seccomp_enter_one_script(pid_t parent, struct agent_error **err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (ctx == NULL)
		return agent_error_set(err, -ENOMEM, "sandbox.seccomp", "no memory for the system call filter");
	r = add_all(ctx, SCMP_ACT_ERRNO(EPERM), calls_not_in_scripts, ARRAY_SIZE(calls_not_in_scripts));
	if (r >= 0) /* the C library falls back to clone, whose flags can be looked at */
		r = add(ctx, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
	if (r >= 0)
		r = refuse_pid(ctx, "kill", parent);
	if (r >= 0)
		r = refuse_pid(ctx, "kill", -parent);
	if (r >= 0)
		r = refuse_pid(ctx, "kill", -1);
	if (r >= 0)
		r = refuse_pid(ctx, "tgkill", parent);
	if (r >= 0)
		r = refuse_pid(ctx, "prlimit64", parent);
	if (r >= 0)
		r = refuse_owners(ctx);
	return load(ctx, r, err);
}
