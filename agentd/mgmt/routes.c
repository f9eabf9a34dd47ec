/* SPDX-License-Identifier: Apache-2.0 */
/* Every endpoint, once. A path that is not here is treated like the strictest row. */
#include "agentd/mgmt/route.h"
#include "agentd/mgmt/routes_enrol.h"
#include "agentd/mgmt/routes_link.h"
#include "agentd/mgmt/routes_tpm.h"
#include "base/macro.h"

#define GET METHOD_GET
#define POST METHOD_POST
#define PUT METHOD_PUT
#define DELETE METHOD_DELETE

/* ---- arguments ---------------------------------------------------------------------------------------------------- */

static const struct arg_rule args_session[] = {
	{ "user", ARG_TEXT, REQUIRED, 64, 1, .about = "name of the account" },
	{ "password", ARG_TEXT, REQUIRED, 512, 1, .about = "password, or the code on the label before one is set", .is_secret = true },
	{ NULL },
};

static const struct arg_rule args_credentials[] = {
	{ "current", ARG_TEXT, OPTIONAL, 512, .about = "may be left out with the scope \"password\"", .is_secret = true },
	{ "new", ARG_TEXT, REQUIRED, 512, 1, .about = "the rules are in docs/design/password.md; what is wrong comes back as reasons", .is_secret = true },
	{ NULL },
};

static const struct arg_rule args_check[] = {
	{ "new", ARG_TEXT, REQUIRED, 512, .is_secret = true },
	{ NULL },
};

#define ACCOUNT_NAME "a-z0-9._-"
#define ROLES "viewer operator admin"
#define ARG_CURRENT { "current", ARG_TEXT, REQUIRED, 512, 1, .about = "password of the one who asks; a wrong one counts as a failed login", .is_secret = true }
#define ARG_FIRST { "new", ARG_TEXT, REQUIRED, 512, 1, .about = "has to be changed at the next login", .is_secret = true }

static const struct arg_rule args_account[] = {
	ARG_CURRENT,
	{ "name", ARG_TEXT, REQUIRED, 32, 1, .bytes = ACCOUNT_NAME, .about = "begins with a letter" },
	{ "role", ARG_TEXT, REQUIRED, 16, .values = ROLES },
	ARG_FIRST,
	{ NULL },
};

static const struct arg_rule args_account_role[] = {
	ARG_CURRENT,
	{ "role", ARG_TEXT, REQUIRED, 16, .values = ROLES },
	{ NULL },
};

static const struct arg_rule args_account_password[] = {
	ARG_CURRENT,
	ARG_FIRST,
	{ NULL },
};

static const struct arg_rule args_current[] = {
	ARG_CURRENT,
	{ NULL },
};

#define ARG_BACKEND { "backend", ARG_TEXT, OPTIONAL, 16, .values = "tpm software", .about = "software needs keys.allow_software in the configuration" }
#define ARG_PURPOSES { "purposes", ARG_TEXTS, OPTIONAL, 32, .values = "tls-client csr sign-app seal", .about = "what for; left out: tls-client and csr" }
#define ARG_CALLERS                                          \
	{ "callers", ARG_TEXTS, OPTIONAL, 192, 1,            \
	  .about = "applications that may use it: \"uid:1000\", \"group:meter\", \"unit:meter.service\", then purposes" }

static const struct arg_rule args_key[] = {
	{ "name", ARG_TEXT, REQUIRED, 32, 1, .bytes = KEY_NAME, .about = "begins with a letter" },
	{ "type", ARG_TEXT, REQUIRED, 32, .values = KEY_TYPES },
	ARG_BACKEND,
	ARG_PURPOSES,
	ARG_CALLERS,
	{ NULL },
};

static const struct arg_rule args_import[] = {
	{ "pem", ARG_TEXT, REQUIRED, 16 * KIB, 1, .about = "private key: PKCS#8, EC PRIVATE KEY or RSA PRIVATE KEY, not encrypted", .is_secret = true },
	ARG_BACKEND,
	ARG_PURPOSES,
	ARG_CALLERS,
	{ NULL },
};

static const struct arg_rule args_rotate[] = {
	{ "subject", ARG_TEXT, REQUIRED, 512, 1, .about = "of the request for the new key, as in CN=gw-0001,O=Example" },
	{ "type", ARG_TEXT, OPTIONAL, 32, .values = KEY_TYPES, .about = "of the new key; left out: as the old one" },
	{ NULL },
};

static const struct arg_rule args_certificate[] = {
	{ "pem", ARG_TEXT, REQUIRED, 16 * KIB, 1, .about = "chain, leaf first" },
	{ NULL },
};

static const struct arg_rule args_callers[] = {
	{ "callers", ARG_TEXTS, REQUIRED, 192, 1, .about = "applications that may use it from now on: \"uid:1000 tls-client\"" },
	{ NULL },
};

