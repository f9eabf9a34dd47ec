/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/supervise_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/address.h"
#include "agentd/common/script_wire.h"
#include "agentd/common/service.h"
#include "base/macro.h"

#define FD_FLOOR 64    /* children find their descriptors at 3 and up */
#define BACKLOG_TCP 1024 /* a burst of strangers must not shut out the owner before we can count them */
#define BACKLOG_UNIX 64
#define NOTIFY_FILE "notify.sock"
#define REBOOT_FILE "reboot.sock"

static const struct {
	const char *user, *extra_group;
} users[CHILD_COUNT_] = {
	[CHILD_CORE] = { "agentd", "tss" },
	[CHILD_MGMT] = { "agentd-mgmt", NULL },
	[CHILD_LINK] = { "agentd-link", NULL },
	[CHILD_FETCH] = { "agentd-link", NULL },
	[CHILD_INSTALL] = { "agentd-install", NULL },
	[CHILD_SCRIPT] = { "agentd-script", NULL },
};

/* Who connects owns the file: the kernel then refuses everybody else. */
static const struct {
	enum child_id child, client;
	const char *fd_name, *file;
	mode_t mode;
} sockets[] = {
	{ CHILD_CORE, CHILD_MGMT, "core-mgmt", "core-mgmt.sock", 0600 },
	{ CHILD_CORE, CHILD_LINK, "core-link", "core-link.sock", 0600 },
	{ CHILD_CORE, CHILD_CORE, "core-vendor", "vendor.sock", 0666 }, /* anybody local: the kernel says who, core decides by key */
	{ CHILD_CORE, CHILD_COUNT_, "core-login", "login.sock", 0600 }, /* login programs: root, as we are */
	{ CHILD_INSTALL, CHILD_CORE, "install", "install.sock", 0600 },
	{ CHILD_SCRIPT, CHILD_INSTALL, "script", SCRIPT_SOCKET, 0600 },
	{ CHILD_FETCH, CHILD_CORE, "fetch", "fetch.sock", 0600 },
	{ CHILD_LINK, CHILD_LINK, "link-apps", "link.sock", 0666 }, /* anybody local: the kernel says who, mqtt.rights what */
	{ CHILD_MGMT, CHILD_MGMT, "mgmt-unix", "agentd.sock", 0666 }, /* anybody local: the kernel says who */
};

/* ---- users ---------------------------------------------------------------------------------------------------- */

static int look_up(enum child_id id, struct identity *ret, struct agent_error **err)
{
	const struct passwd *pw = getpwnam(users[id].user);
	const struct group *group = users[id].extra_group == NULL ? NULL : getgrnam(users[id].extra_group);
	int n = GROUPS_MAX - 1;

	if (pw == NULL)
		return agent_error_set(err, -ENOENT, "supervise.user",
				       "there is no user %s; make the users with systemd-sysusers, or: useradd --system --user-group "
				       "--home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin %s",
				       users[id].user, users[id].user);
	ret->uid = pw->pw_uid;
	ret->gid = pw->pw_gid;
	if (getgrouplist(users[id].user, pw->pw_gid, ret->groups, &n) < 0)
		n = GROUPS_MAX - 1;
	/* The TPM's device belongs to tss. */
	ret->n_groups = n;
	for (int i = 0; group != NULL && i < n; i++)
		if (ret->groups[i] == group->gr_gid)
			group = NULL;
	if (group != NULL)
		ret->groups[ret->n_groups++] = group->gr_gid;
	return 0;
}

int identities_look_up(const struct settings *settings, struct identity ret_identities[CHILD_COUNT_], struct agent_error **err)
{
	int r = 0;

	for (unsigned id = 0; id < CHILD_COUNT_ && r >= 0; id++) {
		ret_identities[id] = (struct identity){ .uid = geteuid(), .gid = getegid() };
		if (geteuid() == 0 && (id != CHILD_SCRIPT || child_is_wanted(settings, CHILD_SCRIPT)))
			r = look_up(id, &ret_identities[id], err);
	}
	return r;
}

/* ---- folders --------------------------------------------------------------------------------------------------- */

