/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_CERT_H
#define NET_TLS_CERT_H
/* What a server's certificate and those above it have to be, besides what OpenSSL asks of any chain, and how the property that is wrong is called. */
#include <openssl/types.h>
#include <openssl/x509.h>

#include <agent/error.h>

/* Signature algorithms of a handshake, for SSL_CTX_set1_sigalgs_list(): what fits the keys that tls_cert_check() takes. */
#define TLS_CERT_SIGALGS                                                                                                                   \
	"ecdsa_secp256r1_sha256:ed25519:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:" \
	"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:rsa_pkcs1_sha256:rsa_pkcs1_sha384:rsa_pkcs1_sha512"
#define TLS_CERT_KEYS "RSA of 2048 bits or more, P-256, P-384, P-521 and Ed25519"

/*
 * What in @cert the verification error @error, an X509_V_ERR_*, is about: "RSA key of 1024 bits", "1.2.3.4". Printable; "" where the error alone says
 * it all.
 */
void tls_cert_detail(X509 *cert, int error, char *ret_text, size_t size);
/* Names of subjectAltName, "a.example, 192.0.2.1"; those that do not fit into @text are left out. */
void tls_cert_names(const X509 *cert, char *ret_text, size_t size);
/*
 * @chain: good for OpenSSL, the certificate of @peer_name first and the anchor last. 0; -EKEYREJECTED: tls.algorithm (a kind of key that is not
 * among TLS_CERT_KEYS), tls.authority (one in between without basic constraints), tls.purpose (key usage without digitalSignature, an authority that shows its own certificate).
 */
int tls_cert_check(const char *peer_name, const STACK_OF(X509) *chain, struct agent_error **err);

#endif
