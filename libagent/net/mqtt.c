/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mqtt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/backoff.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "context.h"

#define BACKOFF_LIMIT_MS (24u * 3600 * 1000)
#define RETURN_S 600
#define ALPN_MAX 64

DEFINE_CLEANUP(struct agent_mqtt *, agent_mqtt_free)

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* Never undone: mosquitto_lib_cleanup() would unload OpenSSL configuration that other code of the process uses. */
static void start_library(void)
{
	mosquitto_lib_init();
}

static int check_options(const struct agent_mqtt_options *o, struct agent_error **err)
{
	const char *what = NULL;

	if (o->host == NULL || o->host[0] == '\0')
		what = "host is empty";
	else if (o->port == 0)
		what = "port is 0";
	else if (o->client_id == NULL || o->client_id[0] == '\0' || strlen(o->client_id) > UINT16_MAX ||
		 mosquitto_validate_utf8(o->client_id, (int)strlen(o->client_id)) != MOSQ_ERR_SUCCESS)
		what = "client_id is not 1 to 65535 bytes of UTF-8";
	else if (o->keepalive_s < 5 || o->keepalive_s > 3600)
		what = "keepalive_s is not 5 to 3600";
	else if (o->backoff_max_ms < o->backoff_min_ms || o->backoff_max_ms > BACKOFF_LIMIT_MS)
		what = "backoff_max_ms is below backoff_min_ms or above a day";
	else if (o->will_topic != NULL && mosquitto_pub_topic_check(o->will_topic) != MOSQ_ERR_SUCCESS)
		what = "will_topic is not a topic to publish to";
	else if (o->will_topic == NULL && (o->will_payload != NULL || o->birth_payload != NULL))
		what = "will_payload and birth_payload need will_topic";
	else if (o->n_brokers > MQTT_BROKERS_MAX - 1 || (o->n_brokers > 0 && o->brokers == NULL))
		what = "there are more than 7 further brokers";
	else if (o->version != AGENT_MQTT_3_1_1 && o->version != AGENT_MQTT_5 && o->version != AGENT_MQTT_ANY)
		what = "version is none of enum agent_mqtt_version";
	else if (o->alpn != NULL && (o->alpn[0] == '\0' || strlen(o->alpn) > ALPN_MAX))
		what = "alpn is not 1 to 64 bytes";
	else if ((o->keepalive_min_s == 0) != (o->keepalive_max_s == 0) || (o->keepalive_min_s != 0 && (o->keepalive_min_s < 5 ||
		 o->keepalive_max_s < o->keepalive_min_s || o->keepalive_max_s > 3600)))
		what = "keepalive_min_s and keepalive_max_s are not 5 to 3600 in this order";
	else if (o->queue_max_messages == 0 || o->queue_max_bytes == 0 || o->queue_max_bytes > INT32_MAX)
		what = "the queue holds nothing, or more than 2 GiB";
	return what == NULL ? 0 : agent_error_set(err, -EINVAL, "mqtt.options", "%s", what);
}

static int copy_string(const char *from, char **to)
{
	if (from == NULL)
		return 0;
	*to = strdup(from);
	return *to == NULL ? -ENOMEM : 0;
}

static int add_broker(struct agent_mqtt *mqtt, const char *host, uint16_t port, struct agent_tls *tls, const struct agent_mqtt_options *o,
		      struct agent_error **err)
{
	struct mqtt_broker *b = &mqtt->brokers[mqtt->n_brokers];

	if (host == NULL || host[0] == '\0' || port == 0 || tls == NULL)
		return agent_error_set(err, -EINVAL, "mqtt.options", "broker %zu has no host, port or TLS profile", mqtt->n_brokers);
	b->host = strdup(host);
	if (b->host == NULL)
		return agent_error_set(err, -ENOMEM, "mqtt.memory", "out of memory");
	b->port = port;
	b->max_qos = 2;
	b->is_unknown = o->session_s != 0;
	b->tls = agent_tls_ref(tls);
	keepalive_init(&b->keepalive, o->keepalive_s, o->keepalive_min_s == 0 ? o->keepalive_s : o->keepalive_min_s,
		       o->keepalive_max_s == 0 ? o->keepalive_s : o->keepalive_max_s);
	mqtt->n_brokers++;
	return 0;
}

