/* SPDX-License-Identifier: Apache-2.0 */
/* QoS 2 over connections that break, brokers that forget, refuse or cannot do it, and a library that counts for itself. */
#include "tests/unit/mqtt_fixture.h"

#include <sys/resource.h>

static const struct agent_mqtt_handlers handlers = { .state = saw_state, .acked = saw_ack, .refused = saw_refusal, .message = saw_message };

static struct agent_mqtt *make_client(struct fixture *f, enum agent_mqtt_version version, uint32_t session_s)
{
	struct agent_mqtt_options options = {
		.host = "127.0.0.1", .port = f->port, .client_id = "test", .keepalive_s = 60, .backoff_min_ms = 1, .backoff_max_ms = 10,
		.queue_max_messages = MESSAGES_MAX, .queue_max_bytes = 1000, .version = version, .session_s = session_s, .max_packet = 4096,
	};
	struct agent_mqtt *mqtt = NULL;

	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &options, &handlers, f, &mqtt, NULL), 0);
	return mqtt;
}

#define NEW_SESSION false
#define OLD_SESSION true

/* Accept and answer CONNECT; @ret_flags: of CONNECT, bit 1 says "begin a new session". */
static SSL *serve(struct fixture *f, bool is_present, uint8_t *ret_flags)
{
	SSL *ssl = serve_tls(f, accept_one(f));
	char answer[5] = { 0x20, 2, (char)is_present, 0, 0 };
	uint8_t body[128];
	size_t size;

	assert_int_equal(read_packet(ssl, body, &size), 0x10);
	if (body[6] == 5)
		answer[1] = 3;
	assert_int_equal(SSL_write(ssl, answer, 2 + answer[1]), 2 + answer[1]);
	if (ret_flags != NULL)
		*ret_flags = body[7];
	return ssl;
}

/* The next packet is PUBLISH with @head to "d/" and the letter; its identifier. */
static unsigned get_publish(SSL *ssl, int head, char letter)
{
	uint8_t body[128];
	size_t size;

	assert_int_equal(read_packet(ssl, body, &size), head);
	assert_memory_equal(body + 2, "d/", 2);
	assert_int_equal(body[4], letter);
	return body[5] * 256u + body[6];
}

/* The next packet is one of four bytes; its identifier. */
static unsigned get_short(SSL *ssl, int head)
{
	uint8_t body[128];
	size_t size;

	assert_int_equal(read_packet(ssl, body, &size), head);
	assert_int_equal(size, 2);
	return body[0] * 256u + body[1];
}

static void put_short(SSL *ssl, int head, unsigned mid, int code)
{
	char packet[5] = { (char)head, code == 0 ? 2 : 3, (char)(mid / 256), (char)mid, (char)code };

	assert_int_equal(SSL_write(ssl, packet, 2 + packet[1]), 2 + packet[1]);
}

#define PUBREC 0x50
#define PUBREL 0x62
#define PUBCOMP 0x70

static void publish(struct agent_mqtt *mqtt, char letter, unsigned flags, uint64_t *ret_id)
{
	const char topic[] = { 'd', '/', letter, '\0' };

	assert_int_equal(agent_mqtt_publish(mqtt, topic, "1", 1, flags, ret_id, NULL), 0);
}

/* Until the client said goodbye: it waits for us to close the connection. */
static void finish(struct agent_mqtt *mqtt, pthread_t thread, SSL *ssl)
{
	uint8_t body[128];
	size_t size;
	int head;

	agent_mqtt_stop(mqtt);
	do
		head = read_packet(ssl, body, &size);
	while (head >= 0 && head != 0xe0);
	hang_up(ssl);
	stop(mqtt, thread);
}

static void there_is_no_qos_3(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 0);
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(agent_mqtt_publish(mqtt, "d", "1", 1, AGENT_MQTT_QOS1 | AGENT_MQTT_QOS2, NULL, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "QoS 3"));
	assert_error(&err, -EINVAL, "mqtt.options");
	assert_int_equal(agent_mqtt_publish(mqtt, "d", "1", 1, 8, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "mqtt.options");
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 3, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "QoS 3"));
	assert_error(&err, -EINVAL, "mqtt.topic");
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
	agent_mqtt_free(mqtt);
}

