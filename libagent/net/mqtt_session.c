/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the broker. Every attempt gets a mosquitto object of its own: no state of a failed one is left
 * over, and the SSL_CTX option is set once per object, because setting it again leaks (libmosquitto 2.0.11 to 2.1).
 */
#include "net/mqtt.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "context.h"

#define TCP_TIMEOUT_MS 10000	   /* per address; the kernel would try for two minutes */
#define HANDSHAKE_TIMEOUT_MS 60000 /* TLS and CONNACK; a slow TPM signs once in it */
#define PROBE_S 5		   /* while we wait for an answer of the handshake */
#define PROBES 6
#define UNSENT_MIN_MS 10000
#define FAREWELL_TIMEOUT_MS 2000
#define SENT_MAX 16		   /* messages under way; libmosquitto queues above 20 */
#define POLL_MAX_MS 5000	   /* how late a keep-alive may be noticed */

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo)

struct session {
	struct agent_mqtt *mqtt;
	struct mosquitto *mosq;
	char address[NI_MAXHOST];
	bool is_tcp_up, is_online;
	int connack;	  /* CONNACK return code, -1 before it */
	int disconnect;	  /* reason libmosquitto gave when it closed the socket itself */
	uint64_t deadline_ms;
	uint64_t online_since_ms;
};

static void on_connect(struct mosquitto *mosq, void *userdata, int code)
{
	struct session *s = userdata;

	s->connack = code;
}

static void on_disconnect(struct mosquitto *mosq, void *userdata, int code)
{
	struct session *s = userdata;

	s->disconnect = code;
}

static void on_publish(struct mosquitto *mosq, void *userdata, int mid)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;
	uint64_t id;
	bool found;

	pthread_mutex_lock(&mqtt->lock);
	found = mqtt_queue_done(&mqtt->queue, mid, &id);
	pthread_mutex_unlock(&mqtt->lock);
	if (found && mqtt->handlers.acked != NULL)
		mqtt->handlers.acked(mqtt->userdata, id);
}

static void on_message(struct mosquitto *mosq, void *userdata, const struct mosquitto_message *message)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;

	if (mqtt->handlers.message != NULL && message->payloadlen >= 0)
		mqtt->handlers.message(mqtt->userdata, message->topic, message->payload, (size_t)message->payloadlen);
}

static void on_subscribe(struct mosquitto *mosq, void *userdata, int mid, int n_qos, const int *qos)
{
	struct session *s = userdata;
	struct agent_mqtt *mqtt = s->mqtt;
	_cleanup_error_ struct agent_error *why = NULL;

	if (n_qos < 1 || qos[0] < 0x80)	/* MQTT 3.1.1 section 3.9.3: 0x80 is a refusal */
		return;
	pthread_mutex_lock(&mqtt->lock);
	for (size_t i = 0; i < mqtt->n_filters; i++)
		if (mqtt->filters[i].is_sent && mqtt->filters[i].mid == mid)
			agent_error_set(&why, -EACCES, "mqtt.subscribe", "%s refuses the subscription to %s", mqtt->host,
					mqtt->filters[i].filter);
	pthread_mutex_unlock(&mqtt->lock);
	if (why != NULL)
		mqtt_set_state(mqtt, AGENT_MQTT_ONLINE, why);
}

static void on_log(struct mosquitto *mosq, void *userdata, int level, const char *line)
{
	struct session *s = userdata;

	context_log(s->mqtt->ctx, "mqtt: %s", line);
}

int mqtt_session_open(struct agent_mqtt *mqtt, void *userdata, struct mosquitto **ret_mosq, struct agent_error **err)
{
	struct mosquitto *mosq = mosquitto_new(mqtt->client_id, true, userdata);
	int rc;

	if (mosq == NULL)
		return agent_error_set(err, -ENOMEM, "mqtt.memory", "libmosquitto cannot make a client: %m");
	/* An idle connection keeps no 33 KiB of record buffers. */
	SSL_CTX_set_mode(agent_openssl_ssl_ctx(mqtt->tls), SSL_MODE_RELEASE_BUFFERS);
	rc = mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
	/* 0: libmosquitto leaves the SSL_CTX alone; name, anchors and versions are the profile's. 2.0.11 cannot do 1. */
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_int_option(mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_void_option(mosq, MOSQ_OPT_SSL_CTX, agent_openssl_ssl_ctx(mqtt->tls));
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, 1);
	if (rc == MOSQ_ERR_SUCCESS && mqtt->will_topic != NULL && mqtt->will_payload != NULL)
		rc = mosquitto_will_set(mosq, mqtt->will_topic, (int)strlen(mqtt->will_payload), mqtt->will_payload, 1, true);
	if (rc != MOSQ_ERR_SUCCESS) {
		int r = agent_error_set(err, -EIO, "mqtt.options", "libmosquitto refuses an option: %s", mosquitto_strerror(rc));

		agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)rc);
		mosquitto_destroy(mosq);
		return r;
	}
	mosquitto_connect_callback_set(mosq, on_connect);
	mosquitto_disconnect_callback_set(mosq, on_disconnect);
	mosquitto_publish_callback_set(mosq, on_publish);
	mosquitto_message_callback_set(mosq, on_message);
	mosquitto_subscribe_callback_set(mosq, on_subscribe);
	mosquitto_log_callback_set(mosq, on_log);
	*ret_mosq = mosq;
	return 0;
}

