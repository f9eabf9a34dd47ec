/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/mqtt_fixture.h"

static const struct agent_mqtt_handlers handlers = { .state = saw_state, .acked = saw_ack };

static struct agent_mqtt *make_client(struct fixture *f)
{
	struct agent_mqtt_options options = {
		.host = "127.0.0.1", .port = f->port, .client_id = "test", .keepalive_s = 60, .backoff_min_ms = 1, .backoff_max_ms = 10,
		.will_topic = "d/state", .will_payload = "offline", .birth_payload = "online",
		.queue_max_messages = MESSAGES_MAX, .queue_max_bytes = 1000,
	};
	struct agent_mqtt *mqtt = NULL;

	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &options, &handlers, f, &mqtt, NULL), 0);
	assert_int_equal(agent_mqtt_get_state(mqtt), AGENT_MQTT_OFFLINE);
	return mqtt;
}

/* Accept, read CONNECT, answer CONNACK with @code (MQTT 3.1.1 section 3.2). */
static SSL *serve_mqtt(struct fixture *f, int fd, uint8_t code)
{
	uint8_t body[128], connack[] = { 0x20, 2, 0, code };
	SSL *ssl = serve_tls(f, fd);
	size_t size;

	assert_int_equal(read_packet(ssl, body, &size), 0x10);
	assert_int_equal(body[6], 4);		/* protocol level 3.1.1 */
	assert_int_equal(body[7], 0x2e);	/* clean session, will with QoS 1, retained */
	assert_int_equal(SSL_write(ssl, connack, sizeof(connack)), (int)sizeof(connack));
	return ssl;
}

static SSL *accept_mqtt(struct fixture *f, uint8_t code)
{
	return serve_mqtt(f, accept_one(f), code);
}

static void the_client_comes_back_after_every_kind_of_failure(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	SSL *ssl;

	signal(SIGPIPE, SIG_DFL);	/* the library must not depend on the program here */
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	close(accept_one(f));		/* end before TLS */
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	ssl = SSL_new(f->server_ctx);	/* reset inside TLS */
	assert_int_equal(SSL_set_fd(ssl, accept_one(f)), 1);
	hang_up(ssl);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 2);
	ssl = accept_mqtt(f, 5);	/* not authorised */
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 3);
	assert_string_equal(f->why, "mqtt.not-authorised");
	hang_up(ssl);
	ssl = accept_mqtt(f, 0);	/* good, then killed */
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(read_packet(ssl, body, &size) & 0xf0, 0x30);
	hang_up(ssl);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 4);
	ssl = accept_mqtt(f, 0);	/* good, then nonsense instead of MQTT */
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	assert_int_equal(SSL_write(ssl, "\xf0\x00\xf0\x00", 4), 4);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 5);
	hang_up(ssl);
	ssl = accept_mqtt(f, 0);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 3);
	stop(mqtt, thread);
	hang_up(ssl);
}

