/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pam_agentd: console, SSH, su and sudo ask core whether a password is right, over RUN_DIR/login.sock (login_door.h). What
 * counts as a try, how long to wait and whether a password has to be set first is core's to say; nothing is decided or kept
 * here. Runs inside programs of root: no static state, no signals, no exit, and an end to every wait. pam_agentd(8).
 */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>

#include "agentd/common/login_door.h"

#define EXPORT __attribute__((visibility("default")))
#define DATA_STATE "agentd-state"
#define DEFAULT_MAP "admin:admin" /* nobody gets into Linux by the agent's password unless somebody said so */
#define TIMEOUT_DEFAULT_S 10
#define TIMEOUT_MAX_S 60
#define NEW_TRIES 3
#define NAME_SIZE 64
#define SOURCE_SIZE 65 /* CALLER_SOURCE_MAX of core, and NUL */

enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

struct options {
	const char *socket;
	const char *map[32]; /* LINUX:AGENT, lent from argv */
	unsigned n_maps;
	int timeout_ms;
	enum role role;
};

/* Who is that, on both sides. */
struct person {
	char linux_user[NAME_SIZE], agent_user[NAME_SIZE], source[SOURCE_SIZE];
	struct login_who who;
};

/* Between the phases of one login. The password is not in here. */
struct state {
	bool is_known;	  /* core said yes in this handle */
	bool must_change;
	bool from_auth;	  /* of the token: the person has just shown the password in force */
	char token[LOGIN_TOKEN_SIZE];
};

static enum role role_of(const char *name)
{
	if (strcmp(name, "admin") == 0)
		return ROLE_ADMIN;
	if (strcmp(name, "operator") == 0)
		return ROLE_OPERATOR;
	return strcmp(name, "viewer") == 0 ? ROLE_VIEWER : ROLE_NONE;
}

/* An option that cannot be read fails the login: a typing error must not loosen anything. */
static int read_options(pam_handle_t *pamh, int argc, const char **argv, struct options *o)
{
	*o = (struct options){ .socket = LOGIN_DOOR_SOCKET, .timeout_ms = TIMEOUT_DEFAULT_S * 1000 };
	for (int i = 0; i < argc; i++) {
		const char *value = strchr(argv[i], '=');
		size_t n = value == NULL ? 0 : (size_t)(value - argv[i]);
		char *end;
		long seconds;

		value = value == NULL ? "" : value + 1;
		if (n == 6 && memcmp(argv[i], "socket", n) == 0 && value[0] == '/') {
			o->socket = value;
			continue;
		}
		if (n == 3 && memcmp(argv[i], "map", n) == 0 && o->n_maps < sizeof(o->map) / sizeof(o->map[0]) && value[0] != ':' &&
		    strchr(value, ':') != NULL && strchr(value, ':')[1] != '\0') {
			o->map[o->n_maps++] = value;
			continue;
		}
		if (n == 4 && memcmp(argv[i], "role", n) == 0 && role_of(value) != ROLE_NONE) {
			o->role = role_of(value);
			continue;
		}
		if (n == 7 && memcmp(argv[i], "timeout", n) == 0) {
			errno = 0;
			seconds = strtol(value, &end, 10);
			if (errno == 0 && end != value && *end == '\0' && seconds >= 1 && seconds <= TIMEOUT_MAX_S) {
				o->timeout_ms = (int)seconds * 1000;
				continue;
			}
		}
		pam_syslog(pamh, LOG_ERR, "option %d of pam_agentd is not one of pam_agentd(8); nobody is let in", i + 1);
		return PAM_SERVICE_ERR;
	}
	if (o->n_maps == 0)
		o->map[o->n_maps++] = DEFAULT_MAP;
	return PAM_SUCCESS;
}

static bool copy_text(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size)
		return false;
	memcpy(to, from, n + 1);
	return true;
}

static bool is_on_map(const struct options *o, const char *linux_user, char *ret_agent_user)
{
	size_t n = strlen(linux_user);

	for (unsigned i = 0; i < o->n_maps; i++)
		if (strncmp(o->map[i], linux_user, n) == 0 && o->map[i][n] == ':')
			return copy_text(ret_agent_user, NAME_SIZE, o->map[i] + n + 1);
	return false;
}

