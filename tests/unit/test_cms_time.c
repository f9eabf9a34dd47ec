/* SPDX-License-Identifier: Apache-2.0 */
/* When something was signed, as far as its signers are believed. */
#include "tests/unit/cms_world.h"

#include "crypto/verify_dates.h"

/* @id signs, and says that it was at @at_s. */
static void add_signer(CMS_ContentInfo *cms, const struct identity *id, int64_t at_s)
{
	CMS_SignerInfo *si = CMS_add1_signer(cms, id->cert, id->key, EVP_sha256(), SIGN_FLAGS | CMS_PARTIAL);
	ASN1_TIME *t = ASN1_TIME_new();

	assert_non_null(si);
	assert_int_equal(time_to_asn1(at_s, t), 0);
	assert_int_equal(CMS_signed_add1_attr_by_NID(si, NID_pkcs9_signingTime, t->type, t, -1), 1);
	ASN1_TIME_free(t);
}

static uint64_t signed_at(const struct identity *const *ids, const int64_t *at_s, size_t n, unsigned n_min)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	BIO *bio = BIO_new_mem_buf(CONTENT, -1);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, SIGN_FLAGS | CMS_PARTIAL);
	struct cms_signers signers = { .signed_s = 1 };
	uint8_t *der = NULL;
	int size;

	for (size_t i = 0; i < n; i++)
		add_signer(cms, ids[i], at_s[i]);
	assert_int_equal(CMS_final(cms, bio, NULL, SIGN_FLAGS), 1);
	size = i2d_CMS_ContentInfo(cms, &der);
	assert_int_equal(cms_trust_load(ctx, dir.path, &trust, NULL), 0);
	assert_int_equal(cms_verify_signers(trust, der, (size_t)size, CONTENT, strlen(CONTENT), n_min, NOW_S, &signers, NULL), 0);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	return signers.signed_s;
}

static void the_earliest_signing_time_of_good_signers_is_told(void **state)
{
	struct identity second = certs_make("Second signer", &ca, SPEC_SIGNER), stranger = certs_make("Stranger", NULL, SPEC_SIGNER);
	const struct identity *ids[] = { &signer, &second, &stranger };
	const int64_t now_s = (int64_t)NOW_S;

	assert_int_equal(signed_at(ids, (int64_t[]){ now_s - 100 }, 1, 1), now_s - 100);
	/* Whose clock is ahead needs all others for it, and who is not trusted has no say. */
	assert_int_equal(signed_at(ids, (int64_t[]){ now_s - 100, now_s - 200, now_s - 900 }, 3, 2), now_s - 200);
	assert_int_equal(signed_at(ids, (int64_t[]){ now_s - 200, now_s - 100, now_s - 900 }, 3, 2), now_s - 200);
	/* At a time at which its certificate is not good nobody signed. */
	assert_int_equal(signed_at(ids, (int64_t[]){ INT64_C(253402300799) }, 1, 1), 0);
	assert_int_equal(signed_at(ids, (int64_t[]){ 1 }, 1, 1), 0);
	identity_free(&second);
	identity_free(&stranger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_earliest_signing_time_of_good_signers_is_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
