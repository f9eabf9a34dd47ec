/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: the journal cut off anywhere, when a certificate is due, and what of a server is refused for which reason. */
#include "tests/unit/test.h"

#include <errno.h>

#include "agentd/core/enrol_check.h"
#include "agentd/core/enrol_journal.h"
#include "base/file.h"
#include "tests/unit/pki.h"

#define NOW ((uint64_t)time(NULL))
#define DAY 86400

/* ---- journal --------------------------------------------------------------------------------------------------------- */

static const struct enrol_journal full = {
	.stage = ENROL_WAITING, .cause = ENROL_DUE, .new_key = true, .failures = 3, .since_s = 1700000000, .wait_s = 60, .warned = 2,
	.warned_id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", .reason = "the server is away (fetch.connect)",
};

static void what_is_noted_is_read(void **state)
{
	struct enrol_journal journal = { .stage = ENROL_ASKING }, again;
	struct temp_dir dir;

	temp_dir_make(&dir);
	assert_int_equal(enrol_load(dir.fd, &again, NULL), 0);
	assert_int_equal(again.stage, ENROL_IDLE);
	assert_int_equal(enrol_save(dir.fd, &journal, &full, NULL), 0);
	assert_int_equal(enrol_load(dir.fd, &again, NULL), 0);
	assert_memory_equal(&journal, &full, sizeof(full));
	assert_int_equal(again.stage, full.stage);
	assert_int_equal(again.cause, full.cause);
	assert_true(again.new_key);
	assert_int_equal(again.failures, 3);
	assert_int_equal(again.since_s, 1700000000);
	assert_int_equal(again.wait_s, 60);
	assert_int_equal(again.warned, 2);
	assert_string_equal(again.warned_id, full.warned_id);
	assert_string_equal(again.reason, full.reason);
	temp_dir_remove(&dir);
}

static void a_text_of_a_peer_is_one_line(void **state)
{
	struct enrol_journal journal = { .stage = ENROL_ASKING }, next = full, again;
	struct temp_dir dir;
	char text[600];

	temp_dir_make(&dir);
	memset(text, 'x', sizeof(text));
	memcpy(text, "a\nstage idle\n\xff", 14);
	text[sizeof(text) - 1] = '\0';
	enrol_set_reason(&next, text);
	assert_int_equal(enrol_save(dir.fd, &journal, &next, NULL), 0);
	assert_int_equal(enrol_load(dir.fd, &again, NULL), 0);
	assert_int_equal(again.stage, ENROL_WAITING);
	assert_int_equal(strlen(again.reason), ENROL_REASON_MAX);
	temp_dir_remove(&dir);
}

static void a_damaged_journal_is_said_and_not_guessed(void **state)
{
	struct enrol_journal journal = { .stage = ENROL_ASKING }, again;
	_cleanup_free_ char *text = NULL;
	struct temp_dir dir;
	size_t size;

	temp_dir_make(&dir);
	assert_int_equal(enrol_save(dir.fd, &journal, &full, NULL), 0);
	assert_int_equal(file_read_at(dir.fd, ENROL_FILE, 4096, &text, &size, NULL), 0);
	for (size_t n = 0; n < size; n++) {
		_cleanup_error_ struct agent_error *err = NULL;

		assert_int_equal(file_replace_at(dir.fd, ENROL_FILE, 0600, text, n, NULL), 0);
		assert_int_equal(enrol_load(dir.fd, &again, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "est.journal");
	}
	{
		_cleanup_error_ struct agent_error *err = NULL;

		text[size - 1] = '!';
		assert_int_equal(file_replace_at(dir.fd, ENROL_FILE, 0600, text, size, NULL), 0);
		assert_int_equal(enrol_load(dir.fd, &again, &err), -EBADMSG);
	}
	temp_dir_remove(&dir);
}

static void only_moves_of_the_table_are_made(void **state)
{
	static const struct {
		enum enrol_stage from, to;
		bool may;
	} cases[] = {
		{ ENROL_IDLE, ENROL_ASKING, true }, { ENROL_IDLE, ENROL_WAITING, false }, { ENROL_IDLE, ENROL_PROVING, false },
		{ ENROL_ASKING, ENROL_WAITING, true }, { ENROL_ASKING, ENROL_PROVING, true }, { ENROL_ASKING, ENROL_IDLE, true },
		{ ENROL_WAITING, ENROL_ASKING, true }, { ENROL_WAITING, ENROL_PROVING, false }, { ENROL_WAITING, ENROL_IDLE, true },
		{ ENROL_PROVING, ENROL_IDLE, true }, { ENROL_PROVING, ENROL_WAITING, true }, { ENROL_PROVING, ENROL_ASKING, false },
	};
	struct temp_dir dir;

	temp_dir_make(&dir);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct enrol_journal journal = { .stage = cases[i].from }, next = { .stage = cases[i].to };

		assert_int_equal(enrol_save(dir.fd, &journal, &next, &err), cases[i].may ? 0 : -EPROTO);
		assert_int_equal(journal.stage, cases[i].may ? cases[i].to : cases[i].from);
	}
	temp_dir_remove(&dir);
}