static const struct arg_rule args_csr[] = {
	{ "subject", ARG_TEXT, REQUIRED, 512, 1, .about = "\"CN=gateway,O=Example\"" },
	{ NULL },
};

static const struct arg_rule args_certify[] = {
	{ "nonce", ARG_TEXT, REQUIRED, 128, 16, .bytes = HEX, .about = "8 to 64 bytes of the verifier's choice" },
	{ NULL },
};

static const struct arg_rule args_quote[] = {
	{ "nonce", ARG_TEXT, REQUIRED, 128, 16, .bytes = HEX, .about = "8 to 64 bytes of the verifier's choice" },
	{ "pcrs", ARG_TEXT, REQUIRED, 64, 1, .bytes = "0-9,", .about = "numbers from 0 to 23, each once: \"0,7\"" },
	{ NULL },
};

static const struct arg_rule args_fetch[] = { { "url", ARG_TEXT, REQUIRED, 2048, 9, .about = "https only" }, { NULL } };

#define POLICIES "automatic window approval"

static const struct arg_rule args_approve[] = {
	{ "release_id", ARG_TEXT, REQUIRED, 64, 1, .bytes = "A-Za-z0-9._+:-", .about = "the release that waits: what is approved is what was shown" },
	{ "manifest_sha256", ARG_TEXT, REQUIRED, 64, 64, .bytes = "0-9a-f", .about = "offer_manifest_sha256 that was shown: another bundle of that release is refused" },
	{ NULL },
};

static const struct arg_rule args_approve_action[] = {
	{ "action", ARG_TEXT, REQUIRED, 64, 1, .bytes = "A-Za-z0-9._+:-", .about = "source_action of the status: what was shown" },
	{ "version", ARG_TEXT, REQUIRED, 64, 0, .about = "source_version of the status, \"\" where it has none: another one by now is refused" },
	{ NULL },
};

static const struct arg_rule args_postpone[] = { { "hours", ARG_NUMBER, REQUIRED, 8760, 1, .about = "counted while the device is on" }, { NULL } };

static const struct arg_rule args_policy[] = {
	{ "policy", ARG_TEXT, REQUIRED, 9, 1, .values = POLICIES, .about = "when an offered update is installed" },
	{ NULL },
};

static const struct arg_rule args_update_key[] = {
	{ "key", ARG_TEXT, REQUIRED, 64, 32, .about = "AES key of encrypted images: 32, 48 or 64 hexadecimal digits", .is_secret = true },
	{ "iv", ARG_TEXT, OPTIONAL, 32, 32, .about = "IV of images that bring none: 32 hexadecimal digits" },
	{ NULL },
};

static const struct arg_rule args_update_ticket[] = {
	{ "ticket", ARG_TEXT, REQUIRED, 64 * KIB, 1, .about = "a service ticket as \"agentctl bundle ticket\" made it, with its line ends" },
	{ NULL },
};

static const struct arg_rule query_events[] = {
	{ "after", ARG_NUMBER, OPTIONAL, INT64_MAX, .about = "only events with a greater number" },
	{ "limit", ARG_NUMBER, OPTIONAL, 1000, 1, .about = "at most so many; 100 if left out" },
	{ NULL },
};

static const struct arg_rule query_stream[] = {
	{ "after", ARG_NUMBER, OPTIONAL, INT64_MAX, .about = "begin behind this event; Last-Event-ID goes before it; left out: from now on" },
	{ NULL },
};

static const struct arg_rule param_key[] = {
	{ "name", ARG_TEXT, REQUIRED, 32, 1, .bytes = KEY_NAME, .about = "name of the key" },
	{ NULL },
};

static const struct arg_rule param_account[] = {
	{ "name", ARG_TEXT, REQUIRED, 32, 1, .bytes = ACCOUNT_NAME, .about = "name of the account" },
	{ NULL },
};

static const struct arg_rule param_ek[] = {
	{ "type", ARG_TEXT, REQUIRED, 32, .values = "rsa-2048 ec-p256", .about = "rsa-2048 takes up to minutes on slow chips" },
	{ NULL },
};

/* ---- answers ------------------------------------------------------------------------------------------------------ */

#define SETUP_STATES "factory active recovery unprovisioned unavailable"
#define UPDATE_STAGES "idle receiving writing written trying confirmed failed"

static const struct arg_rule answer_health[] = {
	{ "status", ARG_TEXT, REQUIRED, .values = "ok" },
	{ NULL },
};

static const struct arg_rule answer_bootstrap[] = {
	{ "state", ARG_TEXT, REQUIRED, .values = SETUP_STATES },
	{ "api", ARG_NUMBER, REQUIRED, .about = "version of this API" },
	{ "password_min_length", ARG_NUMBER, REQUIRED, .about = "in characters" },
	{ NULL },
};

