/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TLS_H
#define AGENT_TLS_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/signer.h>
#include <agent/time.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum agent_tls_crl - what revocation lists mean for a connection. Since: 0.1 */
enum agent_tls_crl {
	AGENT_TLS_CRL_OFF,
	AGENT_TLS_CRL_IF_PRESENT, /* who was issued by an authority that has a list is looked up; the file need not exist */
	AGENT_TLS_CRL_REQUIRED,	  /* every certificate but the anchor needs the list of its authority */
};

/** enum agent_tls_ocsp - what a stapled OCSP answer means (RFC 6066 section 8, RFC 6960). Since: 0.1 */
enum agent_tls_ocsp {
	AGENT_TLS_OCSP_OFF,	   /* not asked for */
	AGENT_TLS_OCSP_IF_STAPLED, /* checked if there is one; a certificate that says "must staple" (RFC 7633) needs one */
	AGENT_TLS_OCSP_REQUIRED,
};

/**
 * struct agent_tls_options - how a client connection is secured
 * @ca_file:    PEM trust anchors, the only ones used; required
 * @peer_name:  DNS name or IP literal the server certificate must carry; also sent as SNI if it is a name; required
 * @cert_file:  PEM chain of our certificate, leaf first, or NULL for none
 * @signer:     its private key; required with @cert_file, NULL otherwise
 * @allow_tls12: also TLS 1.2 with ECDHE and AEAD (RFC 9325); otherwise 1.3 only
 * @time:       what the dates of certificates are checked against, at each handshake anew; referenced. NULL: the system clock is right
 * @crl_file:   revocation lists in PEM, one after the other, or one in DER; 1 MiB at most. NULL only with AGENT_TLS_CRL_OFF
 * @crl:        what they mean
 * @ocsp:       what a stapled answer means
 * @pins:       "sha256/BASE64" digests of public keys (SubjectPublicKeyInfo), NULL at the end: one of them has to be in the verified chain.
 *              None, or 2 to 16: one is the backup, of a key that is not in use. NULL: none
 *
 * Since: 0.1
 */
struct agent_tls_options {
	const char *ca_file;
	const char *peer_name;
	const char *cert_file;
	struct agent_signer *signer;
	int allow_tls12;
	struct agent_time *time;
	const char *crl_file;
	enum agent_tls_crl crl;
	enum agent_tls_ocsp ocsp;
	const char *const *pins;
};

/**
 * struct agent_tls - a client TLS profile and why its last handshake failed; reference counted
 *
 * Version, groups, trust anchors, name and purpose are checked by the profile, not by the library that drives the
 * connection. Connections made with one profile belong to one thread at a time, because there is one record of the last
 * handshake; agent_tls_explain() may be called from any thread. Since: 0.1
 */
struct agent_tls;

/**
 * agent_tls_new() - read the files and make the profile
 * @ctx:     its private OpenSSL library context is used; referenced
 * @options: copied; the signer is referenced
 * @ret_tls: one reference for the caller
 * @err:     receives the explanation, or NULL
 *
 * Reads @ca_file and @cert_file (at most 256 KiB each) and @crl_file once; a changed file needs a new profile. Makes no signature.
 *
 * Returns 0, -EINVAL (tls.options: something required is missing; tls.pins: not two or more of the right form), -ENOENT and other file
 * errors (file.*; tls.crl-missing: the lists are required and there is no file), -EBADMSG (tls.file: no certificate, or no list, in it), -EKEYREJECTED (tls.key: certificate and signer do not belong together), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tls_new(struct agent_context *ctx, const struct agent_tls_options *options,
						struct agent_tls **ret_tls, struct agent_error **err);
/**
 * agent_tls_set_identity() - from now on another certificate and key
 * @tls:    the profile; unchanged on failure
 * @pem:    PEM chain, leaf first
 * @size:   of @pem in bytes, at most 256 KiB
 * @signer: its private key, of any type; referenced
 * @err:    receives the explanation, or NULL
 *
 * Counts for connections that begin after it; those that exist go on. In the thread of the profile's connections, between two of
 * them. What agent_openssl_ssl_ctx() lent before stays valid as long as somebody holds a reference of his own to it. Makes no
 * signature, does not block.
 *
 * Returns 0, -EINVAL (tls.options), -EBADMSG (tls.file: no certificate in it), -EKEYREJECTED (tls.key: certificate and signer do not
 * belong together), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tls_set_identity(struct agent_tls *tls, const char *pem, size_t size, struct agent_signer *signer,
							 struct agent_error **err);
/**
 * agent_tls_check_time() - would the certificates of the last handshake still be good
 * @tls:              the profile
 * @ret_not_before_s: latest begin of validity in that chain, 0 if there was no handshake that came to its end: it is later than that, says
 *                    whoever issued it. NULL if it does not matter
 * @ret_not_after_s:  the earliest end in it, 0 likewise. NULL if it does not matter
 * @err:              receives the explanation, or NULL
 *
 * For a time that became known, or better known, while a connection lives. Any thread, does not block.
 * Returns 0, -EKEYREJECTED (tls.expired, tls.not-yet-valid), -EINVAL. Since: 0.1
 */
