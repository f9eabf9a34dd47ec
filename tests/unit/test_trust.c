/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the signers: old and new sign, the version only rises, and nothing is stored before all of it was checked. */
#include "tests/unit/test_certs.h"
#include "tests/unit/trust_policy.h"

#include <errno.h>

#include "base/buf.h"
#include "base/file.h"
#include "update/trust.h"

#define ISSUED (NOW_S - DAY_S)

static struct agent_context *ctx;
static struct temp_dir folder, state;
static struct identity old_one, old_two, new_one, new_two, stranger;

static int setup(void **unused)
{
	temp_dir_make(&folder);
	temp_dir_make(&state);
	assert_int_equal(agent_context_new(&ctx), 0);
	old_one = certs_make("Old one", NULL, SPEC_SIGNER);
	old_two = certs_make("Old two", NULL, SPEC_SIGNER);
	new_one = certs_make("New one", NULL, SPEC_SIGNER);
	new_two = certs_make("New two", NULL, SPEC_SIGNER);
	stranger = certs_make("Stranger", NULL, SPEC_SIGNER);
	certs_write(&folder, "one.pem", old_one.cert);
	certs_write(&folder, "two.pem", old_two.cert);
	return 0;
}

static int teardown(void **unused)
{
	struct identity *ids[] = { &old_one, &old_two, &new_one, &new_two, &stranger };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		identity_free(ids[i]);
	ctx = agent_context_unref(ctx);
	temp_dir_remove(&folder);
	temp_dir_remove(&state);
	return 0;
}

static int load(unsigned n_min, struct trust *ret_trust, struct agent_error **err)
{
	return trust_load(ctx, folder.path, state.fd, n_min, ret_trust, err);
}

/* On a device that starts anew: load, take the step. */
static int advance_at(const char *text, const struct identity *const *ids, size_t n, unsigned n_min, uint64_t now_s, struct agent_error **err)
{
	_cleanup_trust_ struct trust trust = { 0 };
	size_t size;
	uint8_t *der = certs_sign_with(text, ids, n, NULL, SIGN_FLAGS, EVP_sha256(), &size);
	int r = load(n_min, &trust, err);

	if (r == 0)
		r = trust_advance(ctx, &trust, state.fd, n_min, text, strlen(text), der, size, now_s, err);
	OPENSSL_free(der);
	return r;
}

static int advance(const char *text, const struct identity *a, const struct identity *b, struct agent_error **err)
{
	const struct identity *ids[] = { a, b };

	return advance_at(text, ids, b == NULL ? 1 : 2, 1, NOW_S, err);
}

/* May @id sign for the device as it is now? */
static int signs(const struct identity *id, unsigned n_min)
{
	_cleanup_trust_ struct trust trust = { 0 };
	size_t size;
	uint8_t *der = certs_sign("content", id, &size);
	int r = load(n_min, &trust, NULL);

	if (r == 0)
		r = cms_verify(trust.certs, der, size, "content", 7, trust.n_min_signers, NOW_S, NULL, NULL);
	OPENSSL_free(der);
	return r;
}

static bool nothing_is_stored(void)
{
	return faccessat(state.fd, TRUST_FILE, F_OK, 0) < 0;
}

static void old_and_new_sign_and_then_the_new_ones_count(void **unused)
{
	char text[8192], next[8192];
	X509 *certs[] = { new_one.cert }, *next_certs[] = { new_two.cert };
	_cleanup_trust_ struct trust trust = { 0 };

	trust_policy_make(text, 1, ISSUED, 1, certs, 1);
	assert_int_equal(signs(&old_one, 1), 0);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0);
	assert_int_equal(signs(&new_one, 1), 0);
	assert_int_equal(signs(&old_one, 1), -EKEYREJECTED);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0); /* the same again */
	trust_policy_make(next, 5, ISSUED, 1, next_certs, 1);
	assert_int_equal(advance(next, &new_one, &new_two, NULL), 0);
	assert_int_equal(signs(&new_two, 1), 0);
	assert_int_equal(signs(&new_one, 1), -EKEYREJECTED);
	assert_int_equal(load(1, &trust, NULL), 0);
	assert_int_equal(trust.version, 5);
}

