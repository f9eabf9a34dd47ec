/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/ctl/commands.h"
#include "agentd/ctl/output.h"
#include "base/file.h"
#include "base/macro.h"

/* Evidence is for a program to check: the same document on the terminal and in a file. */
static int put_evidence(const char *file, const json_t *document)
{
	_cleanup_free_ char *text = json_dumps(document, JSON_INDENT(2));
	_cleanup_free_ char *line = NULL;

	if (file == NULL) {
		print_json(document);
		return CTL_OK;
	}
	if (text == NULL || asprintf(&line, "%s\n", text) < 0) {
		line = NULL;
		return CTL_FAILED;
	}
	return text_write(file, line);
}

static void print_words(const json_t *object)
{
	const json_t *word;
	size_t i;

	json_array_foreach(json_object_get(object, "words"), i, word) {
		fputs("  ", stdout);
		print_text(stdout, json_string_value(word));
		fputc('\n', stdout);
	}
}

static void show_key(const json_t *body)
{
	static const struct field fields[] = {
		{ "name", "name" },
		{ "type", "type" },
		{ "backend", "backend" },
		{ "origin", "origin" },
		{ "fingerprint", "fingerprint" },
		{ "tpm_name", "TPM Name" },
		{ "attributes", "attributes" },
	};

	print_fields(body, fields, ARRAY_SIZE(fields));
	print_words(body);
}

int cmd_key_show(struct ctl *ctl, int argc, char **argv)
{
	_cleanup_free_ char *path = NULL;
	const char *name;

	if (options_parse(argc, argv, NULL, 0, &name, 1, 1) < 0)
		return CTL_USAGE;
	path = http_path("/v1/keys/", name, "");
	return path == NULL ? CTL_FAILED : http_show(ctl, "GET", path, NULL, show_key);
}

int cmd_key_certify(struct ctl *ctl, int argc, char **argv)
{
	const char *name, *nonce = NULL, *out = NULL;
	const struct option_row rows[] = { { "--nonce", &nonce, NULL }, { "--out", &out, NULL } };
	_cleanup_free_ char *path = NULL;
	struct reply reply;
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), &name, 1, 1) < 0)
		return CTL_USAGE;
	if (nonce == NULL) {
		fputs("agentctl: --nonce is missing: hexadecimal digits that the verifier chose\n", stderr);
		return CTL_USAGE;
	}
	path = http_path("/v1/keys/", name, "/certify");
	if (path == NULL)
		return CTL_FAILED;
	r = http_request(ctl, "POST", path, json_pack("{s:s}", "nonce", nonce), &reply);
	if (r == CTL_OK)
		r = put_evidence(out, reply.body);
	reply_free(&reply);
	return r;
}

int cmd_tpm_quote(struct ctl *ctl, int argc, char **argv)
{
	const char *nonce = NULL, *pcrs = NULL, *out = NULL;
	const struct option_row rows[] = { { "--nonce", &nonce, NULL }, { "--pcrs", &pcrs, NULL }, { "--out", &out, NULL } };
	struct reply reply;
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	if (nonce == NULL || pcrs == NULL) {
		fputs("agentctl: --nonce or --pcrs is missing, as in --nonce 5c1f...e2 --pcrs 0,7\n", stderr);
		return CTL_USAGE;
	}
	r = http_request(ctl, "POST", "/v1/tpm/quote", json_pack("{s:s, s:s}", "nonce", nonce, "pcrs", pcrs), &reply);
	if (r == CTL_OK)
		r = put_evidence(out, reply.body);
	reply_free(&reply);
	return r;
}

static void show_counters(const json_t *body)
{
	static const struct field fields[] = {
		{ "name", "counter" },
		{ "index", "NV index" },
		{ "value", "value" },
		{ "writes", "writes" },
		{ "budget", "write budget" },
		{ "over_budget", "over budget" },
		{ "attributes", "attributes" },
	};
	json_t *counter;
	size_t i;

	json_array_foreach(json_object_get(body, "counters"), i, counter) {
		print_fields(counter, fields, ARRAY_SIZE(fields));
		print_words(counter);
	}
}

int cmd_tpm_counters(struct ctl *ctl, int argc, char **argv)
{
	return command_tell(ctl, argc, argv, "/v1/tpm/counters", show_counters);
}

int cmd_tpm_ek(struct ctl *ctl, int argc, char **argv)
{
	static const struct field fields[] = { { "type", "type" }, { "public_key", "public key" } };
	const char *type = "rsa-2048", *out = NULL, *certificates;
	const struct option_row rows[] = { { "--type", &type, NULL }, { "--out", &out, NULL } };
	_cleanup_free_ char *path = NULL;
	struct reply reply;
	int r;

	if (options_parse(argc, argv, rows, ARRAY_SIZE(rows), NULL, 0, 0) < 0)
		return CTL_USAGE;
	path = http_path("/v1/tpm/ek/", type, "");
	if (path == NULL)
		return CTL_FAILED;
	r = http_request(ctl, "GET", path, NULL, &reply);
	certificates = json_string_value(json_object_get(reply.body, "certificates"));
	if (r == CTL_OK && out != NULL) {
		if (certificates == NULL) {
			fputs("agentctl: this TPM holds no certificate of that endorsement key\n", stderr);
			r = CTL_NOT_FOUND;
		} else {
			r = text_write(out, certificates);
		}
	} else if (r == CTL_OK && ctl->is_json) {
		print_json(reply.body);
	} else if (r == CTL_OK) {
		print_fields(reply.body, fields, ARRAY_SIZE(fields));
		fputs(certificates == NULL ? "no certificate in the TPM\n" : certificates, stdout);
	}
	reply_free(&reply);
	return r;
}
