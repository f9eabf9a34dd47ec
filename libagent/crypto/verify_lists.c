/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL takes the list with the issuer's name that was issued last, and finds out afterwards whether the issuer signed it. An authority that got a
 * new key and kept its name has two lists, and a list that was put beside the good one would shut everybody out.
 */
#include "config.h"

#include "crypto/verify_lists.h"

#include <stdint.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/verify_dates.h"

static const ASN1_OCTET_STRING *scope_of(const X509_CRL *crl)
{
	int at = X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1);

	return at < 0 ? NULL : X509_EXTENSION_get_data(X509_CRL_get_ext(crl, at));
}

/* Complete, of this issuer alone and for any reason. OpenSSL takes a delta for complete (3.0), and passes over the others as if they were not there. */
static bool is_usable(const X509_CRL *crl)
{
	ISSUING_DIST_POINT *idp;
	bool is_good;

	if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
		return false;
	if (scope_of(crl) == NULL)
		return true;
	idp = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, NULL, NULL);
	is_good = idp != NULL && idp->indirectCRL <= 0 && idp->onlysomereasons == NULL && (idp->onlyuser > 0) + (idp->onlyCA > 0) + (idp->onlyattr > 0) <= 1;
	ISSUING_DIST_POINT_free(idp);
	return is_good;
}

static bool is_same_scope(const X509_CRL *a, const X509_CRL *b)
{
	const ASN1_OCTET_STRING *x = scope_of(a), *y = scope_of(b);

	return x == NULL || y == NULL ? x == y : ASN1_OCTET_STRING_cmp(x, y) == 0;
}

static bool is_newer(const X509_CRL *a, const X509_CRL *b)
{
	ASN1_INTEGER *x = X509_CRL_get_ext_d2i(a, NID_crl_number, NULL, NULL), *y = X509_CRL_get_ext_d2i(b, NID_crl_number, NULL, NULL);
	int order = x != NULL && y != NULL ? ASN1_INTEGER_cmp(x, y) : 0;
	int64_t a_s, b_s;

	ASN1_INTEGER_free(x);
	ASN1_INTEGER_free(y);
	if (order != 0)
		return order > 0;
	return time_from_asn1(X509_CRL_get0_lastUpdate(a), &a_s) >= 0 && (time_from_asn1(X509_CRL_get0_lastUpdate(b), &b_s) < 0 || a_s > b_s);
}

/* In place of an older one of its scope. */
static bool put(STACK_OF(X509_CRL) *lists, X509_CRL *crl)
{
	for (int i = 0; i < sk_X509_CRL_num(lists); i++) {
		X509_CRL *other = sk_X509_CRL_value(lists, i);

		if (!is_same_scope(crl, other))
			continue;
		if (!is_newer(crl, other))
			return true;
		X509_CRL_up_ref(crl);
		sk_X509_CRL_set(lists, i, crl);
		X509_CRL_free(other);
		return true;
	}
	if (sk_X509_CRL_push(lists, crl) <= 0)
		return false;
	X509_CRL_up_ref(crl);
	return true;
}

static bool is_signed_by(X509_CRL *crl, const X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);

	return key != NULL && X509_CRL_verify(crl, key) == 1;
}

/* Another authority of that name, which is trusted as well, has a list of its own. */
static bool is_of_namesake(X509_CRL *crl, const STACK_OF(X509) *namesakes)
{
	for (int i = 0; i < sk_X509_num(namesakes); i++)
		if (is_signed_by(crl, sk_X509_value(namesakes, i)))
			return true;
	return false;
}

static void free_lists(STACK_OF(X509_CRL) *lists)
{
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
}

STACK_OF(X509_CRL) *verify_lists_of(X509_STORE_CTX *ctx, X509 *issuer)
{
	const X509_NAME *name = X509_get_subject_name(issuer);
	STACK_OF(X509_CRL) *all = X509_STORE_CTX_get1_crls(ctx, name), *good = sk_X509_CRL_new_null(), *strange = sk_X509_CRL_new_null(), *rest;
	STACK_OF(X509) *namesakes = X509_STORE_CTX_get1_certs(ctx, name);
	bool ok = good != NULL && strange != NULL;

	ERR_set_mark();
	for (int i = 0; ok && i < sk_X509_CRL_num(all); i++) {
		X509_CRL *crl = sk_X509_CRL_value(all, i);

		if (!is_usable(crl))
			continue;
		if (is_signed_by(crl, issuer))
			ok = put(good, crl);
		else if (!is_of_namesake(crl, namesakes))
			ok = put(strange, crl);
	}
	ERR_pop_to_mark();
	sk_X509_pop_free(namesakes, X509_free);
	free_lists(all);
	if (!ok) { /* Memory is short. */
		free_lists(good);
		free_lists(strange);
		return NULL;
	}
	rest = sk_X509_CRL_num(good) > 0 ? strange : good;
	free_lists(rest);
	return rest == strange ? good : strange;
}

/* OpenSSL says which certificate of the chain it is at by the depth of errors that it would report. */
static X509 *issuer_at(const X509_STORE_CTX *ctx)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
	int at = X509_STORE_CTX_get_error_depth(ctx), n = sk_X509_num(chain);

	return at < 0 || at >= n ? NULL : sk_X509_value(chain, at + 1 < n ? at + 1 : at);
}

bool verify_lists_are_missing(X509_STORE_CTX *ctx)
{
	X509 *issuer = issuer_at(ctx);
	const X509_NAME *name = issuer == NULL ? NULL : X509_get_subject_name(issuer);
	STACK_OF(X509_CRL) *all = name == NULL ? NULL : X509_STORE_CTX_get1_crls(ctx, name);
	STACK_OF(X509) *namesakes = name == NULL ? NULL : X509_STORE_CTX_get1_certs(ctx, name);
	bool is_there = false;

	ERR_set_mark();
	for (int i = 0; !is_there && i < sk_X509_CRL_num(all); i++)
		is_there = is_signed_by(sk_X509_CRL_value(all, i), issuer) || !is_of_namesake(sk_X509_CRL_value(all, i), namesakes);
	ERR_pop_to_mark();
	sk_X509_pop_free(namesakes, X509_free);
	free_lists(all);
	if (is_there)
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_DIFFERENT_CRL_SCOPE);
	return !is_there;
}

static STACK_OF(X509_CRL) *lookup(const X509_STORE_CTX *ctx, const X509_NAME *name)
{
	X509 *issuer = issuer_at(ctx);

	if (issuer == NULL || X509_NAME_cmp(X509_get_subject_name(issuer), name) != 0)
		return X509_STORE_CTX_get1_crls(ctx, name);
	return verify_lists_of((X509_STORE_CTX *)(uintptr_t)ctx, issuer);
}

void verify_lists_use(X509_STORE *store)
{
	X509_STORE_set_lookup_crls(store, lookup);
}
