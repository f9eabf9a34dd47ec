/* SPDX-License-Identifier: Apache-2.0 */
/* Policy digests against those of a TPM; policy signatures: made, found, refused. */
#include "test.h"

#include <errno.h>

#include "../vectors/seal_policy.h"
#include "software_signer.h"

#include "tpm/policy.h"

#define BIT(n) (UINT32_C(1) << (n))

static const uint8_t ref[] = { 'p', 'r', 'o', 'd', 'u', 'c', 't', '-', '7' };

static struct agent_pcr_values vector_values(uint32_t mask)
{
	struct agent_pcr_values v = { .mask = mask };

	memcpy(v.value[16], vector_pcr16, AGENT_TPM_PCR_SIZE);
	memcpy(v.value[23], vector_pcr23, AGENT_TPM_PCR_SIZE);
	return v;
}

/* ---- digests ------------------------------------------------------------- */

static void pcr_policies_are_those_of_the_tpm(void **state)
{
	static const struct {
		uint32_t mask;
		bool has_auth;
		const uint8_t *want;
	} cases[] = {
		{ BIT(16), false, vector_policy_16 },
		{ 0x3f | BIT(16) | BIT(23), false, vector_policy_eight },
		{ BIT(16), true, vector_policy_16_auth },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_pcr_values v = vector_values(cases[i].mask);
		uint8_t digest[POLICY_SIZE] = { 0 };

		assert_int_equal(policy_add_pcr(NULL, &v, digest), 0);
		if (cases[i].has_auth)
			assert_int_equal(policy_add_auth_value(NULL, digest), 0);
		assert_memory_equal(digest, cases[i].want, POLICY_SIZE);
	}
}

static void signed_policies_are_those_of_the_tpm(void **state)
{
	static const struct {
		const uint8_t *spki;
		size_t spki_size;
		const uint8_t *name, *with_ref, *without, *with_auth;
	} cases[] = {
		{ vector_ec_spki, sizeof(vector_ec_spki), vector_ec_name, vector_ec_authorize, vector_ec_authorize_no_ref,
		  vector_ec_authorize_auth },
		{ vector_rsa_spki, sizeof(vector_rsa_spki), vector_rsa_name, vector_rsa_authorize, vector_rsa_authorize_no_ref,
		  vector_rsa_authorize_auth },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t digest[POLICY_SIZE];
		TPM2B_PUBLIC pub;
		TPM2B_NAME name;

		assert_int_equal(policy_key(NULL, cases[i].spki, cases[i].spki_size, &pub, &name, NULL), 0);
		assert_int_equal(name.size, 34);
		assert_memory_equal(name.name, cases[i].name, 34);
		memset(digest, 0xaa, sizeof(digest)); /* what came before does not count */
		assert_int_equal(policy_add_authorize(NULL, &name, ref, sizeof(ref), digest), 0);
		assert_memory_equal(digest, cases[i].with_ref, POLICY_SIZE);
		assert_int_equal(policy_add_auth_value(NULL, digest), 0);
		assert_memory_equal(digest, cases[i].with_auth, POLICY_SIZE);
		assert_int_equal(policy_add_authorize(NULL, &name, NULL, 0, digest), 0);
		assert_memory_equal(digest, cases[i].without, POLICY_SIZE);
	}
}

static void other_keys_than_p256_and_rsa2048_are_refused(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P384, AGENT_KEY_RSA_3072 };
	uint8_t spki[sizeof(vector_ec_spki) + 1];
	struct agent_error *err = NULL;
	TPM2B_PUBLIC pub;
	TPM2B_NAME name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		EVP_PKEY *pkey = software_pkey(types[i]);
		uint8_t *der = NULL;
		int n = i2d_PUBKEY(pkey, &der);

		assert_int_equal(policy_key(NULL, der, (size_t)n, &pub, &name, &err), -EOPNOTSUPP);
		assert_error(&err, -EOPNOTSUPP, "seal.signer");
		OPENSSL_free(der);
		EVP_PKEY_free(pkey);
	}
	memcpy(spki, vector_ec_spki, sizeof(vector_ec_spki));
	spki[sizeof(spki) - 1] = 0;
	assert_int_equal(policy_key(NULL, spki, sizeof(spki), &pub, &name, NULL), -EOPNOTSUPP); /* something follows */
	assert_int_equal(policy_key(NULL, spki, sizeof(spki) - 2, &pub, &name, NULL), -EOPNOTSUPP);
	assert_int_equal(policy_key(NULL, spki, 0, &pub, &name, NULL), -EOPNOTSUPP);
	spki[sizeof(spki) - 2] ^= 1; /* not on the curve */
	assert_int_equal(policy_key(NULL, spki, sizeof(spki) - 1, &pub, &name, NULL), -EOPNOTSUPP);
}

