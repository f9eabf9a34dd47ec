/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation lists, stapled answers and pins in real handshakes: what is refused, by which name. */
#include "tests/unit/test.h"

#include <errno.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <agent/openssl.h>
#include <agent/tls.h>

#include "base/pin.h"
#include "base/time.h"
#include "net/tls.h"
#include "tests/unit/tls_world.h"

enum crl_kind { CRL_NO_FILE, CRL_GOOD, CRL_REVOKED, CRL_CA_REVOKED, CRL_EXPIRED, CRL_COMING, CRL_FORGED, CRL_ROOT_ONLY, CRL_STRANGER, CRL_JUNK, CRL_LARGE, CRL_DER };
enum staple { NOT_STAPLED, STAPLE_GOOD, STAPLE_REVOKED, STAPLE_UNKNOWN, STAPLE_STALE, STAPLE_ENDLESS, STAPLE_COMING, STAPLE_BY_STRANGER, STAPLE_BY_ROOT,
	      STAPLE_BY_DELEGATE, STAPLE_BY_NO_DELEGATE, STAPLE_BY_OLD_DELEGATE, STAPLE_BY_REVOKED_DELEGATE, STAPLE_OTHER, STAPLE_JUNK, STAPLE_LONGER, STAPLE_TRY_LATER,
	      STAPLE_FORGED, STAPLE_SHA1 };

/* ---- revocation lists ---- */

static void make_crls(struct world *w, enum crl_kind kind)
{
	X509 *revoked = kind == CRL_REVOKED ? w->cert : NULL;
	FILE *f;

	(void)unlink(w->crl_file);
	if (kind == CRL_NO_FILE)
		return;
	f = fopen(w->crl_file, "w");
	assert_non_null(f);
	if (kind == CRL_JUNK)
		fputs("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", f);
	for (int i = 0; kind == CRL_LARGE && i < 70000; i++)
		fputs("sixteen bytes ..", f);
	if (kind == CRL_DER) {
		write_crl(f, 1, w->ca, w->ca_key, w->cert, -3600, 3600);
	} else if (kind != CRL_JUNK && kind != CRL_LARGE && kind != CRL_STRANGER) {
		write_crl(f, 0, w->root, w->root_key, kind == CRL_CA_REVOKED ? w->ca : NULL, -3600, 3600);
		if (kind != CRL_ROOT_ONLY)
			write_crl(f, 0, w->ca, kind == CRL_FORGED ? w->stranger_key : w->ca_key, revoked, kind == CRL_EXPIRED ? -7200 : kind == CRL_COMING ? 3600 : -3600,
				  kind == CRL_EXPIRED ? -60 : 7200);
	} else if (kind == CRL_STRANGER) {
		write_crl(f, 0, w->delegate, w->delegate_key, w->cert, -3600, 3600);
	}
	assert_int_equal(fclose(f), 0);
}

/* ---- stapled answers ---- */

