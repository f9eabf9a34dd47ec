/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS server: TLS 1.3 only, a P-256 key that exists in memory only, a certificate that core's device CA issues.
 * A TPM makes a few signatures a second, so it signs this certificate once and never a handshake.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <agent/openssl.h>

#include "agentd/common/peer.h"
#include "agentd/common/service.h"
#include "agentd/mgmt/budget.h"
#include "agentd/mgmt/conn.h"
#include "base/buf.h"
#include "base/macro.h"
#include "crypto/verify_dates.h"

#define SECOND_US UINT64_C(1000000)
#define CHECK_US (3600 * SECOND_US)	/* look at the certificate's age */
#define RETRY_US (2 * SECOND_US)
#define AGAIN_US (5 * SECOND_US)	/* between two questions because of the clock */
#define RETRY_LONG_US (30 * SECOND_US)
#define RETRY_OWNER_US (60 * SECOND_US)
#define RENEW_BEFORE_S (24 * 3600)
#define LEARN_US (60 * SECOND_US)	/* one new certificate for new addresses per minute at most */
#define HANDSHAKES_MAX 32		/* in progress at once */
#define ADDRESSES_MAX 16
#define FAIR_SLOTS 1024
#define PLACES_KNOWN 16			/* beside the strangers', for sources somebody has logged in from */

struct tls {
	struct mgmt *m;
	EVP_PKEY *key;
	SSL_CTX *ctx;		/* NULL until core has issued a certificate */
	EVP_PKEY *owner_key;	/* of the owner's own certificate, NULL while there is none that is good now */
	char *owner_pem;
	SSL_CTX *owner_ctx;	/* then instead of ctx */
	X509 *owner_leaf;
	bool owner_is_waiting;	/* there is one, and it is not good now: the clock may be behind */
	sd_bus_slot *owner_slot;
	SSL_CTX *client_ctx;	/* the same and asks for a certificate; NULL when nobody can be let in that way */
	char *chain_pem;	/* leaf and CA */
	char ca_fingerprint[65];
	X509 *leaf;
	char *addresses[ADDRESSES_MAX];
	size_t n_addresses;
	sd_event_source *timer, *queue_timer;
	sd_bus_slot *slot;
	uint64_t learned_us, asked_us;
	bool has_new_name; /* an address that no certificate was asked for yet */
	uint64_t served_us[FAIR_SLOTS];	/* when a source last got a handshake, by hash: a collision costs a little fairness */
	uint8_t fair_key[16];
	uint64_t blocked_until_us;	/* no token for strangers before */
	unsigned cpu_share;		/* in thousandths of a processor */
	bool has_budget;
};

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)

int tls_hello_check(const uint8_t *data, size_t size, size_t *ret_want)
{
	size_t length;

	*ret_want = 6;
	/* RFC 8446 section 5.1: handshake record, legacy version 3.x; and its first message is a ClientHello */
	if ((size >= 1 && data[0] != 22) || (size >= 2 && data[1] != 3) || (size >= 3 && data[2] > 4))
		return -EBADMSG;
	if (size < 6)
		return 0;
	length = (size_t)data[3] << 8 | data[4];
	if (length < 40 || length > 4096 || data[5] != 1)
		return -EBADMSG;
	*ret_want = 5 + length;
	return size >= 5 + length ? 1 : 0;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in, unsigned in_size, void *arg)
{
	static const unsigned char http11[] = "\x08http/1.1";

	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_size, http11, sizeof(http11) - 1, in, in_size) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

