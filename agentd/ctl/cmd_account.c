/* SPDX-License-Identifier: Apache-2.0 */
/* passwd, login, logout. Passwords come from the terminal without echo or from stdin, never from the command line. */
#include <string.h>

#include "agentd/ctl/ask.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "agentd/ctl/token.h"
#include "base/macro.h"
#include "base/secret.h"

/* *ret_token is the session's; the caller frees it with token_free(). */
static int open_session(struct ctl *ctl, const char *user, const struct secret *password, char **ret_token, bool *ret_is_full)
{
	json_t *body = json_pack("{s:s, s:o}", "user", user, "password", secret_json(password));
	const char *token, *scope;
	struct reply reply;
	int r;

	if (body == NULL) {
		fputs("agentctl: the password is not valid UTF-8\n", stderr);
		return CTL_USAGE;
	}
	r = http_request(ctl, "POST", "/v1/session", body, &reply);
	token = json_string_value(json_object_get(reply.body, "token"));
	scope = json_string_value(json_object_get(reply.body, "scope"));
	if (r == CTL_OK) {
		*ret_token = token == NULL ? NULL : strdup(token);
		*ret_is_full = scope != NULL && strcmp(scope, "full") == 0;
		if (*ret_token == NULL)
			r = CTL_FAILED;
	}
	reply_free(&reply);
	return r;
}

static int close_session(struct ctl *ctl)
{
	return http_do(ctl, "DELETE", "/v1/session", NULL);
}

int cmd_login(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret password = { 0 };
	const char *user = "admin";
	int is_stdin = 0, r;
	const struct option_row rows[] = { { "--user", &user, NULL }, { "--stdin", NULL, &is_stdin } };
	char *token = NULL;
	bool is_full = false;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	if (ask_secret(is_stdin, "Password", &password) < 0)
		return CTL_USAGE;
	token_free(TAKE_PTR(ctl->token));
	ctl->is_stored_token = false;
	r = open_session(ctl, user, &password, &token, &is_full);
	if (r == CTL_OK && !is_full) {
		/* The factory secret opens nothing but the change; such a session is of no use here. */
		ctl->token = token;
		close_session(ctl);
		fputs("agentctl: this opens nothing but the change: set a password of your own with it first: agentctl passwd\n", stderr);
		return CTL_REFUSED;
	}
	if (r == CTL_OK && token_store(ctl->socket, token) < 0) {
		/* Nobody could use it; there are eight places for sessions. */
		ctl->token = TAKE_PTR(token);
		close_session(ctl);
		r = CTL_FAILED;
	}
	if (r == CTL_OK)
		print_done(ctl, "Logged in.", "{\"logged_in\":true}");
	token_free(token);
	return r;
}

int cmd_logout(struct ctl *ctl, int argc, char **argv)
{
	int r;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	if (ctl->token == NULL) {
		fputs("agentctl: not logged in\n", stderr);
		return CTL_CREDENTIALS;
	}
	r = close_session(ctl);
	token_forget();
	if (r == CTL_OK)
		print_done(ctl, "Logged out.", "{\"logged_in\":false}");
	return r;
}

/* Which of the two is asked for depends on whether the owner has set a password before. */
static int is_first_change(struct ctl *ctl, bool *ret_is_first)
{
	struct reply reply;
	int r = http_request(ctl, "GET", "/v1/bootstrap", NULL, &reply);
	const char *state = json_string_value(json_object_get(reply.body, "state"));

	*ret_is_first = state != NULL && strcmp(state, "factory") == 0;
	/* Before anybody has typed three passwords. */
	if (r == CTL_OK && !*ret_is_first && (state == NULL || strcmp(state, "active") != 0)) {
		fputs("agentctl: setup is ", stderr);
		print_text(stderr, state);
		fputs(", so no password can be set now: agentctl status\n", stderr);
		r = CTL_UNREACHABLE;
	}
	reply_free(&reply);
	return r;
}

static int put_password(struct ctl *ctl, const char *user, const struct secret *current, const struct secret *new_password)
{
	json_t *body = current == NULL ? json_pack("{s:o}", "new", secret_json(new_password)) :
					 json_pack("{s:o, s:o}", "current", secret_json(current), "new", secret_json(new_password));
	const char *token;
	struct reply reply;
	char path[96];
	int r;

	if (body == NULL) {
		fputs("agentctl: the password is not valid UTF-8\n", stderr);
		return CTL_USAGE;
	}
	snprintf(path, sizeof(path), "/v1/credentials/%s", user);
	r = http_request(ctl, "PUT", path, body, &reply);
	token = json_string_value(json_object_get(reply.body, "token"));
	if (r == CTL_OK && token != NULL) {
		token_free(ctl->token);
		ctl->token = strdup(token);
	}
	reply_free(&reply);
	return r;
}

int cmd_passwd(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret current = { 0 }, new_password = { 0 }, again = { 0 };
	int is_stdin = 0, r;
	const char *user = "admin";
	const struct option_row rows[] = { { "--user", &user, NULL }, { "--stdin", NULL, &is_stdin } };
	bool is_first = false, is_full = false;
	char *token = NULL;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = is_first_change(ctl, &is_first);
	if (r != CTL_OK)
		return r;
	if (ask_secret(is_stdin, is_first ? "Code on the label" : "Current password", &current) < 0 ||
	    ask_secret(is_stdin, "New password", &new_password) < 0)
		return CTL_USAGE;
	if (!is_stdin) {
		if (ask_secret(false, "New password again", &again) < 0)
			return CTL_USAGE;
		if (!secret_equal(&again, new_password.data, new_password.size)) {
			fputs("agentctl: the two are not the same; nothing was changed\n", stderr);
			return CTL_FAILED;
		}
	}
	token_free(TAKE_PTR(ctl->token));
	ctl->is_stored_token = false;
	r = open_session(ctl, user, &current, &token, &is_full);
	if (r != CTL_OK)
		return r;
	ctl->token = token;
	r = put_password(ctl, user, is_full ? &current : NULL, &new_password);
	/* This session was for the change only; one that was kept from before is dead as well now. */
	close_session(ctl);
	if (r == CTL_OK) {
		token_forget();
		print_done(ctl, is_first ? "Password set. The code on the label is void now." : "Password changed. All sessions from before have ended.",
			   "{\"changed\":true}");
	}
	return r;
}
