/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is under way with QoS 2 when a connection breaks. Its packet identifiers are known to libmosquitto and the broker only, and libmosquitto chooses
 * them: so the object that has them is kept for the next connection to the same broker, which has to have kept its session. Where either half is gone the
 * message is sent anew, and may be there twice; but an identifier of the lost half must not be used for another message, which the broker would take for
 * a repeated one and throw away. So such a session is ended before anything else is sent with QoS 2.
 */
#include "net/mqtt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "base/monotonic.h"
#include "context.h"

#define QUIET_MS 2000		/* a session is ended when it brought us nothing for so long */
#define QUIET_MAX_MS 60000	/* or after this */
#define ENDED_MAX 3
#define UNRELEASED_PACKETS 8	/* of the longest length, are kept until they are released */
#define MID_BYTES (65536 / 8)
#define RECEIVE_MAXIMUM 20	/* as libmosquitto has it */

bool mqtt_flight_has_sent(struct session *s)
{
	bool has;

	pthread_mutex_lock(&s->mqtt->lock);
	has = mqtt_queue_has_sent(&s->mqtt->queue, 2);
	pthread_mutex_unlock(&s->mqtt->lock);
	return has;
}

static bool has_waiting(struct session *s)
{
	bool has;

	pthread_mutex_lock(&s->mqtt->lock);
	has = mqtt_queue_has_waiting(&s->mqtt->queue, AGENT_MQTT_QOS2);
	pthread_mutex_unlock(&s->mqtt->lock);
	return has;
}

/* ---- from one connection to the next */

/* Our half of what the broker keeps is gone. */
static void forget(struct mqtt_broker *broker, bool has_sent, bool has_unreleased)
{
	broker->is_unknown |= has_sent;
	broker->lost_session |= has_unreleased;
}

static void clear(struct mqtt_releases *rel)
{
	free(rel->bits);
	mqtt_kept_clear(&rel->kept);
	*rel = (struct mqtt_releases){ 0 };
}

void mqtt_flight_drop(struct agent_mqtt *mqtt)
{
	struct mqtt_flight *flight = &mqtt->flight;

	if (flight->mosq == NULL)
		return;
	mosquitto_destroy(flight->mosq);
	flight->mosq = NULL;
	pthread_mutex_lock(&mqtt->lock);
	forget(flight->broker, mqtt_queue_has_sent(&mqtt->queue, 2), flight->releases.n > 0);
	mqtt_queue_rewind(&mqtt->queue);
	pthread_mutex_unlock(&mqtt->lock);
	clear(&flight->releases);
}

bool mqtt_flight_resume(struct session *s)
{
	struct mqtt_flight *flight = &s->mqtt->flight;

	if (flight->mosq == NULL || flight->broker != s->broker)
		return false;
	/* Another certificate or version, or a clean start: no option of an object can be set twice. */
	if (s->broker->wants_sweep || flight->is_5 != s->is_5 || flight->ssl_ctx != agent_openssl_ssl_ctx(s->broker->tls)) {
		mqtt_flight_drop(s->mqtt);
		return false;
	}
	s->mosq = flight->mosq;
	s->releases = flight->releases;
	s->is_resumed = true;
	flight->mosq = NULL;
	mosquitto_user_data_set(s->mosq, s);
	return true;
}

/* Close the socket, which libmosquitto has no call for but DISCONNECT, and that one takes the will with it. */
static void hang_up(struct session *s)
{
	int fd = mosquitto_socket(s->mosq);

	if (fd < 0)
		return;
	(void)shutdown(fd, SHUT_RDWR);
	for (int i = 0; i < 1000 && mosquitto_socket(s->mosq) >= 0 && s->violation == MQTT_NO_VIOLATION; i++)
		(void)mqtt_guard_read(s);
}

/* MQTT 3.1.1 has no word for "no QoS 2": such a broker hangs up, each time. */
static void learn_from_end(struct session *s, int r)
{
	struct mqtt_broker *b = s->broker;

	if (s->is_5 || !s->sent_qos2 || b->knows_qos2 || r >= 0 || r == -ETIMEDOUT || ++b->n_qos2_ended < ENDED_MAX)
		return;
	context_log(s->mqtt->ctx, "mqtt: %s:%u ends each connection that brings it QoS 2", b->host, b->port);
	b->max_qos = 1;
}

