/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls_checks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/x509.h>

#include "base/file.h"
#include "base/macro.h"
#include "crypto/digest.h"
#include "crypto/list_file.h"

#define CRL_FILE_MAX (1024 * KIB) /* some 25,000 revoked certificates; all of it stays in memory */
#define CRLS_MAX 16

static int load_crls(struct tls_checks *checks, OSSL_LIB_CTX *libctx, const char *path, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_free_ char *data = NULL;
	size_t size;
	int at, r = file_read_at(AT_FDCWD, path, CRL_FILE_MAX, &data, &size, &why);

	if (r == -ENOENT && checks->crl == AGENT_TLS_CRL_IF_PRESENT)
		return 0;
	if (r == -ENOENT)
		return agent_error_set(err, r, "tls.crl-missing", "there is no %s, and revocation lists are required", path);
	if (r < 0) {
		agent_error_move(err, &why);
		return agent_error_prefix(err, r, "revocation lists");
	}
	r = list_file_parse(libctx, data, size, CRLS_MAX, &checks->crls, &at);
	if (r == -EBADMSG)
		return agent_error_set(err, r, "tls.file", "%s holds no revocation list, or list %d is damaged", path, at);
	if (r == -EMSGSIZE)
		return agent_error_set(err, r, "tls.file", "%s holds more than %d revocation lists", path, CRLS_MAX);
	return r < 0 ? agent_error_set(err, r, "tls.memory", "out of memory") : 0;
}

int tls_checks_load(struct tls_checks *checks, OSSL_LIB_CTX *libctx, const struct agent_tls_options *options, struct agent_error **err)
{
	const char *why = "";
	size_t at;

	if ((unsigned)options->crl > AGENT_TLS_CRL_REQUIRED || (unsigned)options->ocsp > AGENT_TLS_OCSP_REQUIRED ||
	    (options->crl != AGENT_TLS_CRL_OFF && options->crl_file == NULL))
		return agent_error_set(err, -EINVAL, "tls.options", "revocation lists need a file, and policies a value that exists");
	checks->crl = options->crl;
	checks->ocsp = options->ocsp;
	checks->n_pins = pins_parse(options->pins, checks->pins, &at, &why);
	if (checks->n_pins < 0) {
		checks->n_pins = 0;
		return agent_error_set(err, -EINVAL, "tls.pins", "pin %zu, \"%.64s\", %s", at + 1, options->pins[at], why);
	}
	return checks->crl == AGENT_TLS_CRL_OFF ? 0 : load_crls(checks, libctx, options->crl_file, err);
}

void tls_checks_clear(struct tls_checks *checks)
{
	sk_X509_CRL_pop_free(checks->crls, X509_CRL_free);
	checks->crls = NULL;
}

static bool is_in_chain(const uint8_t pin[PIN_SIZE], const STACK_OF(X509) *chain)
{
	for (int i = 0; i < sk_X509_num(chain); i++) {
		uint8_t hash[DIGEST_SIZE], *der = NULL;
		int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(sk_X509_value(chain, i)), &der);
		bool is_same = size > 0 && digest_sha256(der, (size_t)size, hash) >= 0 && memcmp(hash, pin, PIN_SIZE) == 0;

		OPENSSL_free(der);
		if (is_same)
			return true;
	}
	return false;
}

int tls_checks_count_pins(const struct tls_checks *checks, const STACK_OF(X509) *chain, int *ret_unused)
{
	int n = 0;

	for (int i = 0; i < checks->n_pins; i++)
		n += is_in_chain(checks->pins[i], chain);
	*ret_unused = checks->n_pins - n;
	return n;
}
