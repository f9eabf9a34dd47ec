/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the broker. Every attempt gets a mosquitto object of its own: no state of a failed one is left
 * over, and the SSL_CTX option is set once per object, because setting it again leaks (libmosquitto 2.0.11 to 2.1).
 */
#include "net/mqtt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <mqtt_protocol.h>
#include <openssl/ssl.h>

#include "base/macro.h"
#include "base/monotonic.h"
#include "context.h"
#include "net/mqtt_reason.h"

#define TCP_TIMEOUT_MS 10000	   /* per address; the kernel would try for two minutes */
#define ADDRESSES_MAX 8		   /* of one host in one attempt: then another broker has its turn */
#define HANDSHAKE_TIMEOUT_MS 60000 /* TLS and CONNACK; a slow TPM signs once in it */
#define PROBE_S 5		   /* while we wait for an answer of the handshake */
#define PROBES 6
#define UNSENT_MIN_MS 10000
#define FAREWELL_TIMEOUT_MS 2000
#define SENT_MAX 16		   /* messages under way; libmosquitto queues above 20 */
#define POLL_MAX_MS 5000	   /* how late a keep-alive may be noticed */
#define HOLD_POLL_MS 500	   /* while messages of QoS 2 are held back */

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo)

static int resolve(const struct mqtt_broker *broker, struct addrinfo **ret_list, struct agent_error **err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	int rc;

	rc = getaddrinfo(broker->host, NULL, &hints, ret_list);
	if (rc == EAI_BADFLAGS || rc == EAI_NONAME) {
		/* AI_ADDRCONFIG hides loopback literals where no other address is configured. */
		hints.ai_flags = 0;
		rc = getaddrinfo(broker->host, NULL, &hints, ret_list);
	}
	if (rc == 0)
		return 0;
	return agent_error_set(err, rc == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH, "mqtt.resolve", "%s: %s", broker->host,
			       rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
}

static int tcp_failed(const struct session *s, int errnum, struct agent_error **err)
{
	return agent_error_set(err, -errnum, "mqtt.connect", "%s:%u (%s): %s", s->broker->host, s->broker->port, s->address,
			       strerror(errnum));
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
		s->asked_qos2 |= qos == 2;
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

/* It cannot be sent to this broker, now or later. */
static void give_up(struct session *s, struct mqtt_message *m, const struct mqtt_reason *reason)
{
	_cleanup_error_ struct agent_error *why = NULL;
	struct agent_mqtt *mqtt = s->mqtt;
	uint64_t id = m->id;

	agent_error_set(&why, -reason->errnum, reason->name, "a message to %s cannot be sent to %s:%u: %s", m->topic, s->broker->host, s->broker->port,
			reason->text);
	context_log(mqtt->ctx, "mqtt: %s", agent_error_message(why));
	pthread_mutex_lock(&mqtt->lock);
	mqtt_queue_drop(&mqtt->queue, m);
	pthread_mutex_unlock(&mqtt->lock);
	if (mqtt->handlers.refused != NULL)
		mqtt->handlers.refused(mqtt->userdata, id, why);
}

/* MQTT 5: how long the broker may keep it. */
static int add_expiry(const struct session *s, const struct mqtt_message *m, mosquitto_property **list)
{
	uint64_t now = monotonic_ms(), left_s = m->expires_ms > now ? (m->expires_ms - now) / 1000 : 0;

	if (!s->is_5 || m->expires_ms == 0)
		return MOSQ_ERR_SUCCESS;
	return mosquitto_property_add_int32(list, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, left_s == 0 ? 1 : left_s > UINT32_MAX ? UINT32_MAX : (uint32_t)left_s);
}

static int publish_one(struct session *s, struct mqtt_message *m)
{
	mosquitto_property *list = NULL;
	uint64_t size = m->size;
	int rc = add_expiry(s, m, &list);

	/* libmosquitto stores the identifier before it may call on_publish(), which may free the message. */
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_publish_v5(s->mosq, &m->mid, m->topic, (int)m->size, m->payload, (int)m->qos, (m->flags & AGENT_MQTT_RETAIN) != 0, list);
	mosquitto_property_free_all(&list);
	if (rc == MOSQ_ERR_SUCCESS) {
		pthread_mutex_lock(&s->mqtt->lock);
		s->mqtt->info.payload_sent += size;
		pthread_mutex_unlock(&s->mqtt->lock);
	}
	return rc;
}

static void publish_queued(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;
	unsigned held = mqtt_flight_held(s);

	for (;;) {
		struct mqtt_message *m = NULL;
		int rc;

		pthread_mutex_lock(&mqtt->lock);
		if (mqtt->queue.n_sent < SENT_MAX)
			m = mqtt_queue_next(&mqtt->queue, monotonic_ms(), held);
		if (m != NULL)
			mqtt_queue_sent(&mqtt->queue, m, mqtt_flight_qos(s, m->flags));
		pthread_mutex_unlock(&mqtt->lock);
		if (m == NULL)
			return;
		rc = publish_one(s, m);
		if (rc == MOSQ_ERR_OVERSIZE_PACKET || rc == MOSQ_ERR_PAYLOAD_SIZE)
			give_up(s, m, mqtt_reason_get(MQTT_RC_PACKET_TOO_LARGE));
		else if (rc == MOSQ_ERR_QOS_NOT_SUPPORTED)
			give_up(s, m, mqtt_reason_get(MQTT_RC_QOS_NOT_SUPPORTED));
		else if (rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_MALFORMED_UTF8 || rc == MOSQ_ERR_NOT_SUPPORTED)
			give_up(s, m, mqtt_reason_get(MQTT_RC_TOPIC_NAME_INVALID));
		else if (rc != MOSQ_ERR_SUCCESS) {
			s->is_unsure |= rc == MOSQ_ERR_NOMEM;
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
	unsigned unsent_ms = mqtt_interval_s(s) * 1000 / 2;

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
	turn_online(&mqtt->turn);
	watch_peer(s);
	mqtt_alive_begin(s);
	s->online_since_ms = monotonic_ms();
	mqtt_flight_online(s);
	pthread_mutex_lock(&mqtt->lock);
	mqtt->info.n_connects++;
	mqtt->info.session_present = s->is_session_present && !s->broker->lost_session;
	mqtt->info.keepalive_s = mqtt_interval_s(s);
	pthread_mutex_unlock(&mqtt->lock);
	if (mqtt->birth_payload != NULL)
		mosquitto_publish(s->mosq, NULL, mqtt->will_topic, (int)strlen(mqtt->birth_payload), mqtt->birth_payload, 1, !mqtt->no_retain);
	s->broker->lost_session = false;
	mqtt_set_state(mqtt, AGENT_MQTT_ONLINE, NULL);
}

/*
 * Until the broker has closed its side: a socket closed with something unread ends in a reset, which takes the DISCONNECT with it, and the broker
 * announces the will. libmosquitto closes as soon as DISCONNECT is written, hence a second descriptor. Takes @fd.
 */
static void see_off(int fd, uint64_t deadline)
{
	uint64_t now;
	char rest[512];

	(void)shutdown(fd, SHUT_WR);
	while ((now = monotonic_ms()) < deadline) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, (int)(deadline - now)) > 0 && recv(fd, rest, sizeof(rest), 0) <= 0)
			break;
	}
	close(fd);
}

static void disconnect(struct session *s, uint64_t deadline)
{
	int fd = fcntl(mosquitto_socket(s->mosq), F_DUPFD_CLOEXEC, 0);

	mosquitto_disconnect(s->mosq);
	while (mosquitto_want_write(s->mosq) && mosquitto_socket(s->mosq) >= 0 && monotonic_ms() < deadline) {
		struct pollfd p = { .fd = mosquitto_socket(s->mosq), .events = POLLOUT };

		if (poll(&p, 1, 100) > 0 && mosquitto_loop_write(s->mosq, 1) != MOSQ_ERR_SUCCESS)
			break;
	}
	mqtt_alive_count(s);
	if (fd >= 0)
		see_off(fd, deadline);
}

/* What was begun with QoS 2 comes to its end: afterwards nobody could go on with it. */
static void settle_qos2(struct session *s, uint64_t deadline)
{
	while (mqtt_flight_has_sent(s) && mosquitto_socket(s->mosq) >= 0 && s->violation == MQTT_NO_VIOLATION && monotonic_ms() < deadline) {
		struct pollfd p = { .fd = mosquitto_socket(s->mosq), .events = mosquitto_want_write(s->mosq) ? POLLIN | POLLOUT : POLLIN };

		if (poll(&p, 1, 100) > 0 && (((p.revents & ~POLLOUT) != 0 && mqtt_guard_read(s) != MOSQ_ERR_SUCCESS) ||
					     ((p.revents & POLLOUT) != 0 && mosquitto_loop_write(s->mosq, 1) != MOSQ_ERR_SUCCESS)))
			return;
	}
}

/* A clean DISCONNECT makes the broker forget the will (MQTT 3.1.1 section 3.1.2.5), so we say it ourselves, unless we are back at once. */
static void say_farewell(struct session *s, bool for_good)
{
	struct agent_mqtt *mqtt = s->mqtt;
	uint64_t deadline = monotonic_ms() + FAREWELL_TIMEOUT_MS;

	if (!s->is_online)
		return;
	publish_queued(s);
	settle_qos2(s, deadline - FAREWELL_TIMEOUT_MS / 2);
	if (for_good && mqtt->will_topic != NULL && mqtt->will_payload != NULL)
		mosquitto_publish(s->mosq, NULL, mqtt->will_topic, (int)strlen(mqtt->will_payload), mqtt->will_payload, 0,
				  !mqtt->no_retain);
	disconnect(s, deadline);
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
		s->deadline_ms = monotonic_ms() + HANDSHAKE_TIMEOUT_MS;
		pthread_mutex_lock(&s->mqtt->lock);
		s->mqtt->info.n_handshakes++;
		pthread_mutex_unlock(&s->mqtt->lock);
		watch_peer(s);
	} else if (revents & (POLLERR | POLLHUP)) {
		/* libmosquitto's early write of the ClientHello took the error; on loopback it is always this one. */
		return tcp_failed(s, ECONNREFUSED, err);
	}
	return 0;
}