/* ---- signatures ---------------------------------------------------------- */

struct world {
	struct software_key key, other_key;
	struct agent_signer *signer, *other;
	struct sealfile file;		 /* sealed to "signer" */
	struct agent_pcr_values now;
};

static void world_make(struct world *w, enum agent_key_type type)
{
	const uint8_t *spki;
	size_t n;

	memset(w, 0, sizeof(*w));
	w->signer = software_signer(&w->key, type);
	w->other = software_signer(&w->other_key, type);
	w->now = vector_values(BIT(16) | BIT(23));
	agent_signer_get_public(w->signer, &spki, &n);
	memcpy(w->file.signer, spki, n);
	w->file.signer_size = n;
	w->file.policy = AGENT_SEAL_SIGNED_PCR;
	w->file.pcrs = w->now;
	w->file.ref_size = sizeof(ref);
	memcpy(w->file.ref, ref, sizeof(ref));
}

static void world_free(struct world *w)
{
	agent_signer_unref(w->signer);
	agent_signer_unref(w->other);
}

static void append(char *all, struct agent_signer *signer, const struct agent_pcr_values *v, const void *r, size_t r_size)
{
	char *text = NULL;
	size_t n = 0;

	assert_int_equal(agent_policy_sign(signer, v, r, r_size, &text, &n, NULL), 0);
	assert_int_equal(strlen(text), n);
	assert_true(strlen(all) + n < AGENT_POLICY_MAX);
	strcat(all, text);
	free(text);
}

static int find(const struct world *w, const char *text, struct policyfile *ret, struct agent_error **err)
{
	return policy_find(NULL, &w->file, text, strlen(text), &w->now, ret, err);
}

static void the_signature_for_these_values_is_found_among_others(void **state)
{
	static const enum agent_key_type types[] = { AGENT_KEY_EC_P256, AGENT_KEY_RSA_2048 };
	static char all[AGENT_POLICY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct agent_pcr_values old, fewer;
		struct policyfile policy;
		TPMT_SIGNATURE sig;
		TPM2B_PUBLIC pub;
		TPM2B_NAME name;
		struct world w;

		world_make(&w, types[i]);
		old = w.now;
		old.value[16][0] ^= 1;
		fewer = w.now;
		fewer.mask = BIT(16);
		all[0] = '\0';
		append(all, w.other, &w.now, ref, sizeof(ref));
		append(all, w.signer, &old, ref, sizeof(ref));
		append(all, w.signer, &fewer, ref, sizeof(ref));
		append(all, w.signer, &w.now, "else", 4);
		append(all, w.signer, &w.now, ref, sizeof(ref));
		assert_int_equal(find(&w, all, &policy, NULL), 0);
		assert_memory_equal(policy.pcrs.value, w.now.value, sizeof(w.now.value));
		assert_int_equal(policy_key(NULL, w.file.signer, w.file.signer_size, &pub, &name, NULL), 0);
		assert_int_equal(policy_signature(&pub, policy.signature, policy.signature_size, &sig), 0);
		assert_int_equal(policy_signature(&pub, policy.signature, policy.signature_size - 1, &sig), -EBADMSG);
		world_free(&w);
	}
}

