/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/file.h"
#include "base/macro.h"

#define CALLERS_MAX 16

static void print_key(const json_t *key)
{
	static const struct { const char *member; int width; } columns[] = {
		{ "name", 20 }, { "type", 10 }, { "backend", 10 }, { "fingerprint", 64 }, { "purposes", 0 },
	};
	const json_t *caller;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(columns); i++) {
		if (i > 0)
			fputc(' ', stdout);
		print_padded(json_string_value(json_object_get(key, columns[i].member)), columns[i].width);
	}
	json_array_foreach(json_object_get(key, "callers"), i, caller) {
		fputs(i == 0 ? "; " : ", ", stdout);
		print_text(stdout, json_string_value(caller));
	}
	fputc('\n', stdout);
}

int cmd_key_list(struct ctl *ctl, int argc, char **argv)
{
	struct reply reply;
	json_t *key;
	size_t i;
	int r;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	r = http_request(ctl, "GET", "/v1/keys", NULL, &reply);
	if (r == CTL_OK && ctl->is_json) {
		print_json(reply.body);
	} else if (r == CTL_OK) {
		printf("%-20s %-10s %-10s %s\n", "NAME", "TYPE", "BACKEND", "FINGERPRINT (SHA-256 of the public key), PURPOSES; CALLERS");
		json_array_foreach(json_object_get(reply.body, "keys"), i, key)
			print_key(key);
	}
	reply_free(&reply);
	return r;
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

static int send_key(struct ctl *ctl, const char *method, const char *path, json_t *body)
{
	struct reply reply;
	int r = http_request(ctl, method, path, body, &reply);

	if (r == CTL_OK && ctl->is_json)
		print_json(reply.body);
	else if (r == CTL_OK)
		print_key(reply.body);
	reply_free(&reply);
	return r;
}

int cmd_key_create(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *type = "ec-p256", *purposes = NULL, *callers = NULL;
	const struct option_row rows[] = { { "--type", &type, NULL }, { "--purposes", &purposes, NULL }, { "--callers", &callers, NULL } };
	json_t *body, *list;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	body = json_pack("{s:s, s:s}", "name", name, "type", type);
	if (purposes != NULL)
		json_object_set_new(body, "purposes", list_new(purposes, purpose_new));
	if (callers != NULL) {
		list = list_new(callers, caller_new);
		if (list == NULL) {
			json_decref(body);
			return CTL_USAGE;
		}
		json_object_set_new(body, "callers", list);
	}
	return send_key(ctl, "POST", "/v1/keys", body);
}

static char *key_path(const char *name, const char *what)
{
	char *escaped = curl_easy_escape(NULL, name, 0), *path = NULL;

	if (escaped == NULL || asprintf(&path, "/v1/keys/%s/%s", escaped, what) < 0)
		path = NULL;
	curl_free(escaped);
	return path;
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
	path = key_path(args[0], "callers");
	if (path == NULL) {
		json_decref(list);
		return CTL_FAILED;
	}
	return send_key(ctl, "PUT", path, json_pack("{s:o}", "callers", list));
}

static int write_request(const char *file, const char *pem)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (file == NULL) {
		fputs(pem, stdout);
		return CTL_OK;
	}
	if (file_replace_at(AT_FDCWD, file, 0644, pem, strlen(pem), &err) < 0) {
		fprintf(stderr, "agentctl: %s\n", agent_error_message(err));
		return CTL_FAILED;
	}
	return CTL_OK;
}

int cmd_key_csr(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *subject = NULL, *out = NULL, *pem;
	const struct option_row rows[] = { { "--subject", &subject, NULL }, { "--out", &out, NULL } };
	_cleanup_free_ char *path = NULL;
	struct reply reply;
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	if (subject == NULL) {
		fputs("agentctl: --subject is missing, as in --subject CN=gw-0001,O=Example\n", stderr);
		return CTL_USAGE;
	}
	path = key_path(name, "csr");
	if (path == NULL)
		return CTL_FAILED;
	r = http_request(ctl, "POST", path, json_pack("{s:s}", "subject", subject), &reply);
	pem = json_string_value(json_object_get(reply.body, "csr"));
	if (r == CTL_OK && ctl->is_json)
		print_json(reply.body);
	else if (r == CTL_OK)
		r = pem == NULL ? CTL_FAILED : write_request(out, pem);
	reply_free(&reply);
	return r;
}