static int ctx_new(EVP_PKEY *key, const char *chain_pem, enum agent_tls_profile profile, SSL_CTX **ret_ctx, X509 **ret_leaf)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(chain_pem, -1);
	_cleanup_(X509_freep) X509 *leaf = NULL;
	X509 *next;

	if (ctx == NULL || bio == NULL)
		return -ENOMEM;
	leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (leaf == NULL)
		return -EBADMSG;
	while ((next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		if (SSL_CTX_add_extra_chain_cert(ctx, next) != 1) {
			X509_free(next);
			return -ENOMEM;
		}
	ERR_clear_error(); /* the end of the text */
	if (agent_openssl_restrict(ctx, profile, NULL) < 0)
		return -EIO;
	SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT); /* passwords and tokens */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"agentd-mgmt", 11);
	if (SSL_CTX_use_certificate(ctx, leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return -EBADMSG;
	*ret_ctx = TAKE_PTR(ctx);
	*ret_leaf = TAKE_PTR(leaf);
	return 0;
}

static bool is_leaf_due(const struct tls *t)
{
	int64_t now_s = mgmt_date(t->m);

	return t->leaf == NULL || time_is_over(X509_get0_notAfter(t->leaf), now_s + RENEW_BEFORE_S) || time_is_early(X509_get0_notBefore(t->leaf), now_s);
}

/* Without authorities, or with a revocation list that cannot be read, there is none: the door lets nobody in. */
static void client_ctx_make(struct tls *t)
{
	SSL_CTX *ctx = NULL;
	X509 *leaf = NULL;

	SSL_CTX_free(t->client_ctx);
	t->client_ctx = NULL;
	if (t->m->clients == NULL || t->chain_pem == NULL)
		return;
	if (ctx_new(t->owner_ctx != NULL ? t->owner_key : t->key, t->owner_ctx != NULL ? t->owner_pem : t->chain_pem, AGENT_TLS_SERVER_MUTUAL, &ctx,
		    &leaf) < 0)
		return;
	X509_free(leaf);
	if (client_ctx_prepare(t->m, ctx) < 0)
		SSL_CTX_free(ctx);
	else
		t->client_ctx = ctx;
}

static void owner_drop(struct tls *t)
{
	SSL_CTX_free(t->owner_ctx);
	X509_free(t->owner_leaf);
	EVP_PKEY_free(t->owner_key); /* wiped */
	free(t->owner_pem);
	t->owner_ctx = NULL;
	t->owner_leaf = NULL;
	t->owner_key = NULL;
	t->owner_pem = NULL;
}

static void check_after(struct tls *t, uint64_t delay_us)
{
	sd_event_source_set_time(t->timer, mgmt_now_us(t->m) + delay_us);
	sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

/* Within the hour, for a new name within the minute, and when the owner's certificate ends; while it is not good yet each minute, as the clock may be set any time. */
static void check_soon(struct tls *t)
{
	uint64_t delay_us = t->has_new_name ? LEARN_US : t->owner_is_waiting ? RETRY_OWNER_US : CHECK_US;
	int64_t end_s, left_s;

	if (t->owner_leaf != NULL && time_from_asn1(X509_get0_notAfter(t->owner_leaf), &end_s) >= 0) {
		left_s = end_s - mgmt_date(t->m);
		if (left_s < (int64_t)(delay_us / SECOND_US))
			delay_us = (uint64_t)(left_s < 0 ? 0 : left_s) * SECOND_US + SECOND_US;
	}
	check_after(t, delay_us);
}

static bool owner_is_over(const struct tls *t)
{
	int64_t now_s = mgmt_date(t->m);

	return t->owner_leaf != NULL && (time_is_over(X509_get0_notAfter(t->owner_leaf), now_s) || time_is_early(X509_get0_notBefore(t->owner_leaf), now_s));
}

static void look_at_dates(struct tls *t)
{
	/* At once, whether core answers or not. */
	if (owner_is_over(t)) {
		owner_drop(t);
		client_ctx_make(t);
		t->owner_is_waiting = true;
		service_log(LOG_WARNING, "the owner's certificate is not valid now; HTTPS shows the certificate of the device CA");
	}
	if (t->owner_is_waiting)
		tls_owner_ask(t->m);
	check_soon(t);
	if (is_leaf_due(t) || t->has_new_name)
		tls_renew(t->m);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	look_at_dates(userdata);
	return 0;
}

void tls_time_changed(struct mgmt *m)
{
	if (m->tls != NULL && m->tls->timer != NULL)
		look_at_dates(m->tls);
}

/* Of the key and not of the certificate: it stays when the certificate is made anew, so it can stand on a label. */
static void fingerprint_make(struct tls *t, const char *ca_pem)
{
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new_mem_buf(ca_pem, -1);
	_cleanup_(X509_freep) X509 *ca = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
	unsigned char *der = NULL, digest[32];
	int size = ca == NULL ? -1 : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ca), &der);

	t->ca_fingerprint[0] = '\0';
	if (size > 0 && EVP_Digest(der, (size_t)size, digest, NULL, EVP_sha256(), NULL) == 1)
		hex_encode(digest, sizeof(digest), t->ca_fingerprint);
	OPENSSL_free(der);
}