/* Did the broker end the connection for something that would be sent again? */
static bool is_fault_of_ours(int reason)
{
	static const uint8_t faults[] = { 0x81, 0x82, 0x90, 0x93, 0x94, 0x95, 0x99, 0x9a, 0x9b };

	return memchr(faults, reason, sizeof(faults)) != NULL;
}

static bool may_keep(const struct session *s)
{
	return s->mqtt->session_s != 0 && s->mqtt->flight.mosq == NULL && !s->is_void && !s->is_unsure && s->violation == MQTT_NO_VIOLATION &&
	       !s->broker->wants_sweep && !s->releases.has_twin &&
	       s->broker->max_qos == 2 && !is_fault_of_ours(s->reason) && !atomic_load(&s->mqtt->is_stopping);
}

void mqtt_flight_keep(struct session *s, int r)
{
	struct agent_mqtt *mqtt = s->mqtt;
	bool has_sent;

	learn_from_end(s, r);
	has_sent = mqtt->flight.mosq == NULL && mqtt_flight_has_sent(s); /* else they are those of another broker */
	if (may_keep(s) && (has_sent || s->releases.n > 0)) {
		hang_up(s);
		mqtt->flight = (struct mqtt_flight){ .mosq = s->mosq, .broker = s->broker, .ssl_ctx = agent_openssl_ssl_ctx(s->broker->tls),
						     .is_5 = s->is_5, .releases = s->releases };
		pthread_mutex_lock(&mqtt->lock);
		mqtt_queue_rewind_qos0(&mqtt->queue);
		pthread_mutex_unlock(&mqtt->lock);
	} else {
		if (mqtt->session_s != 0 && !(s->is_void && !s->is_session_present))
			forget(s->broker, has_sent, s->releases.n > 0);
		mosquitto_destroy(s->mosq);
		clear(&s->releases);
	}
	s->releases = (struct mqtt_releases){ 0 };
	s->mosq = NULL;
}

void mqtt_flight_accepted(struct session *s)
{
	struct mqtt_broker *b = s->broker;

	if (b->wants_sweep) {
		context_log(s->mqtt->ctx, "mqtt: the session at %s:%u was ended", b->host, b->port);
		s->is_void = true;
	} else if (s->is_resumed && (!s->is_session_present || s->max_qos < 2)) {
		context_log(s->mqtt->ctx, "mqtt: %s:%u does not know our session any more", b->host, b->port);
		s->is_void = true;
	}
	if (!s->is_void)
		return;
	if (b->wants_sweep || !s->is_session_present)
		b->is_unknown = false;
	b->wants_sweep = false;
	b->lost_session = true;
	if (s->is_resumed)
		mosquitto_disconnect(s->mosq);	/* before libmosquitto goes on with what the broker does not know */
}

void mqtt_flight_online(struct session *s)
{
	if (s->mqtt->flight.mosq != NULL)
		mqtt_flight_drop(s->mqtt);	/* of another broker; this one gets it all */
	if (!s->is_session_present)
		s->broker->is_unknown = false;
	s->sent_qos2 |= s->is_resumed && mqtt_flight_has_sent(s);
	s->heard_ms = s->online_since_ms;
}

/* ---- what may go */

unsigned mqtt_flight_held(struct session *s)
{
	if (s->releases.has_twin)
		return ~0u;
	s->holds_qos2 = s->broker->is_unknown && s->max_qos == 2 && has_waiting(s);
	return s->holds_qos2 ? AGENT_MQTT_QOS2 : 0;
}

bool mqtt_flight_wants_end(struct session *s)
{
	uint64_t now = monotonic_ms();

	/* A twin outlives what is under way, and would be taken for the message that gets its identifier next. Nothing goes out meanwhile. */
	if (s->releases.has_twin)
		return (s->releases.n == 0 && !mqtt_flight_has_sent(s)) || now - s->online_since_ms >= QUIET_MAX_MS;
	if (!s->holds_qos2 || (now - s->heard_ms < QUIET_MS && now - s->online_since_ms < QUIET_MAX_MS))
		return false;
	context_log(s->mqtt->ctx, "mqtt: messages wait that have QoS 2, and %s:%u has a session from before: it is begun anew", s->broker->host,
		    s->broker->port);
	s->broker->wants_sweep = true;
	return true;
}

