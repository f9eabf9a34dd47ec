/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/macro.h"

const struct command commands[] = {
	{ "status", "", "state of setup, TPM, broker connection and updates", cmd_status },
	{ "time", "", "what time it is, how far that can be relied on, and since when it is not earlier", cmd_time },
	{ "passwd", "[--user NAME] [--stdin]", "set or change your own password; --stdin: current and new on two lines", cmd_passwd },
	{ "login", "[--user NAME] [--stdin]", "log in; --stdin: the password on one line", cmd_login },
	{ "logout", "", "end the session", cmd_logout },
	{ "provision", "[--secret-file FILE|-] [--qr utf8|ascii|none] [--png FILE] [--svg FILE] | --signed FILE [--signature FILE]",
	  "agent stopped: keys, factory secret and label of this unit, once; or its first password from a signed file for many", cmd_provision },
	{ "console", "", "login program for a getty on a terminal of the device", cmd_console },
	{ "account list", "", "who may log in, and as what", cmd_account_list },
	{ "account add", "NAME [--role ROLE] [--stdin]", "one more account: viewer (default), operator or admin; --stdin: your own password, the first one of NAME",
	  cmd_account_add },
	{ "account role", "NAME ROLE [--stdin]", "give an account another role; --stdin: your own password", cmd_account_role },
	{ "account passwd", "NAME [--stdin]", "give somebody a new password; --stdin: your own, the new one", cmd_account_passwd },
	{ "account remove", "NAME [--stdin]", "remove an account; --stdin: your own password", cmd_account_remove },
	{ "factory-reset", "--yes [--stdin]", "remove accounts and the owner's keys; the code on the label counts again", cmd_factory_reset },
	{ "key list", "", "keys of the device", cmd_key_list },
	{ "key create", "NAME [--type TYPE] [--purposes LIST] [--callers LIST] [--software]",
	  "make a key in the TPM: ec-p256 (default), ec-p384, rsa-2048, rsa-3072; for tls-client, csr, sign-app, seal", cmd_key_create },
	{ "key import", "NAME [--purposes LIST] [--callers LIST] [--software]", "take a private key in PEM form from standard input into the TPM",
	  cmd_key_import },
	{ "key allow", "NAME [CALLER...]", "applications that may use a key, and no others: user:NAME, group:NAME, unit:NAME.service",
	  cmd_key_allow },
	{ "key csr", "NAME --subject SUBJECT [--out FILE]", "certificate signing request, as in \"CN=gw-1,O=Example\"", cmd_key_csr },
	{ "key rotate", "NAME --subject SUBJECT [--type TYPE] [--out FILE] | --status [--out FILE] | --abort",
	  "a new key beside the one of the broker connection, and a request for it; how far that is; or back", cmd_key_rotate },
	{ "key certificate", "NAME", "take a new certificate (PEM chain) from standard input; in place once the broker took it", cmd_key_certificate },
	{ "key show", "NAME", "public area and attributes of a key in plain words", cmd_key_show },
	{ "key certify", "NAME --nonce HEX [--out FILE]", "the TPM's statement that a key lives in it, for a verifier", cmd_key_certify },
	{ "tpm status", "", "state, maker, lockout and counters of the TPM", cmd_tpm_status },
	{ "tpm doctor", "", "what is wrong with the TPM and what to do; never tries a password", cmd_tpm_doctor },
	{ "tpm quote", "--nonce HEX --pcrs 0,7 [--out FILE]", "the TPM's statement of PCR values, for a verifier", cmd_tpm_quote },
	{ "tpm counters", "", "NV counters: value, writes, write budget, attributes", cmd_tpm_counters },
	{ "tpm ek", "[--type TYPE] [--out FILE]", "endorsement key and its certificates: rsa-2048 (default), ec-p256", cmd_tpm_ek },
	{ "link reconnect", "", "leave the broker and connect anew", cmd_link_reconnect },
	{ "link", "", "the broker connection: each broker with its last reason, and what was used of the budget of the month", cmd_link },
	{ "queue list", "", "messages that wait for the broker: how many, what was lost or refused, what they cost the flash", cmd_queue_list },
	{ "enrol status", "", "the certificate of the device and how far the next one is", cmd_enrol_status },
	{ "enrol renew", "[--new-key]", "ask the EST server for a certificate now", cmd_enrol_renew },
	{ "enrol secret", "[--stdin | --wipe]", "one-time secret (USER:PASSWORD) for the EST server; sealed by the TPM, wiped after use", cmd_enrol_secret },
	{ "enrol trust", "SHA256 | --forget", "trust the EST server's authority whose certificate has this fingerprint", cmd_enrol_trust },
	{ "https status", "", "the certificate that HTTPS shows", cmd_https_status },
	{ "https request", "[--out FILE]", "make a key and a request for a certificate of your own authority", cmd_https_request },
	{ "https certificate", "", "take the certificate (PEM chain, leaf first) from standard input; HTTPS shows it from then on", cmd_https_certificate },
	{ "https remove", "", "back to the certificate of the device itself", cmd_https_remove },
	{ "update install", "FILE|-|URL", "put a signed bundle into the inactive slot", cmd_update_install },
	{ "update status", "", "slots, stage and result of the last installation", cmd_update_status },
	{ "update check", "", "look for updates soon, whatever the rhythm is", cmd_update_check },
	{ "update offer", "URL", "tell the device of an update; the policy says when it is installed", cmd_update_offer },
	{ "update approve", "[RELEASE [MANIFEST] | --source [ACTION [VERSION]]]", "install the offered update now", cmd_update_approve },
	{ "update postpone", "HOURS", "put the offered update off, within the bounds of agentd.conf", cmd_update_postpone },
	{ "update policy", "[automatic|window|approval]", "show or choose when offered updates are installed", cmd_update_policy },
	{ "update key", "FILE|- | --remove", "the key of encrypted images, as for \"swupdate -K\"; sealed by the TPM of the device", cmd_update_key },
	{ "update recipient", "[--out FILE]", "certificate of this device's key that bundles can be encrypted to; made in the TPM when there is none", cmd_update_recipient },
	{ "update ticket", "[FILE|- | --remove]", "a service ticket: the next installation may be one release below the floor; without a file: what there is", cmd_update_ticket },
	{ "update reboot", "", "restart the device now, into the release that is installed", cmd_update_reboot },
	{ "update confirm", "", "the running slot is good: keep it, raise the floor", cmd_update_confirm },
	{ "update rollback", "", "boot the other slot next time", cmd_update_rollback },
	{ "update health", "", "wait for the health checks of agentd.conf, then confirm the new release or roll it back", cmd_update_health },
	{ "bundle create", "FOLDER|FILE.swu --out FILE --signer CERT --key KEY [--signer ... --key ...] [--description FILE] [--release-id ID] "
	  "[--security-version N] [--product BOARD:REVISION]... [--slot-class [NAME=]CLASS]... [--compress zlib|zstd] [--chunk-size BYTES] "
	  "[--encryption-key FILE] [--encrypt-to CERT]... [--scripts] [--min-signers N] [--not-before TIME] [--not-after TIME] [--tcti TCTI]",
	  "make a signed bundle of a description and its images, or of a stock bundle", cmd_bundle_create, 1 },
	{ "bundle inspect", "FILE", "what a bundle says of itself; nothing is verified", cmd_bundle_inspect, 1 },
	{ "bundle verify", "FILE|- --trust FOLDER [--product BOARD:REVISION] [--floor N] [--min-signers N] [--time TIME] [--compat] [--raw rsa|rsa-pss] [--require-crl] "
	  "[--selection SET,MODE] [--encryption-key FILE] [--scripts]", "would a device with this policy install it", cmd_bundle_verify, 1 },
	{ "bundle sign", "FILE --out FILE --signer CERT --key KEY [--tcti TCTI]", "one signer more, for a bundle or a service ticket", cmd_bundle_sign, 1 },
	{ "bundle ticket", "FILE.swu --device NAME --used N --not-after TIME [--not-before TIME] --out FILE --signer CERT --key KEY [--signer ... --key ...] [--tcti TCTI]",
	  "a service ticket: lets one device install this release below its floor, once", cmd_bundle_ticket, 1 },
	{ "bundle resign", "FILE --out FILE --signer CERT --key KEY [--signer ... --key ...] [--tcti TCTI]", "others sign in the place of those who did",
	  cmd_bundle_resign, 1 },
	{ "events", "[--follow] [--limit N]", "audit log; --limit: only the last N (default 50)", cmd_events },
	{ "completion", "bash", "print shell completion", cmd_completion, 1 },
};
const size_t n_commands = ARRAY_SIZE(commands);

