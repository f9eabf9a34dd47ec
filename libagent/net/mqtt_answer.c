/* SPDX-License-Identifier: Apache-2.0 */
/* The mosquitto object of one attempt, what it calls, and what became of the attempt. */
#include "net/mqtt.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include <mqtt_protocol.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>

#include "base/backoff.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "context.h"
#include "net/mqtt_reason.h"

#define TRIES_MAX 5		/* of a message that the broker refuses, perhaps not for ever */
#define TRY_AGAIN_MS 1000	/* doubled each time */
#define TRY_AGAIN_MAX_MS 64000

/* ---- what libmosquitto calls */

static void take_reference(struct session *s, const mosquitto_property *properties)
{
	char *text = NULL;

	if (mosquitto_property_read_string(properties, MQTT_PROP_SERVER_REFERENCE, &text, false) == NULL || text == NULL)
		return;
	snprintf(s->reference, sizeof(s->reference), "%s", text);
	for (char *p = s->reference; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	free(text);
}

static void on_connect(struct mosquitto *mosq, void *userdata, int code, int flags, const mosquitto_property *properties)
{
	struct session *s = userdata;
	uint16_t keepalive_s = 0;
	uint8_t max_qos = 2;

	mqtt_guard_whole(s);
	if (code == 0) {
		s->is_accepted = true;
		s->is_session_present = (flags & 1) != 0;
		if (mosquitto_property_read_int16(properties, MQTT_PROP_SERVER_KEEP_ALIVE, &keepalive_s, false) != NULL)
			s->server_keepalive_s = keepalive_s;
		if (mosquitto_property_read_byte(properties, MQTT_PROP_MAXIMUM_QOS, &max_qos, false) != NULL && max_qos < s->max_qos)
			s->max_qos = max_qos;
		mqtt_flight_accepted(s);
		return;
	}
	s->reason = mqtt_reason_of_311(code);
	take_reference(s, properties);
}

static void on_disconnect(struct mosquitto *mosq, void *userdata, int code, const mosquitto_property *properties)
{
	struct session *s = userdata;

	if (code < 0x80) {
		s->disconnect = code;
		return;
	}
	s->reason = code;
	take_reference(s, properties);	/* libmosquitto 2.0.11 drops them */
}

static bool comes_again(const struct mqtt_message *m, const struct mqtt_reason *reason)
{
	return reason->outlook == MQTT_PASSING || (reason->outlook == MQTT_MAYBE && m->n_refused + 1 < TRIES_MAX);
}

/* A message is out, refused, or to be tried again. */
static void on_publish(struct mosquitto *mosq, void *userdata, int mid, int code, const mosquitto_property *properties)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;
	/* Only PUBCOMP says this one: the broker had taken the message, and has it behind it (MQTT 5 section 3.7.2.1). */
	const struct mqtt_reason *reason = code < 0x80 || code == MQTT_RC_PACKET_ID_NOT_FOUND ? NULL : mqtt_reason_get(code);
	_cleanup_error_ struct agent_error *why = NULL;
	struct mqtt_message *m;
	uint64_t id = 0;
	bool is_over = false;

	pthread_mutex_lock(&mqtt->lock);
	m = mqtt_queue_find(&mqtt->queue, mid);
	if (m != NULL && reason != NULL && comes_again(m, reason)) {
		context_log(mqtt->ctx, "mqtt: message to %s refused for now: %s", m->topic, reason->text);
		mqtt_queue_postpone(&mqtt->queue, m, monotonic_ms() + backoff_ceiling(m->n_refused, TRY_AGAIN_MS, TRY_AGAIN_MAX_MS));
	} else if (m != NULL) {
		if (reason != NULL) {
			agent_error_set(&why, -reason->errnum, reason->name, "%s:%u does not take a message to %s: %s", s->broker->host,
					s->broker->port, m->topic, reason->text);
			agent_error_set_foreign(&why, AGENT_ERROR_MQTT, (uint32_t)code);
		}
		is_over = mqtt_queue_done(&mqtt->queue, mid, &id);
	}
	pthread_mutex_unlock(&mqtt->lock);
	if (!is_over)
		return;
	if (reason == NULL && mqtt->handlers.acked != NULL)
		mqtt->handlers.acked(mqtt->userdata, id);
	if (reason != NULL && mqtt->handlers.refused != NULL)
		mqtt->handlers.refused(mqtt->userdata, id, why);
}

static void on_message(struct mosquitto *mosq, void *userdata, const struct mosquitto_message *message)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;

	mqtt_guard_whole(s);
	s->heard_ms = monotonic_ms();
	if (message->payloadlen < 0 ||
	    (message->qos == 2 && mqtt_flight_is_repeated(s, message->mid)))
		return;
	pthread_mutex_lock(&mqtt->lock);
	mqtt->info.payload_received += (uint64_t)message->payloadlen;
	pthread_mutex_unlock(&mqtt->lock);
	if (mqtt->handlers.message != NULL)
		mqtt->handlers.message(mqtt->userdata, message->topic, message->payload, (size_t)message->payloadlen);
}

