/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "agentd/ctl/ask.h"
#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define CALLERS_MAX 16
#define PEM_MAX (16 * KIB)

static void print_detail(const char *label, const char *text)
{
	printf("    %s ", label);
	print_text(stdout, text);
	fputc('\n', stdout);
}

/* Lines that a terminal of 80 columns shows whole. */
static void print_key(const json_t *key)
{
	static const struct { const char *member; int width; } columns[] = {
		{ "name", 20 }, { "type", 10 }, { "backend", 9 }, { "origin", 9 }, { "purposes", 0 },
	};
	const json_t *caller;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(columns); i++) {
		if (i > 0)
			fputc(' ', stdout);
		print_padded(json_string_value(json_object_get(key, columns[i].member)), columns[i].width);
	}
	fputc('\n', stdout);
	print_detail("SHA-256", json_string_value(json_object_get(key, "fingerprint")));
	json_array_foreach(json_object_get(key, "callers"), i, caller)
		print_detail("for", json_string_value(caller));
	if (json_object_get(key, "problem") != NULL)
		print_detail("cannot be used:", json_string_value(json_object_get(key, "problem")));
}

static void show_keys(const json_t *body)
{
	json_t *key;
	size_t i;

	printf("%-20s %-10s %-9s %-9s %s\n", "NAME", "TYPE", "BACKEND", "ORIGIN", "PURPOSES");
	json_array_foreach(json_object_get(body, "keys"), i, key)
		print_key(key);
}

int cmd_key_list(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/keys", show_keys);
}

/* Core knows numbers only: it cannot read /etc/passwd. NULL after saying what is wrong. */
static json_t *caller_new(const char *text)
{
	size_t n = strcspn(text, " ");
	_cleanup_free_ char *name = strndup(text, n);
	const struct passwd *user;
	const struct group *group;

	if (name == NULL)
		return NULL;
	if (strncmp(name, "user:", 5) == 0) {
		user = getpwnam(name + 5);
		if (user != NULL)
			return json_sprintf("uid:%lu%s", (unsigned long)user->pw_uid, text + n);
		fprintf(stderr, "agentctl: there is no user %s\n", name + 5);
		return NULL;
	}
	if (strncmp(name, "group:", 6) == 0) {
		group = getgrnam(name + 6);
		if (group != NULL)
			return json_sprintf("gid:%lu%s", (unsigned long)group->gr_gid, text + n);
		fprintf(stderr, "agentctl: there is no group %s\n", name + 6);
		return NULL;
	}
	return json_string(text);
}

static json_t *purpose_new(const char *text)
{
	return json_string(text);
}

/* "a,b" as a list; NULL if one of them is wrong. */
static json_t *list_new(const char *text, json_t *(*entry_new)(const char *text))
{
	json_t *list = json_array();

	while (text != NULL && *text != '\0') {
		size_t n = strcspn(text, ",");
		_cleanup_free_ char *word = strndup(text, n);
		json_t *entry = word == NULL ? NULL : entry_new(word);

		if (entry == NULL) {
			json_decref(list);
			return NULL;
		}
		json_array_append_new(list, entry);
		text += n + (text[n] == ',');
	}
	return list;
}

/* Purposes and callers of a new key, as given on the command line. */
struct rights {
	const char *purposes, *callers;
	int is_software;
};
#define RIGHTS_ROWS(r) { "--purposes", &(r).purposes, NULL }, { "--callers", &(r).callers, NULL }, { "--software", NULL, &(r).is_software }

/* false after saying what is wrong; @body stays the caller's. */
static bool add_rights(json_t *body, const struct rights *rights)
{
	json_t *list;

	if (rights->is_software)
		json_object_set_new(body, "backend", json_string("software"));
	if (rights->purposes != NULL)
		json_object_set_new(body, "purposes", list_new(rights->purposes, purpose_new));
	if (rights->callers == NULL)
		return true;
	list = list_new(rights->callers, caller_new);
	if (list == NULL)
		return false;
	json_object_set_new(body, "callers", list);
	return true;
}

static int send_new_key(struct ctl *ctl, const char *path, json_t *body, const struct rights *rights)
{
	if (add_rights(body, rights))
		return http_show(ctl, "POST", path, body, print_key);
	json_decref(body);
	return CTL_USAGE;
}

int cmd_key_create(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *type = "ec-p256";
	struct rights rights = { 0 };
	const struct option_row rows[] = { { "--type", &type, NULL }, RIGHTS_ROWS(rights) };

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	return send_new_key(ctl, "/v1/keys", json_pack("{s:s, s:s}", "name", name, "type", type), &rights);
}

/* All of stdin as a JSON text; NULL after saying why not. Never from the command line: other users see that. */
static json_t *read_pem(const char *what)
{
	_cleanup_secret_ struct secret text = { 0 };
	json_t *pem = NULL;
	size_t n = 0;

	say_where_from(what);
	if (secret_alloc(&text, PEM_MAX + 1) >= 0)
		n = fread(text.data, 1, PEM_MAX + 1, stdin);
	if (n == 0 || ferror(stdin))
		fprintf(stderr, "agentctl: no %s came on standard input\n", what);
	else if (n > PEM_MAX)
		fprintf(stderr, "agentctl: more than %zu bytes came on standard input; that is no %s\n", PEM_MAX, what);
	else if (memchr(text.data, '\0', n) != NULL || (pem = json_stringn((const char *)text.data, n)) == NULL)
		fprintf(stderr, "agentctl: standard input is not text, so it is no %s in PEM form\n", what);
	return pem;
}