int agent_mqtt_new(struct agent_context *ctx, struct agent_tls *tls, const struct agent_mqtt_options *options,
		   const struct agent_mqtt_handlers *handlers, void *userdata, struct agent_mqtt **ret_mqtt, struct agent_error **err)
{
	_cleanup_(agent_mqtt_freep) struct agent_mqtt *mqtt = NULL;
	int r;

	if (ctx == NULL || tls == NULL || options == NULL || ret_mqtt == NULL)
		return agent_error_set(err, -EINVAL, "mqtt.options", "context, TLS profile and options are required");
	r = check_options(options, err);
	if (r < 0)
		return r;
	pthread_once(&library_once, start_library);

	mqtt = calloc(1, sizeof(*mqtt));
	if (mqtt == NULL)
		return agent_error_set(err, -ENOMEM, "mqtt.memory", "out of memory");
	pthread_mutex_init(&mqtt->lock, NULL);
	mqtt_queue_init(&mqtt->queue, options->queue_max_messages, options->queue_max_bytes);
	mqtt->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mqtt->wake_fd < 0)
		return agent_error_set(err, -errno, "mqtt.memory", "no eventfd: %m");
	mqtt->ctx = agent_context_ref(ctx);
	mqtt->handlers = handlers == NULL ? (struct agent_mqtt_handlers){ 0 } : *handlers;
	mqtt->userdata = userdata;
	mqtt->backoff_min_ms = options->backoff_min_ms;
	mqtt->backoff_max_ms = options->backoff_max_ms;
	mqtt->return_s = options->return_s == 0 ? RETURN_S : options->return_s;
	mqtt->version = options->version;
	mqtt->session_s = options->session_s;
	mqtt->max_packet = options->max_packet;
	mqtt->no_retain = options->no_retain != 0;
	r = add_broker(mqtt, options->host, options->port, tls, options, err);
	for (size_t i = 0; r >= 0 && i < options->n_brokers; i++)
		r = add_broker(mqtt, options->brokers[i].host, options->brokers[i].port, options->brokers[i].tls, options, err);
	if (r < 0)
		return r;
	mqtt->turn.n = mqtt->n_brokers;
	if (copy_string(options->username, &mqtt->username) < 0 || copy_string(options->alpn, &mqtt->alpn) < 0 || copy_string(options->client_id, &mqtt->client_id) < 0 ||
	    copy_string(options->will_topic, &mqtt->will_topic) < 0 || copy_string(options->will_payload, &mqtt->will_payload) < 0 ||
	    copy_string(options->birth_payload, &mqtt->birth_payload) < 0)
		return agent_error_set(err, -ENOMEM, "mqtt.memory", "out of memory");
	*ret_mqtt = TAKE_PTR(mqtt);
	return 0;
}

struct agent_mqtt *agent_mqtt_free(struct agent_mqtt *mqtt)
{
	if (mqtt == NULL)
		return NULL;
	mqtt_flight_drop(mqtt);
	mqtt_queue_clear(&mqtt->queue);
	for (size_t i = 0; i < mqtt->n_filters; i++)
		free(mqtt->filters[i].filter);
	for (size_t i = 0; i < mqtt->n_ending; i++)
		free(mqtt->ending[i]);
	if (mqtt->wake_fd >= 0)
		close(mqtt->wake_fd);
	pthread_mutex_destroy(&mqtt->lock);
	for (size_t i = 0; i < mqtt->n_brokers; i++) {
		agent_tls_unref(mqtt->brokers[i].tls);
		free(mqtt->brokers[i].host);
	}
	agent_context_unref(mqtt->ctx);
	free(mqtt->username);
	free(mqtt->alpn);
	free(mqtt->client_id);
	free(mqtt->will_topic);
	free(mqtt->will_payload);
	free(mqtt->birth_payload);
	free(mqtt);
	return NULL;
}

/* Async-signal-safe. A full counter means that a wake-up is pending anyway. */
static void wake(struct agent_mqtt *mqtt)
{
	int saved_errno = errno;
	uint64_t one = 1;

	if (write(mqtt->wake_fd, &one, sizeof(one)) < 0)
		errno = saved_errno;
}

void mqtt_drain_wake(struct agent_mqtt *mqtt)
{
	uint64_t count;

	while (read(mqtt->wake_fd, &count, sizeof(count)) > 0)
		;
}

void agent_mqtt_stop(struct agent_mqtt *mqtt)
{
	if (mqtt == NULL)
		return;
	atomic_store(&mqtt->is_stopping, true);
	wake(mqtt);
}

void agent_mqtt_reconnect(struct agent_mqtt *mqtt)
{
	if (mqtt == NULL)
		return;
	atomic_store(&mqtt->wants_reconnect, true);
	wake(mqtt);
}

