/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door for client certificates. OpenSSL checks the chain in the handshake, so that a client hears the right alert; which
 * role a certificate has is core's decision (ClientOpen), and what it gives us is a token like any other. No session is ever
 * resumed here: that would skip the check.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>
#include <agent/time.h>

#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/request.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"
#include "crypto/list_file.h"
#include "crypto/verify_dates.h"
#include "crypto/verify_issuers.h"
#include "crypto/verify_lists.h"

#define CA_FILE "mgmt/clients.pem"
#define CRL_FILE "mgmt/clients.crl"
#define CRL_FILE_MAX (4 * 1024 * 1024)
#define CRLS_MAX 64
#define TOKENS 8
#define NAMES_MAX 16
#define CHAIN_BYTES_MAX (32 * 1024)
#define AGAIN_US (60 * UINT64_C(1000000)) /* a list may run out under a connection that lasts */

struct client_token {
	char spki[CLIENT_SPKI_SIZE];
	char token[TOKEN_MAX_BYTES + 1];
};

struct clients {
	char *ca_path, *crl_path;
	struct stat ca, crl;	/* as they were when they were read */
	uint64_t read_us;
	sd_event_source *look;	/* at those who are connected: after the files changed, and now and then */
	struct client_token tokens[TOKENS];
	size_t next_token;
};

/* ---- certificates in the handshake -------------------------------------------------------------------------------- */

static const char *reason_of(int error, bool is_sure)
{
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return is_sure ? "expired" : "expired, if our clock is right: nothing confirms it";
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "not valid yet";
	case X509_V_ERR_INVALID_PURPOSE:
		return "not made for client authentication";
	case X509_V_ERR_CERT_REVOKED:
		return "revoked";
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		return "issued by an authority that is not trusted here";
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return "the revocation list is out of date";
	case X509_V_ERR_CRL_NOT_YET_VALID:
		return "the revocation list is not valid yet";
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
		return "the revocation list is not signed by its authority";
	case X509_V_ERR_UNABLE_TO_GET_CRL:
		return "there is no revocation list of its authority";
	default:
		return X509_verify_cert_error_string(error);
	}
}

/* In ASCII and short: it comes from a stranger. */
static void subject_text(const X509 *cert, char *ret_text, size_t size)
{
	char line[256] = "";

	if (cert != NULL)
		X509_NAME_oneline(X509_get_subject_name(cert), line, sizeof(line));
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	snprintf(ret_text, size, "%s", line);
}

static void remember(struct conn *c, X509_STORE_CTX *ctx, int error)
{
	struct agent_time_reading now;

	if (c->client_reason != NULL)
		return;
	agent_time_get(c->m->time, &now);
	c->client_reason = reason_of(error, now.state >= AGENT_TIME_NETWORK);
	subject_text(X509_STORE_CTX_get_current_cert(ctx), c->client_subject, sizeof(c->client_subject));
}

/* The authority that issued the certificate must have a list; one above it is asked if it has one, and nobody issued a root. */
static bool may_lack_list(X509_STORE_CTX *ctx)
{
	int depth = X509_STORE_CTX_get_error_depth(ctx);

	if (X509_STORE_CTX_get_error(ctx) != X509_V_ERR_UNABLE_TO_GET_CRL || depth == 0)
		return false;
	return depth + 1 == sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) || verify_lists_are_missing(ctx);
}

static int on_verify(int ok, X509_STORE_CTX *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct conn *c = ssl == NULL ? NULL : SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get_current_cert(ctx);

	if (c == NULL)
		return 0;
	if (!ok && may_lack_list(ctx)) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		ok = 1;
	}
	/* OpenSSL takes a certificate without extendedKeyUsage for one of any purpose. */
	if (ok && X509_STORE_CTX_get_error_depth(ctx) == 0 &&
	    (cert == NULL || (X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) == 0 || (X509_get_extended_key_usage(cert) & XKU_SSL_CLIENT) == 0)) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_INVALID_PURPOSE);
		ok = 0;
	}
	if (!ok)
		remember(c, ctx, X509_STORE_CTX_get_error(ctx));
	return ok;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void look(const struct clients *clients, struct stat *ret_ca, struct stat *ret_crl)
{
	if (stat(clients->ca_path, ret_ca) < 0)
		memset(ret_ca, 0, sizeof(*ret_ca));
	if (stat(clients->crl_path, ret_crl) < 0)
		memset(ret_crl, 0, sizeof(*ret_crl));
}

