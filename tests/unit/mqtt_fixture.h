/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_MQTT_FIXTURE_H
#define TESTS_UNIT_MQTT_FIXTURE_H
/* A loopback "broker" of a few lines per case for tests of the MQTT client. */
#include "tests/unit/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include <agent/mqtt.h>
#include <agent/openssl.h>

#include "net/mqtt.h"
#include "tests/unit/pki.h"

#define MESSAGES_MAX 8

/* What the client's handlers saw. */
struct fixture {
	struct temp_dir dir;
	struct agent_context *ctx;
	struct agent_tls *tls;
	EVP_PKEY *key;
	X509 *cert;
	SSL_CTX *server_ctx;
	int listen_fd;
	uint16_t port;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n_states[4];
	char why[64];	/* name of the last reason */
	uint64_t acked[MESSAGES_MAX];
	unsigned n_acked;
	uint64_t refused[MESSAGES_MAX];
	unsigned n_refused, n_messages;
	char refusal[64];
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct agent_tls_options options = { .peer_name = "127.0.0.1" };
	socklen_t size = sizeof(address);
	char path[96];

	temp_dir_make(&f->dir);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	assert_int_equal(agent_context_new(&f->ctx), 0);
	f->key = pki_key();
	f->cert = pki_cert(&(struct pki_spec){ .common_name = "b", .names = "IP:127.0.0.1", .is_ca = 1 }, f->key, NULL, NULL);
	snprintf(path, sizeof(path), "%s/ca.pem", f->dir.path);
	pki_write(path, f->cert);
	options.ca_file = path;
	assert_int_equal(agent_tls_new(f->ctx, &options, &f->tls, NULL), 0);
	f->server_ctx = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate(f->server_ctx, f->cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(f->server_ctx, f->key), 1);
	f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(f->listen_fd, 5), 0);
	assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&address, &size), 0);
	f->port = ntohs(address.sin_port);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->listen_fd >= 0)
		close(f->listen_fd);
	SSL_CTX_free(f->server_ctx);
	X509_free(f->cert);
	EVP_PKEY_free(f->key);
	agent_tls_unref(f->tls);
	agent_context_unref(f->ctx);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	temp_dir_remove(&f->dir);
	free(f);
	return 0;
}

static inline void saw_state(void *userdata, enum agent_mqtt_state s, const struct agent_error *why)
{
	struct fixture *f = userdata;

	pthread_mutex_lock(&f->lock);
	f->n_states[s]++;
	if (why != NULL)
		snprintf(f->why, sizeof(f->why), "%s", agent_error_name(why));
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void saw_ack(void *userdata, uint64_t id)
{
	struct fixture *f = userdata;

	pthread_mutex_lock(&f->lock);
	if (f->n_acked < MESSAGES_MAX)
		f->acked[f->n_acked++] = id;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void saw_refusal(void *userdata, uint64_t id, const struct agent_error *why)
{
	struct fixture *f = userdata;

	pthread_mutex_lock(&f->lock);
	if (f->n_refused < MESSAGES_MAX)
		f->refused[f->n_refused++] = id;
	snprintf(f->refusal, sizeof(f->refusal), "%s", agent_error_name(why));
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static inline void wait_for(struct fixture *f, const unsigned *counter, unsigned n)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 40;
	pthread_mutex_lock(&f->lock);
	while (*counter < n && r == 0)
		r = pthread_cond_timedwait(&f->changed, &f->lock, &until);
	assert_true(*counter >= n);
	pthread_mutex_unlock(&f->lock);
}

static inline void *run(void *userdata)
{
	return (void *)(intptr_t)agent_mqtt_run(userdata, NULL);
}

static inline void stop(struct agent_mqtt *mqtt, pthread_t thread)
{
	void *result;

	agent_mqtt_stop(mqtt);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	assert_int_equal(agent_mqtt_get_state(mqtt), AGENT_MQTT_OFFLINE);
	agent_mqtt_free(mqtt);
}

static inline int accept_one(struct fixture *f)
{
	struct pollfd p = { .fd = f->listen_fd, .events = POLLIN };
	int fd;

	assert_int_equal(poll(&p, 1, 40000), 1);
	fd = accept(f->listen_fd, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

static inline SSL *serve_tls(struct fixture *f, int fd)
{
	SSL *ssl = SSL_new(f->server_ctx);

	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	assert_int_equal(SSL_accept(ssl), 1);
	return ssl;
}

/* Read one MQTT packet (below 128 bytes); its first byte, or -1 at the end. */
static inline int read_packet(SSL *ssl, uint8_t *body, size_t *ret_size)
{
	uint8_t head[2];
	size_t n = 0;

	for (size_t i = 0; i < 2; i++)
		if (SSL_read(ssl, head + i, 1) != 1)
			return -1;
	assert_true(head[1] < 128);
	while (n < head[1]) {
		int got = SSL_read(ssl, body + n, (int)(head[1] - n));

		if (got <= 0)
			return -1;
		n += (size_t)got;
	}
	*ret_size = n;
	return head[0];
}

/* Abruptly: no close_notify, and a reset instead of a FIN. */
static inline void hang_up(SSL *ssl)
{
	struct linger now = { .l_onoff = 1 };
	int fd = SSL_get_fd(ssl);

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	SSL_free(ssl);
	close(fd);
}

/* Accept, read CONNECT into @body, answer CONNACK of MQTT 5 with @size bytes after the first two. */
static inline SSL *serve_connect(struct fixture *f, uint8_t *body, size_t *ret_size, const char *answer, size_t size)
{
	SSL *ssl = serve_tls(f, accept_one(f));
	uint8_t head[2] = { 0x20, (uint8_t)size };

	assert_int_equal(read_packet(ssl, body, ret_size), 0x10);
	assert_int_equal(SSL_write(ssl, head, 2), 2);
	assert_int_equal(SSL_write(ssl, answer, (int)size), (int)size);
	return ssl;
}

#define ANSWER(text) text, sizeof(text) - 1
#define GOOD ANSWER("\0\0\0")

static inline SSL *serve_good(struct fixture *f)
{
	uint8_t body[128];
	size_t size;

	return serve_connect(f, body, &size, GOOD);
}

static inline bool has_bytes(const uint8_t *body, size_t size, const char *bytes, size_t n)
{
	for (size_t i = 0; i + n <= size; i++)
		if (memcmp(body + i, bytes, n) == 0)
			return true;
	return false;
}

static inline void saw_message(void *userdata, const char *topic, const void *payload, size_t size)
{
	struct fixture *f = userdata;

	(void)topic;
	(void)payload;
	(void)size;
	pthread_mutex_lock(&f->lock);
	f->n_messages++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

#endif