const struct command *command_find(int argc, char **argv, int *ret_n_words)
{
	for (size_t i = 0; i < n_commands; i++) {
		const char *space = strchr(commands[i].words, ' ');
		size_t first = space == NULL ? strlen(commands[i].words) : (size_t)(space - commands[i].words);

		if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], commands[i].words, first) != 0)
			continue;
		if (space == NULL || (argc > 1 && strcmp(argv[1], space + 1) == 0)) {
			*ret_n_words = space == NULL ? 1 : 2;
			return &commands[i];
		}
	}
	return NULL;
}

/* ---- help, for a terminal of 80 columns ------------------------------------------------------------------------------- */

#define COLUMNS 79
#define PURPOSE_COLUMN 22

/* Bytes up to the next place where a line may end: any blank, or, in a usage, one before an option, outside of brackets. */
static size_t piece_size(const char *text, bool is_usage)
{
	size_t n = 0;
	int depth = 0;

	for (; text[n] != '\0'; n++) {
		depth += text[n] == '[' ? 1 : text[n] == ']' ? -1 : 0;
		if (text[n] == ' ' && (!is_usage || (depth == 0 && strchr("[-|", text[n + 1]) != NULL)))
			break;
	}
	return n;
}

/* @text behind what fills the line up to @column, in lines of COLUMNS; those after the first begin at @indent. */
static void print_folded(FILE *out, const char *text, size_t column, size_t indent, bool is_usage)
{
	bool is_between = column > indent;

	while (*text != '\0') {
		size_t n = piece_size(text, is_usage);

		if (column > indent && column + is_between + n > COLUMNS) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (is_between) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, n, out);
		column += n;
		text += n;
		is_between = *text == ' ';
		text += is_between;
	}
	fputc('\n', out);
}

