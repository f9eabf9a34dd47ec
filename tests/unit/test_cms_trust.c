/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of trust: which certificates in it let a signature pass, revocation lists, and a folder that is not as it should be. */
#include "tests/unit/cms_world.h"

#include "base/file.h"
#include "crypto/list_file.h"

static void revocation_counts_where_there_is_a_list(void **state)
{
	struct identity other = certs_make("Other", &ca, SPEC_SIGNER), pinned = certs_make("Pinned", &ca, SPEC_SIGNER);
	struct identity fake_ca = certs_make("Update CA", NULL, SPEC_CA);

	certs_write_crl(&dir, "ca.crl", &ca, other.cert, 30 * DAY_S);
	accepted(&signer);
	refused(&other, "update.signer", "revoked");
	certs_write_crl(&dir, "ca.crl", &ca, pinned.cert, 30 * DAY_S);
	certs_write(&dir, "pinned.pem", pinned.cert);
	refused(&pinned, "update.signer", "revoked");	/* also when pinned itself */
	certs_write_crl(&dir, "ca.crl", &ca, NULL, -1);
	refused(&signer, "update.signer", "revocation list");
	certs_write_crl(&dir, "ca.crl", &fake_ca, NULL, 30 * DAY_S);	/* not signed by our CA */
	refused(&signer, "update.signer", "Release signer");
	identity_free(&other);
	identity_free(&pinned);
	identity_free(&fake_ca);
}

static char *read_list(const char *name)
{
	char *data;
	size_t size;

	assert_int_equal(file_read_at(dir.fd, name, 1 << 20, &data, &size, NULL), 0);
	return data;
}

