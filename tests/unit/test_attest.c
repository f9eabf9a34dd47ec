/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier's half of attestation, over statements of a TPM that other tools asked for (tests/vectors/attest), and
 * over altered ones signed by a key that we have, so that the signature is not what refuses them.
 */
#include "test.h"

#include <errno.h>

#include <openssl/evp.h>
#include <tss2/tss2_tpm2_types.h>

#include <agent/attest.h>

#include "base/file.h"
#include "tpm/statement.h"
#include "tpm/words.h"

static const uint8_t nonce[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
#define PCRS (1u << 0 | 1u << 7 | 1u << 16)

/* Offsets in the vectors' statements, all Names SHA-256 */
enum { AT_TYPE = 4, AT_SIGNER = 6, AT_NONCE = 42, AT_SAFE = 76, AT_ATTESTED = 85 };

struct world {
	struct agent_context *ctx;
	struct agent_error *err;
	EVP_PKEY *soft; /* our own attestation "key" */
	uint8_t soft_ak[AGENT_TPM_PUBLIC_MAX];
	uint8_t ak[AGENT_TPM_PUBLIC_MAX], other_ak[AGENT_TPM_PUBLIC_MAX];
	size_t ak_size, other_ak_size;
	struct agent_attest quote, certify, copyable;
};

static size_t vector(const char *name, uint8_t *out, size_t max)
{
	const char *srcdir = getenv("srcdir");
	char path[256];
	char *data = NULL;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/tests/vectors/attest/%s", srcdir == NULL ? "." : srcdir, name);
	if (file_read_at(AT_FDCWD, path, max, &data, &n, NULL) < 0)
		fail_msg("cannot read %s", path);
	memcpy(out, data, n);
	free(data);
	return n;
}

static void read_evidence(const char *name, const char *key, struct agent_attest *a)
{
	char path[64];

	snprintf(path, sizeof(path), "%s.msg", name);
	a->statement_size = vector(path, a->statement, sizeof(a->statement));
	snprintf(path, sizeof(path), "%s.sig", name);
	a->signature_size = vector(path, a->signature, sizeof(a->signature));
	if (key != NULL)
		a->key_public_size = vector(key, a->key_public, sizeof(a->key_public));
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	uint8_t pcrs[96], point[65];
	size_t n = 0;

	assert_non_null(w);
	assert_int_equal(agent_context_new(&w->ctx), 0);
	w->ak_size = vector("ak.pub", w->ak, sizeof(w->ak));
	w->other_ak_size = vector("other-ak.pub", w->other_ak, sizeof(w->other_ak));
	read_evidence("quote", NULL, &w->quote);
	read_evidence("certify", "key.pub", &w->certify);
	read_evidence("certify-soft", "soft.pub", &w->copyable);
	assert_int_equal(vector("pcrs", pcrs, sizeof(pcrs)), 96);
	w->quote.pcr_mask = PCRS;
	memcpy(w->quote.pcrs[0], pcrs, 32);
	memcpy(w->quote.pcrs[7], pcrs + 32, 32);
	memcpy(w->quote.pcrs[16], pcrs + 64, 32);
	/* The public area of ak.pub with our point in it: x and y of 32 bytes are its end. */
	w->soft = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	assert_non_null(w->soft);
	assert_int_equal(EVP_PKEY_get_octet_string_param(w->soft, "pub", point, sizeof(point), &n), 1);
	memcpy(w->soft_ak, w->ak, w->ak_size);
	memcpy(w->soft_ak + w->ak_size - 66, point + 1, 32);
	memcpy(w->soft_ak + w->ak_size - 32, point + 33, 32);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	EVP_PKEY_free(w->soft);
	agent_context_unref(w->ctx);
	free(w);
	return 0;
}

/* Sign what is in @a with our own key. */
static void sign(struct world *w, struct agent_attest *a)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	a->signature_size = sizeof(a->signature);
	assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA256", NULL, NULL, w->soft, NULL), 1);
	assert_int_equal(EVP_DigestSign(md, a->signature, &a->signature_size, a->statement, a->statement_size), 1);
	EVP_MD_CTX_free(md);
}

static int verify_quote(struct world *w, const uint8_t *ak, const struct agent_attest *a)
{
	return agent_attest_verify_quote(w->ctx, ak, w->ak_size, nonce, sizeof(nonce), PCRS, a, NULL, &w->err);
}

