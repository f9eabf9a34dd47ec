/* SPDX-License-Identifier: Apache-2.0 */
#include <agent/link.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "base/macro.h"
#include "base/monotonic.h"
#include "client/channel.h"

/* As in agentd/common/operations.h and agentd/link/apps.c. */
#define PATH "/org/libagent"
#define INTERFACE "org.libagent.Link1"
#define TIMEOUT_MS 30000

struct filter {
	char *text;
	int qos;
};

struct agent_link {
	struct channel channel;
	uint64_t epoch;		/* connection on which the filters were last subscribed */
	struct filter filters[AGENT_LINK_FILTERS_MAX];
	size_t n_filters;
	sd_bus_slot *receive;	/* a call that waits for messages */
	sd_bus_message *batch;	/* its answer, read one by one */
	bool was_lost;		/* tell a gap */
};

static int bad_argument(struct agent_error **err)
{
	return agent_error_set(err, -EINVAL, "link.argument", "a link, a topic and a place for the answer are needed");
}

static void drop(struct agent_link *link)
{
	link->receive = sd_bus_slot_unref(link->receive);
	channel_drop(&link->channel);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

struct arguments {
	const char *text;
	bool is_publish;
	const void *payload;
	size_t size;
	uint32_t numbers[2];
	size_t n_numbers;
};

static int call_once(struct agent_link *link, const char *method, const struct arguments *a, struct agent_error **err)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(link->channel.bus, &m, NULL, PATH, INTERFACE, method);

	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', a->text);
	if (r >= 0 && a->is_publish)
		r = sd_bus_message_append_array(m, 'y', a->size == 0 ? "" : a->payload, a->size);
	for (size_t i = 0; r >= 0 && i < a->n_numbers; i++)
		r = sd_bus_message_append_basic(m, 'u', &a->numbers[i]);
	if (r >= 0)
		r = sd_bus_call(link->channel.bus, m, link->channel.timeout_us, &error, NULL);
	if (r < 0)
		r = channel_error(&error, r, err);
	sd_bus_error_free(&error);
	sd_bus_message_unref(m);
	if (r == -ENOTCONN)
		drop(link);
	return r < 0 ? r : 0;
}

static int subscribe_once(struct agent_link *link, const struct filter *filter, struct agent_error **err)
{
	const struct arguments a = { .text = filter->text, .numbers = { (uint32_t)filter->qos }, .n_numbers = 1 };

	return call_once(link, "Subscribe", &a, err);
}

static int connected(struct agent_link *link, struct agent_error **err)
{
	int r = 0;

	/* A connection from before agentd-link was restarted shows its end here, before anything is sent on it. */
	while (link->channel.bus != NULL && (r = sd_bus_process(link->channel.bus, NULL)) > 0)
		;
	if (r < 0)
		drop(link);
	return channel_need(&link->channel, err);
}

/* The same, with everything subscribed that was. */
static int ready(struct agent_link *link, struct agent_error **err)
{
	int r = connected(link, err);

	if (r < 0 || link->epoch == link->channel.epoch)
		return r;
	for (size_t i = 0; i < link->n_filters && r >= 0; i++)
		r = subscribe_once(link, &link->filters[i], err);
	if (r < 0) {
		drop(link);
		return r;
	}
	link->was_lost = link->epoch != 0 && link->n_filters > 0;
	link->epoch = link->channel.epoch;
	return 0;
}

static int call(struct agent_link *link, const char *method, const struct arguments *a, bool may_repeat, struct agent_error **err)
{
	/* A filter that is refused now must not keep messages back; the next agent_link_next() tells of it. */
	int (*prepare)(struct agent_link *link, struct agent_error **err) = a->is_publish ? connected : ready;
	int r = prepare(link, err);

	if (r >= 0)
		r = call_once(link, method, a, err);
	if (r != -ENOTCONN || !may_repeat)
		return r;
	if (err != NULL)
		*err = agent_error_free(*err);
	r = prepare(link, err);
	return r < 0 ? r : call_once(link, method, a, err);
}