static void what_cannot_be_noted_is_not_begun(void **state)
{
	struct enrol_journal journal = { .stage = ENROL_IDLE }, next = { .stage = ENROL_ASKING };
	_cleanup_error_ struct agent_error *err = NULL;
	int nowhere = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(nowhere >= 0);
	assert_true(enrol_save(nowhere, &journal, &next, &err) < 0);
	assert_non_null(err);
	assert_int_equal(journal.stage, ENROL_IDLE);
	close(nowhere);
}

static void all_of_it_is_forgotten(void **state)
{
	static const char *const files[] = { ENROL_FILE, ENROL_FILE_CSR, ENROL_FILE_ANCHORS, ENROL_FILE_SECRET };
	struct temp_dir dir;

	temp_dir_make(&dir);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(file_replace_at(dir.fd, files[i], 0600, "x", 1, NULL), 0);
	assert_int_equal(enrol_forget(dir.fd, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		assert_int_equal(faccessat(dir.fd, files[i], F_OK, 0), -1);
	assert_int_equal(enrol_forget(dir.fd, NULL), 0);
	temp_dir_remove(&dir);
}

/* ---- when ------------------------------------------------------------------------------------------------------------- */

static void each_certificate_has_its_own_moment(void **state)
{
	uint64_t earliest = UINT64_MAX, latest = 0;

	for (unsigned i = 0; i < 1000; i++) {
		char id[65];
		uint64_t due;

		snprintf(id, sizeof(id), "%08x%056x", i * 2654435761u, i);
		due = enrol_due_s(id, 1000000, 1000000 + 100 * DAY, 60, 70);
		assert_int_equal(due, enrol_due_s(id, 1000000, 1000000 + 100 * DAY, 60, 70));
		assert_true(due >= 1000000 + 60 * DAY && due <= 1000000 + 70 * DAY);
		earliest = due < earliest ? due : earliest;
		latest = due > latest ? due : latest;
	}
	/* All over the ten days, not in one corner. */
	assert_true(earliest < 1000000 + 61 * DAY && latest > 1000000 + 69 * DAY);
	assert_int_equal(enrol_due_s("ab", 100, 50, 60, 70), 100);
	assert_int_equal(enrol_due_s("", 0, 0, 60, 70), 0);
}

static void warnings_rise(void **state)
{
	assert_int_equal(enrol_warning(0, 1000, 0), 0);
	assert_int_equal(enrol_warning(0, 1000, 800), 0);
	assert_int_equal(enrol_warning(0, 1000, 801), 1);
	assert_int_equal(enrol_warning(0, 1000, 951), 2);
	assert_int_equal(enrol_warning(0, 1000, 1000), 3);
	assert_int_equal(enrol_warning(0, 1000, UINT64_MAX), 3);
}

static void waiting_ends_whatever_the_clock_does(void **state)
{
	const struct enrol_journal journal = { .stage = ENROL_WAITING, .since_s = 1000, .wait_s = 60 };

	assert_int_equal(enrol_left_s(&journal, 1000), 60);
	assert_int_equal(enrol_left_s(&journal, 1059), 1);
	assert_int_equal(enrol_left_s(&journal, 1060), 0);
	assert_int_equal(enrol_left_s(&journal, 99999), 0);
	assert_int_equal(enrol_left_s(&journal, 0), 0); /* set back: asked once more, not in years */
	for (unsigned n = 0; n < 100; n++) {
		assert_in_range(enrol_delay_s(n, 60, 21600, UINT64_MAX), 1, 21600);
		assert_int_equal(enrol_delay_s(n, 60, 21600, 0), 1);
	}
	assert_int_equal(enrol_delay_s(1, 60, 21600, 59), 60);
	assert_int_equal(enrol_delay_s(2, 60, 21600, 119), 120);
}

/* ---- what came ----------------------------------------------------------------------------------------------------------- */

struct world {
	EVP_PKEY *key, *ca_key, *other_key;
	X509 *ca, *other_ca;
	char *csr, *ca_pem, *current;
};

static char *pem_of(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text;
	long n;

	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	n = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t)n);
	BIO_free(bio);
	return text;
}