void agent_mqtt_reject(struct agent_mqtt *mqtt, int was_good)
{
	if (mqtt == NULL)
		return;
	atomic_store(&mqtt->rejected, was_good ? MQTT_REJECTED_WAS_GOOD : MQTT_REJECTED);
	wake(mqtt);
}

enum agent_mqtt_state agent_mqtt_get_state(const struct agent_mqtt *mqtt)
{
	return mqtt == NULL ? AGENT_MQTT_OFFLINE : (enum agent_mqtt_state)atomic_load(&mqtt->state);
}

void mqtt_set_state(struct agent_mqtt *mqtt, enum agent_mqtt_state state, const struct agent_error *why)
{
	atomic_store(&mqtt->state, state);
	if (mqtt->handlers.state != NULL)
		mqtt->handlers.state(mqtt->userdata, state, why);
}

void agent_mqtt_get_info(struct agent_mqtt *mqtt, struct agent_mqtt_info *ret_info)
{
	pthread_mutex_lock(&mqtt->lock);
	*ret_info = mqtt->info;
	pthread_mutex_unlock(&mqtt->lock);
}

int agent_mqtt_publish(struct agent_mqtt *mqtt, const char *topic, const void *payload, size_t size, unsigned flags, uint64_t *ret_id,
		       struct agent_error **err)
{
	return agent_mqtt_publish_ttl(mqtt, topic, payload, size, flags, 0, ret_id, err);
}

int agent_mqtt_publish_ttl(struct agent_mqtt *mqtt, const char *topic, const void *payload, size_t size, unsigned flags, uint32_t ttl_s,
			   uint64_t *ret_id, struct agent_error **err)
{
	uint64_t id;
	int r;

	if (mqtt == NULL || topic == NULL || (payload == NULL && size > 0) ||
	    (flags & ~(unsigned)(AGENT_MQTT_QOS1 | AGENT_MQTT_QOS2 | AGENT_MQTT_RETAIN)) != 0)
		return agent_error_set(err, -EINVAL, "mqtt.options", "no topic or payload, or unknown flags");
	if ((flags & AGENT_MQTT_QOS1) != 0 && (flags & AGENT_MQTT_QOS2) != 0)
		return agent_error_set(err, -EINVAL, "mqtt.options", "flags say both QoS 1 and QoS 2: there is no QoS 3");
	if (topic[0] == '\0' || mosquitto_pub_topic_check(topic) != MOSQ_ERR_SUCCESS ||
	    mosquitto_validate_utf8(topic, (int)strlen(topic)) != MOSQ_ERR_SUCCESS)
		return agent_error_set(err, -EINVAL, "mqtt.topic", "\"%s\" is not a topic to publish to", topic);
	pthread_mutex_lock(&mqtt->lock);
	r = mqtt_queue_add(&mqtt->queue, topic, payload, size, flags, ttl_s == 0 ? 0 : monotonic_ms() + (uint64_t)ttl_s * 1000, &id);
	pthread_mutex_unlock(&mqtt->lock);
	switch (r) {
	case 0:
		break;
	case -EDQUOT:
		return agent_error_set(err, r, "mqtt.full", "the queue holds its limit of %zu messages or %zu bytes",
				       mqtt->queue.max_messages, mqtt->queue.max_bytes);
	case -EMSGSIZE:
		return agent_error_set(err, r, "mqtt.size", "message of %zu bytes, the queue takes %zu", size, mqtt->queue.max_bytes);
	default:
		return agent_error_set(err, r, "mqtt.memory", "out of memory");
	}
	if (ret_id != NULL)
		*ret_id = id;
	wake(mqtt);
	return 0;
}

int agent_mqtt_subscribe(struct agent_mqtt *mqtt, const char *filter, int qos, struct agent_error **err)
{
	int r = 0;

	if (mqtt == NULL || filter == NULL || filter[0] == '\0' || qos < 0 || qos > 2 || strlen(filter) > UINT16_MAX ||
	    mosquitto_sub_topic_check(filter) != MOSQ_ERR_SUCCESS ||
	    mosquitto_validate_utf8(filter, (int)strlen(filter)) != MOSQ_ERR_SUCCESS)
		return agent_error_set(err, -EINVAL, "mqtt.topic", "\"%s\" is not a topic filter, or QoS %d is not 0, 1 or 2",
				       filter == NULL ? "" : filter, qos);
	pthread_mutex_lock(&mqtt->lock);
	if (mqtt->n_filters == MQTT_FILTERS_MAX) {
		r = -EDQUOT;
	} else {
		struct mqtt_filter *f = &mqtt->filters[mqtt->n_filters];

		*f = (struct mqtt_filter){ .qos = qos, .filter = strdup(filter) };
		if (f->filter == NULL)
			r = -ENOMEM;
		else
			mqtt->n_filters++;
	}
	pthread_mutex_unlock(&mqtt->lock);
	if (r == -EDQUOT)
		return agent_error_set(err, r, "mqtt.full", "there are %d subscriptions already", MQTT_FILTERS_MAX);
	if (r < 0)
		return agent_error_set(err, r, "mqtt.memory", "out of memory");
	wake(mqtt);
	return 0;
}

