/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Updates. An upload goes piece by piece into the pipe that core handed out; nothing of it is interpreted or kept here.
 * The pipe's fill level is the brake: while it is full, libmicrohttpd does not read, so neither does TLS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agentd/common/bus_json.h"
#include "agentd/common/peer.h"
#include "agentd/mgmt/request.h"
#include "base/buf.h"
#include "base/macro.h"
#include "base/secret.h"

#define SECOND_US UINT64_C(1000000)
#define WINDOW_US (5 * SECOND_US)
#define WINDOW_BYTES (5 * 4 * KIB)	/* 4 KiB/s, unless the slot is the slow one */
#define UPLOAD_US (2 * 3600 * SECOND_US)

struct upload {
	struct request *req;
	int pipe_fd;		/* -1 after the end of the body, or when the reader has left */
	sd_event_source *pipe_io, *timer;
	sd_bus_slot *wait_slot;
	bool is_blocked;	/* the pipe is full */
	bool was_blocked;	/* at some time in this window */
	bool is_refused;	/* the reader has left: core is about to say why */
	bool is_ended;		/* the body is complete */
	uint64_t window_bytes, begun_us;
	json_t *result;		/* came before the end of the body */
};

static void pipe_close(struct upload *u)
{
	u->pipe_io = sd_event_source_disable_unref(u->pipe_io);
	if (u->pipe_fd >= 0)
		close(u->pipe_fd);
	u->pipe_fd = -1;
}

static int on_pipe(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct upload *u = userdata;

	sd_event_source_set_enabled(u->pipe_io, SD_EVENT_OFF);
	u->is_blocked = false;
	request_resume(u->req);	/* the next write finds out whether it is room or a closed end */
	return 0;
}

static size_t upload_data(struct request *req, const char *data, size_t size)
{
	struct upload *u = req->sink_data;
	size_t done = 0;

	if (u->result != NULL) {
		/* The installation has all it wants; what follows its last member is read and dropped. */
		u->window_bytes += size;
		return size;
	}
	while (done < size && !u->is_refused) {
		ssize_t n = write(u->pipe_fd, data + done, size - done);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			u->is_blocked = u->was_blocked = true;
			sd_event_source_set_enabled(u->pipe_io, SD_EVENT_ON);
			request_pause(req);
			break;
		} else if (errno != EINTR) {
			u->is_refused = true;
			pipe_close(u);
		}
	}
	u->window_bytes += done;
	if (u->is_refused)
		request_pause(req);	/* until UpdateWait tells why */
	return done;
}

static void upload_end(struct request *req)
{
	struct upload *u = req->sink_data;

	u->is_ended = true;
	u->timer = sd_event_source_disable_unref(u->timer);
	pipe_close(u);
	if (u->result != NULL)
		reply_json(req, 200, TAKE_PTR(u->result));
}

static void upload_gone(struct request *req)
{
	struct upload *u = req->sink_data;

	/* Before the end of the body this is what cuts the installation short. */
	pipe_close(u);
	sd_bus_slot_unref(u->wait_slot);
	sd_event_source_disable_unref(u->timer);
	json_decref(u->result);
	free(u);
	req->sink = NULL;
	req->sink_data = NULL;
}

static const struct body_sink upload_sink = { upload_data, upload_end, upload_gone };

static void answer(struct request *req)
{
	if (reply_needs_raw(req))
		reply_raw(req);
	else
		request_resume(req);
}

/* The installation has ended, before or after the body. */
static int on_installed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	struct upload *u = userdata;
	struct request *req = u->req;
	_cleanup_error_ struct agent_error *err = NULL;
	json_t *json;
	int r;

	u->wait_slot = sd_bus_slot_unref(u->wait_slot);
	if (req->stage == STAGE_DEAD)
		return 0;
	if (sd_bus_message_is_method_error(message, NULL)) {
		r = peer_error_from_bus(sd_bus_message_get_error(message), -sd_bus_message_get_errno(message), &err);
		pipe_close(u);
		reply_error(req, r, &err);
		answer(req);
		return 0;
	}
	json = bus_json_read(message);
	if (json == NULL)
		reply_unreadable(req);
	else if (u->is_ended)
		reply_json(req, 200, json);
	else {
		u->result = json;
		u->is_refused = false;
		pipe_close(u);
		request_resume(req);
		return 0;
	}
	answer(req);
	return 0;
}