static char *csr_of(EVP_PKEY *key, const char *name)
{
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text;
	long n;

	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
	assert_true(X509_REQ_sign(req, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509_REQ(bio, req), 1);
	n = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t)n);
	BIO_free(bio);
	X509_REQ_free(req);
	return text;
}

static char *make(struct world *w, const struct pki_spec *spec, EVP_PKEY *key, bool is_stranger)
{
	X509 *cert = pki_cert(spec, key, is_stranger ? w->other_ca : w->ca, is_stranger ? w->other_key : w->ca_key);
	char *pem = pem_of(cert);

	X509_free(cert);
	return pem;
}

static void world_make(struct world *w)
{
	w->key = pki_key();
	w->ca_key = pki_key();
	w->other_key = pki_key();
	w->ca = pki_cert(&(struct pki_spec){ .common_name = "CA", .is_ca = 1, .from_s = -DAY, .to_s = 3650 * DAY }, w->ca_key, NULL, NULL);
	w->other_ca = pki_cert(&(struct pki_spec){ .common_name = "Other", .is_ca = 1, .from_s = -DAY, .to_s = 3650 * DAY }, w->other_key, NULL, NULL);
	w->csr = csr_of(w->key, "gw-1");
	w->ca_pem = pem_of(w->ca);
	w->current = make(w, &(struct pki_spec){ .common_name = "gw-1", .usage = "clientAuth", .from_s = -60 * DAY, .to_s = 30 * DAY }, w->key, false);
}

static void world_clear(struct world *w)
{
	EVP_PKEY_free(w->key);
	EVP_PKEY_free(w->ca_key);
	EVP_PKEY_free(w->other_key);
	X509_free(w->ca);
	X509_free(w->other_ca);
	free(w->csr);
	free(w->ca_pem);
	free(w->current);
}