/* "PREFIX:TEXT" with what core takes as a source: printable ASCII without blanks, cut to its length. */
static void make_source(char source[SOURCE_SIZE], const char *prefix, const char *text)
{
	int n = snprintf(source, SOURCE_SIZE, "%s:%s", prefix, text[0] == '\0' ? "unknown" : text);

	for (int i = 0; i < n && i < SOURCE_SIZE - 1; i++)
		if (source[i] <= 0x20 || source[i] > 0x7e)
			source[i] = '_';
}

static const char *get_text(pam_handle_t *pamh, int item)
{
	const void *text = NULL;

	return pam_get_item(pamh, item, &text) == PAM_SUCCESS && text != NULL ? text : "";
}

/*
 * From where does the person ask? From another machine when the program says so; else by the user who started the program
 * (the kernel's word for su and passwd; sudo has become root by now and says in PAM_RUSER who it was); else at a terminal. An sshd that
 * looks names up says "localhost" of every user of this machine: that is no terminal, and must not use up the tries of the console.
 */
static void find_source(pam_handle_t *pamh, struct person *p)
{
	const char *rhost = get_text(pamh, PAM_RHOST), *ruser = get_text(pamh, PAM_RUSER), *tty = get_text(pamh, PAM_TTY);
	const struct passwd *pw = NULL;
	uid_t uid = getuid();
	char number[16];

	p->who.uid = LOGIN_DOOR_NO_UID;
	if (rhost[0] != '\0' && strcmp(rhost, "localhost") != 0) {
		make_source(p->source, strspn(rhost, "0123456789.") == strlen(rhost) || strchr(rhost, ':') != NULL ? "ip" : "host", rhost);
		return;
	}
	if (uid == 0 && ruser[0] != '\0') {
		pw = pam_modutil_getpwnam(pamh, ruser);
		if (pw != NULL)
			uid = pw->pw_uid;
	}
	if (uid != 0 || pw != NULL) {
		p->who.uid = (uint32_t)uid;
		snprintf(number, sizeof(number), "%lu", (unsigned long)uid);
		make_source(p->source, "unix", number);
		return;
	}
	if (rhost[0] != '\0')
		make_source(p->source, "host", rhost);
	else
		make_source(p->source, "tty", strncmp(tty, "/dev/", 5) == 0 ? tty + 5 : tty);
}

/* PAM_USER_UNKNOWN for a Linux user who is not on the map: he is somebody else's business. */
static int find_person(pam_handle_t *pamh, const struct options *o, struct person *p)
{
	const char *user = NULL;
	int r = pam_get_user(pamh, &user, NULL);

	memset(p, 0, sizeof(*p));
	if (r != PAM_SUCCESS)
		return r;
	/* Not logged: a password typed as the name would be. */
	if (user == NULL || user[0] == '\0' || !copy_text(p->linux_user, sizeof(p->linux_user), user) ||
	    !is_on_map(o, user, p->agent_user))
		return PAM_USER_UNKNOWN;
	find_source(pamh, p);
	p->who.user = p->agent_user;
	p->who.source = p->source;
	return PAM_SUCCESS;
}

/* What every call begins with. */
static int begin(pam_handle_t *pamh, int argc, const char **argv, struct options *o, struct person *p)
{
	int r = read_options(pamh, argc, argv, o);

	return r == PAM_SUCCESS ? find_person(pamh, o, p) : r;
}

static void free_state(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	/* The session ends by itself; a child of the program may be here, so core is not asked. */
	login_wipe(data, sizeof(struct state));
	free(data);
}

static int put_state(pam_handle_t *pamh, const struct login_reply *reply, bool from_auth)
{
	struct state *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return PAM_BUF_ERR;
	s->is_known = true;
	s->must_change = reply->must_change;
	s->from_auth = from_auth;
	memcpy(s->token, reply->token, sizeof(s->token));
	r = pam_set_data(pamh, DATA_STATE, s, free_state);
	if (r != PAM_SUCCESS)
		free_state(pamh, s, 0);
	return r;
}

