/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <agent/update.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define BAR_WIDTH 40
#define POLL_MS 300

static const struct field fields[] = {
	{ "stage", "stage" },
	{ "booted_slot", "running slot" },
	{ "target_slot", "target slot" },
	{ "version", "version" },
	{ "release_id", "release" },
	{ "security_version", "security version" },
	{ "floor", "rollback floor" },
	{ "signers", "signed by keys" },
	{ "trusted_keys", "keys that may sign" },
	{ "signers_version", "policy of signers" },
	{ "has_key", "key for images" },
	{ "tries_left", "boots left to try" },
	{ "failed_release_id", "failed release" },
	{ "error", "last error" },
	{ "error_name", "its name" },
	{ "policy", "policy" },
	{ "offer_state", "offered update" },
	{ "offer_waits_for", "waits for" },
	{ "offer_release_id", "offered release" },
	{ "offer_version", "offered version" },
	{ "offer_kind", "kind" },
	{ "offer_advisory", "advisory" },
	{ "offer_manifest_sha256", "manifest" },
	{ "offer_approved_by", "approved by" },
	{ "offer_postponed_s", "postponed for another (s)" },
	{ "offer_postpones_left", "can be postponed" },
	{ "offer_error", "trouble with the offer" },
	{ "reboot_waits_for", "restart waits for" },
	{ "reboot_in_s", "restarts in (s)" },
	{ "reboot_held_by", "restart held back by" },
	{ "reboot_postponed_s", "restart put off for (s)" },
	{ "reboot_error", "trouble with the restart" },
};

int cmd_update_status(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "GET", "/v1/update", fields, ARRAY_SIZE(fields));
}

int cmd_update_confirm(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "POST", "/v1/update/confirm", fields, ARRAY_SIZE(fields));
}

int cmd_update_rollback(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "POST", "/v1/update/rollback", fields, ARRAY_SIZE(fields));
}

int cmd_update_reboot(struct ctl *ctl, int argc, char **argv)
{
	return command_show(ctl, argc, argv, "POST", "/v1/update/reboot", fields, ARRAY_SIZE(fields));
}

/* @body is taken. */
static int send_and_show(struct ctl *ctl, const char *method, const char *path, json_t *body)
{
	return http_fields(ctl, method, path, body, fields, ARRAY_SIZE(fields));
}

int cmd_update_offer(struct ctl *ctl, int argc, char **argv)
{
	const char *url;

	if (options_parse(argc, argv, NULL, 0, &url, 1, 1) < 0)
		return CTL_USAGE;
	return send_and_show(ctl, "POST", "/v1/update/offer", json_pack("{s:s}", "url", url));
}

static int nothing_offered(void)
{
	fputs("agentctl: no update is offered, or nobody has looked into it yet\n", stderr);
	return CTL_NOT_FOUND;
}

/*
 * What is approved has two names: those that the caller says he saw or, where the second is missing, those that @path shows. What took its place
 * meanwhile is refused. @ret_shown holds what was not given.
 */
static int look_up(struct ctl *ctl, const char *path, const char *const members[2], const char *names[2], struct reply *ret_shown)
{
	int r;

	*ret_shown = (struct reply){ 0 };
	if (names[1] != NULL)
		return CTL_OK;
	r = http_request(ctl, "GET", path, NULL, ret_shown);
	for (size_t i = 0; i < 2 && r == CTL_OK; i++)
		if (names[i] == NULL)
			names[i] = json_string_value(json_object_get(ret_shown->body, members[i]));
	return r == CTL_OK && names[0] == NULL ? nothing_offered() : r;
}

static int approve_source(struct ctl *ctl, const char *names[2])
{
	static const char *const members[2] = { "source_action", "source_version" };
	struct reply shown;
	json_t *body;
	int r = look_up(ctl, "/v1/status", members, names, &shown);

	body = r != CTL_OK ? NULL : json_pack("{s:s, s:s}", "action", names[0], "version", names[1] == NULL ? "" : names[1]);
	if (r == CTL_OK)
		r = http_do(ctl, "POST", "/v1/update/source/approve", json_incref(body));
	if (r == CTL_OK && ctl->is_json) {
		print_json(body);
	} else if (r == CTL_OK) {
		fputs("Approved: action ", stdout);
		print_text(stdout, names[0]);
		fputs(names[1] == NULL || names[1][0] == '\0' ? ", of no version" : ", version ", stdout);
		print_text(stdout, names[1] == NULL ? "" : names[1]);
		fputc('\n', stdout);
	}
	json_decref(body);
	reply_free(&shown);
	return r;
}

