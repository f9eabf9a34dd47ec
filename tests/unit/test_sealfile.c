/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>

#include "tpm/sealfile.h"

#define SECRET_SIZE 5

static struct sealfile example(enum agent_seal_policy policy)
{
	struct sealfile f = {
		.blob = { .is_sealed = true, .has_empty_auth = true, .parent = 0x81000001,
			  .pub.publicArea = { .type = TPM2_ALG_KEYEDHASH, .nameAlg = TPM2_ALG_SHA256, .objectAttributes = 0x412,
					      .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL, .unique.keyedHash.size = 32 },
			  .priv = { .size = 150 } },
		.policy = policy,
		.srk_name = { .size = 34, .name = { 0, 0x0b, 1, 2, 3 } },
		.nonce = { 9, 8, 7 },
		.secret_size = SECRET_SIZE,
	};

	memset(f.blob.priv.buffer, 0x5a, 150);
	if (policy != AGENT_SEAL_ALWAYS)
		f.pcrs = (struct agent_pcr_values){ .mask = 1u << 7 | 1u << 11, .value[7] = { 7 }, .value[11] = { 11 } };
	if (policy == AGENT_SEAL_SIGNED_PCR) {
		f.signer_size = 91;
		memset(f.signer, 0x30, 91);
	}
	return f;
}

/* Header, 5 bytes of ciphertext, 16 of tag. */
static uint8_t *build(enum agent_seal_policy policy, size_t *ret_n)
{
	struct sealfile f = example(policy);
	char *header = NULL;
	uint8_t *all;
	size_t n = 0;

	assert_int_equal(sealfile_write_header(&f, &header, &n, NULL), 0);
	all = malloc(n + SECRET_SIZE + SEALFILE_TAG_SIZE + 1);
	assert_non_null(all);
	memcpy(all, header, n);
	memset(all + n, 0xee, SECRET_SIZE + SEALFILE_TAG_SIZE + 1);
	free(header);
	*ret_n = n + SECRET_SIZE + SEALFILE_TAG_SIZE;
	return all;
}

static int parse(const void *data, size_t n, struct sealfile *ret, struct agent_error **err)
{
	/* An exact copy, so that a sanitizer sees one byte too far. */
	uint8_t *copy = malloc(n == 0 ? 1 : n);
	int r;

	assert_non_null(copy);
	memcpy(copy, data, n);
	r = sealfile_parse(copy, n, ret, err);
	free(copy);
	return r;
}

static void what_is_written_is_read_back(void **state)
{
	(void)state;
	for (int policy = AGENT_SEAL_ALWAYS; policy <= AGENT_SEAL_SIGNED_PCR; policy++) {
		struct sealfile want = example((enum agent_seal_policy)policy), f;
		_cleanup_free_ uint8_t *all = NULL;
		size_t n;

		all = build((enum agent_seal_policy)policy, &n);
		assert_int_equal(parse(all, n, &f, NULL), 0);
		assert_int_equal(f.policy, policy);
		assert_int_equal(f.pcrs.mask, want.pcrs.mask);
		assert_memory_equal(f.pcrs.value, want.pcrs.value, sizeof(want.pcrs.value));
		assert_int_equal(f.signer_size, want.signer_size);
		assert_int_equal(f.secret_size, SECRET_SIZE);
		assert_int_equal(f.header_size, n - SECRET_SIZE - SEALFILE_TAG_SIZE);
		assert_int_equal(f.blob.parent, 0x81000001);
		assert_int_equal(f.blob.priv.size, 150);
	}
}

static void a_cut_or_longer_file_is_refused(void **state)
{
	(void)state;
	for (int policy = AGENT_SEAL_ALWAYS; policy <= AGENT_SEAL_SIGNED_PCR; policy++) {
		_cleanup_free_ uint8_t *all = NULL;
		struct agent_error *err = NULL;
		struct sealfile f;
		size_t n;

		all = build((enum agent_seal_policy)policy, &n);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(parse(all, i, &f, &err), -EBADMSG);
			assert_error(&err, -EBADMSG, "seal.file");
		}
		assert_int_equal(parse(all, n + 1, &f, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "seal.file");
	}
}

/* One text in place of another, then parsed. */
static int parse_changed(enum agent_seal_policy policy, const char *old, const char *new, struct agent_error **err)
{
	size_t n, n_old = strlen(old), n_new = strlen(new);
	_cleanup_free_ uint8_t *all = build(policy, &n);
	_cleanup_free_ uint8_t *changed = malloc(n + n_new);
	struct sealfile f;
	uint8_t *at;

	at = memmem(all, n, old, n_old);
	assert_non_null(at);
	assert_non_null(changed);
	memcpy(changed, all, (size_t)(at - all));
	memcpy(changed + (at - all), new, n_new);
	memcpy(changed + (at - all) + n_new, at + n_old, n - (size_t)(at - all) - n_old);
	return parse(changed, n - n_old + n_new, &f, err);
}

