/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate chains checked with a time of ours. OpenSSL is told to leave all dates alone and they are looked at here, because the rules depend on
 * how far the time can be relied on, and because OpenSSL takes a time_t, which ends in 2038 on some boards.
 */
#include "config.h"

#include "crypto/verify_dates.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <openssl/x509_vfy.h>

#include <agent/openssl.h>

#include "base/time.h"
#include "crypto/verify_lists.h"

int time_from_asn1(const ASN1_TIME *t, int64_t *ret_s)
{
	int64_t year, month, era, days;
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return -EBADMSG;
	year = tm.tm_year + INT64_C(1900) - (tm.tm_mon < 2);
	month = tm.tm_mon < 2 ? tm.tm_mon + 10 : tm.tm_mon - 2;
	era = year / 400;
	year -= era * 400;
	days = era * 146097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + tm.tm_mday - 1 - 719468;
	*ret_s = ((days * 24 + tm.tm_hour) * 60 + tm.tm_min) * 60 + tm.tm_sec;
	return 0;
}

bool time_is_over(const ASN1_TIME *end, int64_t now_s)
{
	int64_t end_s;

	return time_from_asn1(end, &end_s) < 0 || now_s > end_s;
}

bool time_is_early(const ASN1_TIME *begin, int64_t now_s)
{
	int64_t begin_s;

	return time_from_asn1(begin, &begin_s) < 0 || now_s < begin_s;
}

int time_to_asn1(int64_t s, ASN1_TIME *ret_time)
{
	int year, month, day, hour, minute, second;
	char text[96]; /* six numbers of any length */

	time_text(s, text);
	if (sscanf(text, "%d-%d-%d %d:%d:%d UTC", &year, &month, &day, &hour, &minute, &second) != 6 || year < 1 || year > 9999)
		return -EINVAL;
	snprintf(text, sizeof(text), "%04d%02d%02d%02d%02d%02dZ", year, month, day, hour, minute, second);
	return ASN1_TIME_set_string_X509(ret_time, text) == 1 ? 0 : -ENOMEM;
}

/* What the callback says of it; without one it stands. */
static bool is_overruled(X509_STORE_CTX *ctx, int depth, X509 *cert, int error)
{
	X509_STORE_CTX_verify_cb callback = X509_STORE_CTX_get_verify_cb(ctx);
	bool is_good;

	X509_STORE_CTX_set_error(ctx, error);
	X509_STORE_CTX_set_error_depth(ctx, depth);
	X509_STORE_CTX_set_current_cert(ctx, cert);
	is_good = callback != NULL && callback(0, ctx) == 1;
	if (is_good)
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
	return is_good;
}

static int refuse(X509_STORE_CTX *ctx, int depth, X509 *cert, int error)
{
	/* Told, not asked: a date is no matter of opinion. */
	(void)is_overruled(ctx, depth, cert, error);
	X509_STORE_CTX_set_error(ctx, error);
	return 0;
}

static int dates_of(const X509 *cert, const struct agent_time_reading *now)
{
	int64_t begin, end;

	if (time_from_asn1(X509_get0_notBefore(cert), &begin) < 0)
		return X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD;
	if (time_from_asn1(X509_get0_notAfter(cert), &end) < 0)
		return X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
	if ((int64_t)now->now_s > end)
		return X509_V_ERR_CERT_HAS_EXPIRED;
	return (int64_t)now->now_s < begin && now->state >= AGENT_TIME_NETWORK ? X509_V_ERR_CERT_NOT_YET_VALID : X509_V_OK;
}

static int dates_of_list(const X509_CRL *crl, const struct agent_time_reading *now)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
	int64_t begin, end;

	if (time_from_asn1(X509_CRL_get0_lastUpdate(crl), &begin) < 0)
		return X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD;
	if (next != NULL && time_from_asn1(next, &end) < 0)
		return X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD;
	if (next != NULL && (int64_t)now->now_s > end)
		return X509_V_ERR_CRL_HAS_EXPIRED;
	return (int64_t)now->now_s < begin && now->state >= AGENT_TIME_NETWORK ? X509_V_ERR_CRL_NOT_YET_VALID : X509_V_OK;
}

/* Each of the lists that count, where there is one for each scope. */
static int dates_of_crl(X509_STORE_CTX *ctx, X509 *issuer, const struct agent_time_reading *now)
{
	STACK_OF(X509_CRL) *crls = verify_lists_of(ctx, issuer);
	int error = sk_X509_CRL_num(crls) > 0 ? X509_V_OK : X509_V_ERR_UNABLE_TO_GET_CRL;

	for (int i = 0; error == X509_V_OK && i < sk_X509_CRL_num(crls); i++)
		error = dates_of_list(sk_X509_CRL_value(crls, i), now);
	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return error;
}