static void make_staple(struct world *w, X509 *cert, enum staple kind)
{
	static const struct {
		enum staple kind;
		int status;
		long from_s, to_s;
	} dates[] = {
		{ STAPLE_REVOKED, V_OCSP_CERTSTATUS_REVOKED, -3600, -60 }, { STAPLE_UNKNOWN, V_OCSP_CERTSTATUS_UNKNOWN, -60, 3600 },
		{ STAPLE_STALE, V_OCSP_CERTSTATUS_GOOD, -3600, -60 }, { STAPLE_COMING, V_OCSP_CERTSTATUS_GOOD, 3600, 7200 },
	};
	X509 *signer = w->ca;
	EVP_PKEY *key = w->ca_key;
	OCSP_BASICRESP *answer;
	OCSP_RESPONSE *response;
	ASN1_TIME *from = NULL, *to = NULL, *revoked = NULL;
	int status = V_OCSP_CERTSTATUS_GOOD;
	long from_s = -60, to_s = 3600;

	OPENSSL_free(w->staple);
	w->staple = NULL;
	w->staple_size = 0;
	if (kind == NOT_STAPLED)
		return;
	if (kind == STAPLE_JUNK) {
		w->staple = OPENSSL_memdup("no answer", 9);
		w->staple_size = 9;
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(dates); i++)
		if (dates[i].kind == kind) {
			status = dates[i].status;
			from_s = dates[i].from_s;
			to_s = dates[i].to_s;
		}
	if (kind == STAPLE_BY_STRANGER) {
		signer = w->stranger;
		key = w->stranger_key;
	} else if (kind == STAPLE_BY_ROOT) {
		signer = w->root;
		key = w->root_key;
	} else if (kind == STAPLE_BY_DELEGATE || kind == STAPLE_BY_NO_DELEGATE || kind == STAPLE_BY_OLD_DELEGATE || kind == STAPLE_BY_REVOKED_DELEGATE) {
		signer = kind == STAPLE_BY_NO_DELEGATE ? w->no_delegate : kind == STAPLE_BY_OLD_DELEGATE ? w->old_delegate : w->delegate;
		key = w->delegate_key;
	}
	answer = OCSP_BASICRESP_new();
	from = X509_gmtime_adj(NULL, from_s);
	to = kind == STAPLE_ENDLESS ? NULL : X509_gmtime_adj(NULL, to_s);
	revoked = status == V_OCSP_CERTSTATUS_REVOKED ? X509_gmtime_adj(NULL, -3600) : NULL;
	{
		OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), kind == STAPLE_OTHER ? w->other : cert, w->ca);

		assert_non_null(OCSP_basic_add1_status(answer, id, status, OCSP_REVOKED_STATUS_KEYCOMPROMISE, revoked, from, to));
		OCSP_CERTID_free(id);
	}
	assert_int_equal(OCSP_basic_sign(answer, signer, key, kind == STAPLE_SHA1 ? EVP_sha1() : EVP_sha256(), NULL, 0), 1);
	response = OCSP_response_create(kind == STAPLE_TRY_LATER ? OCSP_RESPONSE_STATUS_TRYLATER : OCSP_RESPONSE_STATUS_SUCCESSFUL,
					kind == STAPLE_TRY_LATER ? NULL : answer);
	w->staple_size = i2d_OCSP_RESPONSE(response, &w->staple);
	assert_true(w->staple_size > 0);
	if (kind == STAPLE_FORGED) {
		/* A bit of the signature, which comes before the certificates. */
		const ASN1_OCTET_STRING *sig = OCSP_resp_get0_signature(answer);
		uint8_t *at = memmem(w->staple, (size_t)w->staple_size, ASN1_STRING_get0_data(sig), (size_t)ASN1_STRING_length(sig));

		assert_non_null(at);
		at[ASN1_STRING_length(sig) - 1] ^= 1;
	}
	if (kind == STAPLE_LONGER) {
		w->staple = OPENSSL_realloc(w->staple, (size_t)w->staple_size + 1);
		w->staple[w->staple_size++] = 0;
	}
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(answer);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	ASN1_TIME_free(revoked);
}

#define IF_PRESENT AGENT_TLS_CRL_IF_PRESENT
#define CRL_NEEDED AGENT_TLS_CRL_REQUIRED

static void lists_decide_who_is_revoked(void **state)
{
	static const struct {
		const char *claim;
		enum crl_kind kind;
		enum agent_tls_crl policy;
		const char *error, *says;
	} cases[] = {
		{ "good on all lists", CRL_GOOD, CRL_NEEDED, NULL, NULL },
		{ "good on all lists, which need not be there", CRL_GOOD, IF_PRESENT, NULL, NULL },
		{ "no file, none needed", CRL_NO_FILE, IF_PRESENT, NULL, NULL },
		{ "revoked", CRL_REVOKED, CRL_NEEDED, "tls.revoked", "CN=broker was revoked by its issuer /CN=Issuing CA" },
		{ "revoked, where lists need not be there", CRL_REVOKED, IF_PRESENT, "tls.revoked", "revoked" },
		{ "revoked, but nobody asks", CRL_REVOKED, AGENT_TLS_CRL_OFF, NULL, NULL },
		{ "the issuing authority is revoked", CRL_CA_REVOKED, IF_PRESENT, "tls.revoked", "CN=Issuing CA was revoked by its issuer /CN=Root" },
		{ "a list that is out of date", CRL_EXPIRED, IF_PRESENT, "tls.crl-expired", "the revocation list of /CN=Issuing CA is out of date" },
		{ "a list that is too early", CRL_COMING, IF_PRESENT, "tls.crl-not-yet-valid", "clock" },
		{ "a list by somebody else", CRL_FORGED, IF_PRESENT, "tls.crl", "cannot be used" },
		{ "the list of the issuing authority is missing", CRL_ROOT_ONLY, CRL_NEEDED, "tls.crl-missing", "no revocation list of /CN=Issuing CA" },
		{ "that may be", CRL_ROOT_ONLY, IF_PRESENT, NULL, NULL },
		{ "a list of an authority that is not in the chain", CRL_STRANGER, IF_PRESENT, NULL, NULL },
		{ "that one does not help", CRL_STRANGER, CRL_NEEDED, "tls.crl-missing", "required" },
		{ "one list in DER", CRL_DER, IF_PRESENT, "tls.revoked", "revoked" },
	};
	struct world *w = *state;

	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, version);

		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			print_message("    %s\n", cases[i].claim);
			make_crls(w, cases[i].kind);
			expect(w, (struct agent_tls_options){ .crl_file = w->crl_file, .crl = cases[i].policy, .allow_tls12 = 1 }, server_ctx, cases[i].error,
			       cases[i].says);
		}
		SSL_CTX_free(server_ctx);
	}
}

