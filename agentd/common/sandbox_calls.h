/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SANDBOX_CALLS_H
#define COMMON_SANDBOX_CALLS_H
/*
 * System calls by group, for sandbox.c. Names a processor does not have are skipped, so 32-bit variants stand beside the
 * others. Calls whose arguments are looked at (socket, ioctl, prctl, clone ...) are in sandbox_seccomp.c.
 */
static const char *const calls_base[] = {
	/* memory, without PROT_EXEC: see sandbox_seccomp.c for mmap and mprotect */
	"brk", "munmap", "mremap", "madvise", "mlock", "mlock2", "munlock", "membarrier",
	/* descriptors that are open */
	"read", "readv", "pread64", "preadv", "write", "writev", "close", "lseek", "_llseek", "fstat", "fstat64", "fcntl",
	"fcntl64", "dup", "dup2", "dup3", "pipe", "pipe2", "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6",
	"pselect6_time64", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait", "epoll_pwait",
	"epoll_pwait2", "eventfd2", "signalfd", "signalfd4", "timerfd_create", "timerfd_settime", "timerfd_settime64",
	"timerfd_gettime", "timerfd_gettime64",
	/* time and chance */
	"clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64", "clock_nanosleep", "clock_nanosleep_time64",
	"nanosleep", "gettimeofday", "time", "getrandom",
	/* what a process asks about itself */
	"getpid", "getppid", "gettid", "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid",
	"getegid32", "getresuid", "getresuid32", "getresgid", "getresgid32", "getgroups", "getgroups32", "uname", "sysinfo",
	"getrusage", "getrlimit", "ugetrlimit", "times", "getcpu", "sched_getaffinity", "sched_yield", "getcwd", "umask",
	/* signals and the end */
	"rt_sigaction", "sigaction", "rt_sigprocmask", "sigprocmask", "rt_sigreturn", "sigreturn", "rt_sigpending",
	"rt_sigtimedwait", "rt_sigtimedwait_time64", "sigaltstack", "restart_syscall", "exit", "exit_group",
	/* locks of the C library */
	"futex", "futex_time64", "futex_waitv", "set_robust_list", "get_robust_list", "rseq", "set_tid_address",
	"set_thread_area", "set_tls", "cacheflush", "riscv_flush_icache",
};

static const char *const calls_socket[] = {
	"connect", "accept", "accept4", "shutdown", "sendto", "send", "sendmsg", "sendmmsg", "recvfrom", "recv", "recvmsg",
	"recvmmsg", "recvmmsg_time64", "getsockopt", "setsockopt", "getsockname", "getpeername",
	"memfd_create", /* sd_journal_send() passes long lines in one */
};

/* Landlock decides which. */
static const char *const calls_read_files[] = {
	"open", "openat", "openat2", "access", "faccessat", "faccessat2", "stat", "stat64", "lstat", "lstat64", "newfstatat",
	"fstatat64", "statx", "readlink", "readlinkat", "getdents", "getdents64", "statfs", "statfs64", "fstatfs", "fstatfs64",
	"flock", "fadvise64", "fadvise64_64", "arm_fadvise64_64",
};

static const char *const calls_write_files[] = {
	"pwrite64", "pwritev", "ftruncate", "ftruncate64", "fallocate", "fsync", "fdatasync", "syncfs", "sync_file_range",
	"sync_file_range2", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod",
	"fchmod", "fchmodat", "utimensat", "utimensat_time64", "copy_file_range",
};

static const char *const calls_network[] = {
	"bind", /* getaddrinfo() binds its netlink socket; Landlock refuses TCP listeners */
	"sendfile", "sendfile64",
};

/* What the programs that a script calls need besides: processes, and files in the old ways. Landlock decides which files. */
static const char *const calls_script[] = {
	"execve", "execveat", "fork", "vfork", "wait4", "waitid", "waitpid", "kill", "tgkill", "setsid", "setpgid", "getpgid", "getpgrp", "getsid",
	"prctl", "arch_prctl", "prlimit64", "setrlimit", "seccomp", "mmap", "mmap2", "mprotect", "msync", "mincore", "ioctl", "chdir", "fchdir",
	"close_range", "rt_sigsuspend", "sigsuspend", "alarm", "setitimer", "getitimer", "pause", "getpriority", "setpriority", "nice", "sched_getparam",
	"sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "splice", "tee", "sendfile", "sendfile64", "readahead", "sync",
	"creat", "truncate", "truncate64", "pwritev2", "preadv2", "link", "linkat", "symlink", "symlinkat", "chown", "chown32", "lchown", "lchown32", "fchown",
	"fchown32", "fchownat", "utime", "utimes", "futimesat", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "capget",
	"ugetrlimit", "fchmodat2", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "socket", "socketpair",
	"landlock_create_ruleset", "landlock_restrict_self", /* a domain of its own for the script */
};

/* Not in a script: a connection would be a way out, and files without a name count nowhere. */
static const char *const calls_not_in_scripts[] = {
	"socket", "socketcall", "connect", "bind", "listen", "accept", "accept4", "sendto", "send", "sendmsg", "sendmmsg", "memfd_create", "setpriority",
	"ptrace", "process_vm_readv", "process_vm_writev", "tkill",
};

/* A supervisor's filter passes on to its children, so it is a list of what none of them ever needs. */
static const char *const calls_never[] = {
	"ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open", "bpf", "userfaultfd",
	"init_module", "finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load", "reboot", "swapon",
	"swapoff", "mount", "umount", "umount2", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
	"mount_setattr", "pivot_root", "chroot", "setns", "acct", "quotactl", "quotactl_fd", "ioperm", "iopl", "settimeofday",
	"clock_settime", "clock_settime64", "clock_adjtime", "adjtimex", "stime", "sethostname", "setdomainname", "add_key",
	"request_key", "keyctl", "open_by_handle_at", "lookup_dcookie", "syslog", "vhangup", "personality", "io_uring_setup",
	"io_uring_enter", "io_uring_register", "mknod", "mknodat", "fanotify_init", "modify_ldt",
};

/* Builds with sanitizers or for coverage only: ASan, LSan, UBSan and gcov at start of a thread and at exit. */
static const char *const calls_of_test_builds[] = {
	"clone", "clone3", "wait4", "ptrace", "kill", "tkill", "tgkill", "prctl", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
	"sched_get_priority_min", "process_vm_readv", "open", "openat", "readlink", "readlinkat", "newfstatat", "mmap", "mmap2", "mprotect",
	"ioctl", "mkdir", "ftruncate", "unlink", "prlimit64", "getpgrp", "getdents64",
};

#endif
