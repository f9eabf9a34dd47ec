/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT 5: what goes over the wire, what the broker's reason codes become; and several brokers. */
#include "tests/unit/mqtt_fixture.h"

#include "net/mqtt_reason.h"

static const struct agent_mqtt_handlers handlers = { .state = saw_state, .acked = saw_ack, .refused = saw_refusal };

static const struct agent_mqtt_options usual = {
	.host = "127.0.0.1", .client_id = "test", .keepalive_s = 60, .keepalive_min_s = 30, .keepalive_max_s = 300,
	.backoff_min_ms = 1, .backoff_max_ms = 10, .queue_max_messages = MESSAGES_MAX, .queue_max_bytes = 1000, .version = AGENT_MQTT_5,
};

static struct agent_mqtt *make_client(struct fixture *f, const struct agent_mqtt_options *options)
{
	struct agent_mqtt_options o = *options;
	struct agent_mqtt *mqtt = NULL;

	o.port = f->port;
	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &o, &handlers, f, &mqtt, NULL), 0);
	return mqtt;
}

static void connect_says_what_was_asked_for(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt *mqtt;
	struct agent_mqtt_info info;
	const unsigned char *alpn;
	unsigned alpn_size;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	options.session_s = 3600;
	options.max_packet = 65536;
	options.username = "hub/dev";
	options.alpn = "x-amzn-mqtt-ca";
	options.will_topic = "d/state";
	options.will_payload = "offline";
	options.no_retain = 1;
	mqtt = make_client(f, &options);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\1\0\3\x13\0\x2d"));	/* session present, server keep-alive 45 */
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(body[6], 5);
	assert_int_equal(body[7], 0x8c);		/* user name, will with QoS 1, not retained, no clean start */
	assert_memory_equal(body + 8, "\x01\x2c", 2);	/* the longest keep-alive */
	assert_true(has_bytes(body, size, "\x11\0\0\x0e\x10", 5));	/* session expiry interval 3600 */
	assert_true(has_bytes(body, size, "\x27\0\1\0\0", 5));		/* maximum packet size 65536 */
	assert_true(has_bytes(body, size, "\0\7hub/dev", 9));
	SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
	assert_int_equal(alpn_size, 0);	/* the server has none; that the client asked is seen below */
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.version, AGENT_MQTT_5);
	assert_int_equal(info.session_present, 1);
	assert_int_equal(info.keepalive_s, 45);
	assert_int_equal(info.n_connects, 1);
	assert_int_equal(info.n_handshakes, 1);
	assert_true(info.wire_sent > 100 && info.wire_received > 100);
	assert_string_equal(info.host, "127.0.0.1");
	stop(mqtt, thread);
	hang_up(ssl);
}

static char alpn_seen[65];

static int take_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen, void *arg)
{
	if (inlen > 1 && inlen <= sizeof(alpn_seen)) {
		memcpy(alpn_seen, in + 1, inlen - 1);
		*out = in + 1;
		*outlen = in[0];
	}
	return SSL_TLSEXT_ERR_OK;
}

static void the_protocol_name_is_asked_for(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt *mqtt;
	pthread_t thread;
	SSL *ssl;

	memset(alpn_seen, 0, sizeof(alpn_seen));
	SSL_CTX_set_alpn_select_cb(f->server_ctx, take_alpn, NULL);
	options.alpn = "x-amzn-mqtt-ca";
	mqtt = make_client(f, &options);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_string_equal(alpn_seen, "x-amzn-mqtt-ca");
	stop(mqtt, thread);
	hang_up(ssl);
}

static void answer_puback(SSL *ssl, const uint8_t *publish, char code)
{
	size_t topic = (size_t)publish[0] * 256 + publish[1];
	char puback[] = { 0x40, 3, (char)publish[2 + topic], (char)publish[3 + topic], code };

	assert_int_equal(SSL_write(ssl, puback, 5), 5);
}

