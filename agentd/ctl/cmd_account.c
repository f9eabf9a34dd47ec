/* SPDX-License-Identifier: Apache-2.0 */
/* passwd, login, logout. Passwords come from the terminal without echo or from stdin, never from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "agentd/ctl/token.h"
#include "base/macro.h"
#include "base/secret.h"

#define LINE_MAX_BYTES 1024

/* One line without its newline. Byte by byte, so that nothing of the next line is swallowed. */
static int read_line(int fd, struct secret *ret_line)
{
	int r = secret_alloc(ret_line, LINE_MAX_BYTES);

	while (r == 0) {
		char c;
		ssize_t n = read(fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 1 && c == 3 && isatty(fd))	/* ^C, see prompt() */
			return -EINTR;
		if (n == 0 || c == '\n')
			return n == 0 && ret_line->size == 0 ? -ENODATA : 0;
		if (ret_line->size == LINE_MAX_BYTES - 1)
			return -EMSGSIZE;
		ret_line->data[ret_line->size++] = (uint8_t)c;
	}
	return r;
}

static int prompt(const char *question, struct secret *ret_line)
{
	_cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios before, quiet;
	sigset_t stop, old;
	int r;

	if (tty < 0) {
		fputs("agentctl: there is no terminal to ask on; use --stdin\n", stderr);
		return -ENOTTY;
	}
	if (tcgetattr(tty, &before) < 0)
		return -errno;
	quiet = before;
	quiet.c_lflag &= (tcflag_t) ~(ECHO);
	quiet.c_lflag |= ECHONL;
	quiet.c_lflag &= (tcflag_t) ~(ISIG);
	quiet.c_cc[VEOL] = before.c_cc[VINTR];	/* ^C ends the line, so that the echo comes back before we leave */
	/* Signals from elsewhere wait until the echo is back. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGHUP);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_BLOCK, &stop, &old);
	dprintf(tty, "%s: ", question);
	tcsetattr(tty, TCSAFLUSH, &quiet);
	r = read_line(tty, ret_line);
	tcsetattr(tty, TCSAFLUSH, &before);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

static int ask(bool is_stdin, const char *question, struct secret *ret_line)
{
	int r = is_stdin ? read_line(STDIN_FILENO, ret_line) : prompt(question, ret_line);

	if (r == -ENODATA)
		fprintf(stderr, "agentctl: %s: nothing was entered\n", question);
	else if (r == -EMSGSIZE)
		fprintf(stderr, "agentctl: %s: longer than any password may be\n", question);
	else if (r == -EINTR)
		fputs("agentctl: given up; nothing was changed\n", stderr);
	else if (r < 0 && r != -ENOTTY)
		fprintf(stderr, "agentctl: %s: %s\n", question, strerror(-r));
	return r;
}

/* A secret in a request; NULL if it is no UTF-8, which http_request() reports. */
static json_t *text_of(const struct secret *secret)
{
	return json_stringn((const char *)secret->data, secret->size);
}

/* *ret_token is the session's; the caller frees it with token_free(). */
static int open_session(struct ctl *ctl, const char *user, const struct secret *password, char **ret_token, bool *ret_is_full)
{
	json_t *body = json_pack("{s:s, s:o}", "user", user, "password", text_of(password));
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
	struct reply reply;
	int r = http_request(ctl, "DELETE", "/v1/session", NULL, &reply);

	reply_free(&reply);
	return r;
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
	if (ask(is_stdin, "Password", &password) < 0)
		return CTL_USAGE;
	token_free(TAKE_PTR(ctl->token));
	ctl->is_stored_token = false;
	r = open_session(ctl, user, &password, &token, &is_full);
	if (r == CTL_OK && !is_full) {
		/* The factory secret opens nothing but the change; such a session is of no use here. */
		ctl->token = token;
		close_session(ctl);
		fputs("agentctl: this is the factory secret; set a password with it first: agentctl passwd\n", stderr);
		return CTL_REFUSED;
	}
	if (r == CTL_OK && token_store(ctl->socket, token) < 0)
		r = CTL_FAILED;
	if (r == CTL_OK && ctl->is_json)
		puts("{\"logged_in\":true}");
	else if (r == CTL_OK)
		puts("Logged in.");
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
	return r;
}

/* Which of the two is asked for depends on whether the owner has set a password before. */
static int is_first_change(struct ctl *ctl, bool *ret_is_first)
{
	struct reply reply;
	int r = http_request(ctl, "GET", "/v1/bootstrap", NULL, &reply);
	const char *state = json_string_value(json_object_get(reply.body, "state"));

	*ret_is_first = state != NULL && strcmp(state, "factory") == 0;
	reply_free(&reply);
	return r;
}

static int put_password(struct ctl *ctl, const struct secret *current, const struct secret *new_password)
{
	json_t *body = current == NULL ? json_pack("{s:o}", "new", text_of(new_password)) :
					 json_pack("{s:o, s:o}", "current", text_of(current), "new", text_of(new_password));
	const char *token;
	struct reply reply;
	int r;

	if (body == NULL) {
		fputs("agentctl: the password is not valid UTF-8\n", stderr);
		return CTL_USAGE;
	}
	r = http_request(ctl, "PUT", "/v1/credentials/admin", body, &reply);
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
	const struct option_row rows[] = { { "--stdin", NULL, &is_stdin } };
	bool is_first = false, is_full = false;
	char *token = NULL;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = is_first_change(ctl, &is_first);
	if (r != CTL_OK)
		return r;
	if (ask(is_stdin, is_first ? "Code on the label" : "Current password", &current) < 0 ||
	    ask(is_stdin, "New password", &new_password) < 0)
		return CTL_USAGE;
	if (!is_stdin) {
		if (ask(false, "New password again", &again) < 0)
			return CTL_USAGE;
		if (!secret_equal(&again, new_password.data, new_password.size)) {
			fputs("agentctl: the two are not the same; nothing was changed\n", stderr);
			return CTL_FAILED;
		}
	}
	token_free(TAKE_PTR(ctl->token));
	ctl->is_stored_token = false;
	r = open_session(ctl, "admin", &current, &token, &is_full);
	if (r != CTL_OK)
		return r;
	ctl->token = token;
	r = put_password(ctl, is_full ? &current : NULL, &new_password);
	/* This session was for the change only; one that was kept from before is dead as well now. */
	close_session(ctl);
	if (r == CTL_OK) {
		token_forget();
		puts(ctl->is_json ? "{\"changed\":true}" :
		     is_first	  ? "Password set. The code on the label is void now." : "Password changed. All sessions from before have ended.");
	}
	return r;
}