static void signatures_that_do_not_fit_are_refused(void **state)
{
	static char all[AGENT_POLICY_MAX], second[AGENT_POLICY_MAX];
	struct agent_pcr_values old, older, fewer;
	struct agent_error *err = NULL;
	struct policyfile policy;
	struct world w;
	char *at, *from;

	(void)state;
	world_make(&w, AGENT_KEY_EC_P256);
	old = older = fewer = w.now;
	old.value[16][5] ^= 1;
	older.value[16][5] ^= 2;
	older.value[23][5] ^= 2;
	fewer.mask = BIT(16);

	assert_int_equal(find(&w, "", &policy, &err), -EPERM);
	assert_error(&err, -EPERM, "seal.policy");

	all[0] = '\0';
	append(all, w.signer, &fewer, ref, sizeof(ref));
	append(all, w.signer, &w.now, NULL, 0);
	assert_int_equal(find(&w, all, &policy, &err), -EPERM); /* another set of PCRs, another reference */
	assert_error(&err, -EPERM, "seal.policy");

	all[0] = '\0';
	append(all, w.other, &w.now, ref, sizeof(ref));
	assert_int_equal(find(&w, all, &policy, &err), -EKEYREJECTED); /* another key */
	assert_error(&err, -EKEYREJECTED, "seal.signature");

	append(all, w.signer, &older, ref, sizeof(ref));
	append(all, w.signer, &old, ref, sizeof(ref));
	assert_int_equal(find(&w, all, &policy, &err), -EPERM); /* values of before: the nearest is named */
	assert_non_null(strstr(agent_error_message(err), "PCR 16:"));
	assert_error(&err, -EPERM, "seal.pcr");

	/* A signature over other values under the lines of these ones. */
	all[0] = second[0] = '\0';
	append(all, w.signer, &w.now, ref, sizeof(ref));
	append(second, w.signer, &old, ref, sizeof(ref));
	at = strstr(all, "signature: ");
	from = strstr(second, "signature: ");
	*at = '\0';
	strcat(all, from);
	assert_int_equal(find(&w, all, &policy, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "seal.signature");

	/* The other key's signature under the right key's fingerprint. */
	all[0] = second[0] = '\0';
	append(all, w.signer, &w.now, ref, sizeof(ref));
	append(second, w.other, &w.now, ref, sizeof(ref));
	at = strstr(all, "signature: ");
	from = strstr(second, "signature: ");
	*at = '\0';
	strcat(all, from);
	assert_int_equal(find(&w, all, &policy, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "seal.signature");

	/* Lines with the values of now over the signed policy of before. */
	all[0] = second[0] = '\0';
	append(all, w.signer, &w.now, ref, sizeof(ref));
	append(second, w.signer, &old, ref, sizeof(ref));
	at = strstr(all, "policy: ");
	from = strstr(second, "\npolicy: ") + 1;
	at = strstr(all, "\npolicy: ") + 1;
	*at = '\0';
	strcat(all, from);
	assert_int_equal(find(&w, all, &policy, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "seal.signature");
	world_free(&w);
}

static void every_change_of_a_policy_signature_is_refused(void **state)
{
	static char all[AGENT_POLICY_MAX];
	struct policyfile policy;
	struct world w;
	size_t n;

	(void)state;
	world_make(&w, AGENT_KEY_EC_P256);
	all[0] = '\0';
	append(all, w.signer, &w.now, ref, sizeof(ref));
	n = strlen(all);
	for (size_t i = 0; i < n; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			all[i] = (char)(all[i] ^ 1 << bit);
			assert_true(policy_find(NULL, &w.file, all, n, &w.now, &policy, NULL) < 0);
			all[i] = (char)(all[i] ^ 1 << bit);
		}
		assert_true(i == 0 || policy_find(NULL, &w.file, all, i, &w.now, &policy, NULL) < 0);
	}
	assert_int_equal(find(&w, all, &policy, NULL), 0);
	strcat(all, " ");
	assert_int_equal(find(&w, all, &policy, NULL), 0); /* the first fits already */
	world_free(&w);
}

static void bad_arguments_of_signing_are_refused(void **state)
{
	struct software_key key = { 0 }, big = { 0 };
	struct agent_signer *signer = software_signer(&key, AGENT_KEY_EC_P256), *p384 = software_signer(&big, AGENT_KEY_EC_P384);
	struct agent_pcr_values v = vector_values(BIT(16));
	struct agent_error *err = NULL;
	char *text = NULL;
	size_t n;

	(void)state;
	assert_int_equal(agent_policy_sign(NULL, &v, NULL, 0, &text, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	assert_int_equal(agent_policy_sign(signer, &v, ref, AGENT_POLICY_REF_MAX + 1, &text, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	assert_int_equal(agent_policy_sign(signer, &v, NULL, 1, &text, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	assert_int_equal(agent_policy_sign(p384, &v, NULL, 0, &text, &n, &err), -EOPNOTSUPP);
	assert_error(&err, -EOPNOTSUPP, "seal.signer");
	v.mask = 0;
	assert_int_equal(agent_policy_sign(signer, &v, NULL, 0, &text, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	v.mask = BIT(24);
	assert_int_equal(agent_policy_sign(signer, &v, NULL, 0, &text, &n, &err), -EINVAL);
	assert_error(&err, -EINVAL, "seal.argument");
	v.mask = BIT(16);
	key.fail_with = -EIO;
	assert_int_equal(agent_policy_sign(signer, &v, NULL, 0, &text, &n, &err), -EIO);
	assert_error(&err, -EIO, "test.broken");
	assert_null(text);
	agent_signer_unref(signer);
	agent_signer_unref(p384);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pcr_policies_are_those_of_the_tpm),
		cmocka_unit_test(signed_policies_are_those_of_the_tpm),
		cmocka_unit_test(other_keys_than_p256_and_rsa2048_are_refused),
		cmocka_unit_test(the_signature_for_these_values_is_found_among_others),
		cmocka_unit_test(signatures_that_do_not_fit_are_refused),
		cmocka_unit_test(every_change_of_a_policy_signature_is_refused),
		cmocka_unit_test(bad_arguments_of_signing_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