enum list_kind { LIST_COMPLETE, LIST_DELTA, LIST_INDIRECT, LIST_SOME_REASONS, LIST_CONTRADICTION };

struct list {
	int by_namesake; /* signed by another authority with the same name */
	long number;	 /* 0: without */
	int revokes;
	long from_s, to_s;
	enum list_kind kind;
};

static void limit_list(X509_CRL *crl, enum list_kind kind)
{
	ISSUING_DIST_POINT *idp = ISSUING_DIST_POINT_new();
	ASN1_INTEGER *base = ASN1_INTEGER_new();

	ASN1_INTEGER_set(base, 1);
	if (kind == LIST_DELTA)
		assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0), 1);
	if (kind == LIST_INDIRECT)
		idp->indirectCRL = 0xff;
	if (kind == LIST_SOME_REASONS) {
		idp->onlysomereasons = ASN1_BIT_STRING_new();
		ASN1_BIT_STRING_set_bit(idp->onlysomereasons, CRL_REASON_KEY_COMPROMISE, 1);
	}
	if (kind == LIST_CONTRADICTION)
		idp->onlyuser = idp->onlyCA = 0xff;
	if (kind > LIST_DELTA)
		assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, idp, 1, 0), 1);
	ASN1_INTEGER_free(base);
	ISSUING_DIST_POINT_free(idp);
}

static void write_list(FILE *f, struct world *w, const struct list *list)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = X509_gmtime_adj(NULL, list->from_s);

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(w->ca));
	X509_CRL_set1_lastUpdate(crl, t);
	if (list->revokes) {
		X509_REVOKED *r = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(r, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(w->cert));
		X509_REVOKED_set_revocationDate(r, t);
		assert_int_equal(X509_CRL_add0_revoked(crl, r), 1);
	}
	X509_gmtime_adj(t, list->to_s);
	X509_CRL_set1_nextUpdate(crl, t);
	ASN1_TIME_free(t);
	if (list->number != 0) {
		ASN1_INTEGER *number = ASN1_INTEGER_new();

		ASN1_INTEGER_set(number, list->number);
		assert_int_equal(X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0), 1);
		ASN1_INTEGER_free(number);
	}
	limit_list(crl, list->kind);
	assert_true(X509_CRL_sign(crl, list->by_namesake ? w->stranger_key : w->ca_key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509_CRL(f, crl), 1);
	X509_CRL_free(crl);
}

/* Several lists with the name of one issuer, in either order. */
static void of_the_lists_of_an_issuer_the_newest_that_it_signed_counts(void **state)
{
	static const struct {
		const char *claim;
		struct list lists[2];
		int knows_namesake; /* it is an anchor */
		enum agent_tls_crl policy;
		const char *error, *says;
	} cases[] = {
		{ "the newer one revokes", { { 0, 0, 0, -3600, 3600 }, { 0, 0, 1, -60, 3600 } }, 0, CRL_NEEDED, "tls.revoked", "revoked" },
		{ "the older one revoked, the newer does not any more", { { 0, 0, 1, -3600, 3600 }, { 0, 0, 0, -60, 3600 } }, 0, CRL_NEEDED, NULL, NULL },
		{ "the number goes before the date", { { 0, 9, 1, -3600, 3600 }, { 0, 8, 0, -60, 3600 } }, 0, CRL_NEEDED, "tls.revoked", "revoked" },
		{ "also the other way", { { 0, 8, 1, -60, 3600 }, { 0, 9, 0, -3600, 3600 } }, 0, CRL_NEEDED, NULL, NULL },
		{ "the newest is out of date, an older one is not", { { 0, 1, 0, -7200, 3600 }, { 0, 2, 0, -3600, -60 } }, 0, IF_PRESENT, "tls.crl-expired", "out of date" },
		{ "a newer one that somebody else signed", { { 0, 1, 0, -3600, 3600 }, { 1, 2, 1, -60, 3600 } }, 0, CRL_NEEDED, NULL, NULL },
		{ "it does not hide a revocation", { { 0, 1, 1, -3600, 3600 }, { 1, 2, 0, -60, 3600 } }, 0, CRL_NEEDED, "tls.revoked", "revoked" },
		{ "nor is its date asked for", { { 0, 1, 0, -3600, 3600 }, { 1, 2, 0, -60, -30 } }, 0, CRL_NEEDED, NULL, NULL },
		{ "only lists that nobody known signed", { { 1, 1, 0, -3600, 3600 }, { 1, 2, 0, -60, 3600 } }, 0, IF_PRESENT, "tls.crl", "cannot be used" },
		{ "only lists of a trusted namesake", { { 1, 1, 1, -3600, 3600 }, { 1, 2, 1, -60, 3600 } }, 1, IF_PRESENT, NULL, NULL },
		{ "which are not enough", { { 1, 1, 0, -3600, 3600 }, { 1, 2, 0, -60, 3600 } }, 1, CRL_NEEDED, "tls.crl-missing", "required" },
		{ "each has its own, and the namesake's revokes", { { 0, 1, 0, -3600, 3600 }, { 1, 2, 1, -60, 3600 } }, 1, CRL_NEEDED, NULL, NULL },
	};
	struct world *w = *state;
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);
	char both[96];
	FILE *f;

	snprintf(both, sizeof(both), "%s/both.pem", w->dir.path);
	f = fopen(both, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, w->stranger), 1);
	assert_int_equal(PEM_write_X509(f, w->root), 1);
	assert_int_equal(fclose(f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases) * 2; i++) {
		size_t c = i / 2;

		print_message("    %s\n", cases[c].claim);
		f = fopen(w->crl_file, "w");
		assert_non_null(f);
		write_crl(f, 0, w->root, w->root_key, NULL, -3600, 3600);
		write_list(f, w, &cases[c].lists[i % 2]);
		write_list(f, w, &cases[c].lists[1 - i % 2]);
		assert_int_equal(fclose(f), 0);
		expect(w, (struct agent_tls_options){ .crl_file = w->crl_file, .crl = cases[c].policy, .ca_file = cases[c].knows_namesake ? both : NULL }, server_ctx,
		       cases[c].error, cases[c].says);
	}
	SSL_CTX_free(server_ctx);
}