static const enum agent_mqtt_version versions[] = { AGENT_MQTT_3_1_1, AGENT_MQTT_5 };

/* PUBREC does not say that it is out, PUBCOMP does. Lost before PUBREC, before PUBREL and before PUBCOMP it goes on where it was. */
static void what_is_under_way_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct agent_mqtt *mqtt = make_client(f, versions[i], 3600);
		struct agent_mqtt_info info;
		pthread_t thread;
		uint64_t id;
		unsigned mid;
		SSL *ssl;

		f->n_acked = 0;
		publish(mqtt, 'x', AGENT_MQTT_QOS2, &id);
		assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
		ssl = serve(f, NEW_SESSION, NULL);
		mid = get_publish(ssl, 0x34, 'x');
		hang_up(ssl);
		ssl = serve(f, OLD_SESSION, NULL);
		assert_int_equal(get_publish(ssl, 0x3c, 'x'), mid);	/* the same one again, and says so */
		put_short(ssl, PUBREC, mid, 0);
		hang_up(ssl);	/* PUBREL may or may not have been written */
		for (int again = 0; again < 2; again++) {
			ssl = serve(f, OLD_SESSION, NULL);
			if (again == 0) {
				uint8_t body[128];
				size_t size;
				int head = read_packet(ssl, body, &size);

				/* PUBREC was perhaps lost with the connection. */
				assert_true(head == PUBREL || head == 0x3c);
				if (head == 0x3c) {
					put_short(ssl, PUBREC, mid, 0);
					assert_int_equal(get_short(ssl, PUBREL), mid);
				}
			} else {
				assert_int_equal(get_short(ssl, PUBREL), mid);
			}
			assert_int_equal(f->n_acked, 0);
			if (again == 0)
				hang_up(ssl);
		}
		/* A broker that had done with it may say in MQTT 5 that it knows nothing of it. */
		put_short(ssl, PUBCOMP, mid, versions[i] == AGENT_MQTT_5 ? 0x92 : 0);
		wait_for(f, &f->n_acked, 1);
		assert_int_equal(f->acked[0], id);
		assert_int_equal(f->n_refused, 0);
		agent_mqtt_get_info(mqtt, &info);
		assert_int_equal(info.payload_sent, 1);	/* by us; what libmosquitto repeats is not ours to count */
		finish(mqtt, thread, ssl);
	}
}

static void other_messages_wait_or_go_with_it(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	uint64_t two, one;
	pthread_t thread;
	unsigned mid2, mid1;
	SSL *ssl;

	publish(mqtt, '2', AGENT_MQTT_QOS2, &two);
	publish(mqtt, '1', AGENT_MQTT_QOS1, &one);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve(f, NEW_SESSION, NULL);
	mid2 = get_publish(ssl, 0x34, '2');
	mid1 = get_publish(ssl, 0x32, '1');
	hang_up(ssl);
	ssl = serve(f, OLD_SESSION, NULL);
	assert_int_equal(get_publish(ssl, 0x3c, '2'), mid2);
	assert_int_equal(get_publish(ssl, 0x3a, '1'), mid1);
	put_short(ssl, 0x40, mid1, 0);
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], one);
	publish(mqtt, '0', 0, NULL);
	(void)get_publish(ssl, 0x30, '0');
	wait_for(f, &f->n_acked, 2);
	put_short(ssl, PUBREC, mid2, 0);
	assert_int_equal(get_short(ssl, PUBREL), mid2);
	put_short(ssl, PUBCOMP, mid2, 0);
	wait_for(f, &f->n_acked, 3);
	assert_int_equal(f->acked[2], two);
	finish(mqtt, thread, ssl);
}