int agent_link_publish(struct agent_link *link, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s,
		       struct agent_error **err)
{
	const struct arguments a = {
		.text = topic, .is_publish = true, .payload = payload, .size = size, .numbers = { flags, ttl_s }, .n_numbers = 2,
	};

	if (link == NULL || topic == NULL || (payload == NULL && size > 0))
		return bad_argument(err);
	if ((flags & AGENT_MQTT_QOS1) != 0 && (flags & AGENT_MQTT_QOS2) != 0)
		return agent_error_set(err, -EINVAL, "link.argument", "flags say both QoS 1 and QoS 2: there is no QoS 3");
	if (size > AGENT_LINK_MESSAGE_MAX)
		return agent_error_set(err, -EMSGSIZE, "link.message", "the message has %zu bytes, limit %d", size, AGENT_LINK_MESSAGE_MAX);
	if (strlen(topic) > AGENT_LINK_TOPIC_MAX)
		return agent_error_set(err, -EINVAL, "link.topic", "the topic has more than %d bytes", AGENT_LINK_TOPIC_MAX);
	return call(link, "Publish", &a, (flags & AGENT_MQTT_QOS1) != 0, err);
}

/* ---- subscriptions ---------------------------------------------------------------------------------------------- */

static size_t find_filter(const struct agent_link *link, const char *text)
{
	size_t i = 0;

	while (i < link->n_filters && strcmp(link->filters[i].text, text) != 0)
		i++;
	return i;
}

int agent_link_subscribe(struct agent_link *link, const char *filter, int qos, struct agent_error **err)
{
	struct filter fresh = { .qos = qos };
	size_t i;
	int r;

	if (link == NULL || filter == NULL)
		return bad_argument(err);
	if (qos < 0 || qos > 2)
		return agent_error_set(err, -EINVAL, "link.argument", "QoS %d is not 0, 1 or 2", qos);
	if (strlen(filter) > AGENT_LINK_TOPIC_MAX)
		return agent_error_set(err, -EINVAL, "link.topic", "the filter has more than %d bytes", AGENT_LINK_TOPIC_MAX);
	i = find_filter(link, filter);
	if (i == AGENT_LINK_FILTERS_MAX)
		return agent_error_set(err, -EDQUOT, "link.filters", "this link has %d subscriptions already", AGENT_LINK_FILTERS_MAX);
	r = ready(link, err);
	if (r < 0)
		return r;
	fresh.text = strdup(filter);
	if (fresh.text == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a subscription");
	r = subscribe_once(link, &fresh, err);
	if (r < 0) {
		free(fresh.text);
		return r;
	}
	if (i < link->n_filters)
		free(link->filters[i].text);
	else
		link->n_filters++;
	link->filters[i] = fresh;
	return 0;
}

int agent_link_unsubscribe(struct agent_link *link, const char *filter, struct agent_error **err)
{
	const struct arguments a = { .text = filter };
	size_t i;

	if (link == NULL || filter == NULL)
		return bad_argument(err);
	i = find_filter(link, filter);
	if (i == link->n_filters)
		return 0;
	/* Out of the ledger first: a connection made anew does not subscribe it. */
	free(link->filters[i].text);
	link->filters[i] = link->filters[--link->n_filters];
	return call(link, "Unsubscribe", &a, true, err);
}

/* ---- events ------------------------------------------------------------------------------------------------------- */

static int on_batch(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct agent_link *link = userdata;

	link->receive = sd_bus_slot_unref(link->receive);
	if (sd_bus_message_is_method_error(m, NULL))
		return 0; /* the next process() tells about a broken connection; anything else is asked again */
	if (sd_bus_message_enter_container(m, 'a', "(ssay)") >= 0)
		link->batch = sd_bus_message_ref(m);
	return 0;
}

/* 1: an event of the batch. 0: it is over. */
static int read_batch(struct agent_link *link, struct agent_link_event *ret_event, struct agent_error **err)
{
	const char *kind, *text;
	const void *payload = NULL;
	size_t size = 0;
	int r;

	if (link->batch == NULL)
		return 0;
	r = sd_bus_message_enter_container(link->batch, 'r', "ssay");
	if (r > 0)
		r = sd_bus_message_read(link->batch, "ss", &kind, &text);
	if (r > 0)
		r = sd_bus_message_read_array(link->batch, 'y', &payload, &size);
	if (r >= 0 && payload != NULL)
		r = sd_bus_message_exit_container(link->batch);
	if (r <= 0) {
		link->batch = sd_bus_message_unref(link->batch);
		return r < 0 ? agent_error_set(err, -EPROTO, "bus.protocol", "agentd-link answered with something else than messages") : 0;
	}
	if (strcmp(kind, "gap") == 0)
		*ret_event = (struct agent_link_event){ .type = AGENT_LINK_GAP, .reason = text };
	else
		*ret_event = (struct agent_link_event){ .type = AGENT_LINK_MESSAGE, .topic = text, .payload = payload, .size = size };
	return 1;
}

/* Without end: an answer to a call that was given up would be lost, and the messages with it. */
static int ask_for_more(struct agent_link *link)
{
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(link->channel.bus, &m, NULL, PATH, INTERFACE, "Receive");

	if (r >= 0)
		r = sd_bus_call_async(link->channel.bus, &link->receive, m, on_batch, link, UINT64_MAX);
	sd_bus_message_unref(m);
	return r;
}

/* What there is without waiting. */
static int take(struct agent_link *link, struct agent_link_event *ret_event, struct agent_error **err)
{
	int r = read_batch(link, ret_event, err);

	if (r != 0)
		return r;
	r = ready(link, err);
	if (r < 0)
		return r;
	if (link->was_lost && link->batch == NULL) { /* first what came before the loss */
		link->was_lost = false;
		*ret_event = (struct agent_link_event){ .type = AGENT_LINK_GAP, .reason = "restart" };
		return 1;
	}
	if (link->batch == NULL && link->receive == NULL) {
		r = ask_for_more(link);
		if (r < 0) {
			drop(link);
			return agent_error_set(err, -ENOTCONN, "bus.lost", "agentd-link closed the connection");
		}
	}
	return read_batch(link, ret_event, err);
}

static uint64_t left_us(uint64_t deadline_ms)
{
	uint64_t now = monotonic_ms();

	return deadline_ms == UINT64_MAX ? UINT64_MAX : now >= deadline_ms ? 0 : (deadline_ms - now) * 1000;
}

int agent_link_next(struct agent_link *link, int timeout_ms, struct agent_link_event *ret_event, struct agent_error **err)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : monotonic_ms() + (uint64_t)timeout_ms, left;
	int r;

	if (link == NULL || ret_event == NULL)
		return bad_argument(err);
	for (;;) {
		r = take(link, ret_event, err);
		left = left_us(deadline);
		if (r != 0)
			return r;
		if (left == 0)
			return 0;
		(void)sd_bus_wait(link->channel.bus, left);
	}
}