static int check_deadline(const struct session *s, struct agent_error **err)
{
	if (s->is_online || monotonic_ms() < s->deadline_ms)
		return 0;
	if (!s->is_tcp_up)
		return tcp_failed(s, ETIMEDOUT, err);
	return agent_error_set(err, -ETIMEDOUT, "mqtt.timeout", "%s:%u accepted the connection but did not finish TLS and MQTT within %d s",
			       s->broker->host, s->broker->port, HANDSHAKE_TIMEOUT_MS / 1000);
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

static uint64_t online_wait_ms(struct session *s, uint64_t now)
{
	uint64_t wait = s->holds_qos2 ? HOLD_POLL_MS : mqtt_alive_wait_ms(s), again;

	pthread_mutex_lock(&s->mqtt->lock);
	again = mqtt_queue_again_ms(&s->mqtt->queue, now);
	pthread_mutex_unlock(&s->mqtt->lock);
	return again > now && again - now < wait ? again - now : wait;
}

static int poll_ms(struct session *s)
{
	uint64_t now = monotonic_ms(), wait;

	if (s->is_online)
		wait = online_wait_ms(s, now);
	else
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
		return mqtt_session_explain(s, MOSQ_ERR_SUCCESS, 0, err);
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

	mqtt_guard_watch(s);
	mqtt_alive_count(s);	/* before libmosquitto may close it */
	errno = 0;
	if ((p[0].revents & (POLLIN | POLLERR | POLLHUP)) ||
	    (is_in_handshake(s) && s->is_tcp_up && (!was_tcp_up || (p[0].revents & POLLOUT))))
		rc = mqtt_guard_read(s);
	if (rc == MOSQ_ERR_SUCCESS && s->is_tcp_up && !is_in_handshake(s) && (p[0].revents & POLLOUT))
		rc = mosquitto_loop_write(s->mosq, 1);
	if (rc == MOSQ_ERR_SUCCESS && s->is_tcp_up)
		rc = mosquitto_loop_misc(s->mosq);
	if (rc != MOSQ_ERR_SUCCESS || s->reason != 0 || s->violation != MQTT_NO_VIOLATION)
		return mqtt_session_explain(s, rc, errno, err);
	/* Dead, though libmosquitto has not noticed: a reset during the TLS handshake is "not yet" to 2.0. */
	if ((p[0].revents & (POLLERR | POLLHUP)) && (!s->is_accepted || !(p[0].revents & POLLIN)))
		return mqtt_session_explain(s, MOSQ_ERR_CONN_LOST, 0, err);
	r = check_deadline(s, err);
	return r < 0 ? r : mqtt_alive_check(s, err);
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
		if (s->is_online && atomic_load(&s->mqtt->rejected) != MQTT_NOT_REJECTED) {
			say_farewell(s, true);
			return agent_error_set(err, -EIO, "mqtt.deaf", "%s:%u keeps the connection, but what we send to ourselves does not come back",
					       s->broker->host, s->broker->port);
		}
		if (s->wants_return) {
			context_log(s->mqtt->ctx, "mqtt: back to %s:%u", s->mqtt->brokers[0].host, s->mqtt->brokers[0].port);
			turn_return(&s->mqtt->turn);
			say_farewell(s, false);
			return 1;
		}
		if (s->is_void) {
			disconnect(s, monotonic_ms() + FAREWELL_TIMEOUT_MS);
			return 1;
		}
		if (s->is_accepted && !s->is_online)
			come_online(s);
		if (s->is_online) {
			unsubscribe_old(s);
			subscribe_new(s);
			publish_queued(s);
			mqtt_flight_tell(s);
		}
		if (s->is_online && mqtt_flight_wants_end(s)) {
			say_farewell(s, false);
			return 1;
		}
		r = step(s, err);
		if (r < 0 && !s->is_void)
			return r;
		if (r < 0 && err != NULL)
			*err = agent_error_free(*err);	/* we ended it */
	}
}