bool client_files_changed(const struct mgmt *m)
{
	struct stat ca, crl;

	look(m->clients, &ca, &crl);
	return !is_same_file(&ca, &m->clients->ca) || !is_same_file(&crl, &m->clients->crl);
}

static void look_at(struct clients *clients, uint64_t at_us)
{
	(void)sd_event_source_set_time(clients->look, at_us);
	(void)sd_event_source_set_enabled(clients->look, SD_EVENT_ONESHOT);
}

static int add_lists(X509_STORE *store, const char *path)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *data = NULL;
	STACK_OF(X509_CRL) *lists = NULL;
	size_t size;
	int at = 1, r = file_read_at(AT_FDCWD, path, CRL_FILE_MAX, &data, &size, &err);

	if (r >= 0)
		r = list_file_parse(NULL, data, size, CRLS_MAX, &lists, &at);
	for (int i = 0; r >= 0 && i < sk_X509_CRL_num(lists); i++)
		r = X509_STORE_add_crl(store, sk_X509_CRL_value(lists, i)) == 1 ? 0 : -ENOMEM;
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	if (err != NULL)
		service_log(LOG_ERR, "client certificates: %s; nobody gets in by certificate", agent_error_message(err));
	else if (r < 0)
		service_log(LOG_ERR, "client certificates: %s: list %d is damaged, none is there, or more than %d; nobody gets in by certificate", path, at, CRLS_MAX);
	return r;
}

int client_ctx_prepare(struct mgmt *m, SSL_CTX *ctx)
{
	struct clients *clients = m->clients;
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	STACK_OF(X509_NAME) *names;

	wipe(clients->tokens, sizeof(clients->tokens));
	look(clients, &clients->ca, &clients->crl);
	clients->read_us = mgmt_now_us(m);
	look_at(clients, clients->read_us);
	ERR_clear_error();
	if (clients->ca.st_size == 0 || X509_STORE_load_file(store, clients->ca_path) != 1) {
		service_log(LOG_WARNING, "client certificates: %s holds no authority; nobody gets in by certificate", clients->ca_path);
		return -ENOENT;
	}
	if (clients->crl.st_mode != 0) {
		if (add_lists(store, clients->crl_path) < 0)
			return -EBADMSG;
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
		verify_lists_use(store);
	}
	verify_issuers_use(store);
	X509_VERIFY_PARAM_set_depth(X509_STORE_get0_param(store), VERIFY_DEPTH_MAX);
	SSL_CTX_set_verify_depth(ctx, VERIFY_DEPTH_MAX);
	SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES_MAX);
	names = SSL_load_client_CA_file(clients->ca_path);
	if (names != NULL)
		SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	SSL_CTX_set_cert_verify_callback(ctx, agent_openssl_verify, m->time);
	return 0;
}

static int on_told(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	return 0;
}

static void tell_refused(struct conn *c)
{
	struct mgmt *m = c->m;
	sd_bus_message *call = NULL;

	mgmt_count_refused(m);
	/* One budget for all of it: whoever floods the door must not flood the log. */
	if (limit_take(m->limits, LIMIT_LOG, "", 0, mgmt_now_us(m)) > 0 || core_message(m, "ClientRefused", &call, NULL) < 0)
		return;
	if (sd_bus_message_append(call, "(sus)ss", "", c->uid, c->source.text, c->client_subject, c->client_reason) >= 0)
		(void)core_send(m, call, 0, on_told, m, NULL, NULL);
	sd_bus_message_unref(call);
}

