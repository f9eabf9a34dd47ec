/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ROUTE_H
#define MGMT_ROUTE_H
/*
 * What the table in routes.c is made of. Plain C library only: the program that writes the API documents (openapi.c) is
 * built from the same table for the machine that builds.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agentd/common/arg_rule.h"

struct request;

enum { METHOD_GET = 0, METHOD_POST = 1, METHOD_PUT = 2, METHOD_DELETE = 3, METHOD_OTHER = 4 };
enum route_role { ROLE_ANYONE, ROLE_SELF, ROLE_VIEW, ROLE_OPERATE, ROLE_ADMIN };
enum route_gate { GATE_CLOSED, GATE_OPEN, GATE_DIAGNOSE };
enum route_rate { RATE_READ, RATE_WRITE, RATE_AUTH };
/* Their names in the documents, by index. */
extern const char *const method_names[], *const role_names[], *const gate_names[], *const rate_names[];
#define BODY_NONE ((size_t)0)
#define BODY_STREAM SIZE_MAX

/* A row of the table in routes.c. "*" in a path stands for one segment, kept as request->param. */
struct route {
	int method;
	const char *path;
	enum route_role role;
	enum route_gate gate;	/* open before the owner has set a password, closed, or closed but for a TPM in trouble */
	enum route_rate rate;
	size_t body_cap;
	const struct arg_rule *args;
	void (*handler)(struct request *req);	/* for BODY_STREAM: before the body is read */
	const struct arg_rule *query;
	const struct arg_rule *param;	/* of "*": one row */
	const char *summary;
	unsigned status;	/* of success; 0 is 200 */
	const struct arg_rule *answer;	/* members of the JSON object; NULL: no body, or @media */
	const char *media;	/* type of an answer that is not JSON */
	const char *problems;	/* slugs besides those that follow from the other columns, separated by spaces */
};
extern const struct route routes[];
extern const size_t n_routes;

/* Status and title of each problem type; problems.def. */
struct problem {
	const char *slug;
	unsigned status;
	const char *title;
};
extern const struct problem problems[];
extern const size_t n_problems;

/* The row for a path that is not in the table: as strict as any. */
extern const struct route route_unknown;
/* The row for a wrong method on a path that anyone may use. */
extern const struct route route_open_path;

/* Never NULL. *ret_allow receives the methods of the path when only the method is wrong ("" otherwise). */
const struct route *route_find(int method, const char *path, char *ret_param, size_t param_size, char *ret_allow, size_t allow_size);
int method_from_text(const char *text);
/* May this problem be the answer of this row? What follows from the columns, and route->problems. */
bool route_has_problem(const struct route *route, const char *slug);

/* The document generator needs the table, not the endpoints. */
#ifdef ROUTES_FOR_DOCS
#define ENDPOINT(name) void name(struct request *req) __attribute__((weak))
#else
#define ENDPOINT(name) void name(struct request *req)
#endif
ENDPOINT(ep_page_get);
ENDPOINT(ep_openapi_get);
ENDPOINT(ep_health_get);
ENDPOINT(ep_bootstrap_get);
ENDPOINT(ep_session_post);
ENDPOINT(ep_session_delete);
ENDPOINT(ep_credentials_put);
ENDPOINT(ep_password_check_post);
ENDPOINT(ep_sessions_get);
ENDPOINT(ep_sessions_delete);
ENDPOINT(ep_accounts_get);
ENDPOINT(ep_accounts_post);
ENDPOINT(ep_account_role_put);
ENDPOINT(ep_account_password_put);
ENDPOINT(ep_account_remove_post);
ENDPOINT(ep_factory_reset_post);
ENDPOINT(ep_status_get);
ENDPOINT(ep_time_get);
ENDPOINT(ep_link_get);
ENDPOINT(ep_link_reconnect_post);
ENDPOINT(ep_enrol_get);
ENDPOINT(ep_enrol_post);
ENDPOINT(ep_enrol_secret_put);
ENDPOINT(ep_enrol_secret_delete);
ENDPOINT(ep_enrol_anchor_put);
ENDPOINT(ep_enrol_anchor_delete);
ENDPOINT(ep_https_get);
ENDPOINT(ep_https_request_post);
ENDPOINT(ep_https_certificate_put);
ENDPOINT(ep_https_certificate_delete);
ENDPOINT(ep_tpm_get);
ENDPOINT(ep_tpm_doctor_get);
ENDPOINT(ep_keys_get);
ENDPOINT(ep_keys_post);
ENDPOINT(ep_keys_import_post);
ENDPOINT(ep_key_rotation_post);
ENDPOINT(ep_key_rotation_get);
ENDPOINT(ep_key_rotation_delete);
ENDPOINT(ep_key_certificate_put);
ENDPOINT(ep_keys_callers_put);
ENDPOINT(ep_keys_csr_post);
ENDPOINT(ep_key_get);
ENDPOINT(ep_key_certify_post);
ENDPOINT(ep_tpm_quote_post);
ENDPOINT(ep_tpm_counters_get);
ENDPOINT(ep_queues_get);
ENDPOINT(ep_tpm_ek_get);
ENDPOINT(ep_update_post);
ENDPOINT(ep_update_get);
ENDPOINT(ep_update_fetch_post);
ENDPOINT(ep_update_check_post);
ENDPOINT(ep_update_offer_post);
ENDPOINT(ep_update_approve_post);
ENDPOINT(ep_update_source_approve_post);
ENDPOINT(ep_update_reboot_post);
ENDPOINT(ep_update_postpone_post);
ENDPOINT(ep_update_policy_put);
ENDPOINT(ep_update_key_put);
ENDPOINT(ep_update_key_delete);
ENDPOINT(ep_update_recipient_post);
ENDPOINT(ep_update_ticket_get);
ENDPOINT(ep_update_ticket_put);
ENDPOINT(ep_update_ticket_delete);
ENDPOINT(ep_update_confirm_post);
ENDPOINT(ep_update_rollback_post);
ENDPOINT(ep_events_get);
ENDPOINT(ep_stream_get);

#endif