static size_t group_size(const char *words)
{
	return strcspn(words, " ");
}

static bool is_in_group(const struct command *command, const char *group)
{
	return strlen(group) == group_size(command->words) && strncmp(command->words, group, strlen(group)) == 0;
}

static bool is_group(const char *word)
{
	for (size_t i = 0; i < n_commands; i++)
		if (is_in_group(&commands[i], word) && strchr(commands[i].words, ' ') != NULL)
			return true;
	return false;
}

static void command_help(FILE *out, const struct command *command)
{
	static const char begin[] = "Usage: agentctl ";

	fprintf(out, "%s%s", begin, command->words);
	print_folded(out, command->arguments, strlen(begin) + strlen(command->words), strlen(begin), true);
	fputs("  ", out);
	print_folded(out, command->purpose, 2, 2, false);
}

static void commands_help(FILE *out)
{
	fputs("Usage: agentctl [--json] [--socket PATH | --config FILE] COMMAND ...\n\n", out);
	for (size_t i = 0; i < n_commands; i++) {
		fprintf(out, "  %-*s", PURPOSE_COLUMN - 2, commands[i].words);
		print_folded(out, commands[i].purpose, PURPOSE_COLUMN, PURPOSE_COLUMN, false);
	}
	fputs("\n"
	      "  --json           answers as JSON; also after the command\n"
	      "  --socket PATH    socket of the agent\n"
	      "  --config FILE    find the socket in this agentd.conf\n"
	      "  --version        print the version and leave\n"
	      "  --help           print this, or after a command its arguments\n\n"
	      "Exit codes: 0 done, 1 failed, 2 usage, 3 not logged in or wrong password,\n"
	      "4 refused (role, or the password has to be set first), 5 not found, 6 too many\n"
	      "tries or busy, 7 agent not reachable, 8 update refused, 9 update too old,\n"
	      "10 the new release is not healthy and was rolled back: reboot.\n"
	      "See agentctl(1).\n", out);
}

