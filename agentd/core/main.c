/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agentd: core, or with an option first the factory step or the small service manager. Each mode has its own options;
 * what is left is read by service_start().
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/core/main.h"

static const char purpose[] =
	"Core of the security agent: keys, accounts, policy, events. Other ways to run it:\n"
	"  agentd --supervise [--config FILE]   start and watch all programs where systemd is not PID 1\n"
	"  agentd --provision [--keys-only | --secret-stdin] [--csr-subject SUBJECT --csr-out FILE] [--config FILE]\n"
	"                                       factory step: make keys and the factory secret, print the secret once;\n"
	"                                       or the keys only, or with a secret from standard input (agentctl provision)\n"
	"  agentd --activate [--config FILE] < FILE 3< FILE.p7s\n"
	"                                       the first password from a signed provisioning file (agentctl provision --signed)\n"
	"  agentd --factory-reset [--config FILE]\n"
	"                                       at the device, with the agent stopped: accounts and the owner's keys go\n"
	"  agentd --renew-secret [--config FILE]\n"
	"                                       in recovery, where the label's verifier is lost: another secret, printed once";

/* Remove argv[i] and what follows it. */
static void take_out(int *argc, char **argv, int i, int n)
{
	for (int k = i; k + n <= *argc; k++)
		argv[k] = argv[k + n];
	*argc -= n;
}

/* The value of @name, taken out of the arguments; NULL if it is not there. */
static const char *take_value(int *argc, char **argv, const char *name)
{
	size_t n = strlen(name);

	for (int i = 1; i < *argc; i++) {
		const char *value;

		if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=') {
			value = argv[i] + n + 1;
			take_out(argc, argv, i, 1);
			return value;
		}
		if (strcmp(argv[i], name) != 0)
			continue;
		if (i + 1 == *argc) {
			fprintf(stderr, "agentd: option '%s' requires an argument\n", name);
			exit(EXIT_CODE_USAGE);
		}
		value = argv[i + 1];
		take_out(argc, argv, i, 2);
		return value;
	}
	return NULL;
}

static bool take_flag(int *argc, char **argv, const char *name)
{
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], name) == 0) {
			take_out(argc, argv, i, 1);
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	struct provision_options provision = { 0 };
	bool is_provision = take_flag(&argc, argv, "--provision");
	bool is_reset = take_flag(&argc, argv, "--factory-reset"), is_renewal = take_flag(&argc, argv, "--renew-secret");
	bool is_activation = take_flag(&argc, argv, "--activate");
	bool is_supervisor = take_flag(&argc, argv, "--supervise");

	/* tpm2-tss prints each refused command, also those we expect; our errors name the code. An operator may ask for more. */
	setenv("TSS2_LOG", "all+NONE", 0);

	if (is_provision + is_reset + is_renewal + is_activation + is_supervisor > 1) {
		fprintf(stderr, "agentd: --provision, --factory-reset, --renew-secret, --activate and --supervise exclude each other\n");
		return EXIT_CODE_USAGE;
	}
	if (is_supervisor)
		return supervise_main(argc, argv);
	if (is_reset || is_renewal)
		return is_reset ? reset_main(purpose, argc, argv) : renew_main(purpose, argc, argv);
	if (is_activation)
		return activate_main(purpose, argc, argv);
	if (!is_provision)
		return core_main(purpose, argc, argv);
	provision.is_keys_only = take_flag(&argc, argv, "--keys-only");
	provision.is_secret_given = take_flag(&argc, argv, "--secret-stdin");
	if (provision.is_keys_only && provision.is_secret_given) {
		fprintf(stderr, "agentd: --keys-only and --secret-stdin exclude each other\n");
		return EXIT_CODE_USAGE;
	}
	provision.csr_subject = take_value(&argc, argv, "--csr-subject");
	provision.csr_out = take_value(&argc, argv, "--csr-out");
	if ((provision.csr_subject == NULL) != (provision.csr_out == NULL)) {
		fprintf(stderr, "agentd: --csr-subject and --csr-out belong together\n");
		return EXIT_CODE_USAGE;
	}
	return provision_main(purpose, &provision, argc, argv);
}
