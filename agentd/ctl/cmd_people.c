/* SPDX-License-Identifier: Apache-2.0 */
/* account list, add, role, passwd, remove; factory-reset. Every change asks for the caller's own password again. */
#include <stdio.h>
#include <string.h>

#include "agentd/ctl/ask.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "agentd/ctl/token.h"
#include "base/macro.h"
#include "base/secret.h"

static void show_accounts(const json_t *body)
{
	const json_t *account;
	size_t i;

	printf("%-32s %-10s %s\n", "NAME", "ROLE", "PASSWORD");
	json_array_foreach(json_object_get(body, "accounts"), i, account) {
		print_padded(json_string_value(json_object_get(account, "name")), 32);
		fputc(' ', stdout);
		print_padded(json_string_value(json_object_get(account, "role")), 10);
		puts(json_is_true(json_object_get(account, "must_change")) ? " to be changed at the next login" : " set");
	}
}

int cmd_account_list(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/accounts", show_accounts);
}

/* The new password of somebody else: twice at the keyboard, once on stdin. */
static int ask_new(bool is_stdin, const char *question, struct secret *ret_password)
{
	_cleanup_secret_ struct secret again = { 0 };

	if (ask_secret(is_stdin, question, ret_password) < 0)
		return CTL_USAGE;
	if (is_stdin)
		return CTL_OK;
	if (ask_secret(false, "The same again", &again) < 0)
		return CTL_USAGE;
	if (secret_equal(&again, ret_password->data, ret_password->size))
		return CTL_OK;
	fputs("agentctl: the two are not the same; nothing was changed\n", stderr);
	return CTL_FAILED;
}

/* Takes @body. */
static int send_change(struct ctl *ctl, const char *method, const char *path, json_t *body, const char *done)
{
	if (body == NULL) {
		fputs("agentctl: a password is not valid UTF-8\n", stderr);
		return CTL_USAGE;
	}
	return http_done(ctl, method, path, body, done, "{\"changed\":true}");
}

/* "/v1/accounts/NAME/what"; a name with other characters would be another path. */
static int path_for(const char *name, const char *what, char *path, size_t size)
{
	if (name[0] == '\0' || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")] != '\0' || strlen(name) > 32) {
		fprintf(stderr, "agentctl: %s: a name has 1 to 32 of a-z, 0-9, dot, dash and underscore\n", name);
		return -1;
	}
	snprintf(path, size, "/v1/accounts/%s/%s", name, what);
	return 0;
}

int cmd_account_add(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret own = { 0 }, first = { 0 };
	const char *args[1], *role = "viewer";
	int is_stdin = 0, r;
	const struct option_row rows[] = { { "--role", &role, NULL }, { "--stdin", NULL, &is_stdin } };

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), args, 1, 1) < 0)
		return CTL_USAGE;
	if (ask_secret(is_stdin, "Your own password", &own) < 0)
		return CTL_USAGE;
	r = ask_new(is_stdin, "First password of the new account", &first);
	if (r != CTL_OK)
		return r;
	return send_change(ctl, "POST", "/v1/accounts",
			   json_pack("{s:o, s:s, s:s, s:o}", "current", secret_json(&own), "name", args[0], "role", role, "new", secret_json(&first)),
			   "Account made. The password has to be changed at the first login.");
}

int cmd_account_role(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret own = { 0 };
	const char *args[2];
	int is_stdin = 0;
	const struct option_row rows[] = { { "--stdin", NULL, &is_stdin } };
	char path[80];

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), args, 2, 2) < 0 || path_for(args[0], "role", path, sizeof(path)) < 0 ||
	    ask_secret(is_stdin, "Your own password", &own) < 0)
		return CTL_USAGE;
	return send_change(ctl, "PUT", path, json_pack("{s:o, s:s}", "current", secret_json(&own), "role", args[1]),
			   "Role changed. Sessions of that account have ended.");
}

int cmd_account_passwd(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret own = { 0 }, next = { 0 };
	const char *args[1];
	int is_stdin = 0, r;
	const struct option_row rows[] = { { "--stdin", NULL, &is_stdin } };
	char path[80];

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), args, 1, 1) < 0 || path_for(args[0], "password", path, sizeof(path)) < 0 ||
	    ask_secret(is_stdin, "Your own password", &own) < 0)
		return CTL_USAGE;
	r = ask_new(is_stdin, "New password of that account", &next);
	if (r != CTL_OK)
		return r;
	return send_change(ctl, "PUT", path, json_pack("{s:o, s:o}", "current", secret_json(&own), "new", secret_json(&next)),
			   "Password set. It has to be changed at the next login; sessions of that account have ended.");
}

int cmd_account_remove(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret own = { 0 };
	const char *args[1];
	int is_stdin = 0;
	const struct option_row rows[] = { { "--stdin", NULL, &is_stdin } };
	char path[80];

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), args, 1, 1) < 0 || path_for(args[0], "remove", path, sizeof(path)) < 0 ||
	    ask_secret(is_stdin, "Your own password", &own) < 0)
		return CTL_USAGE;
	return send_change(ctl, "POST", path, json_pack("{s:o}", "current", secret_json(&own)), "Account removed. Its sessions have ended.");
}

int cmd_factory_reset(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_secret_ struct secret own = { 0 };
	int is_stdin = 0, is_sure = 0, r;
	const struct option_row rows[] = { { "--stdin", NULL, &is_stdin }, { "--yes", NULL, &is_sure } };

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	if (!is_sure) {
		fputs("agentctl: this removes all accounts and keys of the owner; the code on the label counts again. Add --yes\n", stderr);
		return CTL_USAGE;
	}
	if (ask_secret(is_stdin, "Your own password", &own) < 0)
		return CTL_USAGE;
	r = send_change(ctl, "POST", "/v1/factory-reset", json_pack("{s:o}", "current", secret_json(&own)),
			"Reset to the state of the factory. Log in with the code on the label: agentctl passwd");
	if (r == CTL_OK)
		token_forget();
	return r;
}
