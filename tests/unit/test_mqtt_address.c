/* SPDX-License-Identifier: Apache-2.0 */
/* A broker whose name stands for several addresses, of which not all are good. */
#include "tests/unit/mqtt_fixture.h"

#define ADDRESSES_MAX 32

static const struct agent_mqtt_handlers handlers = { .state = saw_state };

/* What the name stands for: the last bytes of 127.0.0.x. */
static uint8_t answer[ADDRESSES_MAX];
static size_t n_answer;

/* In place of the C library's. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	struct { struct addrinfo info; struct sockaddr_in address; } *all = calloc(n_answer, sizeof(*all));

	assert_string_equal(host, "broker.test");
	for (size_t i = 0; i < n_answer; i++) {
		all[i].address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u | answer[i]) };
		all[i].info = (struct addrinfo){ .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addrlen = sizeof(all[i].address),
						 .ai_addr = (struct sockaddr *)&all[i].address, .ai_next = i + 1 < n_answer ? &all[i + 1].info : NULL };
	}
	*ret_list = &all[0].info;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}

static struct agent_mqtt *make_client(struct fixture *f)
{
	struct agent_mqtt_options options = {
		.host = "broker.test", .port = f->port, .client_id = "test", .keepalive_s = 60, .backoff_min_ms = 1, .backoff_max_ms = 10,
		.queue_max_messages = MESSAGES_MAX, .queue_max_bytes = 1000,
	};
	struct agent_mqtt *mqtt = NULL;

	assert_int_equal(agent_mqtt_new(f->ctx, f->tls, &options, &handlers, f, &mqtt, NULL), 0);
	return mqtt;
}

static SSL *serve_mqtt(struct fixture *f, int fd)
{
	uint8_t body[128];
	SSL *ssl = serve_tls(f, fd);
	size_t size;

	assert_int_equal(read_packet(ssl, body, &size), 0x10);
	assert_int_equal(SSL_write(ssl, "\x20\2\0\0", 4), 4);
	return ssl;
}

static int listen_at(uint32_t address, uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address), .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 5) == 0)
		return fd;
	close(fd);
	return -1;
}

/* 127.0.0.2 beside the fixture's 127.0.0.1, which gets another port when somebody has that one there. */
static int listen_beside(struct fixture *f)
{
	struct sockaddr_in at;
	socklen_t size = sizeof(at);
	int fd;

	while ((fd = listen_at(0x7f000002, f->port)) < 0) {
		close(f->listen_fd);
		f->listen_fd = listen_at(INADDR_LOOPBACK, 0);
		assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&at, &size), 0);
		f->port = ntohs(at.sin_port);
	}
	return fd;
}

/* A captive portal, or a machine whose broker is broken: it takes TCP, the first time it answers, then it takes TCP and says nothing. */
static void an_address_that_takes_tcp_and_nothing_more_hides_no_other(void **state)
{
	struct fixture *f = *state;
	struct pollfd portal = { .fd = listen_beside(f), .events = POLLIN };
	struct agent_mqtt *mqtt = make_client(f);
	uint8_t hello[5];
	pthread_t thread;
	SSL *ssl;
	int fd;

	n_answer = 2;
	answer[0] = 2;
	answer[1] = 1;
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	assert_int_equal(poll(&portal, 1, 40000), 1);
	fd = accept(portal.fd, NULL, NULL);
	assert_int_equal(recv(fd, hello, sizeof(hello), MSG_WAITALL), sizeof(hello));
	assert_int_equal(send(fd, "HTTP/1.1 302 Found\r\n\r\n", 22, MSG_NOSIGNAL), 22);
	ssl = serve_mqtt(f, accept_one(f));
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	/* The one that was good is the next to be tried. */
	hang_up(ssl);
	ssl = serve_mqtt(f, accept_one(f));
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 2);
	assert_int_equal(poll(&portal, 1, 0), 0);
	stop(mqtt, thread);
	hang_up(ssl);
	close(fd);
	close(portal.fd);
}

static void of_many_addresses_each_has_its_turn(void **state)
{
	struct fixture *f = *state;
	struct agent_mqtt *mqtt = make_client(f);
	pthread_t thread;
	SSL *ssl;

	/* Nobody listens there, so it is told at once. */
	n_answer = 20;
	memset(answer, 3, sizeof(answer));
	answer[19] = 1;
	assert_int_equal(pthread_create(&thread, NULL, run, mqtt), 0);
	ssl = serve_mqtt(f, accept_one(f));
	wait_for(f, &f->n_states[AGENT_MQTT_ONLINE], 1);
	assert_int_equal(f->n_states[AGENT_MQTT_WAITING], 2); /* 8, 8 and 4 */
	stop(mqtt, thread);
	hang_up(ssl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_address_that_takes_tcp_and_nothing_more_hides_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(of_many_addresses_each_has_its_turn, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
