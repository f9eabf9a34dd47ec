/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agentd/mgmt/request.h"
#include "agentd/mgmt/setup.h"
#include "agentd/mgmt/www.h"

#define HEALTH_US UINT64_C(5000000)

static bool setup_read(struct request *req, sd_bus_message *reply)
{
	const char *state;
	uint32_t min_length;

	if (sd_bus_message_read(reply, "su", &state, &min_length) < 0) {
		reply_unreadable(req);
		return false;
	}
	setup_told(req->m, state);
	req->m->password_min_length = min_length;
	return true;
}

static void on_health(struct request *req, sd_bus_message *reply)
{
	if (setup_read(req, reply))
		reply_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

static void on_unhealthy(struct request *req, int r, struct agent_error **err)
{
	reply_problem(req, "core-unreachable", agent_error_name(*err), agent_error_message(*err), NULL);
}

void ep_health_get(struct request *req)
{
	request_call_send(req, request_plain_call_new(req, "Bootstrap"), HEALTH_US, on_health, on_unhealthy);
}

static void on_bootstrap(struct request *req, sd_bus_message *reply)
{
	if (setup_read(req, reply))
		reply_json(req, 200, json_pack("{s:s, s:i, s:I}", "state", req->m->setup, "api", 1, "password_min_length",
					       (json_int_t)req->m->password_min_length));
}

void ep_bootstrap_get(struct request *req)
{
	request_call_send(req, request_plain_call_new(req, "Bootstrap"), 0, on_bootstrap, NULL);
}

void ep_page_get(struct request *req)
{
	if (strcmp(req->path, "/app.js") == 0)
		reply_static(req, "text/javascript; charset=utf-8", www_app_js, www_app_js_size);
	else if (strcmp(req->path, "/style.css") == 0)
		reply_static(req, "text/css; charset=utf-8", www_style_css, www_style_css_size);
	else
		reply_static(req, "text/html; charset=utf-8", www_index_html, www_index_html_size);
}