static const struct arg_rule answer_session[] = {
	{ "token", ARG_TEXT, OPTIONAL, .about = "for Authorization: Bearer; left out when the cookie carries it" },
	{ "scope", ARG_TEXT, REQUIRED, .values = "full password", .about = "password: good for setting one and nothing else" },
	{ "role", ARG_TEXT, REQUIRED },
	{ "expires_s", ARG_NUMBER, REQUIRED, .about = "how long it lasts unused" },
	{ NULL },
};

static const struct arg_rule members_account[] = {
	{ "name", ARG_TEXT, REQUIRED },
	{ "role", ARG_TEXT, REQUIRED, .values = ROLES },
	{ "must_change", ARG_TRUTH, REQUIRED, .about = "somebody else chose the password" },
	{ "generation", ARG_NUMBER, REQUIRED, .about = "of the record at which password or role changed last" },
	{ NULL },
};

static const struct arg_rule answer_accounts[] = {
	{ "accounts", ARG_OBJECTS, REQUIRED, .members = members_account },
	{ "certificates", ARG_TEXTS, OPTIONAL, .about = "roles of client certificates, rows of mgmt.client_roles; left out without a door for them" },
	{ NULL },
};

static const struct arg_rule answer_account[] = {
	{ "name", ARG_TEXT, REQUIRED },
	{ "role", ARG_TEXT, REQUIRED, .values = ROLES },
	{ NULL },
};

static const struct arg_rule answer_credentials[] = {
	{ "token", ARG_TEXT, OPTIONAL, .about = "of the new session; all from before are over" },
	{ "scope", ARG_TEXT, REQUIRED, .values = "full" },
	{ "expires_s", ARG_NUMBER, REQUIRED },
	{ NULL },
};

static const struct arg_rule answer_check[] = {
	{ "reasons", ARG_TEXTS, REQUIRED, .about = "against it; empty: it would be taken" },
	{ NULL },
};

static const struct arg_rule session[] = {
	{ "user", ARG_TEXT, REQUIRED },
	{ "role", ARG_TEXT, REQUIRED },
	{ "source", ARG_TEXT, REQUIRED, .about = "where it was opened from: \"ip:192.0.2.7\"" },
	{ "age_s", ARG_NUMBER, REQUIRED },
	{ "idle_s", ARG_NUMBER, REQUIRED, .about = "since its last use" },
	{ "expires_s", ARG_NUMBER, REQUIRED, .about = "how long it lasts unused" },
	{ "own", ARG_TRUTH, REQUIRED, .about = "the one that asks" },
	{ NULL },
};

static const struct arg_rule answer_sessions[] = {
	{ "sessions", ARG_OBJECTS, REQUIRED, .members = session },
	{ NULL },
};

static const struct arg_rule answer_ended[] = {
	{ "ended", ARG_NUMBER, REQUIRED, .about = "how many" },
	{ NULL },
};

#define TIME_MEMBERS \
	{ "time_state", ARG_TEXT, REQUIRED, .values = "none floor network authenticated", .about = "how far the time can be relied on" }, \
	{ "time_source", ARG_TEXT, REQUIRED, .values = "build floor network_file authenticated_file https_date", .about = "what that rests on" }, \
	{ "time_s", ARG_NUMBER, REQUIRED, .about = "seconds since 1970 UTC: what certificates are checked against" }, \
	{ "time_floor_s", ARG_NUMBER, REQUIRED, .about = "it is not earlier than this" }

static const struct arg_rule answer_time[] = {
	TIME_MEMBERS,
	{ "uncertainty_s", ARG_NUMBER, OPTIONAL, .about = "the true time is so near; left out when nobody can tell" },
	{ "system_clock_s", ARG_NUMBER, REQUIRED, .about = "what the system clock shows" },
	{ "saved_s", ARG_NUMBER, OPTIONAL, .about = "the floor as the last run of the agent left it" },
	{ "tpm_clock_s", ARG_NUMBER, OPTIONAL, .about = "how long the TPM has had power in its life" },
	{ "changes", ARG_NUMBER, REQUIRED, .about = "of the state and steps of the clock since the agent was started" },
	{ NULL },
};

#define SOURCE_MEMBERS \
	{ "source_state", ARG_TEXT, OPTIONAL, .values = "idle offered waiting installing installed failed refused", .about = "where updates are looked for; left out when nowhere" }, \
	{ "source_detail", ARG_TEXT, OPTIONAL, .about = "why" }, \
	{ "source_action", ARG_TEXT, OPTIONAL, .about = "what the source of updates wants: action of hawkBit, or release of an index" }, \
	{ "source_version", ARG_TEXT, OPTIONAL, .about = "that it names for it, not signed" }, \
	{ "source_waits_for", ARG_TEXT, OPTIONAL, .values = "approval window clock", .about = "what the policy wants first; POST /v1/update/source/approve takes its place" }