static void begin(struct session *s)
{
	struct agent_mqtt *mqtt = s->mqtt;

	pthread_mutex_lock(&mqtt->lock);
	if (mqtt->flight.mosq == NULL)
		mqtt_queue_rewind(&mqtt->queue);
	for (size_t i = 0; i < mqtt->n_filters; i++)
		mqtt->filters[i].is_sent = false;
	while (mqtt->session_s == 0 && mqtt->n_ending > 0)	/* the broker forgot them with the old connection */
		free(mqtt->ending[--mqtt->n_ending]);
	pthread_mutex_unlock(&mqtt->lock);
}

static int try_address(struct session *s, struct agent_error **err)
{
	struct agent_mqtt *mqtt = s->mqtt;
	int r, rc;

	begin(s);
	r = mqtt_flight_resume(s) ? 0 : mqtt_session_open(s, err);
	if (r < 0)
		return r;
	s->deadline_ms = monotonic_ms() + TCP_TIMEOUT_MS;
	errno = 0;
	mqtt_flight_set_maximum(s, true);
	/* The longest keep-alive that we may use; mqtt_alive.c asks earlier. */
	rc = mosquitto_connect_async(s->mosq, s->address, s->broker->port, (int)s->broker->keepalive.max_s);
	mqtt_flight_set_maximum(s, false);
	if (rc == MOSQ_ERR_ERRNO && mosquitto_socket(s->mosq) < 0)
		r = tcp_failed(s, errno > 0 ? errno : ECONNREFUSED, err);
	else if (rc != MOSQ_ERR_SUCCESS)
		r = mqtt_session_explain(s, rc, errno, err);
	else
		r = serve(s, err);
	mqtt_alive_count(s);
	mqtt_alive_end(s, r);
	mqtt_flight_keep(s, r);
	begin(s);
	pthread_mutex_lock(&mqtt->lock);
	mqtt->info.session_present = 0;
	pthread_mutex_unlock(&mqtt->lock);
	return r;
}