/* Nobody who put a list there wants it to be passed over. */
static void a_list_that_cannot_be_used_is_no_permission(void **state)
{
	static const enum list_kind kinds[] = { LIST_DELTA, LIST_INDIRECT, LIST_SOME_REASONS, LIST_CONTRADICTION };
	struct world *w = *state;
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);

	for (size_t i = 0; i < ARRAY_SIZE(kinds) * 4; i++) {
		struct list list = { 0, 9, i % 4 == 0, -60, 3600, kinds[i / 4] }, complete = { 0, 8, i % 4 == 3, -3600, 3600, LIST_COMPLETE };
		struct agent_tls_options options = { .crl_file = w->crl_file, .crl = IF_PRESENT };
		FILE *f = fopen(w->crl_file, "w");

		assert_non_null(f);
		write_crl(f, 0, w->root, w->root_key, NULL, -3600, 3600);
		write_list(f, w, &list);
		if (i % 4 >= 2)
			write_list(f, w, &complete);
		assert_int_equal(fclose(f), 0);
		if (i % 4 < 2) {
			expect(w, options, server_ctx, "tls.crl", "cannot be used");
			options.crl = CRL_NEEDED;
			expect(w, options, server_ctx, "tls.crl", "cannot be used");
		} else {
			expect(w, options, server_ctx, complete.revokes ? "tls.revoked" : NULL, "revoked");
		}
	}
	SSL_CTX_free(server_ctx);
}

static void files_of_lists_that_are_no_lists_are_refused(void **state)
{
	static const struct {
		enum crl_kind kind;
		enum agent_tls_crl policy;
		int errnum;
		const char *name;
	} cases[] = {
		{ CRL_NO_FILE, CRL_NEEDED, -ENOENT, "tls.crl-missing" }, { CRL_JUNK, CRL_NEEDED, -EBADMSG, "tls.file" },
		{ CRL_JUNK, IF_PRESENT, -EBADMSG, "tls.file" }, { CRL_LARGE, IF_PRESENT, -EMSGSIZE, "file.size" },
	};
	struct world *w = *state;
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		make_crls(w, cases[i].kind);
		assert_int_equal(agent_tls_new(w->ctx, &(struct agent_tls_options){ .ca_file = w->root_file, .peer_name = "b", .crl_file = w->crl_file,
									.crl = cases[i].policy }, &tls, &err), cases[i].errnum);
		assert_error(&err, cases[i].errnum, cases[i].name);
	}
	assert_int_equal(agent_tls_new(w->ctx, &(struct agent_tls_options){ .ca_file = w->root_file, .peer_name = "b", .crl = CRL_NEEDED }, &tls, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tls.options");
}

/* OpenSSL stops at the first list that it does not know for one, and would let in whom the next one revokes. */
static void no_list_of_a_file_is_passed_over(void **state)
{
	static const struct {
		const char *before;	/* text, then the list of the root, then this text, then the list that revokes */
		const char *between;
		int first_is_der, second_is_der;
		size_t keep;		/* bytes of the second list; 0: all */
		int is_good;
	} rows[] = {
		{ "", "", 0, 0, 0, 1 }, { "a comment\n", "\nanother\n", 0, 0, 0, 1 },
		{ "", " ", 0, 0, 0, 0 }, { " ", "", 0, 0, 0, 0 }, { "", "", 0, 0, 1, 0 }, { "", "", 0, 0, 12, 0 }, { "", "", 0, 0, 23, 0 }, { "", "", 0, 0, 24, 0 },
		{ "", "", 0, 0, 60, 0 }, { "", "", 1, 1, 0, 0 }, { "", "", 1, 0, 0, 0 },
	};
	struct world *w = *state;
	_cleanup_error_ struct agent_error *err = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct agent_tls *tls = NULL;
		FILE *f = fopen(w->crl_file, "w");
		long begin;
		int r;

		assert_non_null(f);
		fputs(rows[i].before, f);
		write_crl(f, rows[i].first_is_der, w->root, w->root_key, NULL, -3600, 3600);
		fputs(rows[i].between, f);
		begin = ftell(f);
		write_crl(f, rows[i].second_is_der, w->ca, w->ca_key, w->cert, -3600, 3600);
		assert_int_equal(fclose(f), 0);
		if (rows[i].keep > 0)
			assert_int_equal(truncate(w->crl_file, begin + (long)rows[i].keep), 0);
		r = agent_tls_new(w->ctx, &(struct agent_tls_options){ .ca_file = w->root_file, .peer_name = "b", .crl_file = w->crl_file, .crl = IF_PRESENT }, &tls,
				  &err);
		agent_tls_unref(tls);
		if (r != (rows[i].is_good ? 0 : -EBADMSG))
			fail_msg("row %zu: %d", i, r);
		if (r < 0)
			assert_error(&err, -EBADMSG, "tls.file");
	}
}