bool commands_explain(FILE *out, int argc, char **argv)
{
	int n_words = 0, n = 0;
	const struct command *command = command_find(argc, argv, &n_words);

	if (argc == 0) {
		commands_help(out);
		return true;
	}
	if (command != NULL && strchr(command->words, ' ') != NULL) {
		command_help(out, command);
		return true;
	}
	for (size_t i = 0; i < n_commands; i++) {
		if (!is_in_group(&commands[i], argv[0]))
			continue;
		if (n++ > 0)
			fputc('\n', out);
		command_help(out, &commands[i]);
	}
	return n > 0;
}

void commands_unknown(int argc, char **argv)
{
	if (argc == 0)
		commands_help(stderr);
	else if (is_group(argv[0]) && argc == 1)
		fprintf(stderr, "agentctl: %s what? try: agentctl %s --help\n", argv[0], argv[0]);
	else if (is_group(argv[0]))
		fprintf(stderr, "agentctl: unknown command %s %s; try: agentctl %s --help\n", argv[0], argv[1], argv[0]);
	else
		fprintf(stderr, "agentctl: unknown command %s; try: agentctl --help\n", argv[0]);
}

/* ---- arguments -------------------------------------------------------------------------------------------------------- */

/* "--name" or "--name=value"; NULL if there is no such row. */
static const struct option_row *option_find(const char *text, const struct option_row *rows, size_t n_rows, const char **ret_value)
{
	size_t size = strcspn(text, "=");

	*ret_value = text[size] == '=' ? text + size + 1 : NULL;
	for (size_t k = 0; k < n_rows; k++)
		if (strlen(rows[k].name) == size && strncmp(text, rows[k].name, size) == 0)
			return &rows[k];
	return NULL;
}

static int option_take(const struct option_row *row, const char *value)
{
	if (row->list == NULL) {
		*row->value = value;
		return 0;
	}
	if (row->list->n == OPTION_LIST_MAX) {
		fprintf(stderr, "agentctl: %s was given more than %d times\n", row->name, OPTION_LIST_MAX);
		return -1;
	}
	row->list->items[row->list->n++] = value;
	return 0;
}

/* What was given by mistake may be a password: arguments and values are not repeated. */
int options_parse(int argc, char **argv, const struct option_row *rows, size_t n_rows, const char **ret_args, int min, int max)
{
	int n = 0, is_over = 0;

	for (int i = 0; i < argc; i++) {
		const struct option_row *row;
		const char *value;

		if (is_over || argv[i][0] != '-' || argv[i][1] == '\0') {
			if (n == max) {
				fputs(max == 0 ? "agentctl: this command takes no argument; try --help\n" :
						 "agentctl: one argument too many; try --help\n", stderr);
				return -1;
			}
			ret_args[n++] = argv[i];
			continue;
		}
		if (strcmp(argv[i], "--") == 0) {
			is_over = 1;
			continue;
		}
		row = option_find(argv[i], rows, n_rows, &value);
		if (row == NULL) {
			fprintf(stderr, "agentctl: unknown option %.*s; try --help\n", (int)strcspn(argv[i], "="), argv[i]);
			return -1;
		}
		if (row->flag != NULL && value == NULL) {
			*row->flag = 1;
		} else if (row->flag != NULL) {
			fprintf(stderr, "agentctl: %s takes no value\n", row->name);
			return -1;
		} else if (value == NULL && ++i == argc) {
			fprintf(stderr, "agentctl: %s needs a value\n", row->name);
			return -1;
		} else if (option_take(row, value == NULL ? argv[i] : value) < 0) {
			return -1;
		}
	}
	if (n < min) {
		fputs("agentctl: an argument is missing; try --help\n", stderr);
		return -1;
	}
	return n;
}