/* May it go better at once, in another way? */
static bool can_go_on(struct session *s, uint64_t online_ms)
{
	struct agent_mqtt *mqtt = s->mqtt;

	if (s->reason == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION && s->is_5 && mqtt->version == AGENT_MQTT_ANY) {
		context_log(mqtt->ctx, "mqtt: %s:%u speaks MQTT 3.1.1 only", s->broker->host, s->broker->port);
		s->broker->is_311 = true;
		return true;
	}
	if (s->reason == MQTT_RC_USE_ANOTHER_SERVER || s->reason == MQTT_RC_SERVER_MOVED)
		return turn_send_on(&mqtt->turn, mqtt_find_broker(mqtt, s->reference), online_ms);
	return false;
}

static void note_attempt(struct agent_mqtt *mqtt, const struct mqtt_broker *broker)
{
	pthread_mutex_lock(&mqtt->lock);
	mqtt->info.broker = mqtt->turn.at;
	snprintf(mqtt->info.host, sizeof(mqtt->info.host), "%s", broker->host);
	mqtt->info.port = broker->port;
	mqtt->info.version = mqtt->version == AGENT_MQTT_3_1_1 || broker->is_311 ? AGENT_MQTT_3_1_1 : AGENT_MQTT_5;
	pthread_mutex_unlock(&mqtt->lock);
}