static void a_refused_message_is_not_delivered_and_holds_up_nothing(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, &usual);
	uint64_t bad, later, good, big;
	struct agent_mqtt_info info;
	char large[200] = { 0 };
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	assert_int_equal(agent_mqtt_publish(mqtt, "d/no", "1", 1, AGENT_MQTT_QOS1, &bad, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "d/later", "2", 1, AGENT_MQTT_QOS1, &later, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "d/big", large, sizeof(large), AGENT_MQTT_QOS1, &big, NULL), 0);
	assert_int_equal(agent_mqtt_publish_ttl(mqtt, "d/yes", "3", 1, AGENT_MQTT_QOS1, 100, &good, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\0\0\5\x27\0\0\0\x64"));	/* packets of 100 bytes at most */
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 2, "d/no", 4);
	answer_puback(ssl, body, (char)0x87);
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 2, "d/later", 7);
	answer_puback(ssl, body, (char)0x83);	/* maybe later */
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 2, "d/yes", 5);
	/* Message expiry interval: 100 s, or a little less when we come late. */
	assert_int_equal(body[9], 5);
	assert_int_equal(body[10], 2);
	assert_true(body[14] <= 100 && body[14] > 50);
	answer_puback(ssl, body, 0);
	wait_for(f, &f->n_refused, 2);
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], good);
	assert_true((f->refused[0] == bad && f->refused[1] == big) || (f->refused[0] == big && f->refused[1] == bad));
	/* The other comes again, and again until it is given up. */
	for (int i = 1; i < 5; i++) {
		assert_int_equal(read_packet(ssl, body, &size), 0x32);
		assert_memory_equal(body + 2, "d/later", 7);
		answer_puback(ssl, body, (char)0x83);
	}
	wait_for(f, &f->n_refused, 3);
	assert_int_equal(f->refused[2], later);
	assert_string_equal(f->refusal, "mqtt.broker-rule");
	assert_int_equal(f->n_acked, 1);
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.payload_sent, 1 + 5 + 1);
	stop(mqtt, thread);
	hang_up(ssl);
}

/* Nothing is given up because of it: the fault is not the message's, and it ends. */
static void a_quota_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, &usual);
	uint64_t id;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	assert_int_equal(agent_mqtt_publish(mqtt, "d/quota", "1", 1, AGENT_MQTT_QOS1, &id, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\0\0\0"));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(read_packet(ssl, body, &size), 0x32);
		answer_puback(ssl, body, (char)0x97);
	}
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 2, "d/quota", 7);
	answer_puback(ssl, body, 0);
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], id);
	assert_int_equal(f->n_refused, 0);
	stop(mqtt, thread);
	hang_up(ssl);
}

/* PUBLISH to "d" with @size bytes of payload (128 to 16000), QoS 0. */
static void send_message(SSL *ssl, size_t size)
{
	size_t remaining = 3 + 1 + size;
	uint8_t packet[16 * 1024] = { 0x30, (uint8_t)(0x80 | (remaining & 0x7f)), (uint8_t)(remaining >> 7), 0, 1, 'd', 0 };

	assert_int_equal(SSL_write(ssl, packet, (int)(3 + remaining)), (int)(3 + remaining));
}

/* As much as the other side takes of @size bytes. */
static void send_zeros(SSL *ssl, size_t size)
{
	static const uint8_t zeros[4096];

	while (size > 0 && SSL_write(ssl, zeros, sizeof(zeros)) == (int)sizeof(zeros))
		size -= sizeof(zeros);
}

static void a_packet_without_end_is_not_kept(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_handlers with_messages = handlers;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt_info before, info;
	struct agent_mqtt *mqtt = NULL;
	pthread_t thread;
	SSL *ssl;

	signal(SIGPIPE, SIG_IGN);
	with_messages.message = saw_message;
	options.port = f->port;
	options.max_packet = 16 * 1024;
	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &options, &with_messages, f, &mqtt, NULL), 0);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d", 0, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_good(f);
	/* Much more than the limit, but each of them is whole. */
	for (unsigned i = 0; i < 50; i++)
		send_message(ssl, 15000);
	wait_for(f, &f->n_messages, 50);
	agent_mqtt_get_info(mqtt, &before);
	assert_int_equal(f->n_states[AGENT_MQTT_WAITING], 0);
	assert_int_equal(SSL_write(ssl, "\x30\xff\xff\xff\x7f\0\1d\0", 9), 9);	/* 256 MiB follow */
	send_zeros(ssl, 64 * MIB);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "mqtt.packet-size");
	agent_mqtt_get_info(mqtt, &info);
	assert_true(info.wire_received - before.wire_received < 128 * KIB);
	hang_up(ssl);
	/* Kept by libmosquitto until the broker lets go of it. */
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	assert_int_equal(SSL_write(ssl, "\x34\6\0\1d\0\1\0", 8), 8);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 2);
	assert_string_equal(f->why, "mqtt.protocol");
	hang_up(ssl);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 3);
	stop(mqtt, thread);
	hang_up(ssl);
}

