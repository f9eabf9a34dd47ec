/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/request.h"

#define EK_TIMEOUT_US (310 * (uint64_t)1000000) /* a little more than core gives itself */

/* One or two texts after the caller; @second may be NULL. */
static void ask(struct request *req, const char *member, const char *first, const char *second, uint64_t timeout_us)
{
	sd_bus_message *call = request_call_new(req, member);
	int r;

	if (call == NULL)
		return;
	r = sd_bus_message_append(call, "s", first);
	if (r >= 0 && second != NULL)
		r = sd_bus_message_append(call, "s", second);
	request_call_end(req, call, r, timeout_us, reply_from_dict);
}

void ep_key_get(struct request *req)
{
	ask(req, "KeyDescribe", req->param, NULL, 0);
}

void ep_key_certify_post(struct request *req)
{
	ask(req, "KeyCertify", req->param, args_text(req->args, "nonce"), 0);
}

void ep_tpm_quote_post(struct request *req)
{
	ask(req, "TpmQuote", args_text(req->args, "nonce"), args_text(req->args, "pcrs"), 0);
}

void ep_tpm_ek_get(struct request *req)
{
	ask(req, "TpmEk", req->param, NULL, EK_TIMEOUT_US);
}

static void on_counters(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "counters", reply);
}

void ep_tpm_counters_get(struct request *req)
{
	request_call(req, "TpmCounters", on_counters, NULL);
}