unsigned mqtt_flight_qos(struct session *s, unsigned flags)
{
	unsigned qos = (flags & AGENT_MQTT_QOS2) != 0 ? 2 : (flags & AGENT_MQTT_QOS1) != 0 ? 1 : 0;

	if (qos > s->max_qos) {
		s->wants_to_tell |= !s->broker->told_qos;
		qos = s->max_qos;
	}
	s->sent_qos2 |= qos == 2;
	return qos;
}

void mqtt_flight_tell(struct session *s)
{
	_cleanup_error_ struct agent_error *gap = NULL, *qos = NULL;

	if (s->is_missing && !s->told_missing) {
		s->told_missing = true;
		agent_error_set(&gap, -ENODATA, "mqtt.gap", "%s:%u has a message done with that we do not have", s->broker->host, s->broker->port);
		mqtt_set_state(s->mqtt, AGENT_MQTT_ONLINE, gap);
	}
	if (s->wants_to_tell) {
		s->wants_to_tell = false;
		s->broker->told_qos = true;
		agent_error_set(&qos, -EOPNOTSUPP, "mqtt.qos", "%s:%u takes QoS %u at most: what has a higher one is sent with that", s->broker->host,
				s->broker->port, s->max_qos);
		mqtt_set_state(s->mqtt, AGENT_MQTT_ONLINE, qos);
	}
}

/* ---- what comes */

/* libmosquitto ends the connection when more come; mosquitto 2.0.11 sends all that waits as soon as one of them is done. What we count is memory. */
void mqtt_flight_set_maximum(struct session *s, bool is_told)
{
	(void)mosquitto_int_option(s->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, is_told ? RECEIVE_MAXIMUM : UINT16_MAX);
}

static bool is_unreleased(const struct mqtt_releases *rel, uint16_t mid)
{
	return rel->bits != NULL && (rel->bits[mid / 8] & 1u << mid % 8) != 0;
}

static void turn_over(struct mqtt_releases *rel, uint16_t mid)
{
	rel->bits[mid / 8] ^= (uint8_t)(1u << mid % 8);
}

uint64_t mqtt_flight_max_kept(const struct session *s)
{
	return (uint64_t)UNRELEASED_PACKETS * s->mqtt->max_packet;
}

static void arrived(struct session *s, uint16_t mid)
{
	struct mqtt_releases *rel = &s->releases;

	s->heard_ms = monotonic_ms();
	if (rel->bits == NULL)
		rel->bits = calloc(1, MID_BYTES);
	if (rel->bits == NULL) {
		s->violation = MQTT_UNRELEASED;
	} else if (is_unreleased(rel, mid)) {
		rel->has_twin = true;
	} else {
		turn_over(rel, mid);
		rel->n++;
	}
}

static void released(struct session *s, uint16_t mid)
{
	struct mqtt_releases *rel = &s->releases;

	if (is_unreleased(rel, mid)) {
		turn_over(rel, mid);
		rel->n--;
	} else {
		s->repeated_mid = mid;
		s->is_missing |= !s->is_resumed;
	}
}

void mqtt_flight_log(struct session *s, const char *packet)
{
	s->repeated_mid = 0;
	if (strncmp(packet, "PUBREC ", 7) == 0)
		s->broker->knows_qos2 = true;
	else if (strncmp(packet, "PUBREL (Mid: ", 13) == 0)
		released(s, (uint16_t)strtoul(packet + 13, NULL, 10));
	/* PUBLISH (d0, q2, r0, m17, 'topic', ... (5 bytes)), cut where the topic is long */
	if (strncmp(packet, "PUBLISH (d", 10) != 0 || strlen(packet) < 23 || strncmp(packet + 11, ", q2", 4) != 0)
		return;
	/* With a session it may have been subscribed in an earlier life. */
	if (s->mqtt->session_s == 0 && !s->asked_qos2)
		s->violation = MQTT_QOS_2;
	arrived(s, (uint16_t)strtoul(packet + 22, NULL, 10));
}

bool mqtt_flight_is_repeated(const struct session *s, int mid)
{
	return s->repeated_mid == mid;
}
