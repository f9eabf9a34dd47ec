/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the documents of the API from the table in routes.c: "openapi json", "openapi c" (the same as C text, for the
 * daemon) or "openapi md" (tables for docs/api.md). Runs while the agent is built, so plain C library only.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/mgmt/limit.h"
#include "agentd/mgmt/route.h"
#include "base/macro.h"

#define TEXTS_MAX 16 /* ARGS_TEXTS_MAX */
#define STATUSES_MAX 32

static char *out;
static size_t out_size;
static FILE *to;

static void put(const char *fmt, ...) AGENT_PRINTF(1, 2);
static void put(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(to, fmt, ap);
	va_end(ap);
}

static void put_text(const char *text)
{
	putc('"', to);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', to);
		putc(*text, to);
	}
	putc('"', to);
}

_Noreturn static void fail(const struct route *route, const char *what)
{
	fprintf(stderr, "routes.c: %s %s: %s\n", method_names[route->method], route->path, what);
	exit(EXIT_FAILURE);
}

/* ---- schemas ------------------------------------------------------------------------------------------------------ */

static void put_values(const char *values)
{
	put(", \"enum\": [");
	for (const char *p = values; *p != '\0';) {
		size_t n = strcspn(p, " ");

		put("%s\"%.*s\"", p == values ? "" : ", ", (int)n, p);
		p += n;
		p += strspn(p, " ");
	}
	put("]");
}

static void put_text_schema(const struct arg_rule *rule)
{
	put("{\"type\": \"string\"");
	if (rule->values != NULL) {
		put_values(rule->values);
	} else {
		if (rule->max > 0)
			put(", \"minLength\": %llu, \"maxLength\": %llu", (unsigned long long)rule->min, (unsigned long long)rule->max);
		if (rule->bytes != NULL)
			put(", \"pattern\": \"^[%s]*$\"", rule->bytes);
	}
	if (rule->is_secret)
		put(", \"format\": \"password\"");
}

static void put_object(const struct arg_rule *rules, bool is_closed);

/* Leaves the last brace open, for a description. */
static void put_schema(const struct arg_rule *rule, bool is_answer)
{
	switch (rule->type) {
	case ARG_TEXT:
		put_text_schema(rule);
		break;
	case ARG_NUMBER:
		put("{\"type\": \"integer\", \"minimum\": %llu", (unsigned long long)rule->min);
		if (!is_answer)
			put(", \"maximum\": %llu", (unsigned long long)rule->max);
		break;
	case ARG_TRUTH:
		put("{\"type\": \"boolean\"");
		break;
	case ARG_TEXTS:
		put("{\"type\": \"array\"");
		if (!is_answer)
			put(", \"maxItems\": %d", TEXTS_MAX);
		put(", \"items\": ");
		put_text_schema(rule);
		put("}");
		break;
	case ARG_OBJECT:
		put("{\"allOf\": [");
		put_object(rule->members, !is_answer);
		put("]");
		break;
	case ARG_OBJECTS:
		put("{\"type\": \"array\", \"items\": ");
		put_object(rule->members, !is_answer);
		break;
	case ARG_TEXT_MAP:
		put("{\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}");
		break;
	}
}

static void put_object(const struct arg_rule *rules, bool is_closed)
{
	const char *between = "";

	put("{\"type\": \"object\"");
	if (is_closed)
		put(", \"additionalProperties\": false");
	put(", \"required\": [");
	for (const struct arg_rule *rule = rules; rule->name != NULL; rule++)
		if (rule->is_required) {
			put("%s\"%s\"", between, rule->name);
			between = ", ";
		}
	put("], \"properties\": {");
	for (const struct arg_rule *rule = rules; rule->name != NULL; rule++) {
		put("%s\"%s\": ", rule == rules ? "" : ", ", rule->name);
		put_schema(rule, !is_closed);
		if (rule->about != NULL) {
			put(", \"description\": ");
			put_text(rule->about);
		}
		put("}");
	}
	put("}}");
}

/* ---- paths -------------------------------------------------------------------------------------------------------- */

static void path_text(const struct route *route, char *ret_text, size_t size)
{
	const char *star = strchr(route->path, '*');

	if (star == NULL)
		snprintf(ret_text, size, "%s", route->path);
	else
		snprintf(ret_text, size, "%.*s{%s}%s", (int)(star - route->path), route->path, route->param->name, star + 1);
}