static void nobody_listening_and_wrong_peers_are_named(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	pthread_t thread;
	int fd;

	close(f->listen_fd);
	f->listen_fd = -1;
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 3);
	assert_string_equal(f->why, "mqtt.connect");
	stop(mqtt, thread);

	/* Not TLS at all. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(listen(fd, 5), 0);
	f->listen_fd = fd;
	{
		struct sockaddr_in address;
		socklen_t size = sizeof(address);

		assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
		f->port = ntohs(address.sin_port);
	}
	memset(f->n_states, 0, sizeof(f->n_states));
	mqtt = make_client(f);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	fd = accept_one(f);
	assert_int_equal(send(fd, "HTTP/1.1 400 no\r\n\r\n", 19, MSG_NOSIGNAL), 19);
	wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1);
	assert_string_equal(f->why, "tls.no-tls");
	close(fd);
	stop(mqtt, thread);
}

static void what_was_not_acknowledged_is_sent_again_and_birth_and_will_frame_it(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	uint8_t body[128], puback[] = { 0x40, 2, 0, 0 }, suback[] = { 0x90, 3, 0, 0, 0x80 };
	bool have_offline = false;
	uint64_t id0, id1;
	pthread_t thread;
	size_t size;
	int head;
	SSL *ssl;

	assert_int_equal(agent_mqtt_publish(mqtt, "d/t", "one", 3, AGENT_MQTT_QOS1, &id0, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "d/t", "two", 3, AGENT_MQTT_QOS1, &id1, NULL), 0);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "d/canary", 1, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = accept_mqtt(f, 0);
	assert_int_equal(read_packet(ssl, body, &size), 0x33);	/* birth: QoS 1, retained */
	assert_memory_equal(body, "\0\7d/state", 9);
	assert_memory_equal(body + 11, "online", 6);
	assert_int_equal(read_packet(ssl, body, &size), 0x82);
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 7, "one", 3);
	puback[2] = body[5];
	puback[3] = body[6];
	assert_int_equal(SSL_write(ssl, puback, 4), 4);
	wait_for(f, &f->n_acked, 1);
	assert_int_equal(f->acked[0], id0);
	hang_up(ssl);

	ssl = accept_mqtt(f, 0);
	assert_int_equal(read_packet(ssl, body, &size), 0x33);
	assert_int_equal(read_packet(ssl, body, &size), 0x82);	/* the subscription again, refused now */
	suback[2] = body[0];
	suback[3] = body[1];
	assert_int_equal(SSL_write(ssl, suback, 5), 5);
	assert_int_equal(read_packet(ssl, body, &size), 0x32);
	assert_memory_equal(body + 7, "two", 3);
	puback[2] = body[5];
	puback[3] = body[6];
	assert_int_equal(SSL_write(ssl, puback, 4), 4);
	wait_for(f, &f->n_acked, 2);
	assert_int_equal(f->acked[1], id1);
	assert_string_equal(f->why, "mqtt.subscribe");
	agent_mqtt_stop(mqtt);
	while ((head = read_packet(ssl, body, &size)) > 0 && head != 0xe0)
		if (head == 0x31 && size == 16 && memcmp(body + 9, "offline", 7) == 0)
			have_offline = true;
	assert_true(have_offline);
	assert_int_equal(head, 0xe0);	/* a clean DISCONNECT */
	stop(mqtt, thread);
	hang_up(ssl);
}

static void a_connection_that_the_caller_rejects_is_left_as_a_failed_one(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	uint8_t body[128];
	pthread_t thread;
	size_t size;
	int head;
	SSL *ssl;

	agent_mqtt_reject(NULL, 0);
	agent_mqtt_reject(mqtt, 0);	/* no connection: nothing */
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	for (int was_good = 0; was_good < 2; was_good++) {
		bool has_offline = false;

		ssl = accept_mqtt(f, 0);
		wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1 + (unsigned)was_good);
		agent_mqtt_reject(mqtt, was_good);
		while ((head = read_packet(ssl, body, &size)) > 0 && head != 0xe0)
			has_offline |= head == 0x31 && size == 16 && memcmp(body + 9, "offline", 7) == 0;
		assert_int_equal(head, 0xe0);
		assert_true(has_offline);	/* others see that the device cannot be reached */
		hang_up(ssl);
		wait_for(f, &f->n_states[AGENT_MQTT_WAITING], 1 + (unsigned)was_good);
		assert_string_equal(f->why, "mqtt.deaf");
	}
	ssl = accept_mqtt(f, 0);	/* and it comes back */
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 3);
	stop(mqtt, thread);
	hang_up(ssl);
}