static int approve_release(struct ctl *ctl, const char *names[2])
{
	static const char *const members[2] = { "offer_release_id", "offer_manifest_sha256" };
	struct reply shown;
	int r = look_up(ctl, "/v1/update", members, names, &shown);

	if (r == CTL_OK && names[1] == NULL)
		r = nothing_offered();
	if (r == CTL_OK)
		r = send_and_show(ctl, "POST", "/v1/update/approve", json_pack("{s:s, s:s}", "release_id", names[0], "manifest_sha256", names[1]));
	reply_free(&shown);
	return r;
}

int cmd_update_approve(struct ctl *ctl, int argc, char **argv)
{
	const char *names[2] = { NULL, NULL };
	int of_source = 0;
	const struct option_row rows[] = { { "--source", NULL, &of_source } };

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), names, 0, 2) < 0)
		return CTL_USAGE;
	return of_source ? approve_source(ctl, names) : approve_release(ctl, names);
}

int cmd_update_postpone(struct ctl *ctl, int argc, char **argv)
{
	const char *text;
	char *end;
	long hours;

	if (options_parse(argc, argv, NULL, 0, &text, 1, 1) < 0)
		return CTL_USAGE;
	hours = strtol(text, &end, 10);
	if (*text == '\0' || *end != '\0' || hours < 1 || hours > 8760) {
		fputs("agentctl: HOURS is a number from 1 to 8760\n", stderr);
		return CTL_USAGE;
	}
	return send_and_show(ctl, "POST", "/v1/update/postpone", json_pack("{s:I}", "hours", (json_int_t)hours));
}

int cmd_update_policy(struct ctl *ctl, int argc, char **argv)
{
	const char *policy = NULL;
	int n = options_parse(argc, argv, NULL, 0, &policy, 0, 1);

	if (n < 0)
		return CTL_USAGE;
	return n == 0 ? send_and_show(ctl, "GET", "/v1/update", NULL) :
			send_and_show(ctl, "PUT", "/v1/update/policy", json_pack("{s:s}", "policy", policy));
}

