/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL (3.0 to 3.5) takes the first anchor whose name and key identifier fit, and does not try another one when the signature turns out not to. Without
 * identifiers the anchor for the old key would hide the one for the new, or hide what the server sent to lead from one to the other.
 */
#include "config.h"

#include "crypto/verify_issuers.h"

#include <stdbool.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static bool is_signed_by(X509 *cert, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	bool is_good;

	ERR_set_mark();
	is_good = key != NULL && X509_verify(cert, key) == 1;
	ERR_pop_to_mark();
	return is_good;
}

/* OpenSSL has compared them; an identifier of the wrong key would be the authority's own fault. */
static bool have_identifiers(X509 *cert, X509 *issuer)
{
	return X509_get0_authority_key_id(cert) != NULL && X509_get0_subject_key_id(issuer) != NULL;
}

/* Of those with the right key the one that is good at the time that OpenSSL looks at, if it does. */
static int find_other(X509 **ret_issuer, X509_STORE_CTX *ctx, X509 *cert)
{
	STACK_OF(X509) *namesakes = X509_STORE_CTX_get1_certs(ctx, X509_get_issuer_name(cert));
	X509 *found = NULL;

	for (int i = 0; i < sk_X509_num(namesakes); i++) {
		X509 *one = sk_X509_value(namesakes, i);

		if (X509_check_issued(one, cert) != X509_V_OK || !is_signed_by(cert, one))
			continue;
		found = one;
		if (X509_cmp_timeframe(X509_STORE_CTX_get0_param(ctx), X509_get0_notBefore(one), X509_get0_notAfter(one)) == 0)
			break;
	}
	if (found != NULL)
		X509_up_ref(found);
	sk_X509_pop_free(namesakes, X509_free);
	*ret_issuer = found;
	return found != NULL;
}

static int find(X509 **ret_issuer, X509_STORE_CTX *ctx, X509 *cert)
{
	X509 *first = NULL;
	int r = X509_STORE_CTX_get1_issuer(&first, ctx, cert);

	/* Nobody has to look at what an anchor signed itself with. */
	if (r != 1 || have_identifiers(cert, first) || X509_cmp(cert, first) == 0 || is_signed_by(cert, first)) {
		*ret_issuer = r == 1 ? first : NULL;
		return r;
	}
	X509_free(first);
	return find_other(ret_issuer, ctx, cert);
}

void verify_issuers_use(X509_STORE *store)
{
	X509_STORE_set_get_issuer(store, find);
}