static void stop_before_run_and_a_second_run_work(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	pthread_t thread;
	SSL *ssl;

	agent_mqtt_stop(mqtt);
	assert_int_equal(agent_mqtt_run(mqtt, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = accept_mqtt(f, 0);
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(agent_mqtt_run(mqtt, NULL), -EBUSY);
	stop(mqtt, thread);
	hang_up(ssl);
	agent_mqtt_stop(NULL);
	assert_null(agent_mqtt_free(NULL));
}

/*
 * A listener whose backlog is full drops the first SYN, so that TCP comes up only after libmosquitto began with TLS, as with every broker
 * that is not on the same machine.
 */
static void tcp_may_take_a_moment_to_come_up(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(f->port) };
	struct agent_mqtt *mqtt = make_client(f);
	pthread_t thread;
	SSL *ssl = NULL;
	int crowd[8];

	assert_int_equal(listen(f->listen_fd, 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(crowd[i], (struct sockaddr *)&address, sizeof(address));
	}
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	wait_for(f, &f->n_states[AGENT_MQTT_CONNECTING], 1);
	poll(NULL, 0, 300);	/* for its first SYN to be lost; later is as well */
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		close(crowd[i]);
	while (ssl == NULL) {
		int fd = accept_one(f);
		char byte;

		if (recv(fd, &byte, 1, MSG_PEEK) == 1)
			ssl = serve_mqtt(f, fd, 0);
		else
			close(fd);	/* one of the crowd */
	}
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	hang_up(ssl);
	stop(mqtt, thread);
}

static void bad_arguments_are_refused(void **state)
{
	struct fixture *f = *state;
	const struct agent_mqtt_options good = {
		.host = "h", .port = 1, .client_id = "c", .keepalive_s = 60, .backoff_min_ms = 1, .backoff_max_ms = 1,
		.queue_max_messages = 2, .queue_max_bytes = 100,
	};
	struct agent_mqtt_options bad[10];
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_mqtt *mqtt = NULL;
	uint64_t id;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].host = "";
	bad[1].port = 0;
	bad[2].client_id = "";
	bad[3].client_id = "\xff";
	bad[4].keepalive_s = 4;
	bad[5].backoff_max_ms = 0;
	bad[6].will_topic = "a/#";
	bad[7].birth_payload = "online";
	bad[8].queue_max_messages = 0;
	bad[9].backoff_max_ms = UINT32_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &bad[i], NULL, NULL, &mqtt, &err), -EINVAL);
		assert_error(&err, -EINVAL, "mqtt.options");
	}
	assert_int_equal(agent_mqtt_new(f->ctx, NULL, &good, NULL, NULL, &mqtt, &err), -EINVAL);
	assert_null(mqtt);

	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &good, NULL, NULL, &mqtt, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "a/+", "", 0, 0, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL, "mqtt.topic");
	assert_int_equal(agent_mqtt_publish(mqtt, "\xff", "", 0, 0, NULL, &err), -EINVAL);
	assert_int_equal(agent_mqtt_publish(mqtt, "", "", 0, 0, NULL, &err), -EINVAL);
	assert_int_equal(agent_mqtt_publish(mqtt, "a", NULL, 1, 0, NULL, &err), -EINVAL);
	assert_int_equal(agent_mqtt_publish(mqtt, "a", "", 0, 8, NULL, &err), -EINVAL);
	assert_int_equal(agent_mqtt_publish(mqtt, "a", "", 0, 1, &id, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "a", "", 0, 1, &id, NULL), 0);
	assert_int_equal(agent_mqtt_publish(mqtt, "a", "", 0, 1, &id, &err), -EDQUOT);
	assert_error(&err, -EDQUOT, "mqtt.full");
	assert_int_equal(agent_mqtt_subscribe(mqtt, "a/#/b", 0, &err), -EINVAL);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "a", 3, &err), -EINVAL);
	for (int i = 0; i < MQTT_FILTERS_MAX; i++)
		assert_int_equal(agent_mqtt_subscribe(mqtt, "a", 0, NULL), 0);
	assert_int_equal(agent_mqtt_subscribe(mqtt, "a", 0, &err), -EDQUOT);
	agent_mqtt_free(mqtt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_client_comes_back_after_every_kind_of_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_listening_and_wrong_peers_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_not_acknowledged_is_sent_again_and_birth_and_will_frame_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_connection_that_the_caller_rejects_is_left_as_a_failed_one, setup, teardown),
		cmocka_unit_test_setup_teardown(stop_before_run_and_a_second_run_work, setup, teardown),
		cmocka_unit_test_setup_teardown(tcp_may_take_a_moment_to_come_up, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_arguments_are_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