/* Neither PUBREL nor a repeated PUBLISH goes to a broker that lost its half; the message is sent anew, and a gap is told. */
static void a_broker_that_forgot_gets_it_anew(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		struct agent_mqtt *mqtt = make_client(f, versions[i], 3600);
		struct agent_mqtt_info info;
		uint8_t body[128];
		pthread_t thread;
		size_t size;
		unsigned mid;
		SSL *ssl;

		f->n_acked = f->n_states[AGENT_MQTT_ONLINE] = 0;
		publish(mqtt, 'x', AGENT_MQTT_QOS2, NULL);
		assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
		ssl = serve(f, NEW_SESSION, NULL);
		mid = get_publish(ssl, 0x34, 'x');
		put_short(ssl, PUBREC, mid, 0);
		assert_int_equal(get_short(ssl, PUBREL), mid);
		hang_up(ssl);
		ssl = serve(f, NEW_SESSION, NULL);
		assert_int_equal(read_packet(ssl, body, &size), 0xe0);
		hang_up(ssl);
		ssl = serve(f, OLD_SESSION, NULL);	/* the one that was begun a moment ago */
		mid = get_publish(ssl, 0x34, 'x');
		wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
		agent_mqtt_get_info(mqtt, &info);
		assert_int_equal(info.session_present, 0);
		put_short(ssl, PUBREC, mid, 0);
		assert_int_equal(get_short(ssl, PUBREL), mid);
		put_short(ssl, PUBCOMP, mid, 0);
		wait_for(f, &f->n_acked, 1);
		finish(mqtt, thread, ssl);
	}
}

/* Without a session the broker throws away what it did not release: sent anew, at least once. */
static void without_a_session_it_is_sent_anew(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_3_1_1, 0);
	pthread_t thread;
	unsigned mid;
	SSL *ssl;

	publish(mqtt, 'x', AGENT_MQTT_QOS2, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	for (int i = 0; i < 2; i++) {
		ssl = serve(f, NEW_SESSION, NULL);
		mid = get_publish(ssl, 0x34, 'x');
		put_short(ssl, PUBREC, mid, 0);
		assert_int_equal(get_short(ssl, PUBREL), mid);
		if (i == 0)
			hang_up(ssl);
	}
	put_short(ssl, PUBCOMP, mid, 0);
	wait_for(f, &f->n_acked, 1);
	finish(mqtt, thread, ssl);
}

/*
 * A session from before this client may know identifiers with messages that nobody here knows: it is ended before one is used again. QoS 1 does not wait
 * for that.
 */
static void a_session_of_an_earlier_life_is_ended_first(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	struct agent_mqtt_info info;
	uint8_t body[128], flags;
	pthread_t thread;
	size_t size;
	unsigned mid;
	SSL *ssl;

	publish(mqtt, '2', AGENT_MQTT_QOS2, NULL);
	publish(mqtt, '1', AGENT_MQTT_QOS1, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve(f, OLD_SESSION, &flags);
	assert_int_equal(flags & 2, 0);
	put_short(ssl, 0x40, get_publish(ssl, 0x32, '1'), 0);
	assert_int_equal(read_packet(ssl, body, &size), 0xe0);
	hang_up(ssl);
	ssl = serve(f, NEW_SESSION, &flags);
	assert_int_equal(flags & 2, 2);
	assert_int_equal(read_packet(ssl, body, &size), 0xe0);
	hang_up(ssl);
	ssl = serve(f, NEW_SESSION, &flags);
	assert_int_equal(flags & 2, 0);
	mid = get_publish(ssl, 0x34, '2');
	put_short(ssl, PUBREC, mid, 0);
	assert_int_equal(get_short(ssl, PUBREL), mid);
	put_short(ssl, PUBCOMP, mid, 0);
	wait_for(f, &f->n_acked, 2);
	/* From now on the session is known. */
	hang_up(ssl);
	ssl = serve(f, OLD_SESSION, NULL);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 3);
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.session_present, 1);
	publish(mqtt, '3', AGENT_MQTT_QOS2, NULL);
	(void)get_publish(ssl, 0x34, '3');
	finish(mqtt, thread, ssl);
}