int agent_mqtt_unsubscribe(struct agent_mqtt *mqtt, const char *filter, struct agent_error **err)
{
	if (mqtt == NULL || filter == NULL)
		return agent_error_set(err, -EINVAL, "mqtt.topic", "no client or filter given");
	pthread_mutex_lock(&mqtt->lock);
	for (size_t i = 0; i < mqtt->n_filters; i++) {
		struct mqtt_filter *f = &mqtt->filters[i];

		if (strcmp(f->filter, filter) != 0)
			continue;
		/* A session outlives its connection. Where there is no room to remember it, the broker goes on until that one ends. */
		if ((f->is_sent || mqtt->session_s != 0) && mqtt->n_ending < MQTT_FILTERS_MAX)
			mqtt->ending[mqtt->n_ending++] = TAKE_PTR(f->filter);
		free(f->filter);
		*f = mqtt->filters[--mqtt->n_filters];
		i--;
	}
	pthread_mutex_unlock(&mqtt->lock);
	wake(mqtt);
	return 0;
}

static void wait_before_next(struct agent_mqtt *mqtt, unsigned step)
{
	uint64_t deadline = monotonic_ms() + backoff_ms(step, mqtt->backoff_min_ms, mqtt->backoff_max_ms, backoff_random());
	uint64_t now;

	/* Messages queued meanwhile wake us too and must not shorten the wait. */
	while (!atomic_load(&mqtt->is_stopping) && !atomic_load(&mqtt->wants_reconnect) && (now = monotonic_ms()) < deadline) {
		struct pollfd p = { .fd = mqtt->wake_fd, .events = POLLIN };

		if (poll(&p, 1, (int)(deadline - now)) > 0)
			mqtt_drain_wake(mqtt);
	}
}

/* libmosquitto writes without MSG_NOSIGNAL: a broken connection must not end a program that did not ignore SIGPIPE. */
static void block_sigpipe(sigset_t *ret_old, bool *ret_was_pending)
{
	sigset_t pipe_only, pending;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigpending(&pending);
	*ret_was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe_only, ret_old);
}

static void restore_sigpipe(const sigset_t *old, bool was_pending)
{
	sigset_t pipe_only;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (!was_pending && sigismember(old, SIGPIPE) == 0)
		while (sigtimedwait(&pipe_only, NULL, &(struct timespec){ 0 }) == SIGPIPE)
			;
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

int agent_mqtt_run(struct agent_mqtt *mqtt, struct agent_error **err)
{
	bool was_pending;
	sigset_t old;

	if (mqtt == NULL)
		return agent_error_set(err, -EINVAL, "mqtt.options", "no client given");
	if (atomic_exchange(&mqtt->is_running, true))
		return agent_error_set(err, -EBUSY, "mqtt.running", "agent_mqtt_run() is already running for this client");
	block_sigpipe(&old, &was_pending);
	while (!atomic_load(&mqtt->is_stopping)) {
		_cleanup_error_ struct agent_error *why = NULL;
		uint64_t online_ms = 0;
		unsigned step;
		int r;

		atomic_store(&mqtt->wants_reconnect, false);
		atomic_store(&mqtt->rejected, MQTT_NOT_REJECTED);
		mqtt_set_state(mqtt, AGENT_MQTT_CONNECTING, NULL);
		/* The handler may have stopped us. */
		if (atomic_load(&mqtt->is_stopping) || (r = mqtt_session(mqtt, &online_ms, &why)) == 0)
			break;
		if (r > 0)
			continue;
		step = turn_failed(&mqtt->turn, online_ms);
		mqtt_set_state(mqtt, AGENT_MQTT_WAITING, why);
		wait_before_next(mqtt, step);
	}
	mqtt_set_state(mqtt, AGENT_MQTT_OFFLINE, NULL);
	restore_sigpipe(&old, was_pending);
	mqtt_drain_wake(mqtt);
	atomic_store(&mqtt->is_stopping, false);
	atomic_store(&mqtt->is_running, false);
	return 0;
}