/* Once: what a handshake takes does not change with the certificate. */
static void budget_make(struct tls *t)
{
	unsigned rate = (unsigned)t->m->settings->mgmt.handshakes_per_s;
	uint32_t us = 0;

	if (t->has_budget)
		return;
	t->has_budget = true;
	if (rate == 0) {
		us = budget_handshake_us(t->ctx);
		rate = budget_rate(us, t->cpu_share);
		service_log(LOG_INFO, "a handshake takes %u us here, and %u.%u %% of a processor are ours: %u a second at most", us, t->cpu_share / 10,
			    t->cpu_share % 10, rate);
	}
	budget_apply(t->m->limits, rate);
}

static int on_leaf(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct tls *t = userdata;
	const char *leaf_pem, *ca_pem;
	_cleanup_error_ struct agent_error *err = NULL;
	char *chain = NULL;
	SSL_CTX *ctx;
	X509 *leaf;
	int r;

	t->slot = sd_bus_slot_unref(t->slot);
	if (sd_bus_message_is_method_error(reply, NULL)) {
		r = peer_error_from_bus(sd_bus_message_get_error(reply), -sd_bus_message_get_errno(reply), &err);
		service_log(LOG_WARNING, "no certificate for HTTPS yet: %s", agent_error_message(err));
		check_after(t, r == -ENOTCONN || r == -ENODEV || r == -EAGAIN ? RETRY_US : RETRY_LONG_US);
		return 0;
	}
	r = sd_bus_message_read(reply, "ss", &leaf_pem, &ca_pem);
	if (r >= 0 && asprintf(&chain, "%s%s", leaf_pem, ca_pem) < 0)
		r = -ENOMEM;
	if (r >= 0) {
		r = ctx_new(t->key, chain, AGENT_TLS_SERVER, &ctx, &leaf);
		if (r < 0)
			free(chain);
	}
	if (r < 0) {
		service_log(LOG_ERR, "core's certificate cannot be used: %s", strerror(-r));
		check_after(t, RETRY_LONG_US);
		return 0;
	}
	/* Connections under way keep the old one. */
	SSL_CTX_free(t->ctx);
	X509_free(t->leaf);
	t->ctx = ctx;
	t->leaf = leaf;
	budget_make(t);
	free(t->chain_pem);
	t->chain_pem = chain;
	fingerprint_make(t, ca_pem);
	client_ctx_make(t);
	check_soon(t);
	service_log(LOG_INFO, "HTTPS has a new certificate");
	listener_enable_https(t->m);
	return 0;
}

void tls_renew(struct mgmt *m)
{
	struct tls *t = m->tls;
	_cleanup_error_ struct agent_error *err = NULL;
	sd_bus_message *call = NULL;
	unsigned char *spki = NULL;
	int size, r;

	if (t == NULL || t->slot != NULL)
		return;
	size = i2d_PUBKEY(t->key, &spki);
	r = size <= 0 ? -ENOMEM : core_message(m, "LeafIssue", &call, &err);
	if (r >= 0)
		r = sd_bus_message_append_array(call, 'y', spki, (size_t)size);
	if (r >= 0)
		r = sd_bus_message_open_container(call, 'a', "s");
	for (size_t i = 0; r >= 0 && i < m->n_names; i++)
		r = sd_bus_message_append(call, "s", m->names[i]);
	for (size_t i = 0; r >= 0 && i < t->n_addresses; i++)
		r = sd_bus_message_append(call, "s", t->addresses[i]);
	if (r >= 0)
		r = sd_bus_message_close_container(call);
	if (r >= 0)
		r = core_send(m, call, 0, on_leaf, t, &t->slot, &err);
	if (r >= 0)
		t->has_new_name = false;
	OPENSSL_free(spki);
	sd_bus_message_unref(call);
	if (r < 0)
		check_after(t, RETRY_US);
}