int agent_link_get_fd(struct agent_link *link)
{
	return link == NULL || link->channel.bus == NULL ? -ENOTCONN : sd_bus_get_fd(link->channel.bus);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

int agent_link_open(const char *socket_path, struct agent_link **ret_link, struct agent_error **err)
{
	struct agent_link *link;
	int r;

	if (ret_link == NULL)
		return bad_argument(err);
	link = calloc(1, sizeof(*link));
	if (link == NULL || (link->channel.path = strdup(socket_path == NULL ? AGENT_LINK_SOCKET : socket_path)) == NULL) {
		free(link);
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a link");
	}
	agent_link_set_timeout(link, TIMEOUT_MS);
	r = channel_need(&link->channel, err);
	if (r < 0) {
		agent_link_free(link);
		return r;
	}
	*ret_link = link;
	return 0;
}

void agent_link_set_timeout(struct agent_link *link, unsigned timeout_ms)
{
	if (link != NULL)
		link->channel.timeout_us = (uint64_t)timeout_ms * 1000;
}

struct agent_link *agent_link_free(struct agent_link *link)
{
	if (link == NULL)
		return NULL;
	sd_bus_message_unref(link->batch);
	drop(link);
	for (size_t i = 0; i < link->n_filters; i++)
		free(link->filters[i].text);
	free(link->channel.path);
	free(link);
	return NULL;
}