static void a_broker_with_a_lower_maximum_gets_that_and_it_is_said_once(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	publish(mqtt, 'a', AGENT_MQTT_QOS2, NULL);
	publish(mqtt, 'b', AGENT_MQTT_QOS2, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\1\0\2\x24\1"));	/* an old session does not matter then */
	put_short(ssl, 0x40, get_publish(ssl, 0x32, 'a'), 0);
	put_short(ssl, 0x40, get_publish(ssl, 0x32, 'b'), 0);
	wait_for(f, &f->n_acked, 2);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	assert_string_equal(f->why, "mqtt.qos");
	hang_up(ssl);
	ssl = serve_connect(f, body, &size, ANSWER("\1\0\2\x24\0"));	/* lower still */
	publish(mqtt, 'c', AGENT_MQTT_QOS2, NULL);
	(void)get_publish(ssl, 0x30, 'c');
	wait_for(f, &f->n_acked, 3);
	assert_int_equal(f->n_states[AGENT_MQTT_ONLINE], 3);	/* no second word */
	assert_int_equal(f->n_refused, 0);
	finish(mqtt, thread, ssl);
}

/* MQTT 3.1.1 cannot say it: Azure IoT Hub hangs up. That must not keep everything else from the connection for ever. */
static void a_broker_of_311_that_hangs_up_gets_qos_1(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_3_1_1, 3600);
	pthread_t thread;
	SSL *ssl;

	publish(mqtt, 'x', AGENT_MQTT_QOS2, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	for (int i = 0; i < 3; i++) {
		ssl = serve(f, i == 0 ? NEW_SESSION : OLD_SESSION, NULL);
		(void)get_publish(ssl, i == 0 ? 0x34 : 0x3c, 'x');
		hang_up(ssl);
	}
	ssl = serve(f, OLD_SESSION, NULL);
	put_short(ssl, 0x40, get_publish(ssl, 0x32, 'x'), 0);
	wait_for(f, &f->n_acked, 1);
	assert_string_equal(f->why, "mqtt.qos");
	finish(mqtt, thread, ssl);
}

static void a_refusal_in_pubrec_is_one_in_puback(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	uint64_t no, quota, big;
	pthread_t thread;
	SSL *ssl;

	publish(mqtt, 'n', AGENT_MQTT_QOS2, &no);
	publish(mqtt, 'q', AGENT_MQTT_QOS2, &quota);
	publish(mqtt, 'p', AGENT_MQTT_QOS2, &big);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve(f, NEW_SESSION, NULL);
	put_short(ssl, PUBREC, get_publish(ssl, 0x34, 'n'), 0x87);
	put_short(ssl, PUBREC, get_publish(ssl, 0x34, 'q'), 0x97);
	wait_for(f, &f->n_refused, 1);
	assert_int_equal(f->refused[0], no);
	assert_string_equal(f->refusal, "mqtt.not-authorised");
	put_short(ssl, PUBREC, get_publish(ssl, 0x34, 'p'), 0x99);
	wait_for(f, &f->n_refused, 2);
	assert_int_equal(f->refused[1], big);
	assert_string_equal(f->refusal, "mqtt.payload-format");
	/* The quota ends, and nothing of it was a PUBREL. */
	for (int i = 0; i < 2; i++) {
		unsigned mid = get_publish(ssl, 0x34, 'q');

		put_short(ssl, PUBREC, mid, i == 0 ? 0x97 : 0);
		if (i == 0)
			continue;
		assert_int_equal(get_short(ssl, PUBREL), mid);
		put_short(ssl, PUBCOMP, mid, 0);
	}
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], quota);
	finish(mqtt, thread, ssl);
}

/* ---- the other way */

static void put_message(SSL *ssl, bool is_repeated, unsigned mid, bool is_5)
{
	char packet[] = { is_repeated ? 0x3c : 0x34, is_5 ? 7 : 6, 0, 1, 'd', (char)(mid / 256), (char)mid, 0, 'm' };

	if (!is_5)
		packet[7] = 'm';
	assert_int_equal(SSL_write(ssl, packet, 2 + packet[1]), 2 + packet[1]);
}