static int own(int fd, const struct identity *owner, mode_t mode)
{
	if (geteuid() == 0 && fchown(fd, owner->uid, owner->gid) < 0)
		return -errno;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

/* State folders are made when they are missing, and left alone when they are there. */
static int make_folder(const char *path, const struct identity *owner, mode_t mode, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (mkdir(path, mode) < 0) {
		if (errno == EEXIST)
			return 0;
		return agent_error_set(err, -errno, "supervise.folder", "cannot make the folder %s: %s", path, strerror(errno));
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : own(fd, owner, mode);
	if (r < 0)
		return agent_error_set(err, r, "supervise.folder", "cannot hand over the folder %s: %s", path, strerror(-r));
	return 0;
}

static int make_lock_file(int run_fd, enum child_id id, const struct identity *owner, struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	char name[64];
	int r;

	snprintf(name, sizeof(name), "%s.lock", child_name(id));
	fd = openat(run_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : own(fd, owner, 0600);
	if (r < 0)
		return agent_error_set(err, r, "supervise.folder", "cannot make the lock file %s: %s", name, strerror(-r));
	return 0;
}

static int make_folders(const struct settings *s, const struct identity identities[CHILD_COUNT_], struct agent_error **err)
{
	const struct identity self = { .uid = geteuid(), .gid = getegid() };
	const struct {
		const char *path;
		const struct identity *owner;
		mode_t mode;
	} folders[] = {
		{ s->paths.state_dir, &identities[CHILD_CORE], 0700 },
		{ s->paths.link_dir, &identities[CHILD_LINK], 0700 },
		{ s->paths.install_dir, &identities[CHILD_INSTALL], 0700 },
		{ s->paths.run_dir, &self, 0755 },
	};
	_cleanup_free_ char *ram = NULL; /* of agentd-link's queues */
	_cleanup_free_ char *scratch = NULL; /* of scripts */
	_cleanup_close_ int run_fd = -1;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(folders) && r >= 0; i++)
		r = make_folder(folders[i].path, folders[i].owner, folders[i].mode, err);
	if (r < 0)
		return r;
	run_fd = open(s->paths.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run_fd < 0 || (mkdirat(run_fd, "pids", 0755) < 0 && errno != EEXIST) || fchmodat(run_fd, "pids", 0755, 0) < 0)
		return agent_error_set(err, -errno, "supervise.folder", "cannot make %s/pids: %s", s->paths.run_dir, strerror(errno));
	if (asprintf(&ram, "%s/link", s->paths.run_dir) < 0) {
		ram = NULL;
		return agent_error_set(err, -ENOMEM, "supervise.folder", "out of memory");
	}
	r = make_folder(ram, &identities[CHILD_LINK], 0700, err);
	if (r >= 0 && child_is_wanted(s, CHILD_SCRIPT))
		r = asprintf(&scratch, "%s/script", s->paths.run_dir) < 0 ? agent_error_set(err, -ENOMEM, "supervise.folder", "out of memory")
									  : make_folder(scratch, &identities[CHILD_SCRIPT], 0700, err);
	for (unsigned id = 0; id < CHILD_COUNT_ && r >= 0; id++)
		if (id != CHILD_CORE && (id != CHILD_SCRIPT || child_is_wanted(s, CHILD_SCRIPT))) /* core locks its state folder */
			r = make_lock_file(run_fd, id, &identities[id], err);
	return r;
}

/* ---- sockets --------------------------------------------------------------------------------------------------- */

static int socket_address(const char *run_dir, const char *file, struct sockaddr_un *ret, struct agent_error **err)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", run_dir, file);
	if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
		return agent_error_set(err, -ENAMETOOLONG, "supervise.socket", "the path %s/%s is too long for a socket", run_dir, file);
	return 0;
}

/* A socket of a supervisor that was killed stays behind; one that answers belongs to a running agent. */
static int remove_stale(const struct sockaddr_un *address, int type, struct agent_error **err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return agent_error_set(err, -errno, "supervise.socket", "cannot make a socket: %s", strerror(errno));
	if (lstat(address->sun_path, &st) < 0 && errno == ENOENT)
		return 0;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return agent_error_set(err, -EBUSY, "supervise.running", "the agent is already running: somebody answers on %s",
				       address->sun_path);
	if (errno != ECONNREFUSED)
		return agent_error_set(err, -errno, "supervise.socket", "%s is in the way: %s", address->sun_path, strerror(errno));
	if (unlink(address->sun_path) < 0)
		return agent_error_set(err, -errno, "supervise.socket", "cannot remove the old %s: %s", address->sun_path, strerror(errno));
	return 0;
}

static int bound_socket(const struct sockaddr_un *address, int type, const struct identity *owner, mode_t mode, int *ret_fd,
			struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	int r = remove_stale(address, type, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* umask 077: until it is handed over, the file is ours alone */
	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    (geteuid() == 0 && lchown(address->sun_path, owner->uid, owner->gid) < 0) || chmod(address->sun_path, mode) < 0)
		return agent_error_set(err, -errno, "supervise.socket", "cannot make the socket %s: %s", address->sun_path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int hand_over(struct handed_list *list, int fd, const char *fd_name, struct agent_error **err)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);

	if (high < 0)
		return agent_error_set(err, -errno, "supervise.socket", "cannot keep a socket: %s", strerror(errno));
	list->items[list->n++] = (struct handed){ high, fd_name };
	return 0;
}

static int make_unix(const struct settings *s, size_t row, const struct identity identities[CHILD_COUNT_],
		     struct handed_list *list, struct agent_error **err)
{
	const struct identity self = { .uid = geteuid(), .gid = getegid() };
	const struct identity *owner = sockets[row].client == CHILD_COUNT_ ? &self : &identities[sockets[row].client];
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r = socket_address(s->paths.run_dir, sockets[row].file, &address, err);

	if (r >= 0)
		r = bound_socket(&address, SOCK_STREAM, owner, sockets[row].mode, &fd, err);
	if (r >= 0 && listen(fd, BACKLOG_UNIX) < 0)
		r = agent_error_set(err, -errno, "supervise.socket", "cannot listen on %s: %s", address.sun_path, strerror(errno));
	return r < 0 ? r : hand_over(list, fd, sockets[row].fd_name, err);
}

/* @interface: the only one it is reached through, or NULL. @is_shared: another socket of ours has the same port. */
static int make_tcp(const char *text, const char *setting, const char *fd_name, const char *interface, bool is_shared, struct handed_list *list,
		    struct agent_error **err)
{
	struct sockaddr_storage address;
	_cleanup_close_ int fd = -1;
	const int yes = 1, no = 0;
	socklen_t size;

	if (address_parse(text, &address, &size) < 0)
		return agent_error_set(err, -EINVAL, "supervise.listen", "%s \"%s\" is not ADDRESS:PORT", setting, text);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && strncmp(text, "[::]:", 5) == 0) {
		/* A kernel without IPv6: "everywhere" is then all of IPv4. */
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = ((struct sockaddr_in6 *)(void *)&address)->sin6_port };

		memcpy(&address, &any, sizeof(any));
		size = sizeof(any);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (fd >= 0 && address.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (fd >= 0 && is_shared)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes));
	if (fd >= 0 && interface != NULL && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0) {
		/* Without it nothing is open to the network before the password is set; that is no reason not to start. */
		service_log(LOG_WARNING, "no socket on %s (mgmt.setup_interface): %s", interface, strerror(errno));
		return 0;
	}
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, size) < 0 || listen(fd, BACKLOG_TCP) < 0)
		return agent_error_set(err, -errno, "supervise.listen", "cannot listen on %s (%s): %s", text, setting, strerror(errno));
	return hand_over(list, fd, fd_name, err);
}