static const struct arg_rule answer_check_source[] = { SOURCE_MEMBERS, { NULL } };

static const struct arg_rule answer_status[] = {
	{ "setup", ARG_TEXT, REQUIRED, .values = SETUP_STATES, .about = "unavailable: the TPM does not answer" },
	{ "version", ARG_TEXT, REQUIRED, .about = "of the agent" },
	{ "product", ARG_TEXT, REQUIRED },
	{ "serial", ARG_TEXT, REQUIRED },
	{ "model", ARG_TEXT, REQUIRED },
	{ "tpm_state", ARG_TEXT, REQUIRED, .values = TPM_STATES },
	{ "tpm_detail", ARG_TEXT, OPTIONAL, .about = "why, with response code and remedy; left out when READY" },
	{ "tpm_commands", ARG_NUMBER, REQUIRED, .about = "sent since start" },
	{ "srk_name", ARG_TEXT, OPTIONAL, .bytes = HEX },
	{ "floor", ARG_NUMBER, OPTIONAL, .about = "lowest security version that may be installed" },
	{ "software_keys", ARG_NUMBER, REQUIRED, .about = "keys that are files without a TPM" },
	LINK_MEMBERS,
	TIME_MEMBERS,
	{ "update_stage", ARG_TEXT, REQUIRED, .values = UPDATE_STAGES },
	{ "booted_slot", ARG_TEXT, OPTIONAL },
	SOURCE_MEMBERS,
	{ "device_ca_fingerprint", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "SHA-256 of the device CA's SubjectPublicKeyInfo" },
	{ "uptime_s", ARG_NUMBER, REQUIRED, .about = "of core" },
	{ "login_failures", ARG_NUMBER, REQUIRED, .about = "in a row" },
	{ NULL },
};

static const struct arg_rule answer_update[] = {
	{ "id", ARG_NUMBER, REQUIRED, .about = "of the last installation since start, 0 if none" },
	{ "stage", ARG_TEXT, REQUIRED, .values = UPDATE_STAGES },
	{ "done_bytes", ARG_NUMBER, REQUIRED },
	{ "total_bytes", ARG_NUMBER, REQUIRED },
	{ "booted_slot", ARG_TEXT, OPTIONAL },
	{ "target_slot", ARG_TEXT, OPTIONAL },
	{ "version", ARG_TEXT, OPTIONAL },
	{ "release_id", ARG_TEXT, OPTIONAL },
	{ "security_version", ARG_NUMBER, REQUIRED },
	{ "floor", ARG_NUMBER, OPTIONAL },
	{ "signers", ARG_TEXTS, OPTIONAL, .bytes = HEX, .about = "of that release: SHA-256 of the SubjectPublicKeyInfo of each key whose signature was good" },
	{ "trusted_keys", ARG_TEXTS, OPTIONAL, .bytes = HEX, .about = "whose signatures count: the same of each signer, or authority of signers, that is pinned" },
	{ "has_key", ARG_TRUTH, REQUIRED, .about = "for encrypted images" },
	{ "signers_version", ARG_NUMBER, OPTIONAL, .about = "of the policy of signers, kept in the TPM; 0 when those of the trust folder sign" },
	{ "tries_left", ARG_NUMBER, REQUIRED },
	{ "failed_release_id", ARG_TEXT, OPTIONAL, .about = "a release that fell back and is not tried again by itself" },
	{ "policy", ARG_TEXT, REQUIRED, .values = POLICIES, .about = "when an offered update is installed" },
	{ "offer_state", ARG_TEXT, REQUIRED, .values = "none announced waiting installing installed refused" },
	{ "offer_waits_for", ARG_TEXT, OPTIONAL, .values = "approval window clock postponed retry" },
	{ "offer_release_id", ARG_TEXT, OPTIONAL },
	{ "offer_version", ARG_TEXT, OPTIONAL },
	{ "offer_kind", ARG_TEXT, OPTIONAL, .values = "security feature" },
	{ "offer_advisory", ARG_TEXT, OPTIONAL, .about = "what its makers tell the owner" },
	{ "offer_manifest_sha256", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "of what was signed: names the bundle that was looked into" },
	{ "offer_reference", ARG_TEXT, OPTIONAL, .about = "of the server that offers it" },
	{ "offer_approved_by", ARG_TEXT, OPTIONAL },
	{ "offer_security_version", ARG_NUMBER, OPTIONAL },
	{ "offer_postponed_s", ARG_NUMBER, OPTIONAL, .about = "still to go" },
	{ "offer_postpones_left", ARG_NUMBER, OPTIONAL },
	{ "offer_error_name", ARG_TEXT, OPTIONAL, .about = "why it was refused, or is tried again later" },
	{ "offer_error", ARG_TEXT, OPTIONAL },
	SOURCE_MEMBERS,
	{ "reboot", ARG_TEXT, REQUIRED, .values = "never window at-once", .about = "when the device restarts into what was installed without a person" },
	{ "reboot_waits_for", ARG_TEXT, OPTIONAL, .values = "person window clock postponed held retry notice asked", .about = "a release is installed, and the restart into it is due" },
	{ "reboot_in_s", ARG_NUMBER, OPTIONAL, .about = "until the restart, once it is announced" },
	{ "reboot_held_by", ARG_TEXT, OPTIONAL, .about = "application that holds it back" },
	{ "reboot_postponed_s", ARG_NUMBER, OPTIONAL, .about = "still to go" },
	{ "reboot_postpones_left", ARG_NUMBER, OPTIONAL },
	{ "reboot_error_name", ARG_TEXT, OPTIONAL, .about = "why the device did not restart" },
	{ "reboot_error", ARG_TEXT, OPTIONAL },
	{ "error_name", ARG_TEXT, OPTIONAL, .about = "why the last installation ended, when it failed" },
	{ "error", ARG_TEXT, OPTIONAL },
	{ NULL },
};