static SSL *serve_subscriber(struct fixture *f, bool is_present)
{
	SSL *ssl = serve(f, is_present, NULL);
	uint8_t body[128];
	size_t size = 0;

	assert_int_equal(read_packet(ssl, body, &size), 0x82);
	assert_true(size > 0);
	assert_int_equal(body[size - 1], 2);	/* QoS 2 is what is asked for */
	return ssl;
}

static void a_repeated_message_comes_once(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		bool is_5 = versions[i] == AGENT_MQTT_5;
		struct agent_mqtt *mqtt = make_client(f, versions[i], 3600);
		uint8_t body[128];
		pthread_t thread;
		size_t size;
		SSL *ssl;

		f->n_messages = f->n_states[AGENT_MQTT_ONLINE] = 0;
		assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
		assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
		ssl = serve_subscriber(f, NEW_SESSION);
		put_message(ssl, false, 7, is_5);
		assert_int_equal(get_short(ssl, PUBREC), 7);
		put_message(ssl, false, 8, is_5);
		assert_int_equal(get_short(ssl, PUBREC), 8);
		hang_up(ssl);
		/* Of 7 the broker had PUBREC and goes on; of 8 it had not. */
		ssl = serve_subscriber(f, OLD_SESSION);
		assert_int_equal(f->n_messages, 0);
		put_short(ssl, PUBREL, 7, 0);
		assert_int_equal(get_short(ssl, PUBCOMP), 7);
		wait_for(f, &f->n_messages, 1);
		put_message(ssl, true, 8, is_5);
		assert_int_equal(get_short(ssl, PUBREC), 8);
		put_short(ssl, PUBREL, 8, 0);
		assert_int_equal(get_short(ssl, PUBCOMP), 8);
		wait_for(f, &f->n_messages, 2);
		/* libmosquitto has 8 twice now, and a new connection is made so that it forgets. Until that is there PUBREL brings it no more. */
		assert_int_equal(read_packet(ssl, body, &size), 0xe0);
		hang_up(ssl);
		ssl = serve_subscriber(f, OLD_SESSION);
		put_message(ssl, false, 8, is_5);	/* another one */
		assert_int_equal(get_short(ssl, PUBREC), 8);
		put_short(ssl, PUBREL, 8, 0);
		assert_int_equal(get_short(ssl, PUBCOMP), 8);
		wait_for(f, &f->n_messages, 3);
		assert_int_equal(f->n_states[AGENT_MQTT_ONLINE], 3);
		finish(mqtt, thread, ssl);
		assert_int_equal(f->n_messages, 3);
	}
}

static void the_second_of_two_is_never_handed_over(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_3_1_1, 3600);
	pthread_t thread;
	SSL *ssl;

	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_subscriber(f, NEW_SESSION);
	put_message(ssl, false, 9, false);
	put_message(ssl, false, 8, false);
	put_message(ssl, true, 8, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(get_short(ssl, PUBREC), i == 0 ? 9 : 8);
	/* PUBREL comes twice, as PUBCOMP may be lost; 9 is under way, so the connection stays. */
	for (int i = 0; i < 2; i++) {
		put_short(ssl, PUBREL, 8, 0);
		assert_int_equal(get_short(ssl, PUBCOMP), 8);
	}
	put_short(ssl, PUBREL, 9, 0);
	assert_int_equal(get_short(ssl, PUBCOMP), 9);
	wait_for(f, &f->n_messages, 2);
	finish(mqtt, thread, ssl);
	assert_int_equal(f->n_messages, 2);
}

static void a_message_of_an_earlier_life_is_a_gap(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	pthread_t thread;
	SSL *ssl;

	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_subscriber(f, OLD_SESSION);
	put_short(ssl, PUBREL, 8, 0);
	assert_int_equal(get_short(ssl, PUBCOMP), 8);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	assert_string_equal(f->why, "mqtt.gap");
	assert_int_equal(f->n_messages, 0);
	finish(mqtt, thread, ssl);
}