/* ---- the owner's own ------------------------------------------------------------------------------------------------ */

static int owner_take(struct tls *t, const char *pem, const void *der, size_t size)
{
	const unsigned char *at = der;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)size);
	char *copy = strdup(pem);
	SSL_CTX *ctx;
	X509 *leaf;
	int r = key == NULL ? -EBADMSG : copy == NULL ? -ENOMEM : ctx_new(key, pem, AGENT_TLS_SERVER, &ctx, &leaf);

	if (r < 0) {
		EVP_PKEY_free(key);
		free(copy);
		ERR_clear_error();
		return r;
	}
	owner_drop(t);
	t->owner_ctx = ctx;
	t->owner_leaf = leaf;
	t->owner_key = key;
	t->owner_pem = copy;
	return 0;
}

/* Whatever is wrong with it, HTTPS goes on with the certificate of the device CA. */
static int on_owner(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct tls *t = userdata;
	bool had = t->owner_ctx != NULL;
	const void *der = NULL;
	const char *pem = "";
	size_t size = 0;
	int is_installed = 0, r;

	t->owner_slot = sd_bus_slot_unref(t->owner_slot);
	(void)sd_bus_message_sensitive(reply); /* wiped when it goes */
	if (sd_bus_message_is_method_error(reply, NULL)) {
		_cleanup_error_ struct agent_error *err = NULL;

		r = peer_error_from_bus(sd_bus_message_get_error(reply), -sd_bus_message_get_errno(reply), &err);
		/* Core is away or busy: what we have stays until its end. Before the password is set there is none. */
		t->owner_is_waiting = r != -EKEYEXPIRED && r != -ENOKEY;
		if (!t->owner_is_waiting || owner_is_over(t))
			owner_drop(t);
	} else {
		r = sd_bus_message_read(reply, "bs", &is_installed, &pem);
		if (r >= 0)
			r = sd_bus_message_read_array(reply, 'y', &der, &size);
		if (r >= 0 && size > 0)
			r = owner_take(t, pem, der, size);
		if (r < 0)
			service_log(LOG_ERR, "the owner's certificate cannot be used: %s", strerror(-r));
		if (r < 0 || size == 0)
			owner_drop(t);
		t->owner_is_waiting = is_installed && size == 0;
	}
	if (had || t->owner_ctx != NULL) {
		service_log(LOG_INFO, "HTTPS shows %s", t->owner_ctx != NULL ? "the owner's own certificate" : "the certificate of the device CA");
		client_ctx_make(t);
	}
	if (t->leaf != NULL)
		check_soon(t);
	return 0;
}

void tls_owner_ask(struct mgmt *m)
{
	struct tls *t = m->tls;
	sd_bus_message *call = NULL;

	if (t == NULL)
		return;
	/* The answer to an older question may be from before what is asked for now. */
	t->owner_slot = sd_bus_slot_unref(t->owner_slot);
	if (core_message(m, "HttpsGet", &call, NULL) >= 0)
		(void)core_send(m, call, 0, on_owner, t, &t->owner_slot, NULL);
	sd_bus_message_unref(call);
}

bool tls_has_owner(const struct mgmt *m)
{
	return m->tls != NULL && m->tls->owner_ctx != NULL;
}

bool tls_is_ready(const struct mgmt *m)
{
	return m->tls != NULL && m->tls->ctx != NULL;
}

const char *tls_ca_fingerprint(const struct mgmt *m)
{
	return m->tls == NULL ? "" : m->tls->ca_fingerprint;
}

static bool address_add(struct tls *t, const char *text)
{
	for (size_t i = 0; i < t->n_addresses; i++)
		if (strcmp(t->addresses[i], text) == 0)
			return false;
	if (t->n_addresses == ADDRESSES_MAX)
		return false;
	t->addresses[t->n_addresses] = strdup(text);
	if (t->addresses[t->n_addresses] == NULL)
		return false;
	t->n_addresses++;
	return true;
}

