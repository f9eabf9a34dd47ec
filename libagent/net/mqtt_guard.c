/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a broker may make us keep. libmosquitto (2.0 to 2.1) takes the length that a packet announces, up to 256 MiB, and keeps messages of QoS 2 until
 * the broker lets go of them; MQTT 3.1.1 has no word for a limit, and nothing holds a broker of MQTT 5 to ours. So what TLS reads is counted below
 * OpenSSL, which libmosquitto cannot pass by, and the count begins anew with each packet that is known to be whole. And the packets themselves are looked
 * at first: mqtt_frame.h.
 */
#include "net/mqtt.h"

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/macro.h"

#define SLACK (32 * KIB)	/* what else may be in a record of TLS, and small packets that nobody tells us of */

static uint64_t limit_of(const struct session *s)
{
	return (uint64_t)s->mqtt->max_packet + s->mqtt->max_packet / 4 + SLACK;	/* with what TLS adds */
}

static long on_bio(BIO *bio, int oper, const char *data, size_t size, int argi, long argl, int ret, size_t *processed)
{
	struct session *s = (struct session *)(void *)BIO_get_callback_arg(bio);

	(void)data;
	(void)size;
	(void)argi;
	(void)argl;
	if (oper == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0 && processed != NULL)
		s->unfinished += *processed;
	if (oper == BIO_CB_WRITE && s->is_reading) {
		BIO_set_retry_write(bio);
		return -1;
	}
	if (oper != BIO_CB_READ)
		return ret;
	if (!s->may_read && SSL_is_init_finished(mosquitto_ssl_get(s->mosq))) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (s->mqtt->max_packet == 0 || s->unfinished <= limit_of(s))
		return ret;
	s->violation = MQTT_TOO_LONG;
	BIO_clear_retry_flags(bio);
	errno = EMSGSIZE;
	return -1;
}

void mqtt_guard_watch(struct session *s)
{
	SSL *ssl = s->is_guarded ? NULL : mosquitto_ssl_get(s->mosq);
	BIO *bio = ssl == NULL ? NULL : SSL_get_rbio(ssl);

	if (bio == NULL)
		return;
	BIO_set_callback_arg(bio, (char *)s);
	BIO_set_callback_ex(bio, on_bio);
	s->is_guarded = true;
}

/* What TLS has of its record, which is in its memory already. */
static int look_at(struct session *s, SSL *ssl)
{
	int n = SSL_pending(ssl), r;
	_cleanup_free_ uint8_t *data = malloc((size_t)n);

	if (data == NULL)
		return -ENOMEM;
	n = SSL_peek(ssl, data, n);
	s->frame.is_311 = !s->is_5;
	s->frame.max_cost = s->mqtt->max_packet == 0 ? 0 : limit_of(s) > UINT32_MAX ? UINT32_MAX : (uint32_t)limit_of(s);
	s->frame.max_kept = mqtt_flight_max_kept(s);
	r = n <= 0 ? -EBADMSG : mqtt_frame_take(&s->frame, &s->releases.kept, data, (size_t)n);
	if (r == -EMSGSIZE)
		s->violation = MQTT_TOO_LONG;
	else if (r == -ENOSPC)
		s->violation = MQTT_UNRELEASED;
	else if (r == -EBADMSG)
		s->violation = MQTT_BAD_PACKET;
	return r == -ENOMEM ? r : 0;
}

/*
 * One record of TLS at a time: all of it is looked at before libmosquitto gets a byte of it, and until it has taken all of it the callback above lets
 * nothing more in. What an end or an error is libmosquitto finds out by itself.
 */
static int look(struct session *s)
{
	SSL *ssl = s->is_guarded ? mosquitto_ssl_get(s->mosq) : NULL;
	int n, error;
	char first;

	if (ssl == NULL || !SSL_is_init_finished(ssl) || SSL_pending(ssl) > 0)
		return 0;
	ERR_clear_error();
	s->may_read = true;
	n = SSL_peek(ssl, &first, 1);
	error = SSL_get_error(ssl, n);
	/* What ends the connection is libmosquitto's to find out; an answer to KeyUpdate that cannot be written yet ends nothing. */
	s->may_read = n <= 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
	ERR_clear_error();
	return n > 0 ? look_at(s, ssl) : 0;
}

/*
 * Nothing is written meanwhile: at PUBREL libmosquitto (2.0 to 2.1) writes PUBCOMP first, and when the connection is broken by then it throws the message
 * away instead of handing it over. So its answers wait until it is told to write.
 */
int mqtt_guard_read(struct session *s)
{
	const SSL *ssl = mosquitto_ssl_get(s->mosq);
	int rc;

	if (look(s) < 0)
		return MOSQ_ERR_NOMEM;
	if (s->violation != MQTT_NO_VIOLATION)
		return MOSQ_ERR_SUCCESS;
	s->is_reading = ssl != NULL && SSL_is_init_finished(ssl);
	rc = mosquitto_loop_read(s->mosq, 1);
	s->is_reading = false;
	return rc;
}

void mqtt_guard_whole(struct session *s)
{
	s->unfinished = 0;
}

/* Some packets have no handler but this. */
void mqtt_guard_log(struct session *s, const char *line)
{
	static const char begin[] = "Client ", middle[] = " received ";
	size_t n = strlen(s->mqtt->client_id);

	if (strncmp(line, begin, sizeof(begin) - 1) != 0 || strncmp(line + sizeof(begin) - 1, s->mqtt->client_id, n) != 0)
		return;
	line += sizeof(begin) - 1 + n;
	if (strncmp(line, middle, sizeof(middle) - 1) != 0)
		return;
	line += sizeof(middle) - 1;
	mqtt_guard_whole(s);	/* libmosquitto says so when it has read all of it */
	mqtt_flight_log(s, line);
}

int mqtt_guard_explain(const struct session *s, struct agent_error **err)
{
	const struct mqtt_broker *b = s->broker;

	if (s->violation == MQTT_TOO_LONG)
		return agent_error_set(err, -EMSGSIZE, "mqtt.packet-size", "%s:%u sends a packet that has too many properties or is longer than %u bytes",
				       b->host, b->port, s->mqtt->max_packet);
	if (s->violation == MQTT_BAD_PACKET)
		return agent_error_set(err, -EBADMSG, "mqtt.protocol", "%s:%u does not speak MQTT as it should: a packet has a type, QoS or property that there is not, "
				       "or one that is cut", b->host, b->port);
	if (s->violation == MQTT_UNRELEASED)
		return agent_error_set(err, -EMSGSIZE, "mqtt.packet-size", "%s:%u sends more messages with QoS 2 than can be kept, and releases none", b->host,
				       b->port);
	return agent_error_set(err, -EBADMSG, "mqtt.protocol", "%s:%u sends a message with QoS 2, and nothing was subscribed with that", b->host, b->port);
}