static const struct arg_rule answer_update_ticket[] = {
	{ "device", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "name of this device in tickets: that of the storage root key of its TPM" },
	{ "used", ARG_NUMBER, OPTIONAL, .about = "how many tickets were used, counted by the TPM: a ticket is made for this number; left out: there is no counter, and no ticket is taken" },
	{ "floor", ARG_NUMBER, OPTIONAL },
	{ "has_ticket", ARG_TRUTH, REQUIRED, .about = "one waits for the next installation that a person begins" },
	{ "release_id", ARG_TEXT, OPTIONAL, .about = "that it lets in" },
	{ "security_version", ARG_NUMBER, OPTIONAL },
	{ "not_after", ARG_NUMBER, OPTIONAL, .about = "seconds since 1970-01-01 UTC" },
	{ NULL },
};

static const struct arg_rule answer_fetch[] = {
	{ "id", ARG_NUMBER, REQUIRED },
	{ NULL },
};

static const struct arg_rule event[] = {
	{ "seq", ARG_NUMBER, REQUIRED },
	{ "time", ARG_NUMBER, REQUIRED, .about = "seconds since 1970-01-01 UTC" },
	{ "name", ARG_TEXT, REQUIRED },
	{ "message_id", ARG_TEXT, REQUIRED, .bytes = HEX },
	{ "priority", ARG_NUMBER, REQUIRED, .about = "as in syslog; further members are texts and depend on the name" },
	{ NULL },
};

static const struct arg_rule answer_events[] = {
	{ "events", ARG_OBJECTS, REQUIRED, .members = event },
	{ "last", ARG_NUMBER, REQUIRED, .about = "for the next after=" },
	{ NULL },
};

/* ---- the table ---------------------------------------------------------------------------------------------------- */

#define UPDATE_PROBLEMS "update-refused update-stale slot-unavailable no-space not-acceptable"