#define STAPLED AGENT_TLS_OCSP_IF_STAPLED
#define OCSP_NEEDED AGENT_TLS_OCSP_REQUIRED

static void stapled_answers_decide_too(void **state)
{
	static const struct {
		const char *claim;
		enum staple kind;
		enum agent_tls_ocsp policy;
		const char *error, *says;
	} cases[] = {
		{ "good", STAPLE_GOOD, OCSP_NEEDED, NULL, NULL },
		{ "good by a delegate", STAPLE_BY_DELEGATE, OCSP_NEEDED, NULL, NULL },
		{ "none, none needed", NOT_STAPLED, STAPLED, NULL, NULL },
		{ "none", NOT_STAPLED, OCSP_NEEDED, "tls.ocsp-missing", "one is required here" },
		{ "revoked", STAPLE_REVOKED, STAPLED, "tls.ocsp-revoked", "keyCompromise" },
		{ "revoked, but nobody asks", STAPLE_REVOKED, AGENT_TLS_OCSP_OFF, NULL, NULL },
		{ "unknown", STAPLE_UNKNOWN, STAPLED, "tls.ocsp-unknown", "does not know certificate \"broker\"" },
		{ "stale", STAPLE_STALE, STAPLED, "tls.ocsp-stale", "was good until" },
		{ "without an end", STAPLE_ENDLESS, STAPLED, "tls.ocsp-stale", "until when" },
		{ "of the future", STAPLE_COMING, STAPLED, "tls.ocsp-not-yet-valid", "our clock is the likely cause" },
		{ "by somebody with the name of the authority", STAPLE_BY_STRANGER, STAPLED, "tls.ocsp-signer", "counts for nothing" },
		{ "by the authority above", STAPLE_BY_ROOT, STAPLED, "tls.ocsp-signer", "not issued by the authority" },
		{ "by a certificate for something else", STAPLE_BY_NO_DELEGATE, STAPLED, "tls.ocsp-signer", "OCSPSigning" },
		{ "by a delegate whose time is over", STAPLE_BY_OLD_DELEGATE, STAPLED, "tls.ocsp-signer", "expired" },
		{ "about another certificate", STAPLE_OTHER, STAPLED, "tls.ocsp-other", "another certificate than \"broker\"" },
		{ "damaged", STAPLE_JUNK, STAPLED, "tls.ocsp", "damaged" },
		{ "with a byte behind it", STAPLE_LONGER, STAPLED, "tls.ocsp", "damaged" },
		{ "with a wrong signature", STAPLE_FORGED, STAPLED, "tls.ocsp-signer", "signature is wrong" },
		{ "with a weak signature", STAPLE_SHA1, STAPLED, "tls.ocsp-signer", "too weak" },
		{ "the responder has none now", STAPLE_TRY_LATER, STAPLED, NULL, NULL },
		{ "the responder has none now, and it is needed", STAPLE_TRY_LATER, OCSP_NEEDED, "tls.ocsp-missing", "trylater" },
	};
	struct world *w = *state;

	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, version), *strict = server_context(w, w->must_staple, w->key, w->ca, version);

		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			print_message("    %s\n", cases[i].claim);
			make_staple(w, w->cert, cases[i].kind);
			expect(w, (struct agent_tls_options){ .ocsp = cases[i].policy, .allow_tls12 = 1 }, server_ctx, cases[i].error, cases[i].says);
		}
		make_staple(w, w->must_staple, STAPLE_GOOD);
		expect(w, (struct agent_tls_options){ .ocsp = STAPLED, .allow_tls12 = 1 }, strict, NULL, NULL);
		make_staple(w, w->must_staple, NOT_STAPLED);
		expect(w, (struct agent_tls_options){ .ocsp = STAPLED, .allow_tls12 = 1 }, strict, "tls.ocsp-missing", "its certificate says that it must");
		make_staple(w, w->must_staple, STAPLE_TRY_LATER);
		expect(w, (struct agent_tls_options){ .ocsp = STAPLED, .allow_tls12 = 1 }, strict, "tls.ocsp-missing", "trylater");
		SSL_CTX_free(server_ctx);
		SSL_CTX_free(strict);
	}
}

