/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_LOGIN_DOOR_H
#define COMMON_LOGIN_DOOR_H
/*
 * The other side of RUN_DIR/login.sock, for programs that let a person in: pam_agentd and agentctl console. Linked into
 * login, sshd and sudo, so it stands on libc and sd-bus alone, changes no signal and no global state, and every call ends at
 * its deadline. One connection per call: nothing is held while a person types.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGIN_DOOR_SOCKET "/run/agentd/login.sock"
#define LOGIN_DOOR_NO_UID UINT32_MAX
#define LOGIN_TOKEN_SIZE 64

enum login_result {
	LOGIN_OK,
	LOGIN_WRONG,	   /* user or password */
	LOGIN_LIMITED,	   /* too many tries, or other logins are being checked: retry_s */
	LOGIN_NOT_READY,   /* recovery, not provisioned, TPM away */
	LOGIN_REJECTED,	   /* a new password that breaks a rule */
	LOGIN_SESSION,	   /* the token is dead: begin anew */
	LOGIN_UNREACHABLE, /* agentd does not run or does not answer in time */
	LOGIN_FAILED	   /* anything else */
};

/* Where the person is. */
struct login_who {
	const char *user;   /* agent account */
	const char *source; /* "tty:ttyS0", "ip:192.0.2.7", "host:NAME", "unix:1000" */
	uint32_t uid;	    /* of the local user who asks, or LOGIN_DOOR_NO_UID */
};

struct login_reply {
	enum login_result result;
	unsigned retry_s;
	char text[512];		      /* for a person, why not; "" for none. Without control characters */
	char token[LOGIN_TOKEN_SIZE]; /* of the session that was opened, "" for none */
	char role[16];
	bool must_change; /* a password has to be set before anything else */
};

struct login_greeting {
	char setup[16]; /* "factory", "active", "recovery", ... */
	char serial[128], model[128], fingerprint[160];
	unsigned password_min;
};

/*
 * Each waits for at most @timeout_ms. Callers wipe the token with login_wipe(). ret_reply is filled in any case; the return
 * value is its result.
 */
enum login_result login_greet(const char *socket, int timeout_ms, struct login_greeting *ret_greeting, struct login_reply *ret_reply);
/* Is it the password? @wants_session: a token also when nothing has to be changed, for login_change(). */
enum login_result login_check(const char *socket, int timeout_ms, const struct login_who *who, const char *password, bool wants_session,
			      struct login_reply *ret_reply);
/* With the token of login_check(). @current: needed unless the token came with must_change; may be "". */
enum login_result login_change(const char *socket, int timeout_ms, const struct login_who *who, const char *token, const char *current,
			       const char *new_password, struct login_reply *ret_reply);
/* End the session of @token; failing is of no consequence, it ends by itself. */
void login_close(const char *socket, int timeout_ms, const struct login_who *who, const char *token);
void login_wipe(void *data, size_t size);

#endif