static int on_window(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct upload *u = userdata;
	bool is_slow = u->window_bytes < WINDOW_BYTES && !u->was_blocked && !u->is_blocked && !u->is_refused;

	u->window_bytes = 0;
	u->was_blocked = u->is_blocked;
	if (is_slow || usec - u->begun_us > UPLOAD_US) {
		pipe_close(u);
		u->wait_slot = sd_bus_slot_unref(u->wait_slot);
		reply_problem(u->req, "request-timeout", NULL, is_slow ? "the upload is slower than 4 KiB/s" : "the upload takes longer than 2 h",
			      NULL);
		answer(u->req);
		return 0;
	}
	sd_event_source_set_time(source, usec + WINDOW_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void on_begun(struct request *req, sd_bus_message *reply)
{
	_cleanup_error_ struct agent_error *err = NULL;
	struct upload *u = calloc(1, sizeof(*u));
	uint64_t now_us = mgmt_now_us(req->m), id;
	sd_bus_message *call = NULL;
	int fd, r;

	if (u == NULL || sd_bus_message_read(reply, "th", &id, &fd) < 0) {
		free(u);
		reply_unreadable(req);
		return;
	}
	*u = (struct upload){ .req = req, .begun_us = now_us };
	/* The message keeps its own. */
	u->pipe_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	req->sink = &upload_sink;
	req->sink_data = u;
	r = u->pipe_fd < 0 || fcntl(u->pipe_fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (r >= 0)
		r = sd_event_add_io(req->m->event, &u->pipe_io, u->pipe_fd, EPOLLOUT, on_pipe, u);
	if (r >= 0)
		r = sd_event_source_set_enabled(u->pipe_io, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(req->m->event, &u->timer, CLOCK_MONOTONIC, now_us + WINDOW_US, 0, on_window, u);
	if (r < 0) {
		reply_problem(req, "internal", NULL, strerror(-r), NULL);
		return;
	}
	call = request_call_new(req, "UpdateWait");
	if (call == NULL)
		return;
	r = sd_bus_message_append(call, "t", id);
	if (r >= 0)
		r = core_send(req->m, call, UINT64_MAX, on_installed, u, &u->wait_slot, &err);
	sd_bus_message_unref(call);
	if (r < 0) {
		reply_error(req, r, &err);
		return;
	}
	req->in_body = true;
	req->stage = STAGE_BODY;
}

void ep_update_post(struct request *req)
{
	request_call(req, "UpdateBegin", on_begun, "t", req->is_chunked ? (uint64_t)0 : req->content_length);
}

void ep_update_get(struct request *req)
{
	request_call(req, "UpdateStatus", reply_from_dict, NULL);
}

static void on_fetch(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 202, "id", reply);
}

void ep_update_fetch_post(struct request *req)
{
	request_call(req, "UpdateFetch", on_fetch, "s", args_text(req->args, "url"));
}

static void on_offered(struct request *req, sd_bus_message *reply)
{
	reply_value(req, 202, NULL, reply);
}

void ep_update_check_post(struct request *req)
{
	request_call(req, "UpdateCheck", on_offered, NULL);
}

void ep_update_offer_post(struct request *req)
{
	request_call(req, "UpdateOffer", on_offered, "s", args_text(req->args, "url"));
}

void ep_update_approve_post(struct request *req)
{
	request_call(req, "UpdateApprove", reply_from_dict, "ss", args_text(req->args, "release_id"), args_text(req->args, "manifest_sha256"));
}

void ep_update_source_approve_post(struct request *req)
{
	request_call(req, "SourceApprove", reply_done, "ss", args_text(req->args, "action"), args_text(req->args, "version"));
}

void ep_update_policy_put(struct request *req)
{
	request_call(req, "UpdatePolicy", reply_from_dict, "s", args_text(req->args, "policy"));
}

void ep_update_postpone_post(struct request *req)
{
	request_call(req, "UpdatePostpone", reply_from_dict, "t", (uint64_t)json_integer_value(json_object_get(req->args, "hours")));
}

void ep_update_confirm_post(struct request *req)
{
	request_call(req, "UpdateConfirm", reply_from_dict, NULL);
}

void ep_update_rollback_post(struct request *req)
{
	request_call(req, "UpdateRollback", reply_from_dict, NULL);
}

void ep_update_reboot_post(struct request *req)
{
	request_call(req, "UpdateReboot", reply_from_dict, NULL);
}

void ep_update_key_put(struct request *req)
{
	const char *key = args_text(req->args, "key"), *iv = args_text(req->args, "iv");
	size_t key_size = strlen(key) / 2, iv_size = iv == NULL ? 0 : strlen(iv) / 2;
	uint8_t bytes[32], iv_bytes[16];
	sd_bus_message *call;
	int r;

	if (hex_decode(key, strlen(key), bytes, key_size) < 0 || (iv != NULL && hex_decode(iv, strlen(iv), iv_bytes, iv_size) < 0)) {
		wipe(bytes, sizeof(bytes));
		reply_problem(req, "not-acceptable", "update.key", "key and IV are hexadecimal digits", NULL);
		return;
	}
	call = request_call_new(req, "UpdateKeySet");
	if (call == NULL) {
		wipe(bytes, sizeof(bytes));
		return;
	}
	(void)sd_bus_message_sensitive(call); /* wiped when it is sent */
	r = sd_bus_message_append_array(call, 'y', bytes, key_size);
	wipe(bytes, sizeof(bytes));
	if (r >= 0)
		r = sd_bus_message_append_array(call, 'y', iv_bytes, iv_size);
	request_call_end(req, call, r, 0, reply_done);
}

void ep_update_ticket_get(struct request *req)
{
	request_call(req, "UpdateTicketGet", reply_from_dict, NULL);
}

void ep_update_ticket_put(struct request *req)
{
	request_call(req, "UpdateTicketSet", reply_from_dict, "s", args_text(req->args, "ticket"));
}

void ep_update_ticket_delete(struct request *req)
{
	request_call(req, "UpdateTicketRemove", reply_done, NULL);
}

void ep_update_key_delete(struct request *req)
{
	request_call(req, "UpdateKeyRemove", reply_done, NULL);
}

void ep_update_recipient_post(struct request *req)
{
	request_call(req, "UpdateRecipient", reply_from_dict, NULL);
}