static void a_delegate_may_be_on_a_list(void **state)
{
	struct world *w = *state;
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);
	FILE *f = fopen(w->crl_file, "w");

	assert_non_null(f);
	write_crl(f, 0, w->ca, w->ca_key, w->delegate, -3600, 3600);
	assert_int_equal(fclose(f), 0);
	make_staple(w, w->cert, STAPLE_BY_REVOKED_DELEGATE);
	expect(w, (struct agent_tls_options){ .ocsp = OCSP_NEEDED, .crl = IF_PRESENT, .crl_file = w->crl_file }, server_ctx, "tls.ocsp-signer", "it was revoked");
	SSL_CTX_free(server_ctx);
}

/* When the newest of certificates, lists and a staple was signed, in seconds against now. */
static int64_t signed_ago(struct world *w, struct agent_tls_options options, SSL_CTX *server_ctx, int is_good)
{
	struct agent_tls *tls = NULL;
	int64_t signed_s;

	options.ca_file = w->root_file;
	options.peer_name = "broker.test";
	assert_int_equal(agent_tls_new(w->ctx, &options, &tls, NULL), 0);
	assert_true(agent_tls_signed_time(tls) == 0);
	assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), is_good);
	signed_s = agent_tls_signed_time(tls);
	agent_tls_unref(tls);
	return signed_s == 0 ? 0 : (int64_t)time(NULL) - signed_s;
}

static int is_near(int64_t ago_s, int64_t want_s)
{
	return ago_s >= want_s && ago_s < want_s + 300;
}

static void what_was_signed_says_that_it_is_later(void **state)
{
	struct world *w = *state;
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);
	const struct agent_tls_options plain = { .allow_tls12 = 0 }, lists = { .crl = CRL_NEEDED, .crl_file = w->crl_file }, staple = { .ocsp = OCSP_NEEDED };
	FILE *f = fopen(w->crl_file, "w");

	assert_true(is_near(signed_ago(w, plain, server_ctx, 1), 3600)); /* the certificates */
	assert_non_null(f);
	write_crl(f, 0, w->root, w->root_key, NULL, -3000, 3600);
	write_crl(f, 0, w->ca, w->ca_key, NULL, -1800, 3600);
	/* It names another authority, and is newer than all. */
	write_crl(f, 0, w->delegate, w->delegate_key, NULL, -5, 3600);
	assert_int_equal(fclose(f), 0);
	assert_true(is_near(signed_ago(w, lists, server_ctx, 1), 1800));
	assert_true(is_near(signed_ago(w, plain, server_ctx, 1), 3600)); /* nobody looked into them */
	make_crls(w, CRL_FORGED);
	assert_true(signed_ago(w, lists, server_ctx, 0) == 0);
	make_crls(w, CRL_REVOKED);
	assert_true(signed_ago(w, lists, server_ctx, 0) == 0);
	make_staple(w, w->cert, STAPLE_GOOD);
	assert_true(is_near(signed_ago(w, staple, server_ctx, 1), 60 + 300));
	assert_true(agent_tls_signed_time(NULL) == 0);
	SSL_CTX_free(server_ctx);
}

/* At the floor of time nobody can say that something is too early, and what is too old says what the clock has to do with it. */
static void the_state_of_the_time_counts(void **state)
{
	struct world *w = *state;
	uint64_t now_s = (uint64_t)time(NULL);
	struct agent_time_reading floor = { .state = AGENT_TIME_FLOOR, .now_s = now_s, .floor_s = now_s };
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);
	struct agent_time *clock = NULL;

	assert_int_equal(agent_time_new(&clock, NULL), 0);
	assert_int_equal(agent_time_update(clock, &floor, NULL), 0);
	make_crls(w, CRL_COMING);
	expect(w, (struct agent_tls_options){ .crl = CRL_NEEDED, .crl_file = w->crl_file, .time = clock }, server_ctx, NULL, NULL);
	make_crls(w, CRL_EXPIRED);
	expect(w, (struct agent_tls_options){ .crl = CRL_NEEDED, .crl_file = w->crl_file, .time = clock }, server_ctx, "tls.crl-expired",
	       "our clock may be the cause");
	make_staple(w, w->cert, STAPLE_COMING);
	expect(w, (struct agent_tls_options){ .ocsp = OCSP_NEEDED, .time = clock }, server_ctx, NULL, NULL);
	make_staple(w, w->cert, STAPLE_STALE);
	expect(w, (struct agent_tls_options){ .ocsp = OCSP_NEEDED, .time = clock }, server_ctx, "tls.ocsp-stale", "our clock may be the cause");
	make_staple(w, w->cert, STAPLE_BY_OLD_DELEGATE);
	expect(w, (struct agent_tls_options){ .ocsp = OCSP_NEEDED, .time = clock }, server_ctx, "tls.ocsp-signer", "expired; our clock may be the cause");
	agent_time_unref(clock);
	SSL_CTX_free(server_ctx);
}