static int resolve(struct agent_mqtt *mqtt, struct addrinfo **ret_list, struct agent_error **err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	int rc;

	rc = getaddrinfo(mqtt->host, NULL, &hints, ret_list);
	if (rc == EAI_BADFLAGS || rc == EAI_NONAME) {
		/* AI_ADDRCONFIG hides loopback literals where no other address is configured. */
		hints.ai_flags = 0;
		rc = getaddrinfo(mqtt->host, NULL, &hints, ret_list);
	}
	if (rc == 0)
		return 0;
	return agent_error_set(err, rc == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH, "mqtt.resolve", "%s: %s", mqtt->host,
			       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
}

static int tcp_failed(const struct session *s, int errnum, struct agent_error **err)
{
	return agent_error_set(err, -errnum, "mqtt.connect", "%s:%u (%s): %s", s->mqtt->host, s->mqtt->port, s->address, strerror(errnum));
}

/* What ended the connection, as precisely as anybody knows. */
static int explain(const struct session *s, int rc, int saved_errno, struct agent_error **err)
{
	const struct agent_mqtt *mqtt = s->mqtt;
	int r;

	if (s->connack > 0) {
		r = agent_error_set(err, -EACCES, "mqtt.refused", "%s:%u: %s", mqtt->host, mqtt->port, mosquitto_connack_string(s->connack));
		agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)s->connack);
		return r;
	}
	r = agent_tls_explain(mqtt->tls, err);
	if (r < 0)
		return agent_error_prefix(err, r, "broker port %u", mqtt->port);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = s->disconnect;
	switch (rc) {
	case MOSQ_ERR_TLS:
		r = agent_error_set(err, -EPROTO, "mqtt.tls", "%s:%u: the TLS connection broke without a reason", mqtt->host, mqtt->port);
		break;
	case MOSQ_ERR_KEEPALIVE:
		r = agent_error_set(err, -ETIMEDOUT, "mqtt.keepalive", "%s:%u did not answer within the keep-alive of %u s", mqtt->host,
				    mqtt->port, mqtt->keepalive_s);
		break;
	case MOSQ_ERR_PROTOCOL:
	case MOSQ_ERR_MALFORMED_PACKET:
		r = agent_error_set(err, -EBADMSG, "mqtt.protocol", "%s:%u does not speak MQTT as it should", mqtt->host, mqtt->port);
		break;
	case MOSQ_ERR_NOMEM:
		r = agent_error_set(err, -ENOMEM, "mqtt.memory", "out of memory");
		break;
	case MOSQ_ERR_ERRNO:
		r = agent_error_set(err, saved_errno > 0 ? -saved_errno : -ECONNRESET, s->is_online ? "mqtt.lost" : "mqtt.connect",
				    "%s:%u: %s", mqtt->host, mqtt->port, saved_errno > 0 ? strerror(saved_errno) : "connection broken");
		break;
	default:
		r = agent_error_set(err, -ECONNRESET, s->is_online ? "mqtt.lost" : "mqtt.connect", "%s:%u closed the connection%s",
				    mqtt->host, mqtt->port, s->is_online ? "" : " before it accepted us");
	}
	agent_error_set_foreign(err, AGENT_ERROR_MQTT, (uint32_t)rc);
	return r;
}