static void messages_that_are_never_released_are_not_kept_for_ever(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_3_1_1, 3600);
	pthread_t thread;
	SSL *ssl;

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_subscriber(f, NEW_SESSION);
	/* Many, and also many times the same one; a hundred are within the bounds. */
	for (unsigned mid = 1; mid <= 100; mid++)
		put_message(ssl, false, mid, false);
	for (unsigned mid = 1; mid <= 100; mid++)
		assert_int_equal(get_short(ssl, PUBREC), mid);
	for (unsigned i = 0; i < 100 && SSL_write(ssl, "\x3c\6\0\1d\0\7m", 8) == 8; i++)
		;
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "mqtt.packet-size");
	hang_up(ssl);
	ssl = serve_subscriber(f, OLD_SESSION);	/* and what was kept is gone */
	put_message(ssl, false, 1, false);
	assert_int_equal(get_short(ssl, PUBREC), 1);
	put_short(ssl, PUBREL, 1, 0);
	wait_for(f, &f->n_messages, 1);
	finish(mqtt, thread, ssl);
}

/* libmosquitto forgets a message whose PUBCOMP it cannot write, so it does not get to know that it cannot. */
static void a_message_whose_pubcomp_is_lost_is_handed_over(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 1; round <= 10; round++) {
		struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
		pthread_t thread;
		SSL *ssl;

		f->n_messages = 0;
		assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
		assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
		ssl = serve_subscriber(f, NEW_SESSION);
		put_message(ssl, false, 7, true);
		assert_int_equal(get_short(ssl, PUBREC), 7);
		put_short(ssl, PUBREL, 7, 0);
		hang_up(ssl);
		ssl = serve_subscriber(f, OLD_SESSION);
		put_short(ssl, PUBREL, 7, 0);
		assert_int_equal(get_short(ssl, PUBCOMP), 7);
		wait_for(f, &f->n_messages, 1);
		finish(mqtt, thread, ssl);
		assert_int_equal(f->n_messages, 1);
	}
}

/* PUBLISH without payload: a topic of @topic bytes, and in MQTT 5 @n user properties that are empty. False when nobody takes it any more. */
static bool put_bulky(SSL *ssl, uint8_t head, unsigned mid, size_t topic, bool is_5, size_t n)
{
	size_t has_id = (head & 6) != 0 ? 2 : 0, body = 2 + topic + has_id + (is_5 ? 5 * n + (n > 25 ? 2 : 1) : 0), at = 0;
	uint8_t packet[4096] = { 0 };

	packet[at++] = head;
	packet[at++] = (uint8_t)(body % 128 | 0x80);
	packet[at++] = (uint8_t)(body / 128);
	packet[at++] = (uint8_t)(topic / 256);
	packet[at++] = (uint8_t)topic;
	memset(packet + at, 'd', topic);
	at += topic;
	if (has_id != 0) {
		packet[at++] = (uint8_t)(mid / 256);
		packet[at++] = (uint8_t)mid;
	}
	if (is_5 && n > 25)
		packet[at++] = (uint8_t)(5 * n % 128 | 0x80);
	if (is_5)
		packet[at++] = (uint8_t)(n > 25 ? 5 * n / 128 : 5 * n);
	for (size_t i = 0; is_5 && i < n; i++, at += 5)
		packet[at] = 0x26;
	return SSL_write(ssl, packet, (int)at) == (int)at;
}