static void put_parameters(const struct route *route)
{
	const char *between = "";

	put(", \"parameters\": [");
	for (const struct arg_rule *rule = route->param; rule != NULL && rule->name != NULL; rule++) {
		put("%s{\"name\": \"%s\", \"in\": \"path\", \"required\": true, \"schema\": ", between, rule->name);
		put_schema(rule, false);
		put("}}");
		between = ", ";
	}
	for (const struct arg_rule *rule = route->query; rule != NULL && rule->name != NULL; rule++) {
		put("%s{\"name\": \"%s\", \"in\": \"query\", \"required\": false, \"schema\": ", between, rule->name);
		put_schema(rule, false);
		put("}}");
		between = ", ";
	}
	put("]");
}

/* The slugs of one status that this row may answer, as "403.not-permitted.cross-origin"; false if there are none. */
static bool response_name(const struct route *route, unsigned status, char *ret_name, size_t size)
{
	size_t n = (size_t)snprintf(ret_name, size, "%u", status);
	bool is_any = false;

	for (size_t i = 0; i < n_problems; i++)
		if (problems[i].status == status && route_has_problem(route, problems[i].slug)) {
			n += (size_t)snprintf(ret_name + n, size - n, ".%s", problems[i].slug);
			is_any = true;
		}
	return is_any;
}

static void put_success(const struct route *route)
{
	unsigned status = route->status == 0 ? 200 : route->status;

	put("\"%u\": {\"description\": \"done\"", status);
	if (route->media != NULL) {
		put(", \"content\": {\"%s\": {}}", route->media);
	} else if (route->answer != NULL) {
		put(", \"content\": {\"application/json\": {\"schema\": ");
		put_object(route->answer, false);
		put("}}");
	} else if (status != 204) {
		fail(route, "no answer and no media");
	}
	put("}");
}

static void put_route(const struct route *route)
{
	char name[512], path[128];
	unsigned last = 0;

	if (route->summary == NULL || route->summary[0] == '\0')
		fail(route, "no summary");
	if ((strchr(route->path, '*') != NULL) != (route->param != NULL))
		fail(route, "\"*\" in the path needs .param and the other way round");
	path_text(route, path, sizeof(path));
	put("\"%s\": {\"summary\": ", route->method == METHOD_GET	 ? "get" :
				      route->method == METHOD_POST ? "post" :
				      route->method == METHOD_PUT	 ? "put" :
								   "delete");
	put_text(route->summary);
	put(", \"x-agentd-role\": \"%s\", \"x-agentd-before-setup\": \"%s\", \"x-agentd-rate\": \"%s\"", role_names[route->role],
	    gate_names[route->gate], rate_names[route->rate]);
	if (route->role == ROLE_ANYONE)
		put(", \"security\": []");
	if (route->param != NULL || route->query != NULL)
		put_parameters(route);
	if (route->body_cap == BODY_STREAM) {
		put(", \"requestBody\": {\"required\": true, \"content\": {\"application/octet-stream\": {}}}");
	} else if (route->args != NULL) {
		put(", \"x-agentd-body-bytes\": %zu, \"requestBody\": {\"required\": true, \"content\": {\"application/json\": {\"schema\": ", route->body_cap);
		put_object(route->args, true);
		put("}}}");
	}
	put(", \"responses\": {");
	put_success(route);
	for (size_t i = 0; i < n_problems; i++)
		if (problems[i].status != last) {
			last = problems[i].status;
			if (response_name(route, last, name, sizeof(name)))
				put(", \"%u\": {\"$ref\": \"#/components/responses/%s\"}", last, name);
		}
	put("}}");
}