static void subscribe_new(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;

	for (;;) {
		_cleanup_free_ char *filter = NULL;
		int qos = 0, mid = 0, rc;
		size_t i = 0;

		pthread_mutex_lock(&mqtt->lock);
		while (i < mqtt->n_filters && mqtt->filters[i].is_sent)
			i++;
		if (i < mqtt->n_filters) {
			filter = strdup(mqtt->filters[i].filter);	/* without the lock it may be taken out */
			for (size_t k = 0; k < mqtt->n_filters; k++) /* given more than once: the highest counts */
				if (strcmp(mqtt->filters[k].filter, filter == NULL ? "" : filter) == 0 && mqtt->filters[k].qos > qos)
					qos = mqtt->filters[k].qos;
		}
		pthread_mutex_unlock(&mqtt->lock);
		if (filter == NULL)
			return;
		rc = mosquitto_subscribe(s->mosq, &mid, filter, qos);
		pthread_mutex_lock(&mqtt->lock);
		for (i = 0; rc == MOSQ_ERR_SUCCESS && i < mqtt->n_filters; i++) {
			if (mqtt->filters[i].is_sent || strcmp(mqtt->filters[i].filter, filter) != 0)
				continue;
			mqtt->filters[i].is_sent = true;
			mqtt->filters[i].mid = mid;
		}
		pthread_mutex_unlock(&mqtt->lock);
		if (rc != MOSQ_ERR_SUCCESS)
			return;
	}
}

/* Before subscribe_new(), as a filter may have been given again. */
static void unsubscribe_old(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;
	char *filter;

	do {
		pthread_mutex_lock(&mqtt->lock);
		filter = mqtt->n_ending == 0 ? NULL : mqtt->ending[--mqtt->n_ending];
		pthread_mutex_unlock(&mqtt->lock);
		if (filter != NULL)
			(void)mosquitto_unsubscribe(s->mosq, NULL, filter);
		free(filter);
	} while (filter != NULL);
}

static void publish_queued(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;

	for (;;) {
		struct mqtt_message *m = NULL;
		int rc;

		pthread_mutex_lock(&mqtt->lock);
		if (mqtt->queue.n_sent < SENT_MAX)
			m = mqtt_queue_next(&mqtt->queue);
		if (m != NULL)
			mqtt_queue_sent(&mqtt->queue, m, 0);
		pthread_mutex_unlock(&mqtt->lock);
		if (m == NULL)
			return;
		/* libmosquitto stores the identifier before it may call on_publish(), which may free the message. */
		rc = mosquitto_publish(s->mosq, &m->mid, m->topic, (int)m->size, m->payload, m->flags & AGENT_MQTT_QOS1 ? 1 : 0,
				       (m->flags & AGENT_MQTT_RETAIN) != 0);
		if (rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_PAYLOAD_SIZE || rc == MOSQ_ERR_MALFORMED_UTF8 ||
		    rc == MOSQ_ERR_NOT_SUPPORTED || rc == MOSQ_ERR_OVERSIZE_PACKET) {
			context_log(mqtt->ctx, "mqtt: message to %s dropped: %s", m->topic, mosquitto_strerror(rc));
			pthread_mutex_lock(&mqtt->lock);
			mqtt_queue_drop(&mqtt->queue, m);
			pthread_mutex_unlock(&mqtt->lock);
		} else if (rc != MOSQ_ERR_SUCCESS) {
			return;	/* the connection is going down; the loop will notice */
		}
	}
}

static void set_tcp(const struct session *s, int level, int name, int value)
{
	/* One that cannot be set only makes a dead peer be noticed later. */
	(void)setsockopt(mosquitto_socket(s->mosq), level, name, &value, sizeof(value));
}

/*
 * A peer that went away while the line was cut says so only when it is asked. In the handshake it is our turn to wait, so the kernel asks
 * every few seconds. Online we send something ourselves: the keep-alive at the latest; probes would only cost traffic.
 */