static int verify_certify(struct world *w, const uint8_t *ak, const struct agent_attest *a)
{
	return agent_attest_verify_certify(w->ctx, ak, w->ak_size, nonce, sizeof(nonce), a, AGENT_KEY_BOUND, NULL, &w->err);
}

static void a_quote_made_by_tpm2_tools_verifies(void **state)
{
	struct agent_attest_info info;
	struct world *w = *state;

	assert_int_equal(agent_attest_verify_quote(w->ctx, w->ak, w->ak_size, nonce, sizeof(nonce), PCRS, &w->quote, &info, &w->err), 0);
	assert_int_equal(info.key_name_size, 0);
	assert_true(info.clock_ms > 0);
	assert_true(info.is_clock_safe);
}

static void a_certification_made_by_hand_verifies_and_names_the_key(void **state)
{
	struct agent_attest_info info;
	struct world *w = *state;

	assert_int_equal(agent_attest_verify_certify(w->ctx, w->ak, w->ak_size, nonce, sizeof(nonce), &w->certify, AGENT_KEY_BOUND,
						     &info, &w->err), 0);
	assert_int_equal(info.key_name_size, 34);
	assert_int_equal(info.key_attributes & AGENT_KEY_BOUND, AGENT_KEY_BOUND);
	assert_int_equal(info.key_spki_size, 91); /* DER of a P-256 key */
	/* its point is the end of the public area, but for the two sizes */
	assert_memory_equal(info.key_spki + 91 - 32, w->certify.key_public + w->certify.key_public_size - 32, 32);
}

static void our_own_attestation_key_works_in_these_tests(void **state)
{
	struct world *w = *state;
	struct agent_attest a = w->quote;

	sign(w, &a);
	assert_int_equal(verify_quote(w, w->soft_ak, &a), 0);
	a = w->certify;
	sign(w, &a);
	assert_int_equal(verify_certify(w, w->soft_ak, &a), 0);
}