static const struct state *get_state(pam_handle_t *pamh)
{
	const void *data = NULL;

	return pam_get_data(pamh, DATA_STATE, &data) == PAM_SUCCESS ? data : NULL;
}

/* Tell the person and the log why not; the code for the program. */
static int explain(pam_handle_t *pamh, const struct person *p, const struct login_reply *reply, int flags)
{
	static const struct {
		int code;
		int priority;
		const char *log;
	} rows[] = {
		[LOGIN_WRONG] = { PAM_AUTH_ERR, LOG_NOTICE, "wrong password" },
		[LOGIN_LIMITED] = { PAM_MAXTRIES, LOG_NOTICE, "too many tries" },
		[LOGIN_NOT_READY] = { PAM_AUTHINFO_UNAVAIL, LOG_ERR, "the device cannot check passwords now" },
		[LOGIN_REJECTED] = { PAM_AUTHTOK_ERR, LOG_NOTICE, "new password refused" },
		[LOGIN_SESSION] = { PAM_AUTHTOK_RECOVERY_ERR, LOG_NOTICE, "the login ran out" },
		[LOGIN_UNREACHABLE] = { PAM_AUTHINFO_UNAVAIL, LOG_ERR, "agentd cannot be asked" },
		[LOGIN_FAILED] = { PAM_AUTHINFO_UNAVAIL, LOG_ERR, "agentd failed" },
	};
	enum login_result result = reply->result;

	if (result == LOGIN_OK || (unsigned)result >= sizeof(rows) / sizeof(rows[0]))
		return PAM_SYSTEM_ERR;
	pam_syslog(pamh, rows[result].priority, "%s for %s from %s%s%s", rows[result].log, p->linux_user, p->source,
		   result == LOGIN_WRONG || reply->text[0] == '\0' ? "" : ": ", result == LOGIN_WRONG ? "" : reply->text);
	if ((flags & PAM_SILENT) == 0 && result != LOGIN_WRONG) {
		if (reply->retry_s > 0)
			pam_error(pamh, "%s. Wait %u s.", reply->text, reply->retry_s);
		else
			pam_error(pamh, "%s", reply->text[0] == '\0' ? rows[result].log : reply->text);
	}
	return rows[result].code;
}

static int check(pam_handle_t *pamh, const struct options *o, const struct person *p, int flags, bool wants_session)
{
	bool is_change = wants_session;
	struct login_greeting greeting;
	struct login_reply reply;
	const char *password = NULL;
	bool is_factory;
	int r;

	/* Nobody types a password that nobody can check. */
	if (login_greet(o->socket, o->timeout_ms, &greeting, &reply) != LOGIN_OK)
		return explain(pamh, p, &reply, flags);
	is_factory = strcmp(greeting.setup, "factory") == 0;
	r = pam_get_authtok(pamh, is_change ? PAM_OLDAUTHTOK : PAM_AUTHTOK, &password,
			    is_factory ? "Code on the label: " :
			    is_change  ? "Current password: " :
					 "Password: ");
	if (r != PAM_SUCCESS)
		return r;
	if (password == NULL || password[0] == '\0')
		return PAM_AUTH_ERR;
	if (login_check(o->socket, o->timeout_ms, &p->who, password, wants_session, &reply) != LOGIN_OK)
		r = explain(pamh, p, &reply, flags);
	else if (role_of(reply.role) < o->role) { /* the code on the label counts as an administrator's */
		pam_syslog(pamh, LOG_NOTICE, "the role of %s is too low here", p->linux_user);
		r = PAM_PERM_DENIED;
	} else {
		r = put_state(pamh, &reply, !is_change);
	}
	login_wipe(&reply, sizeof(reply));
	return r;
}

/* ---- auth ------------------------------------------------------------------------------------------------------- */

EXPORT int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct options o;
	struct person p;
	int r = begin(pamh, argc, argv, &o, &p);

	if (r == PAM_SUCCESS)
		r = check(pamh, &o, &p, flags, false);
	return r;
}

/* PAM demands it; there are no credentials beyond the user's own. */
EXPORT int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}

/* ---- account ---------------------------------------------------------------------------------------------------- */