/* ---- pins ---- */

static void pin_of(X509 *cert, char ret_text[64])
{
	unsigned char digest[32], base64[45], *der = NULL;
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	assert_true(size > 0);
	assert_int_equal(EVP_Digest(der, (size_t)size, digest, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
	assert_int_equal(EVP_EncodeBlock(base64, digest, sizeof(digest)), 44);
	snprintf(ret_text, 64, "sha256/%s", base64);
}

static void one_of_the_pins_has_to_fit(void **state)
{
	struct world *w = *state;
	SSL_CTX *server_ctx = server_context(w, w->cert, w->key, w->ca, 0);
	char leaf[64], ca[64], root[64], backup[64], stranger[64];
	struct agent_tls *tls = NULL;

	pin_of(w->cert, leaf);
	pin_of(w->ca, ca);
	pin_of(w->root, root);
	pin_of(w->delegate, backup);
	pin_of(w->stranger, stranger);
	{
		const char *const good[][3] = { { leaf, backup }, { backup, leaf }, { ca, backup }, { root, backup }, { leaf, ca } };
		const char *const bad[] = { stranger, backup, NULL };
		const int unused[] = { 1, 1, 1, 1, 0 };

		for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
			expect(w, (struct agent_tls_options){ .pins = good[i] }, server_ctx, NULL, NULL);
			assert_int_equal(agent_tls_new(w->ctx, &(struct agent_tls_options){ .ca_file = w->root_file, .peer_name = "broker.test", .pins = good[i] },
						       &tls, NULL), 0);
			assert_int_equal(agent_tls_backup_pins(tls), -ENODATA);
			assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 1);
			assert_int_equal(agent_tls_backup_pins(tls), unused[i]);
			/* The second handshake of a profile is a full one as well: nothing is skipped. */
			assert_int_equal(handshake(agent_openssl_ssl_ctx(tls), server_ctx, NULL), 1);
			agent_tls_unref(tls);
		}
		expect(w, (struct agent_tls_options){ .pins = bad }, server_ctx, "tls.pin", "one of the 2 pinned ones");
		/* A pin is no anchor. */
		expect(w, (struct agent_tls_options){ .pins = bad, .ca_file = w->root_file }, server_ctx, "tls.pin", "broker.test");
	}
	assert_int_equal(agent_tls_backup_pins(NULL), -EINVAL);
	SSL_CTX_free(server_ctx);
}

static void lists_of_pins_that_are_no_good_are_refused(void **state)
{
	static const struct {
		const char *pins[3];
		const char *says;
	} cases[] = {
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, "a backup pin" },
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, "twice" },
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=" }, "pin 2" },
		{ { "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, "is not sha256/" },
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }, "is not sha256/" },
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }, "is not sha256/" },
		{ { "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-A=" }, "is not sha256/" },
		{ { "" }, "is not sha256/" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;

		assert_int_equal(agent_tls_new(w->ctx, &(struct agent_tls_options){ .ca_file = w->root_file, .peer_name = "b", .pins = cases[i].pins }, &tls, &err),
				 -EINVAL);
		assert_non_null(strstr(agent_error_message(err), cases[i].says));
		assert_error(&err, -EINVAL, "tls.pins");
	}
}

static void pins_are_read_as_written(void **state)
{
	uint8_t pin[PIN_SIZE];

	assert_int_equal(pin_parse("sha256/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", pin), 0);
	for (int i = 0; i < PIN_SIZE; i++)
		assert_int_equal(pin[i], i);
}

/* ---- other faults of a server ---- */