/* As for "swupdate -K": the key and, after a blank, the IV, in hexadecimal digits. */
static json_t *key_read(const char *path)
{
	_cleanup_close_ int opened = -1;
	char text[256], *iv;
	ssize_t size;
	json_t *body;
	size_t n;

	if (strcmp(path, "-") != 0 && (opened = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
		fprintf(stderr, "agentctl: cannot open %s: %s\n", path, strerror(errno));
		return NULL;
	}
	size = read_full(opened < 0 ? STDIN_FILENO : opened, text, sizeof(text) - 1);
	if (size < 0) {
		fprintf(stderr, "agentctl: cannot read the key: %s\n", strerror((int)-size));
		return NULL;
	}
	text[size] = '\0';
	n = strcspn(text, " \t\r\n");
	iv = text + n + strspn(text + n, " \t");
	iv[strcspn(iv, " \t\r\n")] = '\0';
	text[n] = '\0';
	body = json_pack("{s:s, s:s*}", "key", text, "iv", iv[0] == '\0' ? NULL : iv);
	wipe(text, sizeof(text));
	return body;
}

int cmd_update_key(struct ctl *ctl, int argc, char **argv)
{
	int is_removed = 0, n;
	const struct option_row rows[] = { { .name = "--remove", .flag = &is_removed } };
	const char *path = NULL;
	json_t *body = NULL;

	n = options_parse(argc, argv, rows, ARRAY_SIZE(rows), &path, 0, 1);
	if (n < 0 || n == is_removed) {
		if (n >= 0)
			fputs("agentctl: give the file of the key (- is standard input), or --remove\n", stderr);
		return CTL_USAGE;
	}
	if (!is_removed && (body = key_read(path)) == NULL)
		return CTL_FAILED;
	return is_removed ? http_done(ctl, "DELETE", "/v1/update/key", NULL, "Key removed.", "{\"has_key\":false}") :
			    http_done(ctl, "PUT", "/v1/update/key", body, "Key stored.", "{\"has_key\":true}");
}

int cmd_update_recipient(struct ctl *ctl, int argc, char **argv)
{
	const char *out = NULL;
	const struct option_row rows[] = { { .name = "--out", .value = &out } };

	return options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0 ? CTL_USAGE : http_text(ctl, "/v1/update/recipient", NULL, "certificate", out);
}

static const struct field ticket_fields[] = {
	{ "device", "device" },	      { "used", "tickets used" },  { "floor", "rollback floor" },	       { "has_ticket", "a ticket waits" },
	{ "release_id", "for release" }, { "security_version", "security version" }, { "not_after", "not after" },
};

/* A file, or standard input; no more than a ticket may have. */
static json_t *ticket_read(const char *path)
{
	_cleanup_close_ int opened = -1;
	_cleanup_free_ char *text = malloc(AGENT_UPDATE_TICKET_MAX + 2);
	json_t *body;
	ssize_t size;

	if (strcmp(path, "-") != 0 && (opened = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
		fprintf(stderr, "agentctl: cannot open %s: %s\n", path, strerror(errno));
		return NULL;
	}
	size = text == NULL ? -ENOMEM : read_full(opened < 0 ? STDIN_FILENO : opened, text, AGENT_UPDATE_TICKET_MAX + 1);
	if (size < 0) {
		fprintf(stderr, "agentctl: cannot read the ticket: %s\n", strerror((int)-size));
		return NULL;
	}
	text[size] = '\0';
	/* What a ticket cannot be is not sent: a bundle that was given by mistake has bytes that are no text. */
	if (size == 0 || size > AGENT_UPDATE_TICKET_MAX || strlen(text) != (size_t)size) {
		fprintf(stderr, "agentctl: %s is no service ticket\n", path);
		return NULL;
	}
	body = json_pack("{s:s}", "ticket", text);
	if (body == NULL)
		fprintf(stderr, "agentctl: %s is no service ticket\n", path);
	return body;
}

int cmd_update_ticket(struct ctl *ctl, int argc, char **argv)
{
	int is_removed = 0, n;
	const struct option_row rows[] = { { .name = "--remove", .flag = &is_removed } };
	const char *path = NULL;
	json_t *body = NULL;

	n = options_parse(argc, argv, rows, ARRAY_SIZE(rows), &path, 0, 1);
	if (n < 0 || (n == 1 && is_removed)) {
		if (n >= 0)
			fputs("agentctl: give the file of the ticket (- is standard input), or --remove, or neither to see what there is\n", stderr);
		return CTL_USAGE;
	}
	if (n == 1 && (body = ticket_read(path)) == NULL)
		return CTL_FAILED;
	if (is_removed)
		return http_done(ctl, "DELETE", "/v1/update/ticket", NULL, "Ticket removed.", "{\"has_ticket\":false}");
	return http_fields(ctl, n == 1 ? "PUT" : "GET", "/v1/update/ticket", body, ticket_fields, ARRAY_SIZE(ticket_fields));
}

/* A bar on a terminal, a line for each tenth elsewhere, nothing with --json. */
struct bar {
	bool is_on, is_terminal;
	uint64_t total_bytes;
	unsigned last_percent;
	bool is_begun;
};

static struct bar bar_new(const struct ctl *ctl, uint64_t total_bytes)
{
	return (struct bar){ .is_on = !ctl->is_json, .is_terminal = isatty(STDERR_FILENO) == 1, .total_bytes = total_bytes };
}

static void bar_show(void *userdata, uint64_t done_bytes)
{
	struct bar *bar = userdata;
	unsigned percent, filled;

	if (!bar->is_on || bar->total_bytes == 0 || bar->total_bytes == UINT64_MAX || done_bytes == 0)
		return;
	percent = done_bytes >= bar->total_bytes ? 100 : (unsigned)(done_bytes * 100 / bar->total_bytes);
	if (bar->is_begun && percent / (bar->is_terminal ? 1 : 10) == bar->last_percent / (bar->is_terminal ? 1 : 10))
		return;
	bar->is_begun = true;
	bar->last_percent = percent;
	if (!bar->is_terminal) {
		fprintf(stderr, "%3u %%\n", percent);
		return;
	}
	filled = percent * BAR_WIDTH / 100;
	fputs("\r[", stderr);
	for (unsigned i = 0; i < BAR_WIDTH; i++)
		fputc(i < filled ? '#' : '.', stderr);
	fprintf(stderr, "] %3u %%  %" PRIu64 " of %" PRIu64 " KiB", percent, done_bytes / 1024, bar->total_bytes / 1024);
}

static void bar_end(const struct bar *bar)
{
	if (bar->is_on && bar->is_terminal && bar->is_begun)
		fputc('\n', stderr);
}

static int installed(const struct ctl *ctl, const json_t *status)
{
	if (ctl->is_json) {
		print_json(status);
		return CTL_OK;
	}
	fputs("Installed version ", stdout);
	print_text(stdout, json_string_value(json_object_get(status, "version")));
	fputs(" in slot ", stdout);
	print_text(stdout, json_string_value(json_object_get(status, "target_slot")));
	fputs(". To try it: agentctl update reboot, then: agentctl update confirm\n", stdout);
	return CTL_OK;
}

static int install_file(struct ctl *ctl, const char *path)
{
	_cleanup_(fclosep) FILE *opened = NULL;
	FILE *file = stdin;
	struct upload upload = { .size_bytes = UINT64_MAX };
	struct reply reply;
	struct bar bar;
	struct stat st = { 0 };
	int r;

	if (strcmp(path, "-") != 0) {
		opened = fopen(path, "rbe");
		if (opened == NULL) {
			fprintf(stderr, "agentctl: cannot open %s: %s\n", path, strerror(errno));
			return CTL_FAILED;
		}
		file = opened;
	}
	if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode))
		upload.size_bytes = (uint64_t)st.st_size;
	if (S_ISDIR(st.st_mode)) {
		fprintf(stderr, "agentctl: %s is a folder\n", path);
		return CTL_FAILED;
	}
	bar = bar_new(ctl, upload.size_bytes);
	upload.file = file;
	upload.progress = bar_show;
	upload.userdata = &bar;
	r = http_upload(ctl, "/v1/update", &upload, &reply);
	bar_end(&bar);
	if (r == CTL_OK)
		r = installed(ctl, reply.body);
	reply_free(&reply);
	return r;
}