static void watch_peer(const struct session *s)
{
	unsigned unsent_ms = s->mqtt->keepalive_s * 1000 / 2;

	if (!s->is_online) {
		set_tcp(s, IPPROTO_TCP, TCP_KEEPIDLE, PROBE_S);
		set_tcp(s, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_S);
		set_tcp(s, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
	}
	set_tcp(s, SOL_SOCKET, SO_KEEPALIVE, !s->is_online);
	set_tcp(s, IPPROTO_TCP, TCP_USER_TIMEOUT, s->is_online ? (int)(unsent_ms > UNSENT_MIN_MS ? unsent_ms : UNSENT_MIN_MS) : PROBE_S * PROBES * 1000);
}

static void come_online(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;

	s->is_online = true;
	watch_peer(s);
	s->online_since_ms = mqtt_now_ms();
	if (mqtt->birth_payload != NULL)
		mosquitto_publish(s->mosq, NULL, mqtt->will_topic, (int)strlen(mqtt->birth_payload), mqtt->birth_payload, 1, true);
	mqtt_set_state(mqtt, AGENT_MQTT_ONLINE, NULL);
}

/* A clean DISCONNECT makes the broker forget the will (MQTT 3.1.1 section 3.1.2.5), so we say it ourselves, unless we are back at once. */
static void say_farewell(struct session *s, bool for_good)
{
	struct agent_mqtt *mqtt = s->mqtt;
	uint64_t deadline = mqtt_now_ms() + FAREWELL_TIMEOUT_MS;

	if (!s->is_online)
		return;
	publish_queued(s);
	if (for_good && mqtt->will_topic != NULL && mqtt->will_payload != NULL)
		mosquitto_publish(s->mosq, NULL, mqtt->will_topic, (int)strlen(mqtt->will_payload), mqtt->will_payload, 0, true);
	mosquitto_disconnect(s->mosq);
	while (mosquitto_want_write(s->mosq) && mosquitto_socket(s->mosq) >= 0 && mqtt_now_ms() < deadline) {
		struct pollfd p = { .fd = mosquitto_socket(s->mosq), .events = POLLOUT };

		if (poll(&p, 1, 100) > 0 && mosquitto_loop_write(s->mosq, 1) != MOSQ_ERR_SUCCESS)
			break;
	}
}

/* TCP is up, still coming up, or failed. libmosquitto 2.0 takes a failed one for "not yet" and would spin. */
static int check_tcp(struct session *s, int sock, int revents, struct agent_error **err)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(int);
	int errnum = 0;

	if (s->is_tcp_up)
		return 0;
	if (getsockopt(sock, SOL_SOCKET, SO_ERROR, &errnum, &size) == 0 && errnum != 0)
		return tcp_failed(s, errnum, err);
	size = sizeof(peer);
	if (getpeername(sock, (struct sockaddr *)&peer, &size) == 0) {
		s->is_tcp_up = true;
		s->deadline_ms = mqtt_now_ms() + HANDSHAKE_TIMEOUT_MS;
		watch_peer(s);
	} else if (revents & (POLLERR | POLLHUP)) {
		/* libmosquitto's early write of the ClientHello took the error; on loopback it is always this one. */
		return tcp_failed(s, ECONNREFUSED, err);
	}
	return 0;
}

static int check_deadline(const struct session *s, struct agent_error **err)
{
	if (s->is_online || mqtt_now_ms() < s->deadline_ms)
		return 0;
	if (!s->is_tcp_up)
		return tcp_failed(s, ETIMEDOUT, err);
	return agent_error_set(err, -ETIMEDOUT, "mqtt.timeout", "%s:%u accepted the connection but did not finish TLS and MQTT within %d s",
			       s->mqtt->host, s->mqtt->port, HANDSHAKE_TIMEOUT_MS / 1000);
}

/*
 * libmosquitto (2.0.11) goes on with a TLS handshake only when it is told to read, also where OpenSSL waits to write, which is so whenever
 * TCP needed a moment to come up; and its wish to write outlasts that. So until the handshake is over OpenSSL is asked itself.
 */
static bool is_in_handshake(const struct session *s)
{
	const SSL *ssl = mosquitto_ssl_get(s->mosq);

	return ssl != NULL && !SSL_is_init_finished(ssl);
}

static bool wants_to_write(const struct session *s)
{
	if (!s->is_tcp_up)
		return true;
	return is_in_handshake(s) ? SSL_want_write(mosquitto_ssl_get(s->mosq)) : mosquitto_want_write(s->mosq);
}

static int poll_ms(const struct session *s)
{
	uint64_t now = mqtt_now_ms(), wait = POLL_MAX_MS;

	if (!s->is_online)
		wait = now >= s->deadline_ms ? 0 : s->deadline_ms - now;
	return (int)(wait > POLL_MAX_MS ? POLL_MAX_MS : wait);
}