/* 32 KiB for all of them, and no payload. A topic of 500 bytes and more is cut in what libmosquitto logs. */
static void topics_and_properties_of_what_is_not_released_count(void **state)
{
	struct fixture *f = *state;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < 3; i++) {
		bool is_5 = i > 0;
		size_t topic = i == 2 ? 1 : 3000, n = i == 2 ? 26 : 0;	/* 3000 bytes, or 26 times 133 */
		struct agent_mqtt *mqtt = make_client(f, is_5 ? AGENT_MQTT_5 : AGENT_MQTT_3_1_1, 3600);
		pthread_t thread;
		SSL *ssl;

		f->n_messages = f->n_states[AGENT_MQTT_WAITING] = 0;
		assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
		assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
		ssl = serve_subscriber(f, NEW_SESSION);
		/* What was released does not count. */
		for (unsigned mid = 1; mid <= 30; mid++) {
			assert_true(put_bulky(ssl, 0x34, mid, topic, is_5, n));
			assert_int_equal(get_short(ssl, PUBREC), mid);
			put_short(ssl, PUBREL, mid, 0);
			assert_int_equal(get_short(ssl, PUBCOMP), mid);
		}
		wait_for(f, &f->n_messages, 30);
		for (unsigned mid = 1; mid <= 7; mid++) {
			assert_true(put_bulky(ssl, 0x34, mid, topic, is_5, n));
			assert_int_equal(get_short(ssl, PUBREC), mid);
		}
		assert_int_equal(f->n_states[AGENT_MQTT_WAITING], 0);
		for (unsigned mid = 8; mid <= 13 && put_bulky(ssl, 0x34, mid, topic, is_5, n); mid++)
			;
		wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
		assert_string_equal(f->why, "mqtt.packet-size");
		hang_up(ssl);
		finish(mqtt, thread, serve_subscriber(f, OLD_SESSION));
	}
}

static void a_packet_full_of_properties_is_too_much(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	pthread_t thread;
	SSL *ssl;

	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 2, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_subscriber(f, NEW_SESSION);
	assert_true(put_bulky(ssl, 0x30, 0, 1, true, 200));
	wait_for(f, &f->n_messages, 1);
	assert_true(put_bulky(ssl, 0x30, 0, 1, true, 400));	/* 2 KiB, and the longest packet may have 4 */
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "mqtt.packet-size");
	hang_up(ssl);
	finish(mqtt, thread, serve_subscriber(f, OLD_SESSION));
	assert_int_equal(f->n_messages, 1);
}

/* An object that is kept has the TLS connection that failed until there is another one. */
static void bytes_of_a_failed_handshake_count_once(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, AGENT_MQTT_5, 3600);
	struct agent_mqtt_info before, after;
	struct linger now = { .l_onoff = 1 };
	struct rlimit old, none;
	uint8_t hello[1024];
	pthread_t thread;
	SSL *ssl;
	int fd;

	publish(mqtt, 'x', AGENT_MQTT_QOS2, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve(f, NEW_SESSION, NULL);
	(void)get_publish(ssl, 0x34, 'x');
	hang_up(ssl);
	fd = accept_one(f);
	assert_true(recv(fd, hello, sizeof(hello), 0) > 0);
	/* From now on there are no sockets. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 2);
	agent_mqtt_get_info(mqtt, &before);
	assert_true(before.wire_received > 0 && before.wire_sent > 0);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 5);
	agent_mqtt_get_info(mqtt, &after);
	assert_int_equal(after.wire_received, before.wire_received);
	assert_int_equal(after.wire_sent, before.wire_sent);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	stop(mqtt, thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(there_is_no_qos_3, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_under_way_goes_on_where_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(other_messages_wait_or_go_with_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_broker_that_forgot_gets_it_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_session_it_is_sent_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_of_an_earlier_life_is_ended_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_broker_with_a_lower_maximum_gets_that_and_it_is_said_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_broker_of_311_that_hangs_up_gets_qos_1, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_in_pubrec_is_one_in_puback, setup, teardown),
		cmocka_unit_test_setup_teardown(a_repeated_message_comes_once, setup, teardown),
		cmocka_unit_test_setup_teardown(the_second_of_two_is_never_handed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(a_message_of_an_earlier_life_is_a_gap, setup, teardown),
		cmocka_unit_test_setup_teardown(messages_that_are_never_released_are_not_kept_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(a_message_whose_pubcomp_is_lost_is_handed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(topics_and_properties_of_what_is_not_released_count, setup, teardown),
		cmocka_unit_test_setup_teardown(a_packet_full_of_properties_is_too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_of_a_failed_handshake_count_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
