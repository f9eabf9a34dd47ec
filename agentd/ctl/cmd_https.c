/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agentd/ctl/ask.h"
#include "agentd/ctl/commands.h"
#include "base/macro.h"

#define PEM_MAX (16 * 1024)

static const struct field fields[] = {
	{ "source", "issued by" }, { "pending", "request waits" }, { "subject", "subject" }, { "issuer", "issuer" }, { "names", "names" },
	{ "fingerprint", "fingerprint" }, { "expired", "expired" },
};

static void show(const json_t *body)
{
	const json_t *end = json_object_get(body, "not_after");

	print_fields(body, fields, ARRAY_SIZE(fields));
	if (end != NULL) {
		print_padded("valid until", 16);
		print_time(stdout, (uint64_t)json_integer_value(end));
		fputc('\n', stdout);
	}
}

int cmd_https_status(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/https", show);
}

int cmd_https_remove(struct ctl *ctl, int argc, char **argv)
{
	return command_do(ctl, argc, argv, "DELETE", "/v1/https/certificate", "HTTPS shows the certificate of the device itself.",
			  "{\"source\":\"device\"}");
}

int cmd_https_request(struct ctl *ctl, int argc, char **argv)
{
	const char *out = NULL;
	const struct option_row rows[] = { { "--out", &out, NULL } };

	return options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0 ? CTL_USAGE : http_text(ctl, "/v1/https/request", NULL, "csr", out);
}

int cmd_https_certificate(struct ctl *ctl, int argc, char **argv)
{
	char text[PEM_MAX + 1];
	json_t *pem;
	size_t n;

	if (options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0)
		return CTL_USAGE;
	say_where_from("certificate");
	n = fread(text, 1, sizeof(text), stdin);
	pem = n == 0 || n > PEM_MAX || memchr(text, '\0', n) != NULL ? NULL : json_stringn(text, n);
	if (pem == NULL) {
		fprintf(stderr, "agentctl: no certificates in PEM form of at most %d bytes came on standard input\n", PEM_MAX);
		return CTL_USAGE;
	}
	return http_show(ctl, "PUT", "/v1/https/certificate", json_pack("{s:o}", "pem", pem), show);
}