/* Also for those who came in by other means, an SSH key for one: before the owner has set a password, nobody does anything. */
EXPORT int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const struct state *s = get_state(pamh);
	struct login_greeting greeting;
	struct login_reply reply;
	struct options o;
	struct person p;
	int r = begin(pamh, argc, argv, &o, &p);

	if (r != PAM_SUCCESS)
		return r;
	if (login_greet(o.socket, o.timeout_ms, &greeting, &reply) != LOGIN_OK)
		return explain(pamh, &p, &reply, flags);
	if (strcmp(greeting.setup, "factory") == 0 || (s != NULL && s->must_change)) {
		if ((flags & PAM_SILENT) == 0)
			pam_info(pamh, "A password of your own must be set before anything else can be done.");
		return PAM_NEW_AUTHTOK_REQD;
	}
	if (strcmp(greeting.setup, "active") == 0)
		return PAM_SUCCESS;
	pam_syslog(pamh, LOG_ERR, "%s is not let in: the device is in state %s", p.linux_user, greeting.setup);
	if ((flags & PAM_SILENT) == 0)
		pam_error(pamh, "The device is in state %s: nobody can log in.", greeting.setup);
	return PAM_ACCT_EXPIRED;
}

/* ---- password --------------------------------------------------------------------------------------------------- */

/* The rules are core's; its sentence says which one it was. A person gets another go without starting anew. */
static int set_new(pam_handle_t *pamh, const struct options *o, const struct person *p, int flags)
{
	const struct state *s = get_state(pamh);
	int r = PAM_AUTHTOK_ERR;

	for (int i = 0; i < NEW_TRIES; i++) {
		const char *new_password = NULL, *current = get_text(pamh, PAM_OLDAUTHTOK);
		struct login_reply reply;

		r = pam_get_authtok(pamh, PAM_AUTHTOK, &new_password, NULL); /* asks twice and compares */
		if (r != PAM_SUCCESS)
			return r;
		/* The session of must_change is proof enough, and the item may be of another module. */
		if (login_change(o->socket, o->timeout_ms, &p->who, s->token, s->must_change ? "" : current, new_password, &reply) == LOGIN_OK) {
			pam_syslog(pamh, LOG_NOTICE, "password changed for %s from %s", p->linux_user, p->source);
			login_close(o->socket, o->timeout_ms, &p->who, reply.token);
			login_wipe(&reply, sizeof(reply));
			(void)pam_set_data(pamh, DATA_STATE, NULL, NULL);
			return PAM_SUCCESS;
		}
		r = explain(pamh, p, &reply, flags);
		(void)pam_set_item(pamh, PAM_AUTHTOK, NULL);
		if (reply.result != LOGIN_REJECTED)
			return r;
	}
	return r;
}

EXPORT int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const struct state *s;
	struct options o;
	struct person p;
	int r = begin(pamh, argc, argv, &o, &p);

	if (r != PAM_SUCCESS)
		return r;
	s = get_state(pamh);
	if ((flags & PAM_PRELIM_CHECK) != 0) {
		/* The label code was shown a moment ago and its session is good for the change; anything else is shown anew. */
		if (s != NULL && s->from_auth && s->must_change && s->token[0] != '\0')
			return PAM_SUCCESS;
		if ((flags & PAM_CHANGE_EXPIRED_AUTHTOK) != 0 && s != NULL && !s->must_change)
			return PAM_SUCCESS;
		return check(pamh, &o, &p, flags, true);
	}
	if ((flags & PAM_UPDATE_AUTHTOK) == 0)
		return PAM_SERVICE_ERR;
	if ((flags & PAM_CHANGE_EXPIRED_AUTHTOK) != 0 && s != NULL && !s->must_change)
		return PAM_SUCCESS; /* it was another module's password that ran out */
	if (s == NULL || s->token[0] == '\0')
		return PAM_AUTHTOK_RECOVERY_ERR;
	return set_new(pamh, &o, &p, flags);
}

/* ---- session: PAM demands them ---------------------------------------------------------------------------------- */

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return pam_sm_setcred(pamh, flags, argc, argv);
}

EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return pam_sm_setcred(pamh, flags, argc, argv);
}