static void fields_that_are_wrong_missing_double_or_unknown_are_refused(void **state)
{
	static const struct {
		const char *claim;
		enum agent_seal_policy policy;
		const char *old, *new;
		int r;
		const char *name;
	} cases[] = {
		{ "text before", AGENT_SEAL_PCR, "-----BEGIN", "\n-----BEGIN", -EBADMSG, "seal.file" },
		{ "PEM of another kind", AGENT_SEAL_PCR, "-----BEGIN TSS2", "-----BEGIN EC", -EBADMSG, "seal.file" },
		{ "PEM in other lines", AGENT_SEAL_PCR, "\n-----END", "\n\n-----END", -EBADMSG, "seal.file" },
		{ "CR LF", AGENT_SEAL_PCR, "agent-sealed: 1\n", "agent-sealed: 1\r\n", -EOPNOTSUPP, "seal.version" },
		{ "version 2", AGENT_SEAL_PCR, "agent-sealed: 1", "agent-sealed: 2", -EOPNOTSUPP, "seal.version" },
		{ "no version", AGENT_SEAL_PCR, "agent-sealed: 1\n", "", -EBADMSG, "seal.file" },
		{ "unknown policy", AGENT_SEAL_PCR, "policy: pcr", "policy: any", -EBADMSG, "seal.file" },
		{ "policy of another kind", AGENT_SEAL_SIGNED_PCR, "policy: signed-pcr", "policy: pcr", -EBADMSG, "seal.file" },
		{ "no policy's fields with it", AGENT_SEAL_PCR, "policy: pcr", "policy: always", -EBADMSG, "seal.file" },
		{ "password perhaps", AGENT_SEAL_PCR, "password: no", "password: maybe", -EBADMSG, "seal.file" },
		{ "password twice", AGENT_SEAL_PCR, "password: no\n", "password: no\npassword: no\n", -EBADMSG, "seal.file" },
		{ "SRK Name of 21 bytes", AGENT_SEAL_PCR, "srk-name: 000b01020300000000000000000000", "srk-name: 0000", -EBADMSG, "seal.file" },
		{ "SRK Name of one digit less", AGENT_SEAL_PCR, "srk-name: 0", "srk-name: ", -EBADMSG, "seal.file" },
		{ "SRK Name in capitals", AGENT_SEAL_PCR, "srk-name: 000b", "srk-name: 000B", -EBADMSG, "seal.file" },
		{ "no SRK Name", AGENT_SEAL_PCR, "srk-name: ", "name: ", -EBADMSG, "seal.file" },
		{ "PCRs in another order", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 11,7", -EBADMSG, "seal.file" },
		{ "PCR twice", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 7,7,11", -EBADMSG, "seal.file" },
		{ "PCR 24", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 7,24", -EBADMSG, "seal.file" },
		{ "PCR with a zero", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 07,11", -EBADMSG, "seal.file" },
		{ "PCR without number", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 7,11,", -EBADMSG, "seal.file" },
		{ "no PCR", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: ", -EBADMSG, "seal.file" },
		{ "PCR of minus one", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: -1,11", -EBADMSG, "seal.file" },
		{ "more PCRs than values", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 7,11,12", -EBADMSG, "seal.file" },
		{ "fewer PCRs than values", AGENT_SEAL_PCR, "pcrs: 7,11", "pcrs: 7", -EBADMSG, "seal.file" },
		{ "value too short", AGENT_SEAL_PCR, "pcr-7: 07", "pcr-7: ", -EBADMSG, "seal.file" },
		{ "value too long", AGENT_SEAL_PCR, "pcr-7: 07", "pcr-7: 0707", -EBADMSG, "seal.file" },
		{ "value that is no number", AGENT_SEAL_PCR, "pcr-7: 07", "pcr-7: 0x", -EBADMSG, "seal.file" },
		{ "no signer", AGENT_SEAL_SIGNED_PCR, "signer: 3030", "signer: -", -EBADMSG, "seal.file" },
		{ "reference", AGENT_SEAL_SIGNED_PCR, "ref: -", "ref: 00ff", 0, NULL },
		{ "reference of 32 bytes", AGENT_SEAL_SIGNED_PCR, "ref: -",
		  "ref: 0000000000000000000000000000000000000000000000000000000000000000", 0, NULL },
		{ "reference of 33 bytes", AGENT_SEAL_SIGNED_PCR, "ref: -",
		  "ref: 000000000000000000000000000000000000000000000000000000000000000000", -EBADMSG, "seal.file" },
		{ "empty reference without its dash", AGENT_SEAL_SIGNED_PCR, "ref: -", "ref: ", -EBADMSG, "seal.file" },
		{ "nonce too short", AGENT_SEAL_PCR, "nonce: 09", "nonce: ", -EBADMSG, "seal.file" },
		{ "size larger than the rest", AGENT_SEAL_PCR, "size: 5", "size: 6", -EBADMSG, "seal.file" },
		{ "size smaller than the rest", AGENT_SEAL_PCR, "size: 5", "size: 4", -EBADMSG, "seal.file" },
		{ "size zero", AGENT_SEAL_PCR, "size: 5", "size: 0", -EBADMSG, "seal.file" },
		{ "size with a zero before", AGENT_SEAL_PCR, "size: 5", "size: 05", -EBADMSG, "seal.file" },
		{ "size over the limit", AGENT_SEAL_PCR, "size: 5", "size: 1024001", -EBADMSG, "seal.file" },
		{ "size that overflows", AGENT_SEAL_PCR, "size: 5", "size: 18446744073709551621", -EBADMSG, "seal.file" },
		{ "size below zero", AGENT_SEAL_PCR, "size: 5", "size: -5", -EBADMSG, "seal.file" },
		{ "a field more", AGENT_SEAL_PCR, "size: 5\n", "size: 5\ncomment: hello\n", -EBADMSG, "seal.file" },
		{ "no empty line", AGENT_SEAL_PCR, "size: 5\n\n", "size: 5\n", -EBADMSG, "seal.file" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct agent_error *err = NULL;
		int r = parse_changed(cases[i].policy, cases[i].old, cases[i].new, &err);

		if (r != cases[i].r)
			fail_msg("%s: %d %s", cases[i].claim, r, agent_error_message(err));
		if (cases[i].name != NULL)
			assert_error(&err, cases[i].r, cases[i].name);
	}
}

static void a_file_over_the_limit_is_refused(void **state)
{
	_cleanup_free_ uint8_t *data = calloc(1, AGENT_SEAL_MAX + 1);
	struct agent_error *err = NULL;
	struct sealfile f;

	(void)state;
	assert_non_null(data);
	assert_int_equal(sealfile_parse(data, AGENT_SEAL_MAX + 1, &f, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "seal.size");
	assert_int_equal(sealfile_parse(data, AGENT_SEAL_MAX, &f, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "seal.file");
}

static void no_bit_of_the_header_can_change_unseen(void **state)
{
	_cleanup_free_ uint8_t *all = NULL;
	size_t n, n_accepted = 0;
	struct sealfile f;

	(void)state;
	all = build(AGENT_SEAL_SIGNED_PCR, &n);
	for (size_t i = 0; i < n - SECRET_SIZE - SEALFILE_TAG_SIZE; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			_cleanup_free_ char *again = NULL;
			size_t n_again;

			all[i] ^= (uint8_t)(1u << bit);
			if (sealfile_parse(all, n, &f, NULL) == 0) {
				/* Another value then, and what the parser gives says exactly that. */
				assert_int_equal(sealfile_write_header(&f, &again, &n_again, NULL), 0);
				assert_int_equal(n_again, f.header_size);
				assert_memory_equal(again, all, n_again);
				n_accepted++;
			}
			all[i] ^= (uint8_t)(1u << bit);
		}
	}
	assert_true(n_accepted > 0);
}

static void a_key_is_no_sealed_data(void **state)
{
	struct sealfile f = example(AGENT_SEAL_ALWAYS);
	_cleanup_free_ char *header = NULL, *pem = NULL;
	struct agent_error *err = NULL;
	struct keyfile key;
	size_t n;

	(void)state;
	assert_int_equal(keyfile_write(&f.blob, &pem, &n, NULL), 0);
	assert_int_equal(keyfile_parse_sealed(pem, n, &key, NULL), 0);
	assert_int_equal(keyfile_parse(pem, n, &key, &err), -EOPNOTSUPP);
	assert_error(&err, -EOPNOTSUPP, "keyfile.type");
	f.blob.is_sealed = false;
	assert_int_equal(sealfile_write_header(&f, &header, &n, NULL), 0);
	assert_int_equal(parse(header, n, &f, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "seal.file");
}

static void lists_of_pcrs_have_room_for_all(void **state)
{
	char list[PCR_LIST_MAX];

	(void)state;
	pcr_list(0xffffff, list);
	assert_string_equal(list, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23");
	pcr_list(0, list);
	assert_string_equal(list, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(a_cut_or_longer_file_is_refused),
		cmocka_unit_test(fields_that_are_wrong_missing_double_or_unknown_are_refused),
		cmocka_unit_test(a_file_over_the_limit_is_refused),
		cmocka_unit_test(no_bit_of_the_header_can_change_unseen),
		cmocka_unit_test(a_key_is_no_sealed_data),
		cmocka_unit_test(lists_of_pcrs_have_room_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