static void on_subscribe(struct mosquitto *mosq, void *userdata, int mid, int n_qos, const int *qos)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;
	_cleanup_error_ struct agent_error *why = NULL;

	mqtt_guard_whole(s);
	if (n_qos < 1 || qos[0] < 0x80)	/* MQTT 3.1.1 section 3.9.3: 0x80 is a refusal; MQTT 5 has more of them */
		return;
	pthread_mutex_lock(&mqtt->lock);
	for (size_t i = 0; i < mqtt->n_filters; i++)
		if (mqtt->filters[i].is_sent && mqtt->filters[i].mid == mid)
			agent_error_set(&why, -EACCES, "mqtt.subscribe", "%s refuses the subscription to %s%s%s", s->broker->host,
					mqtt->filters[i].filter, s->is_5 ? ": " : "", s->is_5 ? mqtt_reason_get(qos[0])->text : "");
	pthread_mutex_unlock(&mqtt->lock);
	if (why != NULL)
		mqtt_set_state(mqtt, AGENT_MQTT_ONLINE, why);
}

static void on_log(struct mosquitto *mosq, void *userdata, int level, const char *line)
{
	struct session *s = userdata;

	mqtt_guard_log(s, line);
	context_log(s->mqtt->ctx, "mqtt: %s", line);
}

/* ---- the object */

static int set_tls(struct session *s)
{
	SSL_CTX *ssl_ctx = agent_openssl_ssl_ctx(s->broker->tls);
	const char *alpn = s->mqtt->alpn;
	unsigned char wire[65];
	size_t size;
	int rc;

	/* An idle connection keeps no 33 KiB of record buffers. */
	SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
	if (alpn != NULL) {
		size = strlen(alpn);	/* at most 64: checked */
		wire[0] = (unsigned char)size;
		memcpy(wire + 1, alpn, size);
		if (SSL_CTX_set_alpn_protos(ssl_ctx, wire, (unsigned)size + 1) != 0)
			return MOSQ_ERR_NOMEM;
	}
	/* 0: libmosquitto leaves the SSL_CTX alone; name, anchors and versions are the profile's. 2.0.11 cannot do 1. */
	rc = mosquitto_int_option(s->mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
	return rc != MOSQ_ERR_SUCCESS ? rc : mosquitto_void_option(s->mosq, MOSQ_OPT_SSL_CTX, ssl_ctx);
}

/*
 * libmosquitto takes properties for CONNECT only together with a blocking connect. That one stores them first and then refuses a keep-alive of
 * 1 s, before it looks at the network (2.0.11 to 2.1.2; test_mqtt.c looks at the bytes).
 */
static int set_connect_properties(struct session *s)
{
	mosquitto_property *list = NULL;
	int rc = MOSQ_ERR_SUCCESS;

	if (s->mqtt->session_s != 0 && !s->broker->wants_sweep)
		rc = mosquitto_property_add_int32(&list, MQTT_PROP_SESSION_EXPIRY_INTERVAL, s->mqtt->session_s);
	if (rc == MOSQ_ERR_SUCCESS && s->mqtt->max_packet != 0)
		rc = mosquitto_property_add_int32(&list, MQTT_PROP_MAXIMUM_PACKET_SIZE, s->mqtt->max_packet);
	if (rc == MOSQ_ERR_SUCCESS && list != NULL) {
		rc = mosquitto_connect_bind_v5(s->mosq, "localhost", 1, 1, NULL, list);
		rc = rc == MOSQ_ERR_INVAL ? MOSQ_ERR_SUCCESS : MOSQ_ERR_NOT_SUPPORTED;
	}
	mosquitto_property_free_all(&list);
	return rc;
}

static int set_options(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;
	int rc = mosquitto_int_option(s->mosq, MOSQ_OPT_PROTOCOL_VERSION, s->is_5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);

	if (rc == MOSQ_ERR_SUCCESS)
		rc = set_tls(s);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_int_option(s->mosq, MOSQ_OPT_TCP_NODELAY, 1);
	if (rc == MOSQ_ERR_SUCCESS && mqtt->username != NULL)
		rc = mosquitto_username_pw_set(s->mosq, mqtt->username, NULL);
	if (rc == MOSQ_ERR_SUCCESS && mqtt->will_topic != NULL && mqtt->will_payload != NULL)
		rc = mosquitto_will_set(s->mosq, mqtt->will_topic, (int)strlen(mqtt->will_payload), mqtt->will_payload, 1, !mqtt->no_retain);
	if (rc == MOSQ_ERR_SUCCESS && s->is_5)
		rc = set_connect_properties(s);
	return rc;
}

int mqtt_session_open(struct session *s, struct agent_error **err)
{
	int rc, r;

	s->mosq = mosquitto_new(s->mqtt->client_id, s->mqtt->session_s == 0 || s->broker->wants_sweep, s);
	if (s->mosq == NULL)
		return agent_error_set(err, -ENOMEM, "mqtt.memory", "libmosquitto cannot make a client: %m");
	rc = set_options(s);
	if (rc != MOSQ_ERR_SUCCESS) {
		r = agent_error_set(err, -EIO, "mqtt.options", "libmosquitto refuses an option: %s", mosquitto_strerror(rc));
		agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)rc);
		mosquitto_destroy(s->mosq);
		s->mosq = NULL;
		return r;
	}
	mosquitto_connect_v5_callback_set(s->mosq, on_connect);
	mosquitto_disconnect_v5_callback_set(s->mosq, on_disconnect);
	mosquitto_publish_v5_callback_set(s->mosq, on_publish);
	mosquitto_message_callback_set(s->mosq, on_message);
	mosquitto_subscribe_callback_set(s->mosq, on_subscribe);
	mosquitto_log_callback_set(s->mosq, on_log);
	return 0;
}