const struct route routes[] = {
	/* method path                     who          before setup  rate class  body cap     arguments         handler                   query */
	{ GET,    "/",                     ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get, NULL,
	  .media = "text/html", .summary = "The page for browsers" },
	{ GET,    "/app.js",               ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get, NULL,
	  .media = "text/javascript", .summary = "Its script" },
	{ GET,    "/style.css",            ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_page_get, NULL,
	  .media = "text/css", .summary = "Its style" },
	{ GET,    "/v1/openapi.json",      ROLE_VIEW,   GATE_CLOSED,    RATE_READ,  BODY_NONE,   NULL,             ep_openapi_get, NULL,
	  .media = "application/json", .summary = "This API as an OpenAPI 3.1 document" },
	{ GET,    "/v1/health",            ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_health_get, NULL,
	  .answer = answer_health, .summary = "Is the agent up" },
	{ GET,    "/v1/bootstrap",         ROLE_ANYONE, GATE_OPEN,    RATE_READ,  BODY_NONE,   NULL,             ep_bootstrap_get, NULL,
	  .answer = answer_bootstrap, .summary = "Setup state, for a client that knows nothing yet" },
	{ POST,   "/v1/session",           ROLE_ANYONE, GATE_OPEN,    RATE_AUTH,  4 * KIB,     args_session,     ep_session_post, NULL,
	  .status = 201, .answer = answer_session, .problems = "wrong-credentials not-ready no-space",
	  .summary = "Log in" },
	{ DELETE, "/v1/session",           ROLE_SELF,   GATE_OPEN,    RATE_WRITE, BODY_NONE,   NULL,             ep_session_delete, NULL,
	  .status = 204, .summary = "Log out" },
	{ PUT,    "/v1/credentials/*",     ROLE_SELF,   GATE_OPEN,    RATE_AUTH,  4 * KIB,     args_credentials, ep_credentials_put, NULL,
	  .param = param_account, .answer = answer_credentials, .problems = "wrong-credentials weak-password state-changed not-permitted no-space",
	  .summary = "Set or change your own password" },
	{ POST,   "/v1/credentials/check", ROLE_SELF,   GATE_OPEN,    RATE_WRITE, 4 * KIB,     args_check,       ep_password_check_post, NULL,
	  .answer = answer_check, .summary = "Would this be taken as a password; nothing is kept or counted" },
	{ GET,    "/v1/sessions",          ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_sessions_get, NULL,
	  .answer = answer_sessions, .summary = "Who is logged in; all for an admin, else one's own" },
	{ DELETE, "/v1/sessions",          ROLE_VIEW,   GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_sessions_delete, NULL,
	  .answer = answer_ended, .summary = "End all of those but this one" },
	{ GET,    "/v1/accounts",          ROLE_ADMIN,  GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_accounts_get, NULL,
	  .answer = answer_accounts, .summary = "Who may log in, and as what" },
	{ POST,   "/v1/accounts",          ROLE_ADMIN,  GATE_CLOSED,  RATE_AUTH,  4 * KIB,     args_account,     ep_accounts_post, NULL,
	  .status = 201, .answer = answer_account, .problems = "wrong-credentials weak-password not-acceptable already-exists state-changed no-space",
	  .summary = "One more account; its password has to be changed at the first login" },
	{ PUT,    "/v1/accounts/*/role",   ROLE_ADMIN,  GATE_CLOSED,  RATE_AUTH,  4 * KIB,     args_account_role, ep_account_role_put, NULL,
	  .param = param_account, .status = 204, .problems = "wrong-credentials not-acceptable state-changed no-space",
	  .summary = "Give an account another role; its sessions end" },
	{ PUT,    "/v1/accounts/*/password", ROLE_ADMIN, GATE_CLOSED, RATE_AUTH,  4 * KIB,     args_account_password, ep_account_password_put, NULL,
	  .param = param_account, .status = 204, .problems = "wrong-credentials weak-password not-acceptable state-changed no-space",
	  .summary = "Give somebody a new password; the sessions of that account end" },
	{ POST,   "/v1/accounts/*/remove", ROLE_ADMIN,  GATE_CLOSED,  RATE_AUTH,  4 * KIB,     args_current,     ep_account_remove_post, NULL,
	  .param = param_account, .status = 204, .problems = "wrong-credentials not-acceptable state-changed no-space",
	  .summary = "Remove an account; its sessions end" },
	{ POST,   "/v1/factory-reset",     ROLE_ADMIN,  GATE_CLOSED,  RATE_AUTH,  4 * KIB,     args_current,     ep_factory_reset_post, NULL,
	  .status = 204, .problems = "wrong-credentials not-acceptable state-changed no-space",
	  .summary = "Accounts and the owner's keys go, the code on the label counts again" },
	{ GET,    "/v1/status",            ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_status_get, NULL,
	  .answer = answer_status, .summary = "State of the device" },
	{ GET,    "/v1/link",              ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_link_get, NULL,
	  .answer = answer_link, .summary = "The broker connection: state, each broker of the list, and what was used of the budget of the month" },
	{ POST,   "/v1/link/reconnect",    ROLE_OPERATE, GATE_CLOSED, RATE_WRITE, BODY_NONE,   NULL,             ep_link_reconnect_post, NULL,
	  .status = 204, .problems = "not-acceptable", .summary = "Leave the broker and connect anew" },
	{ GET,    "/v1/queues",            ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_queues_get, NULL,
	  .answer = answer_queues, .summary = "Messages that wait for the broker, and what they cost the flash" },
	{ GET,    "/v1/time",              ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_time_get, NULL,
	  .answer = answer_time, .summary = "What time it is, and how far that can be relied on" },
	{ GET,    "/v1/tpm",               ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_tpm_get, NULL,
	  .answer = answer_tpm, .summary = "State of the TPM, looked at now" },
	{ GET,    "/v1/tpm/doctor",        ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_tpm_doctor_get, NULL,
	  .answer = answer_doctor, .summary = "What is wrong with the TPM and what to do" },
	{ GET,    "/v1/keys",              ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_keys_get, NULL,
	  .answer = answer_keys, .summary = "Keys and who may use them" },
	{ POST,   "/v1/keys",              ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_key,         ep_keys_post, NULL,
	  .status = 201, .answer = answer_key, .problems = "already-exists not-acceptable no-space",
	  .summary = "Make a key in the TPM" },
	{ POST,   "/v1/keys/*/import",     ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 24 * KIB,    args_import,      ep_keys_import_post, NULL,
	  .param = param_key, .status = 201, .answer = answer_key, .problems = "already-exists not-acceptable no-space",
	  .summary = "Take a private key that exists already into the TPM" },
	{ POST,   "/v1/keys/*/rotation",   ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_rotate,      ep_key_rotation_post, NULL,
	  .param = param_key, .answer = answer_rotation, .problems = "not-acceptable busy no-space",
	  .summary = "Make a new key beside the one of the broker connection, and a request for it" },
	{ GET,    "/v1/keys/*/rotation",   ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_key_rotation_get, NULL,
	  .param = param_key, .answer = answer_rotation, .problems = "not-acceptable",
	  .summary = "How far the rotation of a key is" },
	{ DELETE, "/v1/keys/*/rotation",   ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_key_rotation_delete, NULL,
	  .param = param_key, .answer = answer_rotation, .problems = "not-acceptable state-changed no-space",
	  .summary = "Give up the new key; the old one stays" },
	{ PUT,    "/v1/keys/*/certificate", ROLE_ADMIN, GATE_CLOSED,  RATE_WRITE, 24 * KIB,    args_certificate, ep_key_certificate_put, NULL,
	  .param = param_key, .answer = answer_rotation, .problems = "not-acceptable busy no-space",
	  .summary = "A new certificate: for the new key of a rotation, or for the key in use; put in place once a broker took it" },
	{ PUT,    "/v1/keys/*/callers",    ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_callers,     ep_keys_callers_put, NULL,
	  .param = param_key, .answer = answer_key, .problems = "not-acceptable no-space",
	  .summary = "Which applications may use a key; replaces those of before" },
	{ POST,   "/v1/keys/*/csr",        ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_csr,         ep_keys_csr_post, NULL,
	  .param = param_key, .answer = answer_csr, .problems = "not-acceptable",
	  .summary = "Certificate signing request" },
	{ GET,    "/v1/keys/*",            ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_key_get, NULL,
	  .param = param_key, .answer = answer_key_details, .problems = "not-acceptable",
	  .summary = "One key in detail; also the attestation key \"ak\"" },
	{ POST,   "/v1/keys/*/certify",    ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_certify,     ep_key_certify_post, NULL,
	  .param = param_key, .answer = answer_certify, .problems = "not-acceptable no-space",
	  .summary = "Evidence that a key lives in this TPM" },
	{ GET,    "/v1/enrolment",         ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_enrol_get, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable",
	  .summary = "The certificate of the device, and how far the next one is" },
	{ POST,   "/v1/enrolment",         ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_enrol,       ep_enrol_post, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable busy no-space",
	  .summary = "Ask the EST server for a certificate now" },
	{ PUT,    "/v1/enrolment/secret",  ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_enrol_secret, ep_enrol_secret_put, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable no-space",
	  .summary = "Store the one-time secret for the EST server, sealed" },
	{ DELETE, "/v1/enrolment/secret",  ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_enrol_secret_delete, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable no-space",
	  .summary = "Wipe the one-time secret" },
	{ PUT,    "/v1/enrolment/anchor",  ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_enrol_anchor, ep_enrol_anchor_put, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable busy timeout no-space",
	  .summary = "Get the authorities of the EST server and trust the one with this fingerprint" },
	{ DELETE, "/v1/enrolment/anchor",  ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_enrol_anchor_delete, NULL,
	  .answer = answer_enrol, .problems = "not-acceptable no-space",
	  .summary = "Forget the authority that was confirmed" },
	{ GET,    "/v1/https",             ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_https_get, NULL,
	  .answer = answer_https, .problems = "not-acceptable",
	  .summary = "The certificate that HTTPS shows" },
	{ POST,   "/v1/https/request",     ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_https_request_post, NULL,
	  .answer = answer_csr, .problems = "not-acceptable no-space",
	  .summary = "Make a key and a certificate signing request for it, for an authority of the owner" },
	{ PUT,    "/v1/https/certificate", ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 24 * KIB,    args_certificate, ep_https_certificate_put, NULL,
	  .answer = answer_https, .problems = "not-acceptable no-space",
	  .summary = "The certificate for the requested key, or a renewal for the key in use; shown from then on" },
	{ DELETE, "/v1/https/certificate", ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_https_certificate_delete, NULL,
	  .status = 204, .problems = "no-space",
	  .summary = "Back to the certificate of the device CA" },
	{ POST,   "/v1/tpm/quote",         ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_quote,       ep_tpm_quote_post, NULL,
	  .answer = answer_quote, .problems = "not-acceptable no-space",
	  .summary = "Signed PCR values" },
	{ GET,    "/v1/tpm/counters",      ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_tpm_counters_get, NULL,
	  .answer = answer_counters, .summary = "NV counters and their wear" },
	{ GET,    "/v1/tpm/ek/*",          ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_tpm_ek_get, NULL,
	  .param = param_ek, .answer = answer_ek, .problems = "not-acceptable",
	  .summary = "Endorsement key; tells TPMs apart for good" },
	{ POST,   "/v1/update",            ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, BODY_STREAM, NULL,             ep_update_post, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS,
	  .summary = "Upload a bundle; answered when it is in the slot" },
	{ GET,    "/v1/update",            ROLE_VIEW,   GATE_DIAGNOSE,RATE_READ,  BODY_NONE,   NULL,             ep_update_get, NULL,
	  .answer = answer_update, .problems = "slot-unavailable", .summary = "State of the update" },
	{ POST,   "/v1/update/fetch",      ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_fetch,       ep_update_fetch_post, NULL,
	  .status = 202, .answer = answer_fetch, .problems = UPDATE_PROBLEMS,
	  .summary = "Download and install a bundle" },
	{ POST,   "/v1/update/check",      ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_check_post, NULL,
	  .status = 202, .answer = answer_check_source, .problems = UPDATE_PROBLEMS,
	  .summary = "Ask the source of updates soon, whatever its rhythm" },
	{ POST,   "/v1/update/offer",      ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_fetch,       ep_update_offer_post, NULL,
	  .status = 202, .answer = answer_update, .problems = UPDATE_PROBLEMS " not-found",
	  .summary = "Offer a bundle: it is looked into now and installed when the policy says so" },
	{ POST,   "/v1/update/approve",    ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_approve,     ep_update_approve_post, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS " not-found",
	  .summary = "Install the offered release now" },
	{ POST,   "/v1/update/source/approve", ROLE_OPERATE, GATE_CLOSED, RATE_WRITE, 4 * KIB,  args_approve_action, ep_update_source_approve_post, NULL,
	  .status = 204, .problems = UPDATE_PROBLEMS " not-found",
	  .summary = "Install what the source of updates offers now, whatever the policy waits for" },
	{ POST,   "/v1/update/postpone",   ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_postpone,    ep_update_postpone_post, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS " not-found",
	  .summary = "Put the offered release off" },
	{ PUT,    "/v1/update/policy",     ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_policy,      ep_update_policy_put, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS,
	  .summary = "When offered updates are installed; \"approval\" turns automatic updates off" },
	{ PUT,    "/v1/update/key",        ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 4 * KIB,     args_update_key,  ep_update_key_put, NULL,
	  .status = 204, .problems = "not-acceptable not-ready no-space", .summary = "The key of encrypted images; sealed by the TPM, never given back" },
	{ DELETE, "/v1/update/key",        ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_key_delete, NULL,
	  .status = 204, .problems = "not-ready", .summary = "Encrypted images cannot be read any more" },
	{ POST,   "/v1/update/recipient",  ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_recipient_post, NULL,
	  .answer = answer_recipient, .problems = "not-ready no-space",
	  .summary = "Certificate of the key that bundles can be encrypted to; made in the TPM when there is none" },
	{ GET,    "/v1/update/ticket",     ROLE_ADMIN,  GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_update_ticket_get, NULL,
	  .answer = answer_update_ticket, .summary = "What a service ticket for this device is made of, and the one that waits" },
	{ PUT,    "/v1/update/ticket",     ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, 96 * KIB,    args_update_ticket, ep_update_ticket_put, NULL,
	  .answer = answer_update_ticket, .problems = UPDATE_PROBLEMS " not-ready",
	  .summary = "A service ticket: the next upload or fetch may be one release below the floor, once" },
	{ DELETE, "/v1/update/ticket",     ROLE_ADMIN,  GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_ticket_delete, NULL,
	  .status = 204, .summary = "Take a service ticket back that was not used" },
	{ POST,   "/v1/update/reboot",     ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_reboot_post, NULL,
	  .answer = answer_update, .problems = "not-found", .summary = "Restart the device now, into the release that is installed" },
	{ POST,   "/v1/update/confirm",    ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_confirm_post, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS " state-changed not-found",
	  .summary = "The booted slot is good" },
	{ POST,   "/v1/update/rollback",   ROLE_OPERATE, GATE_CLOSED,  RATE_WRITE, BODY_NONE,   NULL,             ep_update_rollback_post, NULL,
	  .answer = answer_update, .problems = UPDATE_PROBLEMS " state-changed slot-not-bootable",
	  .summary = "Boot the other slot next" },
	{ GET,    "/v1/events",            ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_events_get, query_events,
	  .answer = answer_events, .summary = "Audit events" },
	{ GET,    "/v1/events/stream",     ROLE_VIEW,   GATE_CLOSED,  RATE_READ,  BODY_NONE,   NULL,             ep_stream_get,            query_stream,
	  .media = "text/event-stream", .summary = "Events and update progress as server-sent events" },
};
const size_t n_routes = ARRAY_SIZE(routes);

const struct route route_unknown = { METHOD_OTHER, "", ROLE_ADMIN, GATE_CLOSED, RATE_WRITE, BODY_NONE, .problems = "method-not-allowed not-found" };
const struct route route_open_path = { METHOD_OTHER, "", ROLE_ANYONE, GATE_OPEN, RATE_READ, BODY_NONE, .problems = "method-not-allowed" };