bool client_handshake_failed(struct conn *c)
{
	unsigned long error = ERR_peek_error();

	if (c->client_reason == NULL && ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		c->client_reason = "no certificate was shown";
	if (c->client_reason == NULL)	/* not about a certificate: a scanner, a client that left */
		return false;
	tell_refused(c);
	return true;
}

int client_handshake_done(struct conn *c)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	unsigned char *der = NULL, digest[32];
	int size = cert == NULL ? -1 : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	int r = size > 0 && EVP_Digest(der, (size_t)size, digest, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;

	if (r == 0)
		hex_encode(digest, sizeof(digest), c->client_spki);
	OPENSSL_free(der);
	/* Begun with what the files said before: then the first request is not let pass by it. */
	c->client_checked_us = SSL_get_SSL_CTX(c->ssl) == tls_client_ctx(c->m) ? mgmt_now_us(c->m) : 0;
	if (sd_event_source_get_enabled(c->m->clients->look, NULL) == 0)
		look_at(c->m->clients, mgmt_now_us(c->m) + AGAIN_US);
	return r;
}

/* ---- afterwards: a connection may last, its certificate may not ------------------------------------------------------ */

/* As in the handshake, with the authorities, the lists and the time of now. */
static bool verify_again(struct conn *c, SSL_CTX *ctx)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	bool is_good = check != NULL && cert != NULL &&
		       X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(ctx), cert, SSL_get_peer_cert_chain(c->ssl)) == 1 &&
		       X509_STORE_CTX_set_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx(), c->ssl) == 1 &&
		       X509_STORE_CTX_set_default(check, "ssl_client") == 1;

	if (is_good) {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(check), SSL_CTX_get_security_level(ctx));
		X509_STORE_CTX_set_verify_cb(check, on_verify);
		is_good = agent_openssl_verify(check, c->m->time) == 1;
	}
	if (!is_good && c->client_reason == NULL)
		c->client_reason = "it cannot be checked";
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	c->client_checked_us = mgmt_now_us(c->m);
	return is_good;
}

/* The time may be better known than at the handshake. */
static bool is_valid_now(const struct conn *c)
{
	const X509 *cert = SSL_get0_peer_certificate(c->ssl);
	struct agent_time_reading time;

	agent_time_get(c->m->time, &time);
	return cert != NULL && !time_is_over(X509_get0_notAfter(cert), (int64_t)time.now_s) &&
	       (time.state < AGENT_TIME_NETWORK || !time_is_early(X509_get0_notBefore(cert), (int64_t)time.now_s));
}

bool client_is_good(struct conn *c)
{
	const struct clients *clients = c->m->clients;
	SSL_CTX *ctx;

	if (c->ssl == NULL || c->client_reason != NULL)
		return false;
	ctx = tls_client_ctx(c->m);
	if (ctx == NULL)
		c->client_reason = "the authorities or the revocation list cannot be read";
	else if (c->client_checked_us > clients->read_us && mgmt_now_us(c->m) - c->client_checked_us < AGAIN_US && is_valid_now(c))
		return true;
	else if (verify_again(c, ctx))
		return true;
	tell_refused(c);
	return false;
}

/* Whoever would not be let in now goes, whatever is under way: an upload asks nothing for as long as it takes. */
static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mgmt *m = userdata;
	bool is_anybody_there = false;

	(void)tls_client_ctx(m);
	for (struct conn *c = m->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (!c->is_client_door || c->state != CONN_OPEN || c->client_reason != NULL)
			continue;
		if (client_is_good(c))
			is_anybody_there = true;
		else
			conn_close(c, false);
	}
	if (is_anybody_there && sd_event_source_get_enabled(source, NULL) == 0)
		look_at(m->clients, mgmt_now_us(m) + AGAIN_US);
	return 0;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static struct client_token *find_token(struct mgmt *m, const char *spki)
{
	for (size_t i = 0; i < TOKENS; i++)
		if (m->clients->tokens[i].token[0] != '\0' && strcmp(m->clients->tokens[i].spki, spki) == 0)
			return &m->clients->tokens[i];
	return NULL;
}

bool client_is_asking(const struct request *req)
{
	return req->conn->is_client_door && !req->has_cookie && !req->has_bad_token && (!req->has_bearer || req->is_by_certificate);
}

void client_fill_token(struct request *req)
{
	const struct client_token *t;

	if (!client_is_asking(req) || (t = find_token(req->m, req->conn->client_spki)) == NULL)
		return;
	snprintf(req->token, sizeof(req->token), "%s", t->token);
	req->has_bearer = req->is_by_certificate = true;
}