static void refusals_say_why(void **state)
{
	static const struct {
		struct pki_spec spec;
		bool is_other_key, is_stranger;
		int errnum;
		const char *name; /* NULL: taken */
	} cases[] = {
		{ { "gw-1", NULL, "clientAuth", 0, -60, 90 * DAY }, false, false, 0, NULL },
		{ { "gw-1", NULL, "clientAuth,serverAuth", 0, -60, 90 * DAY }, false, false, 0, NULL },
		{ { "gw-1", NULL, NULL, 0, -60, 90 * DAY }, false, false, 0, NULL },
		{ { "gw-1", NULL, "clientAuth", 0, 3600, 90 * DAY }, false, false, 0, NULL }, /* our clock is behind */
		{ { "gw-1", NULL, "clientAuth", 0, -60, 90 * DAY }, true, false, -EKEYREJECTED, "est.key" },
		{ { "gw-2", NULL, "clientAuth", 0, -60, 90 * DAY }, false, false, -EKEYREJECTED, "est.subject" },
		{ { "gw-1", NULL, "clientAuth", 1, -60, 90 * DAY }, false, false, -EKEYREJECTED, "est.ca" },
		{ { "gw-1", NULL, "serverAuth", 0, -60, 90 * DAY }, false, false, -EKEYREJECTED, "est.usage" },
		{ { "gw-1", NULL, "clientAuth", 0, -90 * DAY, -60 }, false, false, -EKEYEXPIRED, "est.expired" },
		{ { "gw-1", NULL, "clientAuth", 0, -60, 3600 }, false, false, -ERANGE, "est.life" },
		{ { "gw-1", NULL, "clientAuth", 0, -60, 29 * DAY }, false, false, -ERANGE, "est.life" }, /* not longer than the one in use */
		{ { "gw-1", NULL, "clientAuth", 0, -60, 90 * DAY }, false, true, -EKEYREJECTED, "est.chain" },
	};
	EVP_PKEY *stranger = pki_key();
	struct world w;

	world_make(&w);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *pem = make(&w, &cases[i].spec, cases[i].is_other_key ? stranger : w.key, cases[i].is_stranger), *chain = NULL;
		const struct enrol_wanted wanted = { .csr = w.csr, .current = w.current, .anchors = w.ca_pem, .now_s = NOW, .min_life_s = DAY };
		struct enrol_about about;
		int r = enrol_check(pem, &wanted, &chain, &about, &err);

		if (cases[i].name != NULL) {
			assert_int_equal(r, cases[i].errnum);
			assert_error(&err, cases[i].errnum, cases[i].name);
			assert_null(chain);
			continue;
		}
		if (r < 0)
			fail_msg("case %zu: %s", i, agent_error_message(err));
		assert_string_equal(about.subject, "CN=gw-1");
		assert_string_equal(chain, pem); /* without the root */
	}
	EVP_PKEY_free(stranger);
	world_clear(&w);
}