/* libmosquitto would end the program; cut so that a record of TLS ends in the middle, and right behind the handshake. */
static void a_property_that_there_is_not_ends_the_connection_only(void **state)
{
	static const struct {
		const char *bytes;
		int size, cut;
	} bad[] = {
		{ "\x20\6\0\0\3\x04\0\0", 8, 8 },			/* instead of CONNACK */
		{ "\x20\3\0\0\0\x30\6\0\1d\2\xff\0", 13, 13 },	/* in one record with it */
		{ "\x20\3\0\0\0\xe0\4\0\2\x7f\0", 11, 7 },
		{ "\x20\3\0\0\0\x30\x0c\0\1d\4\3\0\2xyzzzz", 19, 12 },	/* longer than the properties */
		{ "\x20\3\0\0\0\x40\6\0\1\0\2\x7f\0", 13, 1 },
	};
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt *mqtt = NULL;
	uint8_t body[256];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	signal(SIGPIPE, SIG_IGN);
	options.port = f->port;
	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &options, &handlers, f, &mqtt, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ssl = serve_tls(f, accept_one(f));
		assert_int_equal(read_packet(ssl, body, &size), 0x10);
		assert_int_equal(SSL_write(ssl, bad[i].bytes, bad[i].cut), bad[i].cut);
		if (bad[i].cut < bad[i].size)
			(void)SSL_write(ssl, bad[i].bytes + bad[i].cut, bad[i].size - bad[i].cut);
		wait_for(f, &f->n_states[AGENT_MQTT_WAITING], i + 1);
		assert_string_equal(f->why, "mqtt.protocol");
		hang_up(ssl);
	}
	pthread_mutex_lock(&f->lock);
	f->n_states[AGENT_MQTT_ONLINE] = 0;
	pthread_mutex_unlock(&f->lock);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	stop(mqtt, thread);
	hang_up(ssl);
}

static void what_the_broker_says_at_the_end_has_a_name(void **state)
{
	static const struct {
		const char *answer, *name;
		size_t size;
	} refusals[] = {
		{ "\0\x87\0", "mqtt.not-authorised", 3 }, { "\0\x85\0", "mqtt.client-id", 3 }, { "\0\x89\0", "mqtt.busy", 3 },
		{ "\0\x84\0", "mqtt.version", 3 }, { "\0\xf0\0", "mqtt.refused", 3 }, { "\0\1", "mqtt.version", 2 },
	};
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f, &usual);
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	unsigned n;
	SSL *ssl;

	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	for (n = 0; n < ARRAY_SIZE(refusals); n++) {
		ssl = serve_connect(f, body, &size, refusals[n].answer, refusals[n].size);
		wait_for(f, &f->n_states[AGENT_MQTT_WAITING], n + 1);
		assert_string_equal(f->why, refusals[n].name);
		hang_up(ssl);
	}
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(SSL_write(ssl, "\xe0\2\x8e\0", 4), 4);	/* DISCONNECT: session taken over */
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], n + 1);
	assert_string_equal(f->why, "mqtt.taken-over");
	hang_up(ssl);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	stop(mqtt, thread);
	hang_up(ssl);
}