static void every_fault_has_its_name(void **state)
{
	struct world *w = *state;
	EVP_PKEY *rsa = EVP_RSA_gen(1024), *key = pki_key();
	X509 *weak = issue("weak", "serverAuth", rsa, w->ca, w->ca_key), *self = issue("self", "serverAuth", key, NULL, NULL), *last = NULL;
	SSL_CTX *ctx = server_context(w, weak, rsa, w->ca, 0);
	X509 *chain[8];
	char name[16];
	EVP_PKEY *keys[8];

	expect(w, (struct agent_tls_options){ 0 }, ctx, "tls.weak", "RSA key of 1024 bits");
	SSL_CTX_free(ctx);
	ctx = server_context(w, self, key, NULL, 0);
	expect(w, (struct agent_tls_options){ 0 }, ctx, "tls.self-signed", "self-signed");
	SSL_CTX_free(ctx);
	/* The only group of the server is none of ours. */
	ctx = server_context(w, w->cert, w->key, w->ca, 0);
	assert_int_equal(SSL_CTX_set1_groups_list(ctx, "P-521"), 1);
	expect(w, (struct agent_tls_options){ 0 }, ctx, "tls.parameters", "no cipher suite, group or signature algorithm in common");
	SSL_CTX_free(ctx);
	/* The only suite likewise. */
	ctx = server_context(w, w->cert, w->key, w->ca, 0);
	assert_int_equal(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_CCM_SHA256"), 1);
	expect(w, (struct agent_tls_options){ 0 }, ctx, "tls.parameters", "in common");
	SSL_CTX_free(ctx);
	/* Seven authorities in a row. */
	for (int i = 0; i < 8; i++) {
		keys[i] = pki_key();
		snprintf(name, sizeof(name), "CA %d", i);
		chain[i] = pki_cert(&(struct pki_spec){ .common_name = name, .is_ca = i < 7, .names = "DNS:broker.test" }, keys[i],
				    i == 0 ? w->root : chain[i - 1], i == 0 ? w->root_key : keys[i - 1]);
		last = chain[i];
	}
	ctx = server_context(w, last, keys[7], NULL, 0);
	for (int i = 6; i >= 0; i--)
		assert_int_equal(SSL_CTX_add1_chain_cert(ctx, chain[i]), 1);
	expect(w, (struct agent_tls_options){ 0 }, ctx, "tls.chain", "chain too long");
	SSL_CTX_free(ctx);
	for (int i = 0; i < 8; i++) {
		X509_free(chain[i]);
		EVP_PKEY_free(keys[i]);
	}
	X509_free(weak);
	X509_free(self);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(key);
}

static void profiles_are_as_their_rows_say(void **state)
{
	static const struct {
		enum agent_tls_profile profile;
		int min;
		unsigned long has, has_not;
	} rows[] = {
		{ AGENT_TLS_CLIENT, TLS1_3_VERSION, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION, 0 },
		{ AGENT_TLS_CLIENT_OLD, TLS1_2_VERSION, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION, 0 },
		{ AGENT_TLS_SERVER, TLS1_3_VERSION, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION, SSL_OP_NO_TICKET },
		{ AGENT_TLS_SERVER_MUTUAL, TLS1_3_VERSION, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION, 0 },
	};
	_cleanup_error_ struct agent_error *err = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_method());

		assert_int_equal(agent_openssl_restrict(ctx, rows[i].profile, NULL), 0);
		assert_int_equal(SSL_CTX_get_min_proto_version(ctx), rows[i].min);
		assert_int_equal(SSL_CTX_get_options(ctx) & rows[i].has, rows[i].has);
		assert_int_equal(SSL_CTX_get_options(ctx) & rows[i].has_not, 0);
		assert_int_equal(SSL_CTX_get_session_cache_mode(ctx), SSL_SESS_CACHE_OFF);
		assert_int_equal(SSL_CTX_get_max_early_data(ctx), 0);
		assert_int_equal(SSL_CTX_get_security_level(ctx), 2);
		for (int n = 0; n < sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(ctx)); n++) {
			const SSL_CIPHER *c = sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(ctx), n);

			if (rows[i].profile == AGENT_TLS_CLIENT_OLD && strcmp(SSL_CIPHER_get_version(c), "TLSv1.2") == 0)
				assert_true(SSL_CIPHER_is_aead(c) && SSL_CIPHER_get_kx_nid(c) == NID_kx_ecdhe);
		}
		SSL_CTX_free(ctx);
	}
	assert_int_equal(agent_openssl_restrict(NULL, AGENT_TLS_CLIENT, &err), -EINVAL);
	assert_error(&err, -EINVAL, "tls.options");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_decide_who_is_revoked),
		cmocka_unit_test(of_the_lists_of_an_issuer_the_newest_that_it_signed_counts),
		cmocka_unit_test(a_list_that_cannot_be_used_is_no_permission),
		cmocka_unit_test(files_of_lists_that_are_no_lists_are_refused),
		cmocka_unit_test(no_list_of_a_file_is_passed_over),
		cmocka_unit_test(stapled_answers_decide_too),
		cmocka_unit_test(a_delegate_may_be_on_a_list),
		cmocka_unit_test(what_was_signed_says_that_it_is_later),
		cmocka_unit_test(the_state_of_the_time_counts),
		cmocka_unit_test(one_of_the_pins_has_to_fit),
		cmocka_unit_test(lists_of_pins_that_are_no_good_are_refused),
		cmocka_unit_test(pins_are_read_as_written),
		cmocka_unit_test(every_fault_has_its_name),
		cmocka_unit_test(profiles_are_as_their_rows_say),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
