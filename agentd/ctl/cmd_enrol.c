/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agentd/ctl/ask.h"
#include "agentd/ctl/commands.h"
#include "base/macro.h"

static const struct field fields[] = {
	{ "state", "state" }, { "detail", "now" }, { "cause", "because" }, { "identity", "shown" }, { "failures", "failures" }, { "reason", "last failure" },
	{ "has_anchors", "authority known" }, { "has_secret", "secret waits" }, { "has_factory", "factory cert" }, { "subject", "subject" }, { "issuer", "issuer" },
};

static void show_moment(const json_t *body, const char *member, const char *label)
{
	const json_t *at = json_object_get(body, member);

	if (at == NULL)
		return;
	print_padded(label, 16);
	print_time(stdout, (uint64_t)json_integer_value(at));
	fputc('\n', stdout);
}

static void show(const json_t *body)
{
	print_fields(body, fields, ARRAY_SIZE(fields));
	show_moment(body, "not_before", "valid from");
	show_moment(body, "not_after", "valid until");
	show_moment(body, "due", "renewed at");
	show_moment(body, "next", "asked again");
}

int cmd_enrol_status(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/enrolment", show);
}

int cmd_enrol_renew(struct ctl *ctl, int argc, char **argv)
{
	int new_key = 0;
	const struct option_row rows[] = { { "--new-key", NULL, &new_key } };

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	return http_show(ctl, "POST", "/v1/enrolment", json_pack("{s:s}", "key", new_key ? "new" : "same"), show);
}

int cmd_enrol_secret(struct ctl *ctl, int argc, char **argv)
{
	int is_wipe = 0, is_stdin = 0;
	const struct option_row rows[] = { { "--wipe", NULL, &is_wipe }, { "--stdin", NULL, &is_stdin } };
	_cleanup_secret_ struct secret line = { 0 };
	json_t *text;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	if (is_wipe && is_stdin) {
		fputs("agentctl: --wipe takes no secret, so no --stdin\n", stderr);
		return CTL_USAGE;
	}
	if (is_wipe)
		return http_show(ctl, "DELETE", "/v1/enrolment/secret", NULL, show);
	if (ask_secret(is_stdin, "Secret for the EST server, USER:PASSWORD", &line) < 0)
		return CTL_USAGE;
	text = secret_json(&line);
	if (text == NULL) {
		fputs("agentctl: the secret is no text\n", stderr);
		return CTL_USAGE;
	}
	return http_show(ctl, "PUT", "/v1/enrolment/secret", json_pack("{s:o}", "secret", text), show);
}

int cmd_enrol_trust(struct ctl *ctl, int argc, char **argv)
{
	int is_forget = 0;
	const struct option_row rows[] = { { "--forget", NULL, &is_forget } };
	const char *fingerprint = NULL;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &fingerprint, 0, 1) < 0)
		return CTL_USAGE;
	if ((is_forget != 0) != (fingerprint == NULL)) {
		fputs("agentctl: give the SHA-256 of the certificate of the server's authority, 64 hexadecimal digits, or --forget\n", stderr);
		return CTL_USAGE;
	}
	if (is_forget)
		return http_show(ctl, "DELETE", "/v1/enrolment/anchor", NULL, show);
	return http_show(ctl, "PUT", "/v1/enrolment/anchor", json_pack("{s:s}", "fingerprint", fingerprint), show);
}