/* What an old broker says to CONNECT of MQTT 5: MQTT 3.1.1 section 3.1.2.2. */
static void a_broker_without_5_gets_311(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt *mqtt;
	struct agent_mqtt_info info;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl, *old;

	options.version = AGENT_MQTT_ANY;
	mqtt = make_client(f, &options);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	old = serve_connect(f, body, &size, ANSWER("\0\1"));
	assert_int_equal(body[6], 5);
	for (int i = 0; i < 2; i++) {
		ssl = serve_connect(f, body, &size, ANSWER("\0\0"));	/* the second time at once */
		assert_int_equal(body[6], 4);
		wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], (unsigned)i + 1);
		agent_mqtt_get_info(mqtt, &info);
		assert_int_equal(info.version, AGENT_MQTT_3_1_1);
		hang_up(ssl);
	}
	hang_up(old);
	stop(mqtt, thread);
}

static void a_filter_that_is_given_up_offline_leaves_the_session_of_the_broker(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt *mqtt;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl, *old;

	options.session_s = 100;
	options.backoff_min_ms = options.backoff_max_ms = 2000;
	mqtt = make_client(f, &options);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d/old", 1, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	old = serve_good(f);
	assert_int_equal(read_packet(old, body, &size), 0x82);
	hang_up(old);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_int_equal(agent_mqtt_unsubscribe(mqtt, "d/old", NULL), 0);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d/new", 1, NULL), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\1\0\0"));	/* the session is there */
	assert_int_equal(read_packet(ssl, body, &size), 0xa2);
	assert_true(has_bytes(body, size, "d/old", 5));
	assert_int_equal(read_packet(ssl, body, &size), 0x82);
	assert_true(has_bytes(body, size, "d/new", 5));
	stop(mqtt, thread);
	hang_up(ssl);
}

/* ---- several brokers */

/* One more listener in @other; it shares all else with @f. */
static void make_other(struct fixture *f, struct fixture *other)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);

	*other = (struct fixture){ .server_ctx = f->server_ctx };
	other->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(other->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(other->listen_fd, 20), 0);
	assert_int_equal(getsockname(other->listen_fd, (struct sockaddr *)&address, &size), 0);
	other->port = ntohs(address.sin_port);
}

static void what_one_broker_did_not_acknowledge_goes_to_the_next_and_back_home(void **state)
{
	struct fixture *f = *state, other;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt_broker broker = { .host = "127.0.0.1", .tls = f->tls };
	struct agent_mqtt_info info;
	struct agent_mqtt *mqtt;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	uint64_t id;
	SSL *ssl;
	int fd;

	make_other(f, &other);
	broker.port = other.port;
	options.brokers = &broker;
	options.n_brokers = 1;
	options.return_s = 1;
	mqtt = make_client(f, &options);
	assert_int_equal(agent_mqtt_publish(mqtt, "d/t", "1", 1, AGENT_MQTT_QOS1, &id, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_good(f);
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	hang_up(ssl);		/* without an answer */
	close(accept_one(f));	/* the first again: a new round begins there */
	ssl = serve_good(&other);
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 2, "d/t", 3);
	answer_puback(ssl, body, 0);
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], id);
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.broker, 1);
	assert_int_equal(info.port, other.port);
	/* Looks at the first one: TCP and no more. Then the way back, with a clean end here. */
	for (int i = 0; i < TURN_LOOKS; i++) {
		char byte;

		fd = accept_one(f);
		assert_int_equal(recv(fd, &byte, 1, 0), 0);
		close(fd);
	}
	assert_int_equal(read_packet(ssl, body, &size), 0xe0);
	hang_up(ssl);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 3);
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.broker, 0);
	stop(mqtt, thread);
	hang_up(ssl);
	close(other.listen_fd);
}

