/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_OPENSSL_H
#define AGENT_OPENSSL_H

#include <openssl/types.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>
#include <agent/time.h>
#include <agent/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/** agent_openssl_libctx() - the context's private library context with our provider; lent. Returns 0, -EINVAL, -ENOMEM. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_openssl_libctx(struct agent_context *ctx, OSSL_LIB_CTX **ret_libctx, struct agent_error **err);
/**
 * agent_openssl_pkey() - an EVP_PKEY whose private operations go to @signer
 *
 * Keeps a reference to @signer. The caller frees it with EVP_PKEY_free(), before the last reference to @ctx goes. Does not
 * block; its signatures do. Returns 0, -EINVAL, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_openssl_pkey(struct agent_context *ctx, struct agent_signer *signer, EVP_PKEY **ret_pkey,
						     struct agent_error **err);
/** agent_openssl_ssl_ctx() - the SSL_CTX of a TLS profile, lent; take SSL_CTX_up_ref() to keep it. Since: 0.1 */
AGENT_EXPORT SSL_CTX *agent_openssl_ssl_ctx(struct agent_tls *tls);
/**
 * agent_openssl_configure() - put a TLS profile on an SSL_CTX that another library made, such as libcurl's
 * @tls:     the profile; the SSL_CTX keeps what it needs of it, agent_tls_explain(@tls) tells about its handshakes
 * @ssl_ctx: changed: versions, groups, trust anchors, name, verification, certificate and key
 *
 * An abrupt end of the connection stays an error there, unlike on agent_openssl_ssl_ctx(), whose users frame their
 * messages themselves. Returns 0, -EIO (OpenSSL refuses; @ssl_ctx must not be used then). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_openssl_configure(struct agent_tls *tls, SSL_CTX *ssl_ctx, struct agent_error **err);
/** enum agent_tls_profile - kinds of connections. Since: 0.1 */
enum agent_tls_profile {
	AGENT_TLS_CLIENT,	 /* TLS 1.3, no resumption */
	AGENT_TLS_CLIENT_OLD,	 /* also TLS 1.2 with ECDHE and AEAD */
	AGENT_TLS_SERVER,	 /* TLS 1.3; stateless tickets, as no client is checked in the handshake */
	AGENT_TLS_SERVER_MUTUAL, /* TLS 1.3; asks for client certificates, so no resumption */
};
/**
 * agent_openssl_restrict() - versions, suites, groups and resumption of a kind of connections
 * @ssl_ctx: of a client or a server, as @profile says
 * @profile: which kind
 * @err:     receives the explanation, or NULL
 *
 * Also: keys and signatures of 112 bits strength or more, no 0-RTT, no renegotiation, no compression, no session cache. Trust and certificates are
 * the caller's; agent_tls_new() and agent_openssl_configure() do all of it for clients.
 * Returns 0, -EINVAL (tls.options), -EIO (tls.openssl; @ssl_ctx must not be used then). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_openssl_restrict(SSL_CTX *ssl_ctx, enum agent_tls_profile profile, struct agent_error **err);
/**
 * agent_openssl_verify() - X509_verify_cert(), with all dates judged as agent_time_check() does
 * @ctx:  as SSL_CTX_set_cert_verify_callback() hands it over
 * @time: a struct agent_time, or NULL; lent, so it must live as long as what calls this
 *
 * Made for SSL_CTX_set_cert_verify_callback(ssl_ctx, agent_openssl_verify, time), of clients and servers. Dates of certificates and of revocation
 * lists are looked at after everything else; the verification callback hears of a date that does not fit and cannot overrule it.
 * Returns 1 if the chain is good, else 0 with the reason in @ctx. Since: 0.1
 */
AGENT_EXPORT int agent_openssl_verify(X509_STORE_CTX *ctx, void *time);

#ifdef __cplusplus
}
#endif

#endif
