/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_reason.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/macro.h"

/* As OpenSSL has them. Alerts are not among them: the record of the connection names these (tls_explain.c). No pointers: those are written to at each start. */
static const struct {
	unsigned short reason;
	char text[46];
} known[] = {
	{ SSL_R_BAD_CHANGE_CIPHER_SPEC, "bad change cipher spec" },
	{ SSL_R_BAD_CIPHER, "bad cipher" },
	{ SSL_R_BAD_DIGEST_LENGTH, "bad digest length" },
	{ SSL_R_BAD_ECPOINT, "bad ecpoint" },
	{ SSL_R_BAD_EXTENSION, "bad extension" },
	{ SSL_R_BAD_HRR_VERSION, "bad hrr version" },
	{ SSL_R_BAD_KEY_SHARE, "bad key share" },
	{ SSL_R_BAD_LEGACY_VERSION, "bad legacy version" },
	{ SSL_R_BAD_LENGTH, "bad length" },
	{ SSL_R_BAD_PACKET, "bad packet" },
	{ SSL_R_BAD_PROTOCOL_VERSION_NUMBER, "bad protocol version number" },
	{ SSL_R_BAD_RECORD_TYPE, "bad record type" },
	{ SSL_R_BAD_SIGNATURE, "bad signature" },
	{ SSL_R_CA_KEY_TOO_SMALL, "ca key too small" },
	{ SSL_R_CA_MD_TOO_WEAK, "ca md too weak" },
	{ SSL_R_CERTIFICATE_VERIFY_FAILED, "certificate verify failed" },
	{ SSL_R_CIPHERSUITE_DIGEST_HAS_CHANGED, "ciphersuite digest has changed" },
	{ SSL_R_DATA_LENGTH_TOO_LONG, "data length too long" },
	{ SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "decryption failed or bad record mac" },
	{ SSL_R_DH_KEY_TOO_SMALL, "dh key too small" },
	{ SSL_R_DIGEST_CHECK_FAILED, "digest check failed" },
	{ SSL_R_EE_KEY_TOO_SMALL, "ee key too small" },
	{ SSL_R_ENCRYPTED_LENGTH_TOO_LONG, "encrypted length too long" },
	{ SSL_R_ERROR_IN_RECEIVED_CIPHER_LIST, "error in received cipher list" },
	{ SSL_R_EXCESSIVE_MESSAGE_SIZE, "excessive message size" },
	{ SSL_R_EXTRA_DATA_IN_MESSAGE, "extra data in message" },
	{ SSL_R_INAPPROPRIATE_FALLBACK, "inappropriate fallback" },
	{ SSL_R_LENGTH_MISMATCH, "length mismatch" },
	{ SSL_R_NO_CERTIFICATE_ASSIGNED, "no certificate assigned" },
	{ SSL_R_NO_CIPHER_MATCH, "no cipher match" },
	{ SSL_R_NO_PROTOCOLS_AVAILABLE, "no protocols available" },
	{ SSL_R_NO_SHARED_GROUPS, "no shared groups" },
	{ SSL_R_NO_SUITABLE_GROUPS, "no suitable groups" },
	{ SSL_R_NO_SUITABLE_KEY_SHARE, "no suitable key share" },
	{ SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no suitable signature algorithm" },
	{ SSL_R_PACKET_LENGTH_TOO_LONG, "packet length too long" },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "peer did not return a certificate" },
	{ SSL_R_RECORD_LENGTH_MISMATCH, "record length mismatch" },
	{ SSL_R_RECORD_TOO_SMALL, "record too small" },
	{ SSL_R_RENEGOTIATION_MISMATCH, "renegotiation mismatch" },
	{ SSL_R_SSL_HANDSHAKE_FAILURE, "ssl handshake failure" },
	{ SSL_R_TLS_INVALID_ECPOINTFORMAT_LIST, "tls invalid ecpointformat list" },
	{ SSL_R_UNABLE_TO_FIND_PUBLIC_KEY_PARAMETERS, "unable to find public key parameters" },
	{ SSL_R_UNEXPECTED_CCS_MESSAGE, "unexpected ccs message" },
	{ SSL_R_UNEXPECTED_EOF_WHILE_READING, "unexpected eof while reading" },
	{ SSL_R_UNEXPECTED_MESSAGE, "unexpected message" },
	{ SSL_R_UNEXPECTED_RECORD, "unexpected record" },
	{ SSL_R_UNKNOWN_ALERT_TYPE, "unknown alert type" },
	{ SSL_R_UNKNOWN_CERTIFICATE_TYPE, "unknown certificate type" },
	{ SSL_R_UNKNOWN_CIPHER_RETURNED, "unknown cipher returned" },
	{ SSL_R_UNKNOWN_PROTOCOL, "unknown protocol" },
	{ SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED, "unsafe legacy renegotiation disabled" },
	{ SSL_R_UNSOLICITED_EXTENSION, "unsolicited extension" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, "unsupported protocol" },
	{ SSL_R_UNSUPPORTED_SSL_VERSION, "unsupported ssl version" },
	{ SSL_R_VERSION_TOO_LOW, "version too low" },
	{ SSL_R_WRONG_CERTIFICATE_TYPE, "wrong certificate type" },
	{ SSL_R_WRONG_CIPHER_RETURNED, "wrong cipher returned" },
	{ SSL_R_WRONG_CURVE, "wrong curve" },
	{ SSL_R_WRONG_SIGNATURE_TYPE, "wrong signature type" },
	{ SSL_R_WRONG_VERSION_NUMBER, "wrong version number" },
};

const char *tls_reason_text(unsigned long code, char buf[OPENSSL_ERROR_TEXT])
{
	for (size_t i = 0; ERR_GET_LIB(code) == ERR_LIB_SSL && i < ARRAY_SIZE(known); i++)
		if (known[i].reason == ERR_GET_REASON(code))
			return known[i].text;
	return openssl_error_text(code, buf);
}