void client_drop_token(struct request *req)
{
	struct client_token *t = find_token(req->m, req->conn->client_spki);

	if (t != NULL)
		wipe(t, sizeof(*t));
	req->token[0] = '\0';
	req->has_bearer = req->is_by_certificate = false;
}

static void keep_token(struct mgmt *m, const char *spki, const char *token)
{
	struct client_token *t = find_token(m, spki);

	if (t == NULL) {
		t = &m->clients->tokens[m->clients->next_token];
		m->clients->next_token = (m->clients->next_token + 1) % TOKENS;
	}
	snprintf(t->spki, sizeof(t->spki), "%s", spki);
	snprintf(t->token, sizeof(t->token), "%s", token);
}

static void on_opened(struct request *req, sd_bus_message *reply)
{
	const char *token;

	if (sd_bus_message_read(reply, "s", &token) < 0) {
		reply_unreadable(req);
		return;
	}
	keep_token(req->m, req->conn->client_spki, token);
	client_fill_token(req);
	stage_who_ask(req);
}

static int append_name(sd_bus_message *call, const GENERAL_NAME *name)
{
	const char *kind = name->type == GEN_DNS ? "dns" : name->type == GEN_URI ? "uri" : name->type == GEN_EMAIL ? "email" : NULL;
	const ASN1_IA5STRING *value = kind == NULL ? NULL : name->d.ia5;
	char text[300];
	int n = value == NULL ? 0 : ASN1_STRING_length(value);

	if (n <= 0 || n > 255)
		return 0;
	/* A NUL or anything beyond ASCII inside is somebody's trick: such a name is no name. */
	for (int i = 0; i < n; i++)
		if (ASN1_STRING_get0_data(value)[i] <= 0x20 || ASN1_STRING_get0_data(value)[i] > 0x7e)
			return 0;
	snprintf(text, sizeof(text), "%s:%.*s", kind, n, (const char *)ASN1_STRING_get0_data(value));
	return sd_bus_message_append(call, "s", text);
}

static int append_names(sd_bus_message *call, const X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int r = sd_bus_message_open_container(call, 'a', "s");

	for (int i = 0; r >= 0 && i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++)
		r = append_name(call, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
	return r < 0 ? r : sd_bus_message_close_container(call);
}

/* The common name, if there is exactly one and it is plain. */
static void common_name(const X509 *cert, char *ret_text, size_t size)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text = NULL;
	int n;

	ret_text[0] = '\0';
	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return;
	n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	for (int i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			n = -1;
	if (n > 0 && (size_t)n < size) {
		memcpy(ret_text, text, (size_t)n);
		ret_text[n] = '\0';
	}
	OPENSSL_free(text);
}

void client_present(struct request *req)
{
	X509 *cert = SSL_get0_peer_certificate(req->conn->ssl);
	sd_bus_message *call;
	char cn[128];
	int r;

	call = request_plain_call_new(req, "ClientOpen");
	if (call == NULL)
		return;
	common_name(cert, cn, sizeof(cn));
	r = sd_bus_message_append(call, "(sus)ss", "", req->conn->uid, req->conn->source.text, req->conn->client_spki, cn);
	if (r >= 0)
		r = append_names(call, cert);
	request_call_end(req, call, r, 0, on_opened);
}

int clients_new(struct mgmt *m)
{
	struct clients *clients = calloc(1, sizeof(*clients));

	m->clients = clients;
	if (clients != NULL && (sd_event_add_time(m->event, &clients->look, CLOCK_MONOTONIC, 0, 1000, on_look, m) < 0 ||
				sd_event_source_set_enabled(clients->look, SD_EVENT_OFF) < 0))
		return -ENOMEM;
	if (clients == NULL || asprintf(&clients->ca_path, "%s/" CA_FILE, m->settings->paths.trust_dir) < 0 ||
	    asprintf(&clients->crl_path, "%s/" CRL_FILE, m->settings->paths.trust_dir) < 0)
		return -ENOMEM;
	return 0;
}

void clients_free(struct mgmt *m)
{
	if (m->clients == NULL)
		return;
	sd_event_source_disable_unref(m->clients->look);
	free(m->clients->ca_path);
	free(m->clients->crl_path);
	wipe(m->clients, sizeof(*m->clients));
	free(m->clients);
	m->clients = NULL;
}