static int dates_of_chain(X509_STORE_CTX *ctx, unsigned long flags, const struct agent_time_reading *now, int *ret_depth)
{
	const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);

	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *cert = sk_X509_value(chain, i);
		int error = dates_of(cert, now);

		/* CRL_CHECK is about the end of the chain, with CRL_CHECK_ALL about all of it; nobody revokes a root. */
		if (error == X509_V_OK && (flags & X509_V_FLAG_CRL_CHECK) != 0 && (i == 0 || (flags & X509_V_FLAG_CRL_CHECK_ALL) != 0))
			error = dates_of_crl(ctx, sk_X509_value(chain, i + 1 < sk_X509_num(chain) ? i + 1 : i), now);
		if (error == X509_V_ERR_UNABLE_TO_GET_CRL && is_overruled(ctx, i, cert, error))
			error = X509_V_OK;
		*ret_depth = i;
		if (error != X509_V_OK)
			return error;
	}
	return X509_V_OK;
}

static int overlook_dates(int ok, X509_STORE_CTX *ctx)
{
	int error = X509_STORE_CTX_get_error(ctx);

	/* Whether a list must be there is asked when its dates are looked at. */
	return ok || error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID || error == X509_V_ERR_CRL_HAS_EXPIRED ||
	       error == X509_V_ERR_CRL_NOT_YET_VALID || error == X509_V_ERR_UNABLE_TO_GET_CRL;
}

/*
 * An authority that was renewed with its old key has two certificates that fit, and only with a time OpenSSL prefers the one that is good now.
 * Dates still are not its business. Without success @ctx is as it was.
 */
static bool build_again(X509_STORE_CTX *ctx, const struct agent_time_reading *now)
{
	X509_STORE_CTX_verify_cb callback = X509_STORE_CTX_get_verify_cb(ctx);
	STACK_OF(X509) *first = X509_STORE_CTX_get1_chain(ctx);
	time_t now_s = (time_t)now->now_s;
	int r;

	if (first == NULL || now_s < 0 || (uint64_t)now_s != now->now_s) {
		sk_X509_pop_free(first, X509_free);
		return false;
	}
	X509_STORE_CTX_set0_verified_chain(ctx, NULL);
	/* A time that is set goes before X509_V_FLAG_NO_CHECK_TIME. */
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), now_s);
	X509_STORE_CTX_set_verify_cb(ctx, overlook_dates);
	r = X509_verify_cert(ctx);
	X509_STORE_CTX_set_verify_cb(ctx, callback);
	X509_STORE_CTX_set_error(ctx, X509_V_OK);
	if (r == 1)
		sk_X509_pop_free(first, X509_free);
	else
		X509_STORE_CTX_set0_verified_chain(ctx, first);
	return r == 1;
}

int verify_at(X509_STORE_CTX *ctx, const struct agent_time_reading *now)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	unsigned long flags;
	int depth = 0, error;

	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
	flags = X509_VERIFY_PARAM_get_flags(param);
	if (X509_verify_cert(ctx) != 1)
		return 0;
	error = dates_of_chain(ctx, flags, now, &depth);
	if (error != X509_V_OK && depth > 0 && (flags & X509_V_FLAG_POLICY_CHECK) == 0 && build_again(ctx, now))
		error = dates_of_chain(ctx, flags, now, &depth);
	if (error != X509_V_OK)
		return refuse(ctx, depth, sk_X509_value(X509_STORE_CTX_get0_chain(ctx), depth), error);
	return 1;
}

/* Of the lists with the name of the issuer only those that it signed. */
static int64_t list_signed(X509_STORE_CTX *ctx, X509 *issuer)
{
	STACK_OF(X509_CRL) *crls = verify_lists_of(ctx, issuer);
	int64_t at, latest = INT64_MIN;

	for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
		X509_CRL *crl = sk_X509_CRL_value(crls, i);

		if (time_from_asn1(X509_CRL_get0_lastUpdate(crl), &at) >= 0 && at > latest && X509_CRL_verify(crl, X509_get0_pubkey(issuer)) == 1)
			latest = at;
	}
	ERR_clear_error();
	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return latest;
}

int64_t verify_lists_signed(X509_STORE_CTX *ctx)
{
	unsigned long flags = X509_VERIFY_PARAM_get_flags(X509_STORE_CTX_get0_param(ctx));
	const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
	int64_t at, latest = INT64_MIN;
	int n = (flags & X509_V_FLAG_CRL_CHECK) == 0 ? 0 : (flags & X509_V_FLAG_CRL_CHECK_ALL) != 0 ? sk_X509_num(chain) : 1;

	for (int i = 0; i < n && i < sk_X509_num(chain); i++) {
		at = list_signed(ctx, sk_X509_value(chain, i + 1 < sk_X509_num(chain) ? i + 1 : i));
		latest = at > latest ? at : latest;
	}
	return latest;
}

int agent_openssl_verify(X509_STORE_CTX *ctx, void *time)
{
	struct agent_time_reading now;

	agent_time_get(time, &now);
	return verify_at(ctx, &now);
}
