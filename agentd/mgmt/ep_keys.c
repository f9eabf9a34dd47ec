/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/common/settings.h"
#include "agentd/mgmt/request.h"

static void on_list(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "keys", reply);
}

void ep_keys_get(struct request *req)
{
	request_call(req, "KeyList", on_list, NULL);
}

/* All calls take texts (up to a NULL), then perhaps lists of texts; frees @call when it cannot be filled. */
static void send_call(struct request *req, const char *member, const char *const texts[], const char *const lists[], uint64_t timeout_us,
		      void (*on_reply)(struct request *req, sd_bus_message *reply))
{
	sd_bus_message *call = request_call_new(req, member);
	int r = 0;

	if (call == NULL)
		return;
	for (; r >= 0 && *texts != NULL; texts++)
		r = sd_bus_message_append_basic(call, 's', *texts);
	for (; r >= 0 && lists != NULL && *lists != NULL; lists++) {
		const json_t *text;
		size_t i;

		r = sd_bus_message_open_container(call, 'a', "s");
		json_array_foreach(json_object_get(req->args, *lists), i, text)
			if (r >= 0)
				r = sd_bus_message_append_basic(call, 's', json_string_value(text));
		if (r >= 0)
			r = sd_bus_message_close_container(call);
	}
	request_call_end(req, call, r, timeout_us, on_reply);
}

static const char *or_empty(const char *text)
{
	return text == NULL ? "" : text;
}

static void on_created(struct request *req, sd_bus_message *reply)
{
	reply_from_dict(req, reply);
	if (req->reply.status == 200)
		req->reply.status = 201;
}

static void send_new(struct request *req, const char *member, const char *name, const char *what)
{
	static const char *const lists[] = { "purposes", "callers", NULL };
	const char *texts[] = { name, or_empty(args_text(req->args, "backend")), args_text(req->args, what), NULL };
	/* Core gives up first, and says why. */
	uint64_t timeout_us = ((uint64_t)req->m->settings->tpm.keygen_timeout_s + 10) * 1000000;

	send_call(req, member, texts, lists, timeout_us, on_created);
}

void ep_keys_post(struct request *req)
{
	send_new(req, "KeyCreate", args_text(req->args, "name"), "type");
}

void ep_keys_import_post(struct request *req)
{
	send_new(req, "KeyImport", req->param, "pem");
}

void ep_keys_callers_put(struct request *req)
{
	static const char *const lists[] = { "callers", NULL };

	send_call(req, "KeyAllow", (const char *const[]){ req->param, NULL }, lists, 0, reply_from_dict);
}

static void on_csr(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 200, "csr", reply);
}

void ep_keys_csr_post(struct request *req)
{
	send_call(req, "KeyCsr", (const char *const[]){ req->param, args_text(req->args, "subject"), NULL }, NULL, 0, on_csr);
}

/* ---- rotation --------------------------------------------------------------------------------------------------- */

void ep_key_rotation_post(struct request *req)
{
	const char *texts[] = { req->param, or_empty(args_text(req->args, "type")), args_text(req->args, "subject"), NULL };
	uint64_t timeout_us = ((uint64_t)req->m->settings->tpm.keygen_timeout_s + 10) * 1000000;

	send_call(req, "KeyRotate", texts, NULL, timeout_us, reply_from_dict);
}

void ep_key_rotation_get(struct request *req)
{
	send_call(req, "KeyRotation", (const char *const[]){ req->param, NULL }, NULL, 0, reply_from_dict);
}

void ep_key_rotation_delete(struct request *req)
{
	send_call(req, "KeyRotateAbort", (const char *const[]){ req->param, NULL }, NULL, 0, reply_from_dict);
}

void ep_key_certificate_put(struct request *req)
{
	send_call(req, "KeyCertificate", (const char *const[]){ req->param, args_text(req->args, "pem"), NULL }, NULL, 0, reply_from_dict);
}