static void one_side_alone_cannot_change_the_signers(void **unused)
{
	char text[8192];
	X509 *certs[] = { new_one.cert };
	const struct {
		const struct identity *a, *b;
	} rows[] = { { &old_one, NULL }, { &new_one, NULL }, { &old_one, &old_two }, { &stranger, &new_one }, { &old_one, &stranger } };

	trust_policy_make(text, 1, ISSUED, 1, certs, 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(advance(text, rows[i].a, rows[i].b, &err), -EKEYREJECTED);
		assert_true(nothing_is_stored());
		assert_int_equal(signs(&old_one, 1), 0);
	}
}

static void thresholds_hold_on_both_sides(void **unused)
{
	char text[8192];
	X509 *certs[] = { new_one.cert, new_two.cert };
	const struct identity *few[] = { &old_one, &new_one, &new_two }, *few_new[] = { &old_one, &old_two, &new_one },
			      *all[] = { &old_one, &old_two, &new_one, &new_two };
	_cleanup_error_ struct agent_error *err = NULL;

	trust_policy_make(text, 1, ISSUED, 2, certs, 2);
	assert_int_equal(advance_at(text, few, 3, 2, NOW_S, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	assert_int_equal(advance_at(text, few_new, 3, 2, NOW_S, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.threshold");
	assert_true(nothing_is_stored());
	assert_int_equal(advance_at(text, all, 4, 2, NOW_S, NULL), 0);
	/* The policy asks for two from here on, whatever the device's setting says. */
	assert_int_equal(signs(&new_one, 1), -EKEYREJECTED);
}

static void an_older_policy_is_a_replay(void **unused)
{
	char first[8192], second[8192];
	X509 *certs[] = { old_one.cert, new_one.cert };
	_cleanup_error_ struct agent_error *err = NULL;

	trust_policy_make(first, 3, ISSUED, 1, certs, 2);
	trust_policy_make(second, 4, ISSUED, 1, certs, 1);
	assert_int_equal(advance(first, &old_one, NULL, NULL), 0); /* one of both sides */
	assert_int_equal(advance(second, &old_one, NULL, NULL), 0);
	assert_int_equal(advance(first, &old_one, NULL, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.trust-version");
	trust_policy_make(first, 4, ISSUED, 1, certs, 2);
	assert_int_equal(advance(first, &old_one, NULL, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.trust-version");
	assert_int_equal(signs(&new_one, 1), -EKEYREJECTED);
}

/* python-tuf CVE-2020-15163: the new root was stored, then verified. */
static void tuf_CVE_2020_15163_nothing_is_stored_before_it_was_verified(void **unused)
{
	static const char *const bodies[] = {
		"", "{}", "[]", "{\"profile\":\"agent-trust-2\"}", "{\"profile\":\"agent-trust-1\",\"version\":0,\"issued\":1795171200,\"min-signers\":1,\"certificates\":[\"x\"]}",
		"{\"profile\":\"agent-trust-1\",\"version\":1,\"issued\":1795171200,\"min-signers\":0,\"certificates\":[\"x\"]}",
		"{\"profile\":\"agent-trust-1\",\"version\":1,\"issued\":1795171200,\"min-signers\":1,\"certificates\":[]}",
		"{\"profile\":\"agent-trust-1\",\"version\":1,\"issued\":1795171200,\"min-signers\":1,\"certificates\":[\"x\"]}",
		"{\"profile\":\"agent-trust-1\",\"version\":1,\"issued\":1795171200,\"min-signers\":1,\"certificates\":[5]}",
		"{\"profile\":\"agent-trust-1\",\"version\":1,\"version\":2}", "{\"profile\":\"agent-trust-1\",\"more\":1}",
	};
	char text[8192];
	X509 *certs[] = { old_one.cert };
	_cleanup_error_ struct agent_error *err = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		if (bodies[i][0] != '\0')
			assert_int_equal(advance(bodies[i], &old_one, NULL, &err), -EBADMSG);
		assert_true(nothing_is_stored());
	}
	trust_policy_make(text, 1, NOW_S + 10, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, NULL, &err), -ESTALE);
	assert_error(&err, -ESTALE, "update.too-early");
	/* Issued before its signer's certificate began: it could never be checked again. */
	trust_policy_make(text, 1, 5, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, NULL, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "update.signer");
	assert_true(nothing_is_stored());
	assert_int_equal(signs(&old_one, 1), 0);
}

static void what_is_stored_is_checked_again_and_cannot_be_edited(void **unused)
{
	_cleanup_free_ char *stored = NULL;
	_cleanup_trust_ struct trust trust = { 0 };
	char text[8192];
	X509 *certs[] = { new_one.cert };
	size_t size = 0;

	trust_policy_make(text, 1, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0);
	assert_int_equal(file_read_at(state.fd, TRUST_FILE, 65536, &stored, &size, NULL), 0);
	for (size_t at = 0; at < size; at += 13) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r;

		stored[at] ^= 1;
		assert_int_equal(file_replace_at(state.fd, TRUST_FILE, 0600, stored, size, NULL), 0);
		r = load(1, &trust, &err);
		/* Some bytes of a CMS are signed by nobody and read by nobody, as its version and the certificates that came along. */
		if (r == 0 && (trust.version != 1 || signs(&new_one, 1) != 0 || signs(&old_one, 1) == 0))
			fail_msg("byte %zu: '%c' is accepted and changes something", at, stored[at]);
		assert_true(r < 0 || stored + at > strstr(stored, "\"signature\":"));
		trust_clear(&trust);
		stored[at] ^= 1;
	}
	/* Cut anywhere: refused, never half of the chain. */
	for (size_t n = 0; n < size; n += 101) {
		assert_int_equal(file_replace_at(state.fd, TRUST_FILE, 0600, stored, n, NULL), 0);
		assert_true(load(1, &trust, NULL) < 0);
	}
}

static void a_stored_step_outlives_the_certificates_that_made_it(void **unused)
{
	char text[8192];
	X509 *certs[] = { new_one.cert };
	_cleanup_trust_ struct trust trust = { 0 };

	/* The old signer was revoked since, and the list has expired as well: neither undoes the step. */
	trust_policy_make(text, 1, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0);
	certs_write_crl(&folder, "old.crl", &old_one, old_one.cert, -DAY_S);
	assert_int_equal(load(1, &trust, NULL), 0);
	assert_int_equal(trust.version, 1);
	assert_int_equal(signs(&new_one, 1), 0);
}

/* As of the caller's counter: what was in force once stays the least, whatever somebody does to the file. */
static void a_stored_chain_that_was_removed_or_restored_is_noticed(void **unused)
{
	_cleanup_free_ char *before = NULL;
	char text[8192], next[8192];
	X509 *certs[] = { new_one.cert }, *next_certs[] = { new_two.cert };
	const struct {
		uint64_t version;
		bool is_removed;
	} rows[] = { { 1, false }, { 0, true } };
	size_t size = 0;

	trust_policy_make(text, 1, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0);
	assert_int_equal(file_read_at(state.fd, TRUST_FILE, 65536, &before, &size, NULL), 0);
	trust_policy_make(next, 2, ISSUED, 1, next_certs, 1);
	assert_int_equal(advance(next, &new_one, &new_two, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_trust_ struct trust trust = { 0 };
		_cleanup_error_ struct agent_error *err = NULL;

		if (rows[i].is_removed)
			assert_int_equal(unlinkat(state.fd, TRUST_FILE, 0), 0);
		else
			assert_int_equal(file_replace_at(state.fd, TRUST_FILE, 0600, before, size, NULL), 0);
		assert_int_equal(load(1, &trust, NULL), 0);
		assert_int_equal(trust.version, rows[i].version);
		assert_int_equal(trust_check_floor(&trust, rows[i].version, NULL), 0);
		assert_int_equal(trust_check_floor(&trust, 2, &err), -ESTALE);
		assert_error(&err, -ESTALE, "update.trust-restored");
	}
}

static void base_write(const char *text)
{
	int fd = openat(folder.fd, TRUST_BASE_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* A release whose trust folder has the present signers: the steps that led to them could not be verified from it. */
static void a_folder_that_says_its_version_ends_the_steps_before_it(void **unused)
{
	static const char *const bad[] = { "", "\n", "x", "-1", "1 ", "1\n\n", "0x1", "1234567890123456" };
	char text[8192], next[8192], last[8192];
	X509 *certs[] = { new_one.cert }, *next_certs[] = { new_two.cert }, *last_certs[] = { stranger.cert };
	_cleanup_trust_ struct trust trust = { 0 };
	_cleanup_free_ char *stored = NULL;
	size_t size = 0;

	trust_policy_make(text, 2, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, &new_one, NULL), 0);
	trust_policy_make(next, 3, ISSUED, 1, next_certs, 1);
	assert_int_equal(advance(next, &new_one, &new_two, NULL), 0);
	assert_int_equal(unlinkat(folder.fd, "one.pem", 0), 0);
	assert_int_equal(unlinkat(folder.fd, "two.pem", 0), 0);
	certs_write(&folder, "new.pem", new_two.cert);
	assert_int_equal(load(1, &trust, NULL), -EKEYREJECTED);
	base_write("3\n");
	assert_int_equal(load(1, &trust, NULL), 0);
	assert_int_equal(trust.version, 3);
	assert_int_equal(trust_check_floor(&trust, 3, NULL), 0);
	trust_clear(&trust);
	assert_int_equal(signs(&new_two, 1), 0);
	assert_int_equal(signs(&new_one, 1), -EKEYREJECTED);
	assert_int_equal(signs(&old_one, 1), -EKEYREJECTED);
	/* It goes on from there, and what is over is not kept. */
	trust_policy_make(last, 4, ISSUED, 1, last_certs, 1);
	assert_int_equal(advance(last, &new_two, &stranger, NULL), 0);
	assert_int_equal(signs(&stranger, 1), 0);
	assert_int_equal(signs(&new_two, 1), -EKEYREJECTED);
	assert_int_equal(file_read_at(state.fd, TRUST_FILE, 65536, &stored, &size, NULL), 0);
	assert_null(strstr(stored, "\\\"version\\\":2,"));
	assert_null(strstr(stored, "\\\"version\\\":3,"));
	assert_non_null(strstr(stored, "\\\"version\\\":4,"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		base_write(bad[i]);
		assert_int_equal(load(1, &trust, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "update.trust");
	}
	/* Core would count the TPM up to it. */
	for (size_t i = 0; i < 2; i++) {
		_cleanup_error_ struct agent_error *err = NULL;

		base_write(i == 0 ? "10001\n" : "20261122\n");
		assert_int_equal(load(1, &trust, &err), -ERANGE);
		assert_error(&err, -ERANGE, "update.trust-version");
	}
	base_write("10000\n");
	assert_int_equal(load(1, &trust, NULL), 0);
	assert_int_equal(trust.version, 10000);
}

static void versions_are_a_count_and_no_date(void **unused)
{
	char text[8192];
	X509 *certs[] = { old_one.cert };
	_cleanup_error_ struct agent_error *err = NULL;

	trust_policy_make(text, 20261121, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, NULL, &err), -ERANGE);
	assert_error(&err, -ERANGE, "update.trust-version");
	assert_true(nothing_is_stored());
	trust_policy_make(text, 1000, ISSUED, 1, certs, 1);
	assert_int_equal(advance(text, &old_one, NULL, NULL), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(old_and_new_sign_and_then_the_new_ones_count),
		TEST(one_side_alone_cannot_change_the_signers),
		TEST(thresholds_hold_on_both_sides),
		TEST(an_older_policy_is_a_replay),
		TEST(tuf_CVE_2020_15163_nothing_is_stored_before_it_was_verified),
		TEST(what_is_stored_is_checked_again_and_cannot_be_edited),
		TEST(a_stored_step_outlives_the_certificates_that_made_it),
		TEST(a_stored_chain_that_was_removed_or_restored_is_noticed),
		TEST(a_folder_that_says_its_version_ends_the_steps_before_it),
		TEST(versions_are_a_count_and_no_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