static void write_list(const char *name, const char *data, size_t size)
{
	int fd = openat(dir.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

/* The list that revokes may be any of them. */
static void every_list_of_a_file_counts(void **state)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_free_ char *first = NULL, *second = NULL, *both = NULL;
	struct identity other_ca = certs_make("Other CA", NULL, SPEC_CA);

	certs_write_crl(&dir, "ca.crl", &other_ca, NULL, 30 * DAY_S);
	first = read_list("ca.crl");
	certs_write_crl(&dir, "ca.crl", &ca, signer.cert, 30 * DAY_S);
	second = read_list("ca.crl");
	assert_true(asprintf(&both, "%s%s", first, second) > 0);
	write_list("ca.crl", both, strlen(both));
	refused(&signer, "update.signer", "revoked");
	write_list("ca.crl", both, strlen(both) - 40);
	assert_int_equal(cms_trust_load(ctx, dir.path, &trust, &err), -EBADMSG);
	assert_non_null(strstr(agent_error_message(err), "list 2 is damaged"));
	assert_error(&err, -EBADMSG, "update.trust");
	identity_free(&other_ca);
}

static void what_begins_as_a_list_must_be_one(void **state)
{
	static const struct { int copies; const char *before, *between, *behind; int max, r, n, at; } rows[] = {
		{ 2, "", "", "", 2, 0, 2, 0 },
		{ 2, "text\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "more text\n", 2, 0, 2, 0 },
		{ 2, "", "", "", 1, -EMSGSIZE, 0, 2 },
		{ 2, "", " ", "", 2, -EBADMSG, 0, 2 },	/* OpenSSL passes over a line that begins with a blank */
		{ 2, "", "", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", 3, -EBADMSG, 0, 3 },
		{ 2, "", "", "-----BEGIN X509 CR", 3, -EBADMSG, 0, 3 },
		{ 0, "", "", "", 3, -EBADMSG, 0, 1 },
		{ 0, "nothing\n", "", "", 3, -EBADMSG, 0, 1 },
	};
	_cleanup_free_ char *list = NULL;

	certs_write_crl(&dir, "ca.crl", &ca, NULL, 30 * DAY_S);
	list = read_list("ca.crl");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *data = NULL;
		STACK_OF(X509_CRL) *lists = NULL;
		int at = 0;

		assert_true(asprintf(&data, "%s%s%s%s%s", rows[i].before, rows[i].copies > 0 ? list : "", rows[i].between, rows[i].copies > 1 ? list : "",
				     rows[i].behind) >= 0);
		if (list_file_parse(NULL, data, strlen(data), rows[i].max, &lists, &at) != rows[i].r)
			fail_msg("row %zu", i);
		assert_int_equal(lists == NULL ? 0 : sk_X509_CRL_num(lists), rows[i].n);
		if (rows[i].r < 0)
			assert_int_equal(at, rows[i].at);
		sk_X509_CRL_pop_free(lists, X509_CRL_free);
	}
}

static int verify_demanding(const struct identity *id, struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, id, &size);
	int r;

	assert_int_equal(cms_trust_load(ctx, dir.path, &trust, NULL), 0);
	cms_trust_require_crls(trust, true);
	r = cms_verify(trust, der, size, CONTENT, strlen(CONTENT), 1, NOW_S, NULL, err);
	OPENSSL_free(der);
	return r;
}

static void a_revocation_list_may_be_demanded(void **state)
{
	struct identity other_ca = certs_make("Other CA", NULL, SPEC_CA), other = certs_make("Other", &other_ca, SPEC_SIGNER);
	struct identity self = certs_make("Self", NULL, SPEC_SIGNER), far = certs_make("Far", &other_ca, SPEC_SIGNER);
	const struct {
		const char *what, *word;
	} rows[] = { { "none", "no revocation list of the issuer of \"Release signer\"" }, { "of another CA", "no revocation list of the issuer" },
		     { "expired", "install a fresh one" },			     { "revoked", "is revoked" },
		     { "good", NULL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		int r;

		if (strcmp(rows[i].what, "of another CA") == 0)
			certs_write_crl(&dir, "ca.crl", &other_ca, NULL, 30 * DAY_S);
		else if (strcmp(rows[i].what, "expired") == 0)
			certs_write_crl(&dir, "ca.crl", &ca, NULL, -1);
		else if (strcmp(rows[i].what, "none") != 0)
			certs_write_crl(&dir, "ca.crl", &ca, strcmp(rows[i].what, "revoked") == 0 ? signer.cert : NULL, 30 * DAY_S);
		r = verify_demanding(&signer, &err);
		if (rows[i].word == NULL) {
			assert_int_equal(r, 0);
			continue;
		}
		assert_int_equal(r, -EKEYREJECTED);
		if (strstr(agent_error_message(err), rows[i].word) == NULL)
			fail_msg("list %s: \"%s\"", rows[i].what, agent_error_message(err));
		assert_error(&err, -EKEYREJECTED, "update.signer");
	}
	/* Pinned itself: whoever can put a list there can as well take the certificate away. */
	certs_write(&dir, "self.pem", self.cert);
	assert_int_equal(verify_demanding(&self, NULL), 0);
	certs_write(&dir, "far.pem", far.cert);
	assert_int_equal(verify_demanding(&far, NULL), 0);
	assert_int_equal(verify_demanding(&other, NULL), -EKEYREJECTED);
	identity_free(&other_ca);
	identity_free(&other);
	identity_free(&self);
	identity_free(&far);
}

static void a_certificate_need_not_come_along_when_it_is_pinned(void **state)
{
	const struct identity *id = &signer;
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign_with(CONTENT, &id, 1, NULL, SIGN_FLAGS | CMS_NOCERTS, EVP_sha256(), &size);

	assert_int_equal(verify(der, size, &err), -EKEYREJECTED);
	assert_non_null(strstr(agent_error_message(err), "did not come along"));
	assert_error(&err, -EKEYREJECTED, "update.signer");
	certs_write(&dir, "signer.pem", signer.cert);
	assert_int_equal(verify(der, size, NULL), 0);
	OPENSSL_free(der);
}

static void a_strange_trust_folder_is_refused_whole(void **state)
{
	static const struct {
		const char *name, *text;
		int r;
	} rows[] = {
		{ "bad.pem", "nonsense", -EBADMSG },
		{ "bad.pem", "", -EBADMSG },
		{ "bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", -EBADMSG },
		{ "bad.crl", "nonsense", -EBADMSG },
		{ "notes.txt", "anything", 0 },
		{ ".ca.pem.tmp", "anything", 0 },
		{ ".hidden.pem", "anything", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
		_cleanup_error_ struct agent_error *err = NULL;
		int fd = openat(dir.fd, rows[i].name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_int_equal(write(fd, rows[i].text, strlen(rows[i].text)), strlen(rows[i].text));
		close(fd);
		assert_int_equal(cms_trust_load(ctx, dir.path, &trust, &err), rows[i].r);
		if (rows[i].r < 0) {
			assert_non_null(strstr(agent_error_message(err), rows[i].name));
			assert_error(&err, rows[i].r, "update.trust");
		}
		assert_int_equal(unlinkat(dir.fd, rows[i].name, 0), 0);
	}
}

static void an_empty_or_absent_trust_folder_trusts_nobody(void **state)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	_cleanup_error_ struct agent_error *err = NULL;

	assert_int_equal(unlinkat(dir.fd, "ca.pem", 0), 0);
	assert_int_equal(cms_trust_load(ctx, dir.path, &trust, &err), -ENOKEY);
	assert_error(&err, -ENOKEY, "update.trust");
	assert_int_equal(cms_trust_load(ctx, "/nonexistent", &trust, &err), -ENOENT);
	assert_error(&err, -ENOENT, "update.trust");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(revocation_counts_where_there_is_a_list),
		T(every_list_of_a_file_counts),
		T(what_begins_as_a_list_must_be_one),
		T(a_revocation_list_may_be_demanded),
		T(a_certificate_need_not_come_along_when_it_is_pinned),
		T(a_strange_trust_folder_is_refused_whole),
		T(an_empty_or_absent_trust_folder_trusts_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
