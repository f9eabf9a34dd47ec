/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H
/* The command table: help, completion and dispatch come from its rows. */
#include <stddef.h>

#include "agentd/ctl/http.h"
#include "agentd/ctl/output.h"

/* @argv holds what follows the command's words; options are parsed with options_parse(). Returns an exit code. */
typedef int (*command_fn)(struct ctl *ctl, int argc, char **argv);

struct command {
	const char *words;	/* "key create" */
	const char *arguments;	/* "NAME [--type TYPE]" */
	const char *purpose;
	command_fn run;
	int is_offline;		/* it asks no agent: neither configuration nor session are looked for */
};
extern const struct command commands[];
extern const size_t n_commands;

/* The values of an option that may be given more than once. */
#define OPTION_LIST_MAX 128
struct option_list {
	const char *items[OPTION_LIST_MAX];
	size_t n;
};
/* One option of a command: a flag (*flag becomes 1), one with a value, or one with several. */
struct option_row {
	const char *name;	/* "--type" */
	const char **value;
	int *flag;
	struct option_list *list;
};
/*
 * Sort @argv into options ("--name VALUE" or "--name=VALUE") and up to @max plain arguments, at least @min. "--" ends the options. Returns
 * the number of plain arguments, or -1 after saying what is wrong (the caller returns CTL_USAGE).
 */
int options_parse(int argc, char **argv, const struct option_row *rows, size_t n_rows, const char **ret_args, int min, int max);

/* A command without arguments whose answer is one object: ask, then print its fields, or all of it with --json. */
int command_show(struct ctl *ctl, int argc, char **argv, const char *method, const char *path, const struct field *fields, size_t n);
/* One whose answer is more than that: @show tells it to people. */
int command_tell(struct ctl *ctl, int argc, char **argv, const char *path, void (*show)(const json_t *body));
/* One that has no answer: that it is done is said with @sentence, or with --json as @json. */
int command_do(struct ctl *ctl, int argc, char **argv, const char *method, const char *path, const char *sentence, const char *json);

int cmd_status(struct ctl *ctl, int argc, char **argv);
int cmd_time(struct ctl *ctl, int argc, char **argv);
int cmd_link(struct ctl *ctl, int argc, char **argv);
int cmd_link_reconnect(struct ctl *ctl, int argc, char **argv);
int cmd_queue_list(struct ctl *ctl, int argc, char **argv);
int cmd_passwd(struct ctl *ctl, int argc, char **argv);
int cmd_login(struct ctl *ctl, int argc, char **argv);
int cmd_provision(struct ctl *ctl, int argc, char **argv);
int cmd_console(struct ctl *ctl, int argc, char **argv);
int cmd_logout(struct ctl *ctl, int argc, char **argv);
int cmd_account_list(struct ctl *ctl, int argc, char **argv);
int cmd_account_add(struct ctl *ctl, int argc, char **argv);
int cmd_account_role(struct ctl *ctl, int argc, char **argv);
int cmd_account_passwd(struct ctl *ctl, int argc, char **argv);
int cmd_account_remove(struct ctl *ctl, int argc, char **argv);
int cmd_factory_reset(struct ctl *ctl, int argc, char **argv);
int cmd_tpm_status(struct ctl *ctl, int argc, char **argv);
int cmd_tpm_doctor(struct ctl *ctl, int argc, char **argv);
int cmd_key_list(struct ctl *ctl, int argc, char **argv);
int cmd_key_create(struct ctl *ctl, int argc, char **argv);
int cmd_key_rotate(struct ctl *ctl, int argc, char **argv);
int cmd_key_certificate(struct ctl *ctl, int argc, char **argv);
int cmd_key_import(struct ctl *ctl, int argc, char **argv);
int cmd_key_allow(struct ctl *ctl, int argc, char **argv);
int cmd_key_csr(struct ctl *ctl, int argc, char **argv);
int cmd_key_show(struct ctl *ctl, int argc, char **argv);
int cmd_key_certify(struct ctl *ctl, int argc, char **argv);
int cmd_tpm_quote(struct ctl *ctl, int argc, char **argv);
int cmd_tpm_counters(struct ctl *ctl, int argc, char **argv);
int cmd_tpm_ek(struct ctl *ctl, int argc, char **argv);
int cmd_enrol_status(struct ctl *ctl, int argc, char **argv);
int cmd_enrol_renew(struct ctl *ctl, int argc, char **argv);
int cmd_enrol_secret(struct ctl *ctl, int argc, char **argv);
int cmd_enrol_trust(struct ctl *ctl, int argc, char **argv);
int cmd_https_status(struct ctl *ctl, int argc, char **argv);
int cmd_https_request(struct ctl *ctl, int argc, char **argv);
int cmd_https_certificate(struct ctl *ctl, int argc, char **argv);
int cmd_https_remove(struct ctl *ctl, int argc, char **argv);
int cmd_update_install(struct ctl *ctl, int argc, char **argv);
int cmd_update_status(struct ctl *ctl, int argc, char **argv);
int cmd_update_check(struct ctl *ctl, int argc, char **argv);
int cmd_update_offer(struct ctl *ctl, int argc, char **argv);
int cmd_update_approve(struct ctl *ctl, int argc, char **argv);
int cmd_update_postpone(struct ctl *ctl, int argc, char **argv);
int cmd_update_policy(struct ctl *ctl, int argc, char **argv);
int cmd_update_key(struct ctl *ctl, int argc, char **argv);
int cmd_update_recipient(struct ctl *ctl, int argc, char **argv);
int cmd_update_ticket(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_ticket(struct ctl *ctl, int argc, char **argv);
int cmd_update_confirm(struct ctl *ctl, int argc, char **argv);
int cmd_update_reboot(struct ctl *ctl, int argc, char **argv);
int cmd_update_rollback(struct ctl *ctl, int argc, char **argv);
int cmd_update_health(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_create(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_inspect(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_verify(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_sign(struct ctl *ctl, int argc, char **argv);
int cmd_bundle_resign(struct ctl *ctl, int argc, char **argv);
int cmd_events(struct ctl *ctl, int argc, char **argv);
int cmd_completion(struct ctl *ctl, int argc, char **argv);

/* Find the row whose words begin @argv; *ret_n_words is how many. NULL if there is none. */
const struct command *command_find(int argc, char **argv, int *ret_n_words);
/* Help for the command or group of commands that @argv begins with, for all without one; false if there is no such command. */
bool commands_explain(FILE *out, int argc, char **argv);
/* Say that @argv begins with no command, and what to try. */
void commands_unknown(int argc, char **argv);

#endif