/* ---- what became of it */

/* One of the references, "host" or "host:port" or "[address]:port" (MQTT 5 section 4.13). */
static bool is_named(const struct mqtt_broker *b, const char *word, size_t size)
{
	const char *host = word, *colon = NULL;
	char port[8];
	size_t n = size;

	if (size > 0 && word[0] == '[') {
		const char *end = memchr(word, ']', size);

		if (end == NULL)
			return false;
		host = word + 1;
		n = (size_t)(end - host);
		colon = end + 1 < word + size && end[1] == ':' ? end + 1 : NULL;
	} else {
		colon = memchr(word, ':', size);
		if (colon != NULL)
			n = (size_t)(colon - word);
	}
	if (strlen(b->host) != n || strncasecmp(b->host, host, n) != 0)
		return false;
	snprintf(port, sizeof(port), "%u", b->port);
	return colon == NULL || (strlen(port) == size - (size_t)(colon + 1 - word) && strncmp(port, colon + 1, strlen(port)) == 0);
}

size_t mqtt_find_broker(const struct agent_mqtt *mqtt, const char *reference)
{
	while (*reference != '\0') {
		size_t n = strcspn(reference, " ");

		for (size_t i = 0; n > 0 && i < mqtt->n_brokers; i++)
			if (is_named(&mqtt->brokers[i], reference, n))
				return i;
		reference += n + strspn(reference + n, " ");
	}
	return mqtt->n_brokers;
}

static int explain_reason(const struct session *s, struct agent_error **err)
{
	const struct mqtt_reason *reason = mqtt_reason_get(s->reason);
	const struct mqtt_broker *b = s->broker;
	int r;

	if (s->reference[0] != '\0')
		r = agent_error_set(err, -reason->errnum, reason->name, "%s:%u: %s; it names %s, and only brokers of our own list are used", b->host,
				    b->port, reason->text, s->reference);
	else
		r = agent_error_set(err, -reason->errnum, reason->name, "%s:%u: %s", b->host, b->port, reason->text);
	agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)s->reason);
	return r;
}

int mqtt_session_explain(const struct session *s, int rc, int saved_errno, struct agent_error **err)
{
	const struct mqtt_broker *b = s->broker;
	int r;

	if (s->violation != MQTT_NO_VIOLATION)
		return mqtt_guard_explain(s, err);
	if (s->reason != 0)
		return explain_reason(s, err);
	r = agent_tls_explain(b->tls, err);
	if (r < 0)
		return agent_error_prefix(err, r, "broker port %u", b->port);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = s->disconnect;
	switch (rc) {
	case MOSQ_ERR_TLS:
		r = agent_error_set(err, -EPROTO, "mqtt.tls", "%s:%u: the TLS connection broke without a reason", b->host, b->port);
		break;
	case MOSQ_ERR_KEEPALIVE:
		r = agent_error_set(err, -ETIMEDOUT, "mqtt.keepalive", "%s:%u did not answer within the keep-alive of %u s", b->host, b->port,
				    b->keepalive.max_s);
		break;
	case MOSQ_ERR_PROTOCOL:
	case MOSQ_ERR_MALFORMED_PACKET:
	case MOSQ_ERR_MALFORMED_UTF8:
		r = agent_error_set(err, -EBADMSG, "mqtt.protocol", "%s:%u does not speak MQTT %s as it should", b->host, b->port,
				    s->is_5 ? "5" : "3.1.1");
		break;
	case MOSQ_ERR_NOMEM:
		/* libmosquitto 2.0 says the same of an AUTH that it cannot read. */
		r = agent_error_set(err, -ENOMEM, "mqtt.memory", "out of memory, or %s:%u sent a packet that cannot be read", b->host, b->port);
		break;
	case MOSQ_ERR_ERRNO:
		r = agent_error_set(err, saved_errno > 0 ? -saved_errno : -ECONNRESET, s->is_online ? "mqtt.lost" : "mqtt.connect",
				    "%s:%u: %s", b->host, b->port, saved_errno > 0 ? strerror(saved_errno) : "connection broken");
		break;
	default:
		r = agent_error_set(err, -ECONNRESET, s->is_online ? "mqtt.lost" : "mqtt.connect", "%s:%u closed the connection%s",
				    b->host, b->port, s->is_online ? "" : " before it accepted us");
	}
	agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)rc);
	return r;
}