/* Each set of problems of one status once, however many rows answer with it. */
static void put_responses(void)
{
	char **names = calloc(n_routes * STATUSES_MAX, sizeof(*names)), name[512];
	size_t n_names = 0;

	if (names == NULL)
		abort();
	for (size_t i = 0; i < n_routes * n_problems; i++) {
		unsigned status = problems[i % n_problems].status;
		const struct route *route = &routes[i / n_problems];
		bool is_new = response_name(route, status, name, sizeof(name));

		for (size_t k = 0; is_new && k < n_names; k++)
			is_new = strcmp(names[k], name) != 0;
		if (!is_new)
			continue;
		if (n_names == n_routes * STATUSES_MAX || (names[n_names] = strdup(name)) == NULL)
			abort();
		put("%s\"%s\": {\"description\": \"", n_names == 0 ? "" : ", ", name);
		for (size_t k = 0, n = 0; k < n_problems; k++)
			if (problems[k].status == status && route_has_problem(route, problems[k].slug))
				put("%s%s", n++ == 0 ? "" : ", or ", problems[k].title);
		put("\"");
		if (status == 429)
			put(", \"headers\": {\"Retry-After\": {\"schema\": {\"type\": \"integer\", \"minimum\": 1}}}");
		put(", \"content\": {\"application/problem+json\": {\"schema\": {\"allOf\": [{\"$ref\": \"#/components/schemas/Problem\"}, "
		    "{\"properties\": {\"type\": {\"enum\": [");
		for (size_t k = 0, n = 0; k < n_problems; k++)
			if (problems[k].status == status && route_has_problem(route, problems[k].slug))
				put("%s\"urn:agentd:problem:%s\"", n++ == 0 ? "" : ", ", problems[k].slug);
		put("]}, \"status\": {\"const\": %u}}}]}}}}", status);
		n_names++;
	}
	for (size_t k = 0; k < n_names; k++)
		free(names[k]);
	free(names);
}

static void write_json(void)
{
	put("{\"openapi\": \"3.1.0\", \"info\": {\"title\": \"libagent management API\", \"version\": \"1\", \"description\": "
	    "\"The local API of agentd-mgmt. x-agentd-role: least role that is needed (anyone, session, viewer, operator, admin). "
	    "x-agentd-before-setup: open, closed, or diagnose (closed, but open to the administrator of the machine while the TPM is in trouble).\", "
	    "\"license\": {\"name\": \"Apache-2.0\", \"identifier\": \"Apache-2.0\"}}, "
	    "\"security\": [{\"token\": []}, {\"cookie\": []}], \"servers\": [{\"url\": \"/\"}], \"paths\": {");
	for (size_t i = 0; i < n_routes; i++) {
		char path[128];
		bool is_first = true, is_open = false;

		for (size_t k = 0; k < i; k++)
			is_first &= strcmp(routes[k].path, routes[i].path) != 0;
		if (!is_first)
			continue;
		path_text(&routes[i], path, sizeof(path));
		put("%s\"%s\": {", i == 0 ? "" : ", ", path);
		for (size_t k = i; k < n_routes; k++)
			if (strcmp(routes[k].path, routes[i].path) == 0) {
				put("%s", is_open ? ", " : "");
				put_route(&routes[k]);
				is_open = true;
			}
		put("}");
	}
	put("}, \"components\": {\"securitySchemes\": {\"token\": {\"type\": \"http\", \"scheme\": \"bearer\"}, "
	    "\"cookie\": {\"type\": \"apiKey\", \"in\": \"cookie\", \"name\": \"__Host-agentd\", \"description\": \"of the web page; a change also needs Origin and X-Agentd: 1\"}}, "
	    "\"schemas\": {\"Problem\": {\"type\": \"object\", \"required\": [\"type\", \"title\", \"status\", \"detail\"], \"properties\": {"
	    "\"type\": {\"type\": \"string\"}, \"title\": {\"type\": \"string\"}, \"status\": {\"type\": \"integer\"}, "
	    "\"detail\": {\"type\": \"string\", \"description\": \"a sentence for a person\"}, "
	    "\"error\": {\"type\": \"string\", \"description\": \"stable dotted name\"}, "
	    "\"next\": {\"type\": \"string\", \"description\": \"where to go, with password-change-required\"}, "
	    "\"reasons\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}, \"description\": \"with weak-password\"}}}}, "
	    "\"responses\": {");
	put_responses();
	put("}}}\n");
}

/* ---- other forms -------------------------------------------------------------------------------------------------- */

static void write_c(void)
{
	printf("/* Made by openapi.c from routes.c. */\n#include \"agentd/mgmt/openapi.h\"\nconst char openapi_text[] = {");
	for (size_t i = 0; i < out_size; i++)
		printf("%s%d,", i % 24 == 0 ? "\n" : "", out[i]);
	printf("\n};\nconst size_t openapi_text_size = sizeof(openapi_text);\n");
}

