/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SETTINGS_H
#define COMMON_SETTINGS_H
/* agentd.conf in memory: one member per row of config.def, as settings->GROUP.NAME. Read-only after loading. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <agent/error.h>

struct slot_setting {
	char *slot_class;
	char *name;
	char *path;
};

struct slot_settings {
	struct slot_setting *items;
	size_t n;
};

/* Groups are written out so that settings->mqtt.port reads as in the file; settings.c checks each against config.def. */
struct settings {
	char *file;	/* where it was read from */
	struct { char *product, *serial, *model; } device;
	struct { char *state_dir, *link_dir, *install_dir, *run_dir, *trust_dir, *program_dir; } paths;
	struct { char *tcti; int64_t srk_handle, nv_password, nv_floor, nv_trust, nv_tickets, nv_write_budget, sign_timeout_s, keygen_timeout_s, probe_s; } tpm;
	struct { bool allow_software; } keys;
	struct { int64_t min_length, cost; } password;
	struct { char *admin, *operator, *viewer; } console;
	struct { char *button; int64_t hold_s; } reset;
	struct { bool https; char *listen; char **hosts; char *http_listen, *client_listen, *setup_interface; char **client_roles; int64_t max_connections, max_per_source, idle_exit_s, handshakes_per_s; } mgmt;
	struct {
		bool enable;
		char *host;
		int64_t port;
		char **brokers, *version, *client_id, *username, *alpn;
		int64_t return_s, session_s, keepalive_min_s, keepalive_max_s;
		int64_t canary_s, canary_timeout_s;
		bool retain;
		char *ca_file, *crl_file, *crl, *ocsp, **pins, *cert_file, *key, *topic_prefix, **queues, **rights, *command_topic, *answer_topic;
		int64_t flash_endurance_gib, telemetry_s, app_calls_per_s, keepalive_s, backoff_min_ms, backoff_max_ms;
		bool allow_tls12;
	} mqtt;
	struct { int64_t budget_mib, budget_connects, budget_hold, budget_save_s; } link;
	struct { char *role; int64_t ahead_s, per_minute; } command;
	struct { char *ca_file, *crl_file, *crl, *ocsp, **pins; int64_t connect_timeout_s; } fetch;
	struct { char *kind, *index_url; int64_t poll_s, poll_min_s, poll_max_s; } source;
	struct { char *url, *tenant, *controller, *token_file, *distribution; } hawkbit;
	struct { char *network_file, *authenticated_file; bool https_date; int64_t save_s; } time;
	struct {
		char *url, *ca_file, *crl_file, *crl, *ocsp, **pins, *prove_url, *factory_cert, *subject, **names;
		bool new_key;
		int64_t renew_from, renew_to, retry_min_s, retry_max_s, min_life_s;
	} est;
	struct { bool enable; int64_t max_connections, calls_per_s, burst; } vendor;
	struct {
		int64_t min_signers;
		bool allow_compat, require_crl;
		char *raw_signatures, **selections, **bootenv, *versions_file;
		int64_t tries;
		char *boot_backend, *boot_config, *booted_slot;
		char *policy, **windows, *time_zone, *clock_file;
		int64_t postpone_max, postpone_total_h;
		char *reboot, **reboot_holders;
		int64_t reboot_notice_s, reboot_hold_s;
		char *scripts, **script_paths;
		int64_t script_timeout_s;
		struct slot_settings slots;
	} update;
	struct { bool at_start; char **units, **commands; bool mqtt; int64_t deadline_s, command_timeout_s; } health;
};

/* sysconfdir/agentd/agentd.conf, then agentd.conf.d/?*.conf beside it in name order, later rows win. */
#define SETTINGS_DEFAULT_FILE AGENT_SYSCONFDIR "/agentd/agentd.conf"  /* needs agentd/common/paths.h */

/*
 * Load and check. -EINVAL with "config.syntax", "config.unknown", "config.type", "config.range" or "config.missing" and a
 * sentence that begins with FILE:LINE; -ENOENT and so on when the file cannot be read.
 */
int settings_load(const char *file, struct settings **ret_settings, struct agent_error **err);
struct settings *settings_free(struct settings *settings);
/* All rows with their effective values, in the syntax of agentd.conf, each with its meaning as a comment. */
void settings_print(const struct settings *settings, FILE *out);

/* Effective path: @value if set (not NULL, not empty), else TRUST_DIR/@fallback. The caller frees it. NULL when memory is short. */
char *settings_trust_path(const struct settings *settings, const char *value, const char *fallback);

#endif
