/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor program over agent/update.h, for end-to-end tests: update_probe [options] < bundle. It settles, installs, and prints the
 * name and sentence of an error. Exit code 0, 1 when refused, 2 for a mistake in the call.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <agent/agent.h>

#define MAX 16

static int add_slots(struct agent_update *u, char **slots, size_t n, struct agent_error **err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		char *slot_class = strtok(slots[i], ":"), *name = strtok(NULL, ":"), *path = strtok(NULL, "");

		r = agent_update_add_slot(u, slot_class, name, path, err);
	}
	return r;
}

static int select_all(struct agent_update *u, char **selections, size_t n, struct agent_error **err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		char *name = strtok(selections[i], "=");

		r = agent_update_set_selection(u, name, strtok(NULL, ""), err);
	}
	return r;
}

/* "NAME VERSION", as in /etc/sw-versions. */
static int add_versions(struct agent_update *u, char **versions, size_t n, struct agent_error **err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		char *name = strtok(versions[i], " ");

		r = agent_update_add_version(u, name, strtok(NULL, ""), err);
	}
	return r;
}

static size_t hex(const char *text, uint8_t *out, size_t max)
{
	size_t n = 0;

	for (unsigned byte; n < max && sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
		out[n] = (uint8_t)byte;
	return n;
}

/* As "swupdate -K": "KEY IV" in hexadecimal digits. */
static int key_load(struct agent_update *u, const char *path, struct agent_error **err)
{
	uint8_t key[32], iv[AGENT_UPDATE_IV_SIZE];
	char key_text[65] = "", iv_text[33] = "";
	FILE *f = fopen(path, "r");

	if (f == NULL || fscanf(f, "%64s %32s", key_text, iv_text) != 2)
		exit(2);
	fclose(f);
	hex(iv_text, iv, sizeof(iv));
	return agent_update_set_key(u, key, hex(key_text, key, sizeof(key)), iv, err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "trust", 1, NULL, 't' },  { "product", 1, NULL, 'p' }, { "state", 1, NULL, 's' }, { "env", 1, NULL, 'e' },
		{ "slot", 1, NULL, 'l' },   { "compat", 0, NULL, 'c' },  { "raw", 1, NULL, 'r' },   { "selection", 1, NULL, 'x' },
		{ "backend", 1, NULL, 'b' }, { "allow", 1, NULL, 'a' },    { "installed", 1, NULL, 'i' },
		{ "signers", 1, NULL, 'n' }, { "now", 1, NULL, 'w' },	 { "key", 1, NULL, 'k' },
		{ "require-crl", 0, NULL, 'C' }, { "trust-floor", 1, NULL, 'F' }, { "booted", 1, NULL, 'B' },
		{ 0 },
	};
	struct agent_update_options o = { .n_min_signers = 1, .boot_backend = "file", .n_tries = 3, .product = "gw:1" };
	char *slots[MAX], *selections[MAX], *allowed[MAX], *versions[MAX], *key_file = NULL;
	size_t n_slots = 0, n_selections = 0, n_allowed = 0, n_versions = 0;
	unsigned long long now = (unsigned long long)time(NULL), trust_floor = 0;
	struct agent_context *ctx = NULL;
	struct agent_update *u = NULL;
	struct agent_error *err = NULL;
	int opt, r;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 't': o.trust_dir = optarg; break;
		case 'p': o.product = optarg; break;
		case 's': o.state_dir = optarg; break;
		case 'e': o.boot_config = optarg; break;
		case 'c': o.allow_compat = 1; break;
		case 'B': o.booted_slot = optarg; break;
		case 'C': o.require_crl = 1; break;
		case 'F': trust_floor = strtoull(optarg, NULL, 10); break;
		case 'n': o.n_min_signers = (unsigned)atoi(optarg); break;
		case 'k': key_file = optarg; break;
		case 'w': now = strtoull(optarg, NULL, 10); break;
		case 'r': o.raw_signatures = strcmp(optarg, "rsa-pss") == 0 ? AGENT_UPDATE_RAW_RSA_PSS : AGENT_UPDATE_RAW_RSA; break;
		case 'l':
			if (n_slots < MAX)
				slots[n_slots++] = optarg;
			break;
		case 'x':
			if (n_selections < MAX)
				selections[n_selections++] = optarg;
			break;
		case 'b': o.boot_backend = optarg; break;
		case 'a':
			if (n_allowed < MAX)
				allowed[n_allowed++] = optarg;
			break;
		case 'i':
			if (n_versions < MAX)
				versions[n_versions++] = optarg;
			break;
		default: return 2;
		}
	}
	r = agent_context_new(&ctx);
	if (r == 0)
		r = agent_update_new(ctx, &o, &u, &err);
	if (r == 0)
		r = add_slots(u, slots, n_slots, &err);
	if (r == 0)
		r = select_all(u, selections, n_selections, &err);
	for (size_t i = 0; r == 0 && i < n_allowed; i++)
		r = agent_update_allow_bootenv(u, allowed[i], &err);
	if (r == 0)
		r = add_versions(u, versions, n_versions, &err);
	if (r == 0 && key_file != NULL)
		r = key_load(u, key_file, &err);
	if (r == 0)
		r = agent_update_set_trust_floor(u, trust_floor, &err);
	if (r == 0)
		r = agent_update_settle(u, &err);
	if (r == 0)
		r = agent_update_install(u, STDIN_FILENO, 0, now, NULL, NULL, &err);
	if (r < 0)
		printf("%s: %s\n", agent_error_name(err), agent_error_message(err));
	else
		printf("installed\n");
	agent_error_free(err);
	agent_update_free(u);
	agent_context_unref(ctx);
	return r < 0 ? 1 : 0;
}