int command_show(struct ctl *ctl, int argc, char **argv, const char *method, const char *path, const struct field *fields, size_t n)
{
	return options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0 ? CTL_USAGE : http_fields(ctl, method, path, NULL, fields, n);
}

int command_tell(struct ctl *ctl, int argc, char **argv, const char *path, void (*show)(const json_t *body))
{
	return options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0 ? CTL_USAGE : http_show(ctl, "GET", path, NULL, show);
}

int command_do(struct ctl *ctl, int argc, char **argv, const char *method, const char *path, const char *sentence, const char *json)
{
	return options_parse(argc, argv, NULL, 0, NULL, 0, 0) < 0 ? CTL_USAGE : http_done(ctl, method, path, NULL, sentence, json);
}

/* ---- completion ------------------------------------------------------------------------------------------------------- */

static void print_options(const struct command *command)
{
	for (const char *p = strstr(command->arguments, "--"); p != NULL; p = strstr(p + 2, "--"))
		printf("%.*s ", (int)strcspn(p, " ]|"), p);
	fputs("--json --help", stdout);
}

/* The second words of a group, and its own options if its first word is a command by itself. */
static void print_group(const char *words)
{
	size_t size = group_size(words);

	printf("    '%.*s ') list='", (int)size, words);
	for (size_t i = 0; i < n_commands; i++)
		if (group_size(commands[i].words) == size && strncmp(commands[i].words, words, size) == 0 && commands[i].words[size] == ' ')
			printf("%s ", commands[i].words + size + 1);
	fputs("--help' ;;\n", stdout);
}

static bool is_first_of_group(size_t row)
{
	for (size_t i = 0; i < row; i++)
		if (group_size(commands[i].words) == group_size(commands[row].words) &&
		    strncmp(commands[i].words, commands[row].words, group_size(commands[row].words)) == 0)
			return false;
	return true;
}

/* Words of commands, their options behind a dash, and names of files (-o default) elsewhere. */
static void print_bash(void)
{
	fputs("_agentctl() {\n"
	      "  local cur=${COMP_WORDS[COMP_CWORD]} words='' list='' i\n"
	      "  COMPREPLY=()\n"
	      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
	      "    case ${COMP_WORDS[i]} in\n"
	      "      --json) ;;\n"
	      "      --socket | --config) i=$((i + 1)) ;;\n"
	      "      *) words+=\"${COMP_WORDS[i]} \" ;;\n"
	      "    esac\n"
	      "  done\n"
	      "  case $words in\n"
	      "    '') list='", stdout);
	for (size_t i = 0; i < n_commands; i++)
		if (is_first_of_group(i))
			printf("%.*s ", (int)group_size(commands[i].words), commands[i].words);
	fputs("help --json --socket --config --version --help' ;;\n", stdout);
	for (size_t i = 0; i < n_commands; i++)
		if (is_first_of_group(i)) {
			char group[32];

			snprintf(group, sizeof(group), "%.*s", (int)group_size(commands[i].words), commands[i].words);
			if (is_group(group))
				print_group(group);
		}
	for (size_t i = 0; i < n_commands; i++) {
		printf("    '%s '*) [[ $cur != -* ]] || list='", commands[i].words);
		print_options(&commands[i]);
		fputs("' ;;\n", stdout);
	}
	fputs("  esac\n"
	      "  [ -z \"$list\" ] || mapfile -t COMPREPLY < <(compgen -W \"$list\" -- \"$cur\")\n"
	      "}\n"
	      "complete -o default -F _agentctl agentctl\n", stdout);
}

int cmd_completion(struct ctl *ctl, int argc, char **argv)
{
	const char *shell;

	if (options_parse(argc, argv, NULL, 0, &shell, 1, 1) < 0)
		return CTL_USAGE;
	if (strcmp(shell, "bash") != 0) {
		fprintf(stderr, "agentctl: completion is there for bash, not for %s\n", shell);
		return CTL_USAGE;
	}
	print_bash();
	return CTL_OK;
}