int cmd_key_import(struct ctl *ctl, int argc, char **argv)
{
	const char *name;
	struct rights rights = { 0 };
	const struct option_row rows[] = { RIGHTS_ROWS(rights) };
	_cleanup_free_ char *path = NULL;
	json_t *pem;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	path = http_path("/v1/keys/", name, "/import");
	if (path == NULL)
		return CTL_FAILED;
	setvbuf(stdin, NULL, _IONBF, 0); /* no copy that nobody wipes */
	pem = read_pem("private key");
	return pem == NULL ? CTL_USAGE : send_new_key(ctl, path, json_pack("{s:o}", "pem", pem), &rights);
}

int cmd_key_allow(struct ctl *ctl, int argc, char **argv)
{
	const char *args[1 + CALLERS_MAX];
	_cleanup_free_ char *path = NULL;
	json_t *list;
	int n = options_parse(argc, argv, NULL, 0, args, 1, 1 + CALLERS_MAX);

	if (n < 0)
		return CTL_USAGE;
	list = json_array();
	for (int i = 1; i < n; i++) {
		json_t *caller = caller_new(args[i]);

		if (caller == NULL) {
			json_decref(list);
			return CTL_USAGE;
		}
		json_array_append_new(list, caller);
	}
	path = http_path("/v1/keys/", args[0], "/callers");
	if (path == NULL) {
		json_decref(list);
		return CTL_FAILED;
	}
	return http_show(ctl, "PUT", path, json_pack("{s:o}", "callers", list), print_key);
}

int cmd_key_csr(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *subject = NULL, *out = NULL;
	const struct option_row rows[] = { { "--subject", &subject, NULL }, { "--out", &out, NULL } };
	_cleanup_free_ char *path = NULL;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	if (subject == NULL) {
		fputs("agentctl: --subject is missing, as in --subject CN=gw-0001,O=Example\n", stderr);
		return CTL_USAGE;
	}
	path = http_path("/v1/keys/", name, "/csr");
	if (path == NULL)
		return CTL_FAILED;
	return http_text(ctl, path, json_pack("{s:s}", "subject", subject), "csr", out);
}

/* ---- rotation --------------------------------------------------------------------------------------------------- */

/* Where there is a request and no --out, it is all of stdout, fit for a pipe; the rest is for people. */
static int show_rotation(const struct ctl *ctl, const json_t *body, const char *out)
{
	static const struct field fields[] = { { "key", "key" },	{ "state", "state" },	{ "type", "type" },
					       { "renewal", "renewal" }, { "reason", "reason" } };
	const char *csr = json_string_value(json_object_get(body, "csr"));

	if (ctl->is_json) {
		print_json(body);
		return CTL_OK;
	}
	if (csr != NULL && out != NULL && out[0] != '\0')
		return text_write(out, csr);
	if (csr != NULL && out == NULL)
		return text_write(NULL, csr);
	print_fields(body, fields, ARRAY_SIZE(fields));
	return CTL_OK;
}

static int rotation_request(struct ctl *ctl, const char *method, const char *name, const char *what, json_t *body, const char *out)
{
	_cleanup_free_ char *path = http_path("/v1/keys/", name, what);
	struct reply reply;
	int r;

	if (path == NULL) {
		json_decref(body);
		return CTL_FAILED;
	}
	r = http_request(ctl, method, path, body, &reply);
	if (r == CTL_OK)
		r = show_rotation(ctl, reply.body, out);
	reply_free(&reply);
	return r;
}

int cmd_key_rotate(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *subject = NULL, *type = NULL, *out = NULL;
	int is_status = 0, is_abort = 0;
	const struct option_row rows[] = { { "--subject", &subject, NULL }, { "--type", &type, NULL }, { "--out", &out, NULL },
					   { "--status", NULL, &is_status }, { "--abort", NULL, &is_abort } };
	json_t *body;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	if (is_status + is_abort + (subject != NULL) != 1 || ((is_status || is_abort) && type != NULL)) {
		fputs("agentctl: one of --subject SUBJECT, --status and --abort\n", stderr);
		return CTL_USAGE;
	}
	if (subject == NULL)
		return rotation_request(ctl, is_status ? "GET" : "DELETE", name, "/rotation", NULL, out == NULL ? "" : out);
	body = json_pack("{s:s}", "subject", subject);
	if (type != NULL)
		json_object_set_new(body, "type", json_string(type));
	return rotation_request(ctl, "POST", name, "/rotation", body, out);
}

int cmd_key_certificate(struct ctl *ctl, int argc, char **argv)
{
	const char *name;
	json_t *pem;

	if (options_parse(argc, argv, NULL, 0, &name, 1, 1) < 0)
		return CTL_USAGE;
	pem = read_pem("certificate");
	return pem == NULL ? CTL_USAGE : rotation_request(ctl, "PUT", name, "/certificate", json_pack("{s:o}", "pem", pem), "");
}