/* Wait for the socket or a wake-up and let libmosquitto work. 0 to go on. */
static int step(struct session *s, struct agent_error **err)
{
	struct pollfd p[2] = { { .fd = mosquitto_socket(s->mosq) }, { .fd = s->mqtt->wake_fd, .events = POLLIN } };
	bool was_tcp_up = s->is_tcp_up;
	int rc = MOSQ_ERR_SUCCESS, r;

	if (p[0].fd < 0)
		return explain(s, MOSQ_ERR_SUCCESS, 0, err);
	p[0].events = POLLIN;
	if (wants_to_write(s))
		p[0].events |= POLLOUT;
	if (poll(p, 2, poll_ms(s)) < 0)
		return errno == EINTR ? 0 : agent_error_set(err, -errno, "mqtt.poll", "poll: %m");
	if (p[1].revents != 0)
		mqtt_drain_wake(s->mqtt);
	r = check_tcp(s, p[0].fd, p[0].revents, err);
	if (r < 0)
		return r;

	errno = 0;
	if ((p[0].revents & (POLLIN | POLLERR | POLLHUP)) ||
	    (is_in_handshake(s) && s->is_tcp_up && (!was_tcp_up || (p[0].revents & POLLOUT))))
		rc = mosquitto_loop_read(s->mosq, 1);
	if (rc == MOSQ_ERR_SUCCESS && s->is_tcp_up && !is_in_handshake(s) && (p[0].revents & POLLOUT))
		rc = mosquitto_loop_write(s->mosq, 1);
	if (rc == MOSQ_ERR_SUCCESS && s->is_tcp_up)
		rc = mosquitto_loop_misc(s->mosq);
	if (rc != MOSQ_ERR_SUCCESS || s->connack > 0)
		return explain(s, rc, errno, err);
	/* Dead, though libmosquitto has not noticed: a reset during the TLS handshake is "not yet" to 2.0. */
	if ((p[0].revents & (POLLERR | POLLHUP)) && (s->connack < 0 || !(p[0].revents & POLLIN)))
		return explain(s, MOSQ_ERR_CONN_LOST, 0, err);
	return check_deadline(s, err);
}

static int serve(struct session *s, struct agent_error **err)
{
	int r;

	for (;;) {
		if (atomic_load(&s->mqtt->is_stopping)) {
			say_farewell(s, true);
			return 0;
		}
		if (atomic_load(&s->mqtt->wants_reconnect)) {
			say_farewell(s, false);
			return 1;
		}
		if (s->connack == 0 && !s->is_online)
			come_online(s);
		if (s->is_online) {
			unsubscribe_old(s);
			subscribe_new(s);
			publish_queued(s);
		}
		r = step(s, err);
		if (r < 0)
			return r;
	}
}

static void begin(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;

	pthread_mutex_lock(&mqtt->lock);
	mqtt_queue_rewind(&mqtt->queue);
	for (size_t i = 0; i < mqtt->n_filters; i++)
		mqtt->filters[i].is_sent = false;
	while (mqtt->n_ending > 0)	/* the broker forgot them with the old connection */
		free(mqtt->ending[--mqtt->n_ending]);
	pthread_mutex_unlock(&mqtt->lock);
}

static int try_address(struct session *s, struct agent_error **err)
{
	struct agent_mqtt *mqtt = s->mqtt;
	int r, rc;

	begin(s);
	r = mqtt_session_open(mqtt, s, &s->mosq, err);
	if (r < 0)
		return r;
	s->deadline_ms = mqtt_now_ms() + TCP_TIMEOUT_MS;
	errno = 0;
	rc = mosquitto_connect_async(s->mosq, s->address, mqtt->port, (int)mqtt->keepalive_s);
	if (rc == MOSQ_ERR_ERRNO && mosquitto_socket(s->mosq) < 0)
		r = tcp_failed(s, errno > 0 ? errno : ECONNREFUSED, err);
	else if (rc != MOSQ_ERR_SUCCESS)
		r = explain(s, rc, errno, err);
	else
		r = serve(s, err);
	mosquitto_destroy(s->mosq);
	s->mosq = NULL;
	begin(s);
	return r;
}

int mqtt_session(struct agent_mqtt *mqtt, uint64_t *ret_online_ms, struct agent_error **err)
{
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	int r;

	r = resolve(mqtt, &list, err);
	if (r < 0)
		return r;
	/* libmosquitto would stop at the first address, also when that one leads nowhere. */
	for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
		struct session s = { .mqtt = mqtt, .connack = -1 };

		if (getnameinfo(a->ai_addr, a->ai_addrlen, s.address, sizeof(s.address), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		r = try_address(&s, err);
		if (s.is_online)
			*ret_online_ms = mqtt_now_ms() - s.online_since_ms;
		if (r >= 0 || s.is_tcp_up || atomic_load(&mqtt->is_stopping))
			return atomic_load(&mqtt->is_stopping) ? 0 : r;
	}
	return r < 0 ? r : agent_error_set(err, -EHOSTUNREACH, "mqtt.resolve", "%s has no address we can use", mqtt->host);
}