static void a_redirection_leads_to_brokers_of_the_list_only(void **state)
{
	struct fixture *f = *state, other;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt_broker broker = { .host = "127.0.0.1", .tls = f->tls };
	struct agent_mqtt *mqtt;
	char answer[64], reference[40];
	uint8_t body[128];
	pthread_t thread;
	size_t size, n;
	SSL *ssl, *old;

	make_other(f, &other);
	broker.port = other.port;
	options.brokers = &broker;
	options.n_brokers = 1;
	mqtt = make_client(f, &options);
	assert_int_equal(mqtt_find_broker(mqtt, ""), 2);
	assert_int_equal(mqtt_find_broker(mqtt, "evil.example 127.0.0.1"), 0);
	assert_int_equal(mqtt_find_broker(mqtt, "127.0.0.1:1"), 2);
	assert_int_equal(mqtt_find_broker(mqtt, "127.0.0.1.evil.example"), 2);
	assert_int_equal(mqtt_find_broker(mqtt, "[127.0.0.1"), 2);
	assert_int_equal(mqtt_find_broker(mqtt, "127.0.0.1:"), 2);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_connect(f, body, &size, ANSWER("\0\x9c\x0f\x1c\0\x0c" "evil.example"));
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "mqtt.moved");
	hang_up(ssl);
	close(accept_one(&other));	/* the next of the list, which is out of order */
	snprintf(reference, sizeof(reference), "evil.example 127.0.0.1:%u", other.port);
	n = strlen(reference);
	memcpy(answer, "\0\x9d", 2);
	answer[2] = (char)(n + 3);
	answer[3] = 0x1c;
	answer[4] = 0;
	answer[5] = (char)n;
	memcpy(answer + 6, reference, n);
	old = serve_connect(f, body, &size, answer, n + 6);
	ssl = serve_good(&other);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	hang_up(old);
	stop(mqtt, thread);
	hang_up(ssl);
	close(other.listen_fd);
}

/* A silence, PINGREQ of our own, and an answer that does not come. */
static void a_silent_loss_is_noticed_and_the_next_silence_is_shorter(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_options options = usual;
	struct agent_mqtt_info info;
	struct agent_mqtt *mqtt;
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	options.keepalive_s = 10;
	options.keepalive_min_s = 5;
	mqtt = make_client(f, &options);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(read_packet(ssl, body, &size), 0xc0);
	assert_int_equal(SSL_write(ssl, "\xd0\0", 2), 2);
	assert_int_equal(read_packet(ssl, body, &size), 0xc0);	/* and this one has no answer */
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "mqtt.keepalive");
	hang_up(ssl);
	ssl = serve_good(f);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	agent_mqtt_get_info(mqtt, &info);
	assert_int_equal(info.keepalive_s, 5);
	stop(mqtt, thread);
	hang_up(ssl);
}

static void bad_options_are_refused(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt_broker broker = { .host = "h", .port = 1, .tls = NULL };
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_mqtt_options bad[7];
	struct agent_mqtt *mqtt = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		bad[i] = usual;
		bad[i].port = 1;
	}
	bad[0].n_brokers = 1;
	bad[1].brokers = &broker;
	bad[1].n_brokers = 1;
	bad[2].version = 7;
	bad[3].alpn = "";
	bad[4].keepalive_min_s = 400;
	bad[5].keepalive_max_s = 0;
	bad[6].brokers = &broker;
	bad[6].n_brokers = 8;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &bad[i], NULL, NULL, &mqtt, &err), -EINVAL);
		assert_error(&err, -EINVAL, "mqtt.options");
	}
	for (int code = 0; code < 256; code++) {
		assert_non_null(mqtt_reason_get(code)->name);
		assert_true(mqtt_reason_get(code)->errnum > 0);
	}
	assert_string_equal(mqtt_reason_get(mqtt_reason_of_311(5))->name, "mqtt.not-authorised");
	assert_string_equal(mqtt_reason_get(mqtt_reason_of_311(4))->name, "mqtt.credentials");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(connect_says_what_was_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(the_protocol_name_is_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_message_is_not_delivered_and_holds_up_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_quota_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_packet_without_end_is_not_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(a_property_that_there_is_not_ends_the_connection_only, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_broker_says_at_the_end_has_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_broker_without_5_gets_311, setup, teardown),
		cmocka_unit_test_setup_teardown(a_filter_that_is_given_up_offline_leaves_the_session_of_the_broker, setup, teardown),
		cmocka_unit_test_setup_teardown(what_one_broker_did_not_acknowledge_goes_to_the_next_and_back_home, setup, teardown),
		cmocka_unit_test_setup_teardown(a_redirection_leads_to_brokers_of_the_list_only, setup, teardown),
		cmocka_unit_test_setup_teardown(a_silent_loss_is_noticed_and_the_next_silence_is_shorter, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_options_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