/* Best effort: addresses that come later, or that the sandbox hides from us, are learned from connections. */
static void addresses_read(struct tls *t)
{
	struct ifaddrs *list = NULL;
	char text[INET6_ADDRSTRLEN];

	(void)address_add(t, "127.0.0.1");
	(void)address_add(t, "::1");
	if (getifaddrs(&list) < 0)
		return;
	for (const struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP))
			continue;
		if (i->ifa_addr->sa_family == AF_INET) {
			const struct sockaddr_in *in = (const void *)i->ifa_addr;

			if (inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)) != NULL)
				(void)address_add(t, text);
		} else if (i->ifa_addr->sa_family == AF_INET6) {
			const struct sockaddr_in6 *in6 = (const void *)i->ifa_addr;

			if (inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text)) != NULL)
				(void)address_add(t, text);
		}
	}
	freeifaddrs(list);
}

void tls_learn_address(struct mgmt *m, const char *local_ip)
{
	struct tls *t = m->tls;
	uint64_t now_us = mgmt_now_us(m);

	if (t == NULL || local_ip[0] == '\0' || !address_add(t, local_ip))
		return;
	t->has_new_name = true;
	if (t->learned_us == 0 || now_us - t->learned_us > LEARN_US) {
		t->learned_us = now_us;
		tls_renew(m);
	} else {
		check_after(t, LEARN_US);
	}
}

SSL_CTX *tls_client_ctx(struct mgmt *m)
{
	if (m->tls == NULL)
		return NULL;
	if (client_files_changed(m))
		client_ctx_make(m->tls);
	return m->tls->client_ctx;
}

int tls_session_new(struct mgmt *m, struct conn *c)
{
	struct tls *t = m->tls;
	uint64_t now_us = mgmt_now_us(m);
	SSL_CTX *ctx;
	SSL *ssl;

	/* A clock that was set since must not leave us with a certificate from the wrong time: this client gets it yet, the next does not. */
	if (t != NULL && is_leaf_due(t) && now_us - t->asked_us >= AGAIN_US) {
		t->asked_us = now_us;
		tls_renew(m);
	}
	ctx = t == NULL ? NULL : c->is_client_door ? tls_client_ctx(m) : t->owner_ctx != NULL ? t->owner_ctx : t->ctx;
	ssl = ctx == NULL ? NULL : SSL_new(ctx);
	if (ssl == NULL || SSL_set_fd(ssl, c->net_fd) != 1 || SSL_set_app_data(ssl, c) != 1) {
		SSL_free(ssl);
		return -ENOMEM;
	}
	SSL_set_accept_state(ssl);
	c->ssl = ssl;
	return 0;
}

static size_t fair_slot(const struct tls *t, const struct source *source)
{
	return siphash24(t->fair_key, source->key, sizeof(source->key)) % FAIR_SLOTS;
}

/* The queue is gone through for each handshake: in a flood of 200 sources their hashes were 7 % of all we did. */
static uint64_t *served(struct tls *t, struct conn *c)
{
	if (c->fair_slot == 0)
		c->fair_slot = (uint16_t)(1 + fair_slot(t, &c->source));
	return &t->served_us[c->fair_slot - 1];
}

static int on_queue_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	tls_queue_run(((struct tls *)userdata)->m);
	return 0;
}

bool tls_queue_is_blocked(struct mgmt *m)
{
	return m->tls != NULL && mgmt_now_us(m) < m->tls->blocked_until_us;
}

bool tls_queue_make_room(struct mgmt *m, const struct source *source)
{
	struct tls *t = m->tls;
	struct conn *last = NULL;

	if (t == NULL)
		return false;
	for (struct conn *c = m->conns; c != NULL; c = c->next)
		if (conn_is_waiting(c) && !c->is_from_known && (last == NULL || *served(t, c) > *served(t, last)))
			last = c;
	if (last == NULL || *served(t, last) < t->served_us[fair_slot(t, source)])
		return false;
	mgmt_count_refused(m);
	conn_close(last, true);
	return true;
}

/* Known sources first, then whose turn is longest ago; of one source the oldest. */
static struct conn *queue_next(struct mgmt *m, bool is_for_known, unsigned *ret_n_running)
{
	struct conn *next = NULL;