static int make_network(const struct settings *settings, struct handed_list *list, struct agent_error **err)
{
	const char *interface = settings->mgmt.setup_interface, *http = settings->mgmt.http_listen, *client = settings->mgmt.client_listen;
	bool is_split = interface[0] != '\0';
	int r = make_tcp(settings->mgmt.listen, "mgmt.listen", "mgmt-https", NULL, is_split, list, err);

	if (r >= 0 && is_split)
		r = make_tcp(settings->mgmt.listen, "mgmt.listen", "mgmt-setup", interface, is_split, list, err);
	if (r >= 0 && client[0] != '\0')
		r = make_tcp(client, "mgmt.client_listen", "mgmt-client", NULL, false, list, err);
	if (r >= 0 && http[0] != '\0')
		r = make_tcp(http, "mgmt.http_listen", "mgmt-http", NULL, is_split, list, err);
	if (r >= 0 && http[0] != '\0' && is_split)
		r = make_tcp(http, "mgmt.http_listen", "mgmt-setup-http", interface, is_split, list, err);
	return r;
}

int sockets_make(const struct settings *settings, const struct identity identities[CHILD_COUNT_],
		 struct handed_list ret_handed[CHILD_COUNT_], struct agent_error **err)
{
	int r = make_folders(settings, identities, err);

	for (size_t i = 0; i < ARRAY_SIZE(sockets) && r >= 0; i++)
		if ((sockets[i].child != CHILD_SCRIPT || child_is_wanted(settings, CHILD_SCRIPT)) &&
		    (settings->vendor.enable || (strcmp(sockets[i].fd_name, "core-vendor") != 0 && strcmp(sockets[i].fd_name, "link-apps") != 0)))
			r = make_unix(settings, i, identities, &ret_handed[sockets[i].child], err);
	return r < 0 || !settings->mgmt.https ? r : make_network(settings, &ret_handed[CHILD_MGMT], err);
}

int notify_socket_make(const struct settings *settings, int *ret_fd, struct agent_error **err)
{
	const struct identity self = { .uid = geteuid(), .gid = getegid() };
	struct sockaddr_un address;
	const int yes = 1;
	int r = socket_address(settings->paths.run_dir, NOTIFY_FILE, &address, err);

	/* Anybody may send; what counts is whose process id the kernel puts on it. */
	if (r >= 0)
		r = bound_socket(&address, SOCK_DGRAM, &self, 0666, ret_fd, err);
	if (r >= 0 && setsockopt(*ret_fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) < 0)
		r = agent_error_set(err, -errno, "supervise.socket", "cannot set up %s: %s", address.sun_path, strerror(errno));
	return r;
}

int reboot_socket_make(const struct settings *settings, const struct identity *core, int *ret_fd, struct agent_error **err)
{
	struct sockaddr_un address;
	int r = socket_address(settings->paths.run_dir, REBOOT_FILE, &address, err);

	if (r >= 0)
		r = bound_socket(&address, SOCK_STREAM, core, 0600, ret_fd, err);
	if (r >= 0 && listen(*ret_fd, 1) < 0)
		r = agent_error_set(err, -errno, "supervise.socket", "cannot listen on %s: %s", address.sun_path, strerror(errno));
	return r;
}

void sockets_remove(const struct settings *settings)
{
	_cleanup_close_ int fd = open(settings->paths.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(sockets); i++)
		(void)unlinkat(fd, sockets[i].file, 0);
	(void)unlinkat(fd, NOTIFY_FILE, 0);
	(void)unlinkat(fd, REBOOT_FILE, 0);
}