static void another_nonce_is_refused(void **state)
{
	struct world *w = *state;
	uint8_t other[17] = { 0 };

	memcpy(other, nonce, sizeof(nonce));
	other[15] ^= 1;
	assert_int_equal(agent_attest_verify_quote(w->ctx, w->ak, w->ak_size, other, 16, PCRS, &w->quote, NULL, &w->err), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.nonce");
	other[15] ^= 1;
	for (size_t n = 15; n <= 17; n += 2) { /* a beginning, or more */
		assert_int_equal(agent_attest_verify_certify(w->ctx, w->ak, w->ak_size, other, n, &w->certify, 0, NULL, &w->err), -EKEYREJECTED);
		assert_error(&w->err, -EKEYREJECTED, "attest.nonce");
	}
	for (size_t n = 0; n <= 65; n += n == 7 ? 58 : 7) {
		assert_int_equal(agent_attest_verify_quote(w->ctx, w->ak, w->ak_size, other, n, PCRS, &w->quote, NULL, &w->err), -EINVAL);
		assert_error(&w->err, -EINVAL, "attest.nonce-size");
	}
}

static void another_attestation_key_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(verify_quote(w, w->other_ak, &w->quote), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.signature");
	assert_int_equal(verify_certify(w, w->other_ak, &w->certify), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.signature");
}

static void any_flipped_bit_is_refused(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 8 * w->quote.statement_size; i++) {
		w->quote.statement[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(verify_quote(w, w->ak, &w->quote), -EKEYREJECTED);
		assert_error(&w->err, -EKEYREJECTED, "attest.signature");
		w->quote.statement[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < 8 * w->quote.signature_size; i++) {
		w->quote.signature[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(verify_quote(w, w->ak, &w->quote), -EKEYREJECTED);
		assert_error(&w->err, -EKEYREJECTED, "attest.signature");
		w->quote.signature[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < 8 * w->certify.key_public_size; i++) { /* damaged or another key: never accepted */
		w->certify.key_public[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(verify_certify(w, w->ak, &w->certify) < 0);
		w->err = agent_error_free(w->err);
		w->certify.key_public[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < AGENT_TPM_PCR_SIZE; i++) {
		w->quote.pcrs[7][i] ^= 0x10;
		assert_int_equal(verify_quote(w, w->ak, &w->quote), -EKEYREJECTED);
		assert_error(&w->err, -EKEYREJECTED, "attest.pcrs");
		w->quote.pcrs[7][i] ^= 0x10;
	}
	assert_int_equal(verify_quote(w, w->ak, &w->quote), 0);
	assert_int_equal(verify_certify(w, w->ak, &w->certify), 0);
}

static void an_empty_or_endless_signature_is_refused(void **state)
{
	struct world *w = *state;

	w->quote.signature_size = 0;
	assert_int_equal(verify_quote(w, w->ak, &w->quote), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.signature");
	w->quote.signature_size = sizeof(w->quote.signature) + 1;
	assert_int_equal(verify_quote(w, w->ak, &w->quote), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.argument");
}

static void a_truncated_statement_is_refused_at_every_length(void **state)
{
	struct world *w = *state;
	struct agent_attest a;

	for (size_t n = 0; n < w->quote.statement_size; n++) {
		a = w->quote;
		a.statement_size = n;
		sign(w, &a);
		assert_int_equal(verify_quote(w, w->soft_ak, &a), -EBADMSG);
		assert_error(&w->err, -EBADMSG, "attest.format");
	}
	for (size_t n = 0; n < w->certify.statement_size; n++) {
		a = w->certify;
		a.statement_size = n;
		sign(w, &a);
		assert_int_equal(verify_certify(w, w->soft_ak, &a), -EBADMSG);
		assert_error(&w->err, -EBADMSG, "attest.format");
	}
}

/* Signed, and wrong. */
static void forms_that_a_tpm_does_not_state_are_refused(void **state)
{
	static const struct {
		const char *claim;
		int is_quote;
		size_t at, n;
		uint8_t bytes[4];
		int want;
		const char *name;
	} cases[] = {
		{ "not TPM_GENERATED", 1, 0, 1, { 0xfe }, -EKEYREJECTED, "attest.magic" },
		{ "not TPM_GENERATED", 0, 3, 1, { 0x46 }, -EKEYREJECTED, "attest.magic" },
		{ "certify, not quote", 1, AT_TYPE, 2, { 0x80, 0x17 }, -EKEYREJECTED, "attest.type" },
		{ "quote, not certify", 0, AT_TYPE, 2, { 0x80, 0x18 }, -EKEYREJECTED, "attest.type" },
		{ "type that does not exist", 1, AT_TYPE, 2, { 0, 0 }, -EKEYREJECTED, "attest.type" },
		{ "signer without a Name", 1, AT_SIGNER, 2, { 0, 0 }, -EBADMSG, "attest.format" },
		{ "signer with a long Name", 1, AT_SIGNER, 2, { 0xff, 0xff }, -EBADMSG, "attest.format" },
		{ "signer with a SHA-1 Name", 1, AT_SIGNER + 2, 2, { 0, 4 }, -EBADMSG, "attest.format" },
		{ "signer with a SHA-384 Name of 32 bytes", 1, AT_SIGNER + 2, 2, { 0, 0x0c }, -EBADMSG, "attest.format" },
		{ "nonce of 64 KiB", 1, AT_NONCE, 2, { 0xff, 0xff }, -EBADMSG, "attest.format" },
		{ "safe is neither yes nor no", 1, AT_SAFE, 1, { 2 }, -EBADMSG, "attest.format" },
		{ "no bank", 1, AT_ATTESTED, 4, { 0, 0, 0, 0 }, -EBADMSG, "attest.format" },
		{ "two banks", 1, AT_ATTESTED, 4, { 0, 0, 0, 2 }, -EBADMSG, "attest.format" },
		{ "4 billion banks", 1, AT_ATTESTED, 4, { 0xff, 0xff, 0xff, 0xff }, -EBADMSG, "attest.format" },
		{ "SHA-1 bank", 1, AT_ATTESTED + 4, 2, { 0, 4 }, -EBADMSG, "attest.format" },
		{ "selection of 255 bytes", 1, AT_ATTESTED + 6, 1, { 255 }, -EBADMSG, "attest.format" },
		{ "empty selection", 1, AT_ATTESTED + 7, 3, { 0, 0, 0 }, -EBADMSG, "attest.format" },
		{ "other PCRs", 1, AT_ATTESTED + 7, 3, { 0x81, 0, 0 }, -EKEYREJECTED, "attest.selection" },
		{ "digest of another length", 1, AT_ATTESTED + 10, 2, { 0, 31 }, -EBADMSG, "attest.format" },
		{ "key without a Name", 0, AT_ATTESTED, 2, { 0, 0 }, -EBADMSG, "attest.format" },
		{ "key with a handle for a Name", 0, AT_ATTESTED, 2, { 0, 4 }, -EBADMSG, "attest.format" },
		{ "Name of another key", 0, AT_ATTESTED + 5, 1, { 0xaa }, -EKEYREJECTED, "attest.key" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_attest a = cases[i].is_quote ? w->quote : w->certify;
		int r;

		memcpy(a.statement + cases[i].at, cases[i].bytes, cases[i].n);
		sign(w, &a);
		r = cases[i].is_quote ? verify_quote(w, w->soft_ak, &a) : verify_certify(w, w->soft_ak, &a);
		if (r != cases[i].want)
			fail_msg("%s: %d %s", cases[i].claim, r, agent_error_name(w->err));
		assert_error(&w->err, cases[i].want, cases[i].name);
	}
}

static void bytes_after_the_end_are_refused(void **state)
{
	struct world *w = *state;

	w->quote.statement[w->quote.statement_size++] = 0;
	sign(w, &w->quote);
	assert_int_equal(verify_quote(w, w->soft_ak, &w->quote), -EBADMSG);
	assert_error(&w->err, -EBADMSG, "attest.format");
	w->certify.key_public[w->certify.key_public_size++] = 0;
	assert_int_equal(verify_certify(w, w->ak, &w->certify), -EBADMSG);
	assert_error(&w->err, -EBADMSG, "attest.format");
}

static void a_statement_about_the_time_is_neither_quote_nor_certification(void **state)
{
	struct agent_attest a = { 0 };
	struct world *w = *state;

	read_evidence("time", "key.pub", &a);
	a.pcr_mask = PCRS;
	assert_int_equal(verify_quote(w, w->ak, &a), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.type");
	assert_int_equal(verify_certify(w, w->ak, &a), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.type");
	assert_int_equal(verify_quote(w, w->ak, &w->certify), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.type");
	assert_int_equal(verify_certify(w, w->ak, &w->quote), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.type");
}

static void a_statement_about_another_key_is_refused(void **state)
{
	struct world *w = *state;

	w->certify.key_public_size = w->copyable.key_public_size;
	memcpy(w->certify.key_public, w->copyable.key_public, w->copyable.key_public_size);
	assert_int_equal(verify_certify(w, w->ak, &w->certify), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.key");
	w->certify.key_public_size = 0;
	assert_int_equal(verify_certify(w, w->ak, &w->certify), -EBADMSG);
	assert_error(&w->err, -EBADMSG, "attest.format");
}

static void a_key_that_can_leave_the_tpm_is_refused_unless_that_is_asked_for(void **state)
{
	struct agent_attest_info info;
	struct world *w = *state;

	assert_int_equal(verify_certify(w, w->ak, &w->copyable), -EPERM);
	assert_error(&w->err, -EPERM, "attest.attributes");
	assert_int_equal(agent_attest_verify_certify(w->ctx, w->ak, w->ak_size, nonce, sizeof(nonce), &w->copyable, AGENT_KEY_SIGN, &info,
						     &w->err), 0);
	assert_int_equal(info.key_attributes & (AGENT_KEY_FIXED_TPM | AGENT_KEY_FIXED_PARENT), 0);
}

static void an_attestation_key_that_signs_what_it_is_told_is_refused(void **state)
{
	/* attributes are at byte 6: size, type, nameAlg before; scheme after symmetric, at 14 */
	static const struct {
		size_t at;
		uint8_t xor;
	} cases[] = {
		{ 7, 0x01 },  /* restricted */
		{ 7, 0x04 },  /* sign */
		{ 7, 0x02 },  /* decrypt */
		{ 9, 0x02 },  /* fixedTPM */
		{ 9, 0x10 },  /* fixedParent */
		{ 9, 0x20 },  /* sensitiveDataOrigin */
		{ 3, 0x22 },  /* type: RSA */
		{ 1, 0x01 },  /* size */
		{ 15, 0x02 }, /* scheme: ECDAA */
		{ 17, 0x07 }, /* hash of the scheme */
		{ 19, 0x07 }, /* curve */
	};
	struct world *w = *state;

	sign(w, &w->quote);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w->soft_ak[cases[i].at] ^= cases[i].xor;
		assert_int_equal(verify_quote(w, w->soft_ak, &w->quote), -EINVAL);
		assert_error(&w->err, -EINVAL, "attest.ak");
		w->soft_ak[cases[i].at] ^= cases[i].xor;
	}
	assert_int_equal(verify_quote(w, w->soft_ak, &w->quote), 0);
	w->soft_ak[w->ak_size - 1] ^= 1; /* no point of the curve */
	assert_int_equal(verify_quote(w, w->soft_ak, &w->quote), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.ak");
	w->ak_size++;
	assert_int_equal(verify_quote(w, w->soft_ak, &w->quote), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.ak");
}

static void fewer_pcrs_than_asked_for_are_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(agent_attest_verify_quote(w->ctx, w->ak, w->ak_size, nonce, sizeof(nonce), PCRS | 2, &w->quote, NULL, &w->err),
			 -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.selection");
	w->quote.pcr_mask |= 2;
	assert_int_equal(verify_quote(w, w->ak, &w->quote), -EKEYREJECTED);
	assert_error(&w->err, -EKEYREJECTED, "attest.selection");
}

static void missing_arguments_are_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(agent_attest_verify_quote(NULL, w->ak, w->ak_size, nonce, 16, PCRS, &w->quote, NULL, &w->err), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.argument");
	assert_int_equal(agent_attest_verify_quote(w->ctx, NULL, 0, nonce, 16, PCRS, &w->quote, NULL, &w->err), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.argument");
	assert_int_equal(agent_attest_verify_certify(w->ctx, w->ak, w->ak_size, NULL, 16, &w->certify, 0, NULL, &w->err), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.argument");
	assert_int_equal(agent_attest_verify_certify(w->ctx, w->ak, w->ak_size, nonce, 16, NULL, 0, NULL, &w->err), -EINVAL);
	assert_error(&w->err, -EINVAL, "attest.argument");
}

static bool has_word(const char **words, size_t n, const char *part)
{
	for (size_t i = 0; i < n; i++)
		if (strstr(words[i], part) != NULL)
			return true;
	return false;
}

static void attributes_have_plain_words(void **state)
{
	const uint32_t ours = AGENT_KEY_BOUND | AGENT_KEY_SIGN | AGENT_KEY_USER_WITH_AUTH | AGENT_KEY_NO_DA;
	const char *words[AGENT_WORDS_MAX];
	size_t n;

	(void)state;
	n = words_of_object(ours, words);
	assert_int_equal(n, 6);
	assert_true(has_word(words, n, "made in this TPM"));
	assert_true(has_word(words, n, "cannot leave"));
	assert_true(has_word(words, n, "signs only (sign)"));
	assert_true(has_word(words, n, "exempt from lockout"));
	n = words_of_object(ours | AGENT_KEY_RESTRICTED, words);
	assert_true(has_word(words, n, "only what the TPM itself states"));
	assert_false(has_word(words, n, "signs only (sign)"));
	n = words_of_object(0, words);
	assert_true(has_word(words, n, "can leave"));
	assert_true(has_word(words, n, "imported"));
	assert_true(has_word(words, n, "sealed data"));
	assert_false(has_word(words, n, "does not know"));
	n = words_of_object(UINT32_MAX, words);
	assert_true(n <= AGENT_WORDS_MAX);
	assert_true(has_word(words, n, "does not know"));
	n = words_of_nv((uint32_t)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT | TPMA_NV_AUTHWRITE | TPMA_NV_NO_DA, words);
	assert_true(has_word(words, n, "counts upwards only"));
	assert_true(has_word(words, n, "removable by the owner"));
	assert_false(has_word(words, n, "holds data"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_quote_made_by_tpm2_tools_verifies, setup, teardown),
		cmocka_unit_test_setup_teardown(a_certification_made_by_hand_verifies_and_names_the_key, setup, teardown),
		cmocka_unit_test_setup_teardown(our_own_attestation_key_works_in_these_tests, setup, teardown),
		cmocka_unit_test_setup_teardown(another_nonce_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(another_attestation_key_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(any_flipped_bit_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_or_endless_signature_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_truncated_statement_is_refused_at_every_length, setup, teardown),
		cmocka_unit_test_setup_teardown(forms_that_a_tpm_does_not_state_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_after_the_end_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_statement_about_the_time_is_neither_quote_nor_certification, setup, teardown),
		cmocka_unit_test_setup_teardown(a_statement_about_another_key_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_that_can_leave_the_tpm_is_refused_unless_that_is_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(an_attestation_key_that_signs_what_it_is_told_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(fewer_pcrs_than_asked_for_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_arguments_are_refused, setup, teardown),
		cmocka_unit_test(attributes_have_plain_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