static void md_rule(const struct arg_rule *rule, const char *indent, bool is_answer)
{
	static const char *const types[] = { "text", "number", "true or false", "list of texts", "object", "list of objects", "object of texts" };

	printf("%s- `%s`: %s", indent, rule->name, types[rule->type]);
	if (!rule->is_required)
		printf(", may be left out");
	if (rule->values != NULL)
		printf(", one of `%s`", rule->values);
	else if (!is_answer && (rule->type == ARG_TEXT || rule->type == ARG_TEXTS))
		printf(", %llu to %llu characters", (unsigned long long)rule->min, (unsigned long long)rule->max);
	else if (!is_answer && rule->type == ARG_NUMBER)
		printf(", %llu to %llu", (unsigned long long)rule->min, (unsigned long long)rule->max);
	if (rule->values == NULL && rule->bytes != NULL)
		printf(", of `%s`", rule->bytes);
	if (rule->about != NULL)
		printf("; %s", rule->about);
	putchar('\n');
	for (const struct arg_rule *member = rule->members; member != NULL && member->name != NULL; member++)
		md_rule(member, "  ", is_answer);
}

static void md_rules(const char *title, const struct arg_rule *rules, bool is_answer)
{
	if (rules == NULL)
		return;
	printf("\n%s\n\n", title);
	for (; rules->name != NULL; rules++)
		md_rule(rules, "", is_answer);
}

static void write_md(void)
{
	char path[128];

	printf("| Method and path | Who | Before the password is set | Rate | What |\n|---|---|---|---|---|\n");
	for (size_t i = 0; i < n_routes; i++) {
		path_text(&routes[i], path, sizeof(path));
		printf("| %s `%s` | %s | %s | %s | %s |\n", method_names[routes[i].method], path, role_names[routes[i].role],
		       gate_names[routes[i].gate], rate_names[routes[i].rate], routes[i].summary);
	}
	for (size_t i = 0; i < n_routes; i++) {
		const struct route *route = &routes[i];
		unsigned status = route->status == 0 ? 200 : route->status;
		const char *between = "";

		path_text(route, path, sizeof(path));
		printf("\n### %s `%s`\n\n%s. Who: %s. Before the password is set: %s.\n", method_names[route->method], path, route->summary,
		       role_names[route->role], gate_names[route->gate]);
		md_rules("In the path:", route->param, false);
		md_rules("Query:", route->query, false);
		if (route->body_cap == BODY_STREAM)
			printf("\nBody: `application/octet-stream`.\n");
		md_rules("Body:", route->args, false);
		if (route->media != NULL)
			printf("\nAnswer: %u, `%s`.\n", status, route->media);
		else if (route->answer == NULL)
			printf("\nAnswer: %u.\n", status);
		else {
			printf("\nAnswer: %u.\n", status);
			md_rules("Members:", route->answer, true);
		}
		printf("\nProblems: ");
		for (size_t k = 0; k < n_problems; k++)
			if (route_has_problem(route, problems[k].slug)) {
				printf("%s%u `%s`", between, problems[k].status, problems[k].slug);
				between = ", ";
			}
		printf(".\n");
	}
	printf("\n## Problem types\n\n| Status | Type (after `urn:agentd:problem:`) | Title |\n|---|---|---|\n");
	for (size_t i = 0; i < n_problems; i++)
		printf("| %u | `%s` | %s |\n", problems[i].status, problems[i].slug, problems[i].title);
	printf("\n## Rates\n\n| What | One more every | At once |\n|---|---|---|\n");
	for (size_t i = 0; i < LIMIT_COUNT_; i++)
		printf("| %s | %u ms | %u |\n", limit_names[i], limit_rates[i].interval_us / 1000, limit_rates[i].burst);
}

int main(int argc, char **argv)
{
	const char *form = argc == 2 ? argv[1] : "";

	to = open_memstream(&out, &out_size);
	if (to == NULL)
		return EXIT_FAILURE;
	write_json();
	if (fclose(to) != 0)
		return EXIT_FAILURE;
	if (strcmp(form, "json") == 0)
		fputs(out, stdout);
	else if (strcmp(form, "c") == 0)
		write_c();
	else if (strcmp(form, "md") == 0)
		write_md();
	else
		return EXIT_FAILURE;
	free(out);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