AGENT_EXPORT int agent_tls_check_time(struct agent_tls *tls, int64_t *ret_not_before_s, int64_t *ret_not_after_s, struct agent_error **err);
/**
 * agent_tls_signed_time() - when the newest of what vouched for the peer of the last handshake was signed
 * @tls: the profile
 *
 * Of the certificates of its chain (begin of validity), the revocation lists they were looked up in and a stapled OCSP answer (thisUpdate,
 * less five minutes for the responder's clock): it is later than that, says an authority that @tls trusts. Seconds since 1970 UTC; 0 if there
 * was no handshake that came to its end, or without @tls. Any thread, does not block. Since: 0.1
 */
AGENT_EXPORT int64_t agent_tls_signed_time(struct agent_tls *tls);
/**
 * agent_tls_backup_pins() - how many pins the chain of the last handshake did not use
 * @tls: the profile
 *
 * 0 means that there is no backup: if these keys are lost, the device is cut off. Any thread, does not block.
 * Returns the number, -ENODATA without pins or before a handshake that came to its end, -EINVAL. Since: 0.1
 */
AGENT_EXPORT int agent_tls_backup_pins(struct agent_tls *tls);
/**
 * enum agent_tls_shown - who has seen our certificate, and so can have an opinion of it
 * @AGENT_TLS_NOT_SHOWN: nobody: our key did not sign. What ended the connection can be anybody's doing
 * @AGENT_TLS_SHOWN:     the server, which had been checked by then. Why the connection ended need not be its own word
 * @AGENT_TLS_REFUSED:   the server, and its alert is its own word: of TLS 1.3, or after the handshake
 *
 * Source: RFC 8446 section 6 (alerts are protected as what is sent with them), RFC 5246 section 7.1 (not before the server's
 * ChangeCipherSpec). Since: 0.1
 */
enum agent_tls_shown { AGENT_TLS_NOT_SHOWN, AGENT_TLS_SHOWN, AGENT_TLS_REFUSED };
/**
 * agent_tls_take_shown() - what the last connection may say about our certificate
 * @tls: the profile
 *
 * For whoever changes a certificate and gives the new one up when it is refused. Forgets it: the next call answers AGENT_TLS_NOT_SHOWN
 * unless there was another handshake. Any thread, does not block. Without @tls AGENT_TLS_NOT_SHOWN. Since: 0.1
 */
AGENT_EXPORT enum agent_tls_shown agent_tls_take_shown(struct agent_tls *tls);
/** agent_tls_ref() - take one more reference; returns @tls. Since: 0.1 */
AGENT_EXPORT struct agent_tls *agent_tls_ref(struct agent_tls *tls);
/** agent_tls_unref() - give one reference back; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_tls *agent_tls_unref(struct agent_tls *tls);
/**
 * agent_tls_explain() - why the last handshake failed
 * @tls: the profile
 * @err: receives a sentence that names the property (name, issuer, expiry, purpose, version), says when the clock is the
 *       likely cause, and includes an alert of the peer; left alone when nothing is recorded
 *
 * Does not block. Returns 0 if nothing is recorded, else the errno that is also in *err, with one of these names:
 * tls.signer (our own key did not sign: ask its backend);
 * about the certificate of the server: tls.name, tls.issuer, tls.self-signed, tls.expired, tls.not-yet-valid, tls.purpose, tls.weak, tls.chain,
 * tls.certificate (any other fault), tls.pin (no pin fits);
 * about its revocation: tls.revoked, tls.crl-missing, tls.crl-expired, tls.crl-not-yet-valid, tls.crl (a list that cannot be used),
 * tls.ocsp-revoked, tls.ocsp-unknown, tls.ocsp-stale, tls.ocsp-not-yet-valid, tls.ocsp-missing, tls.ocsp-signer, tls.ocsp-other (about another
 * certificate), tls.ocsp (an answer that cannot be used);
 * about the connection: tls.version, tls.parameters (no suite, group or signature in common), tls.alert (the peer refused, often our
 * certificate), tls.handshake. Since: 0.1
 */
AGENT_EXPORT int agent_tls_explain(struct agent_tls *tls, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