	*ret_n_running = 0;
	for (struct conn *c = m->conns; c != NULL; c = c->next) {
		if (c->state == CONN_HANDSHAKE)
			++*ret_n_running;
		if (c->state != CONN_QUEUED || (is_for_known && !c->is_from_known))
			continue;
		/* newest first: "<=" leaves the oldest of a source */
		if (next == NULL || (c->is_from_known && !next->is_from_known) ||
		    (c->is_from_known == next->is_from_known && *served(m->tls, c) <= *served(m->tls, next)))
			next = c;
	}
	return next;
}

/* A place with TLS: the strangers' are limited, those of known sources a little less. */
static bool has_place(struct mgmt *m, const struct conn *next)
{
	unsigned n = m->n_network - m->n_waiting - m->n_plain, max = (unsigned)m->settings->mgmt.max_connections;

	return n < max || conn_evict(m, false) || (next->is_from_known && n < max + PLACES_KNOWN);
}

/*
 * Tokens go to the source that was served longest ago, so a flood from one address delays itself and nobody else; those
 * who wait are parked, because a reset would only make them come back at once. Sources somebody has logged in from have
 * tokens of their own and are served first.
 */
void tls_queue_run(struct mgmt *m)
{
	struct tls *t = m->tls;
	uint64_t now_us = mgmt_now_us(m);

	if (t == NULL || t->ctx == NULL)
		return;
	for (;;) {
		/* No token for strangers before this: do not look through them all for each that comes. */
		bool is_for_known = now_us < t->blocked_until_us;
		unsigned n_running;
		struct conn *next = queue_next(m, is_for_known, &n_running);
		bool is_known = next != NULL && next->is_from_known;

		if (next == NULL || n_running >= HANDSHAKES_MAX + (is_known ? PLACES_KNOWN : 0))
			return;
		if (!(is_known && limit_take(m->limits, LIMIT_HANDSHAKE_KNOWN, "", 0, now_us) == 0) &&
		    limit_take(m->limits, LIMIT_HANDSHAKE, "", 0, now_us) > 0) {
			t->blocked_until_us = now_us + limit_rate(m->limits, LIMIT_HANDSHAKE).interval_us;
			sd_event_source_set_time(t->queue_timer, t->blocked_until_us);
			sd_event_source_set_enabled(t->queue_timer, SD_EVENT_ONESHOT);
			return;
		}
		if (!has_place(m, next)) {
			conn_close(next, true);
			continue;
		}
		*served(t, next) = now_us;
		conn_start_handshake(next);
	}
}

int tls_new(struct mgmt *m, struct agent_error **err)
{
	struct tls *t = calloc(1, sizeof(*t));
	int r;

	if (t == NULL)
		return agent_error_set(err, -ENOMEM, "mgmt.start", "out of memory");
	t->m = m;
	m->tls = t;
	t->key = EVP_EC_gen("P-256");
	if (t->key == NULL || RAND_bytes(t->fair_key, sizeof(t->fair_key)) != 1)
		return agent_error_set(err, -EIO, "mgmt.start", "OpenSSL cannot make a P-256 key");
	addresses_read(t);
	t->cpu_share = budget_cpu_share("/proc/self/cgroup", "/sys/fs/cgroup");
	r = sd_event_add_time(m->event, &t->timer, CLOCK_MONOTONIC, mgmt_now_us(m), 0, on_timer, t);
	if (r >= 0)
		r = sd_event_add_time(m->event, &t->queue_timer, CLOCK_MONOTONIC, 0, 1000, on_queue_timer, t);
	if (r < 0)
		return agent_error_set(err, r, "mgmt.start", "timer: %s", strerror(-r));
	return 0;
}

void tls_free(struct mgmt *m)
{
	struct tls *t = m->tls;

	if (t == NULL)
		return;
	sd_bus_slot_unref(t->slot);
	sd_event_source_disable_unref(t->timer);
	sd_event_source_disable_unref(t->queue_timer);
	SSL_CTX_free(t->ctx);
	SSL_CTX_free(t->client_ctx);
	sd_bus_slot_unref(t->owner_slot);
	owner_drop(t);
	free(t->chain_pem);
	X509_free(t->leaf);
	EVP_PKEY_free(t->key);
	for (size_t i = 0; i < t->n_addresses; i++)
		free(t->addresses[i]);
	free(t);
	m->tls = NULL;
}
