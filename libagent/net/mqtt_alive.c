/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a connection, signs of life, and the way back to the first broker.
 *
 * The keep-alive that the broker is told is the longest we may use; within it we ask after a silence of our own choice. libmosquitto (2.0 to 2.1) has
 * no call for that: PINGREQ is two bytes, written into its TLS connection between two of its packets. It takes the answer as one to its own. For the
 * answer we watch the bytes that arrive, as every byte is a sign of life.
 */
#include "net/mqtt.h"

#include <errno.h>
#include <poll.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/backoff.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "context.h"

#define ANSWER_MIN_MS 10000	/* a ping gets at least this long */
#define LOOK_AGAIN_MS 60000	/* without memory for a look */
#define MARGIN_MS 1000		/* where the interval is the keep-alive that the broker was told, libmosquitto asks first */

unsigned mqtt_interval_s(const struct session *s)
{
	unsigned interval_s = s->broker->keepalive.interval_s;

	return s->server_keepalive_s != 0 && s->server_keepalive_s < interval_s ? s->server_keepalive_s : interval_s;
}

static void plan_look(struct session *s)
{
	s->look_ms = monotonic_ms() + turn_look_ms(&s->mqtt->turn, (uint64_t)s->mqtt->return_s * 1000, backoff_random());
}

void mqtt_alive_begin(struct session *s)
{
	s->last_ms = monotonic_ms();
	if (s->mqtt->turn.at != 0)
		plan_look(s);
}

void mqtt_alive_count(struct session *s)
{
	SSL *ssl = mosquitto_ssl_get(s->mosq);
	struct agent_mqtt *mqtt = s->mqtt;
	uint64_t sent, received, now = monotonic_ms();

	/* Not there yet. Or closed already: what came with its end is missing in the counters. */
	if (!s->is_guarded || ssl == NULL || SSL_get_wbio(ssl) == NULL || SSL_get_rbio(ssl) == NULL)
		return;
	sent = BIO_number_written(SSL_get_wbio(ssl));
	received = BIO_number_read(SSL_get_rbio(ssl));
	if (received != s->seen_received && s->asked_ms != 0) {
		keepalive_answered(&s->broker->keepalive, s->asked_idle_ms, now);
		s->asked_ms = 0;
		s->is_ping = false;
	}
	if (sent > s->seen_sent && s->is_online && s->asked_ms == 0 && received == s->seen_received) {
		s->asked_ms = now;
		s->asked_idle_ms = now - s->last_ms;
	}
	if (sent == s->seen_sent && received == s->seen_received)
		return;
	s->last_ms = now;
	pthread_mutex_lock(&mqtt->lock);
	mqtt->info.wire_sent += sent > s->seen_sent ? sent - s->seen_sent : 0;
	mqtt->info.wire_received += received > s->seen_received ? received - s->seen_received : 0;
	mqtt->info.keepalive_s = mqtt_interval_s(s);
	pthread_mutex_unlock(&mqtt->lock);
	s->seen_sent = sent;
	s->seen_received = received;
}

static void send_ping(struct session *s)
{
	struct pollfd p = { .fd = mosquitto_socket(s->mosq), .events = POLLOUT };
	SSL *ssl = mosquitto_ssl_get(s->mosq);

	uint64_t now = monotonic_ms();

	/* With bytes that the kernel or libmosquitto could not get out yet, these do the asking. */
	if (ssl == NULL || p.fd < 0 || mosquitto_want_write(s->mosq) || poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0)
		return;
	ERR_clear_error();
	if (SSL_write(ssl, "\xc0\x00", 2) != 2) { /* MQTT 3.1.1 and 5, section 3.12 */
		ERR_clear_error(); /* libmosquitto would take what is left for a fault of its own next call */
		return;
	}
	s->is_ping = true;
	s->asked_ms = now;
	s->asked_idle_ms = now - s->last_ms;
}

static uint64_t ping_due_ms(const struct session *s)
{
	return s->last_ms + (uint64_t)mqtt_interval_s(s) * 1000 + MARGIN_MS;
}

static uint64_t answer_ms(const struct session *s)
{
	uint64_t half = (uint64_t)mqtt_interval_s(s) * 500;

	return half > ANSWER_MIN_MS ? half : ANSWER_MIN_MS;
}

static void look_at_first(struct session *s, uint64_t now)
{
	struct agent_mqtt *mqtt = s->mqtt;

	if (s->probe != NULL && probe_get(s->probe) != PROBE_RUNNING) {
		bool is_good = probe_get(s->probe) == PROBE_GOOD;

		s->probe = probe_drop(s->probe);
		s->wants_return = turn_looked(&mqtt->turn, is_good);
		context_log(mqtt->ctx, "mqtt: %s:%u is %s", mqtt->brokers[0].host, mqtt->brokers[0].port, is_good ? "there" : "not there");
		plan_look(s);
	} else if (s->probe == NULL && now >= s->look_ms) {
		s->probe = probe_start(mqtt->brokers[0].host, mqtt->brokers[0].port);
		if (s->probe == NULL)
			s->look_ms = now + LOOK_AGAIN_MS;
	}
}

int mqtt_alive_check(struct session *s, struct agent_error **err)
{
	uint64_t now = monotonic_ms();

	mqtt_alive_count(s);
	if (!s->is_online)
		return 0;
	if (s->is_ping && s->asked_ms != 0 && now >= s->asked_ms + answer_ms(s))
		return agent_error_set(err, -ETIMEDOUT, "mqtt.keepalive", "%s:%u gave no sign of life after a silence of %u s", s->broker->host,
				       s->broker->port, (unsigned)(s->asked_idle_ms / 1000));
	if (!s->is_ping && now >= ping_due_ms(s)) {
		send_ping(s);
		mqtt_alive_count(s);
	}
	if (s->mqtt->turn.at != 0)
		look_at_first(s, now);
	return 0;
}

uint64_t mqtt_alive_wait_ms(const struct session *s)
{
	uint64_t now = monotonic_ms(), due = ping_due_ms(s);

	if (s->is_ping)
		due = s->asked_ms + answer_ms(s);
	if (s->mqtt->turn.at != 0 && s->probe == NULL && s->look_ms < due)
		due = s->look_ms;
	/* Due already, and not done because the kernel takes no more: not at once again. */
	return now >= due ? 1000 : due - now;
}

void mqtt_alive_end(struct session *s, int r)
{
	/* A broker that was killed answers nothing either, so this may be wrong: then it costs some pings. */
	if (s->is_online && s->asked_ms != 0 && s->reason == 0 && (r == -ETIMEDOUT || r == -ECONNRESET || r == -EHOSTUNREACH))
		keepalive_lost(&s->broker->keepalive, s->asked_idle_ms, monotonic_ms());
	s->probe = probe_drop(s->probe);
}