/* The one with number @at of @list, counted round and round. */
static const struct addrinfo *address_at(const struct addrinfo *list, unsigned at)
{
	const struct addrinfo *a = list;
	unsigned n = 0;

	for (; a != NULL; a = a->ai_next)
		n++;
	for (a = list, at %= n; at > 0; at--)
		a = a->ai_next;
	return a;
}

int mqtt_session(struct agent_mqtt *mqtt, uint64_t *ret_online_ms, struct agent_error **err)
{
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	struct mqtt_broker *broker = &mqtt->brokers[mqtt->turn.at];
	unsigned n = 0;
	int r;

	note_attempt(mqtt, broker);
	r = resolve(broker, &list, err);
	if (r < 0)
		return r;
	for (const struct addrinfo *a = list; a != NULL && n < ADDRESSES_MAX; a = a->ai_next)
		n++;
	/* libmosquitto would stop at the first address, also when that one leads nowhere. */
	for (; n > 0; n--, broker->first_address++) {
		struct session s = {
			.mqtt = mqtt, .broker = broker, .is_5 = mqtt->info.version == AGENT_MQTT_5, .max_qos = broker->max_qos,
		};
		const struct addrinfo *a = address_at(list, broker->first_address);

		if (getnameinfo(a->ai_addr, a->ai_addrlen, s.address, sizeof(s.address), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		r = try_address(&s, err);
		if (s.is_online && atomic_load(&mqtt->rejected) != MQTT_REJECTED)
			*ret_online_ms = monotonic_ms() - s.online_since_ms + 1; /* 0 would say: never */
		if (atomic_load(&mqtt->is_stopping))
			return 0;
		if (r < 0 && can_go_on(&s, *ret_online_ms))
			return 1;
		if (r >= 0 || s.is_tcp_up) {
			/* Somebody else may listen there, or a machine that is broken behind a name that stands for several. */
			if (r < 0 && !s.is_online)
				broker->first_address++;
			return r;
		}
	}
	return r < 0 ? r : agent_error_set(err, -EHOSTUNREACH, "mqtt.resolve", "%s has no address we can use", broker->host);
}