static void the_chain_is_put_in_order(void **state)
{
	struct world w;
	EVP_PKEY *middle_key = pki_key();
	X509 *middle, *leaf;
	char *root, *middle_pem, *leaf_pem, *chain = NULL, both[16384], wanted_chain[16384];
	struct enrol_wanted wanted = { .now_s = NOW, .min_life_s = DAY };
	_cleanup_error_ struct agent_error *err = NULL;
	struct enrol_about about;

	world_make(&w);
	middle = pki_cert(&(struct pki_spec){ .common_name = "Middle", .is_ca = 1, .from_s = -60, .to_s = 900 * DAY }, middle_key, w.ca, w.ca_key);
	leaf = pki_cert(&(struct pki_spec){ .common_name = "gw-1", .usage = "clientAuth", .from_s = -60, .to_s = 90 * DAY }, w.key, middle, middle_key);
	root = pem_of(w.ca);
	middle_pem = pem_of(middle);
	leaf_pem = pem_of(leaf);
	snprintf(both, sizeof(both), "%s%s%s", root, middle_pem, leaf_pem);
	snprintf(wanted_chain, sizeof(wanted_chain), "%s%s", leaf_pem, middle_pem);
	wanted.csr = w.csr;
	wanted.anchors = "";
	wanted.cacerts = root; /* the server named it, over a checked connection */
	assert_int_equal(enrol_check(both, &wanted, &chain, &about, &err), 0);
	assert_string_equal(chain, wanted_chain);
	free(chain);
	chain = NULL;
	wanted.cacerts = NULL; /* a root that only comes along with the certificate counts for nothing */
	assert_int_equal(enrol_check(both, &wanted, &chain, &about, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "est.chain");
	free(root);
	free(middle_pem);
	free(leaf_pem);
	X509_free(middle);
	X509_free(leaf);
	EVP_PKEY_free(middle_key);
	world_clear(&w);
}

static void of_several_for_our_key_the_newest_counts(void **state)
{
	const struct pki_spec specs[] = {
		{ .common_name = "gw-1", .usage = "clientAuth", .from_s = -60 * DAY, .to_s = 30 * DAY },
		{ .common_name = "gw-1", .usage = "clientAuth", .from_s = -60, .to_s = 90 * DAY },
		{ .common_name = "gw-1", .usage = "clientAuth", .from_s = -90 * DAY, .to_s = -DAY },
	};
	struct world w;
	char *pems[ARRAY_SIZE(specs)];

	world_make(&w);
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		pems[i] = make(&w, &specs[i], w.key, false);
	for (size_t first = 0; first < ARRAY_SIZE(specs); first++) {
		const struct enrol_wanted wanted = { .csr = w.csr, .current = w.current, .anchors = w.ca_pem, .now_s = NOW, .min_life_s = DAY };
		_cleanup_error_ struct agent_error *err = NULL;
		_cleanup_free_ char *chain = NULL;
		struct enrol_about about;
		char all[16384];

		snprintf(all, sizeof(all), "%s%s%s", pems[first], pems[(first + 1) % 3], pems[(first + 2) % 3]);
		assert_int_equal(enrol_check(all, &wanted, &chain, &about, &err), 0);
		assert_string_equal(chain, pems[1]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
		free(pems[i]);
	world_clear(&w);
}

static void damaged_text_is_no_certificate(void **state)
{
	struct world w;
	struct enrol_about about;

	world_make(&w);
	for (size_t i = 0; i < 3; i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		const char *const texts[] = { "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "nothing" };
		const struct enrol_wanted wanted = { .csr = w.csr, .anchors = w.ca_pem, .now_s = NOW, .min_life_s = 1 };
		char *chain = NULL;

		assert_true(enrol_check(texts[i], &wanted, &chain, &about, &err) < 0);
		assert_string_equal(agent_error_name(err), i == 0 ? "est.certificate" : "est.key");
		assert_true(enrol_describe(texts[i], &about, NULL) < 0);
	}
	world_clear(&w);
}

static void an_authority_is_found_by_its_fingerprint(void **state)
{
	struct world w;
	uint8_t digest[32];
	unsigned size;
	char hex[96], both[8192], *other;
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *pem = NULL;
	struct enrol_about about;

	world_make(&w);
	other = pem_of(w.other_ca);
	snprintf(both, sizeof(both), "%s%s%s", other, w.current, w.ca_pem);
	assert_int_equal(X509_digest(w.ca, EVP_sha256(), digest, &size), 1);
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + i * 3, sizeof(hex) - i * 3, "%02X%s", digest[i], i < 31 ? ":" : "");
	assert_int_equal(enrol_pick(both, hex, &pem, &about, &err), 0);
	assert_string_equal(pem, w.ca_pem);
	assert_string_equal(about.subject, "CN=CA");
	hex[0] = hex[0] == 'A' ? 'B' : 'A';
	assert_int_equal(enrol_pick(both, hex, &other, &about, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "est.fingerprint");
	assert_int_equal(enrol_pick(both, "0011", &other, &about, &err), -EINVAL);
	assert_error(&err, -EINVAL, "est.fingerprint");
	free(other);
	world_clear(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_noted_is_read),
		cmocka_unit_test(a_text_of_a_peer_is_one_line),
		cmocka_unit_test(a_damaged_journal_is_said_and_not_guessed),
		cmocka_unit_test(only_moves_of_the_table_are_made),
		cmocka_unit_test(what_cannot_be_noted_is_not_begun),
		cmocka_unit_test(all_of_it_is_forgotten),
		cmocka_unit_test(each_certificate_has_its_own_moment),
		cmocka_unit_test(warnings_rise),
		cmocka_unit_test(waiting_ends_whatever_the_clock_does),
		cmocka_unit_test(refusals_say_why),
		cmocka_unit_test(the_chain_is_put_in_order),
		cmocka_unit_test(of_several_for_our_key_the_newest_counts),
		cmocka_unit_test(damaged_text_is_no_certificate),
		cmocka_unit_test(an_authority_is_found_by_its_fingerprint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