/* The result of an installation that ran without us waiting for it. */
static int judge(const struct ctl *ctl, const json_t *status)
{
	const char *name = json_string_value(json_object_get(status, "error_name"));

	if (name == NULL || name[0] == '\0')
		return installed(ctl, status);
	if (ctl->is_json)
		print_json(status);
	fputs("agentctl: ", stderr);
	print_text(stderr, json_string_value(json_object_get(status, "error")));
	fputs(" (", stderr);
	print_text(stderr, name);
	fputs(")\n", stderr);
	if (strcmp(name, "update.stale") == 0)
		return CTL_UPDATE_STALE;
	return strncmp(name, "fetch.", 6) == 0 || strncmp(name, "tls.", 4) == 0 ? CTL_FAILED : CTL_UPDATE_REFUSED;
}

static int install_url(struct ctl *ctl, const char *url)
{
	struct bar bar = bar_new(ctl, 0);
	struct reply reply;
	json_int_t id;
	int r = http_request(ctl, "POST", "/v1/update/fetch", json_pack("{s:s}", "url", url), &reply);

	id = json_integer_value(json_object_get(reply.body, "id"));
	reply_free(&reply);
	while (r == CTL_OK) {
		const char *stage;
		bool is_running;

		r = http_request(ctl, "GET", "/v1/update", NULL, &reply);
		if (r != CTL_OK)
			break;
		stage = json_string_value(json_object_get(reply.body, "stage"));
		is_running = stage != NULL && (strcmp(stage, "receiving") == 0 || strcmp(stage, "writing") == 0 || strcmp(stage, "written") == 0);
		bar.total_bytes = (uint64_t)json_integer_value(json_object_get(reply.body, "total_bytes"));
		bar_show(&bar, (uint64_t)json_integer_value(json_object_get(reply.body, "done_bytes")));
		if (json_integer_value(json_object_get(reply.body, "id")) != id) {
			fputs("agentctl: another installation took its place\n", stderr);
			r = CTL_BUSY;
		} else if (!is_running) {
			bar_end(&bar);
			r = judge(ctl, reply.body);
			reply_free(&reply);
			return r;
		}
		reply_free(&reply);
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
	}
	reply_free(&reply);
	return r;
}

int cmd_update_install(struct ctl *ctl, int argc, char **argv)
{
	const char *source;

	if (options_parse(argc, argv, NULL, 0, &source, 1, 1) < 0)
		return CTL_USAGE;
	if (strncmp(source, "http://", 7) == 0) {
		fputs("agentctl: only https:// is fetched\n", stderr);
		return CTL_USAGE;
	}
	return strncmp(source, "https://", 8) == 0 ? install_url(ctl, source) : install_file(ctl, source);
}
