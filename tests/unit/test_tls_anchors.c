/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several anchors counts, what a file of them may look like, and what else a server may do. */
#include "tests/unit/tls_chain.h"

/* ---- which anchor it is ---- */

static void what_the_server_shows_may_be_short_long_or_shuffled(void **state)
{
	struct world *w = *state;
	X509 *root = make(&root_form, w->second, NULL, NULL), *sub = make(&sub_form, w->third, root, w->second);
	X509 *other = make(&(struct form){ .cn = "Other", GOOD_BC }, w->keys[P_384], NULL, NULL);
	X509 *leaf = make(&leaf_form, w->keys[P_256], sub, w->third);
	const struct {
		const char *claim;
		X509 *shown[4];
		X509 *anchors[3];
		const char *name;
	} rows[] = {
		{ "all of it", { leaf, sub, root }, { root }, NULL },
		{ "in another order, and somebody else's", { leaf, root, other, sub }, { root }, NULL },
		{ "without the authority in between", { leaf }, { root }, "tls.issuer" },
		{ "  which lies with the anchors", { leaf }, { root, sub }, NULL },
		{ "  which alone is no anchor", { leaf, sub }, { sub }, "tls.issuer" },
		{ "under somebody else", { leaf, sub }, { other }, "tls.issuer" },
		{ "one anchor of several, one of them twice", { leaf, sub }, { other, root, root }, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t n = 0, n_anchors = 0;
		SSL_CTX *server;

		while (n < 4 && rows[i].shown[n] != NULL)
			n++;
		while (n_anchors < 3 && rows[i].anchors[n_anchors] != NULL)
			n_anchors++;
		server = serve(rows[i].shown, n, w->keys[P_256], TLS1_3_VERSION);
		print_message("    %s\n", rows[i].claim);
		write_anchors(w, rows[i].anchors, n_anchors);
		expect(w, "broker.test", server, rows[i].name, "does not lead to our trust anchors");
		SSL_CTX_free(server);
	}
	X509_free(root);
	X509_free(sub);
	X509_free(other);
	X509_free(leaf);
}

/* An authority that got a new key and kept its name, with and without key identifiers, in any order. */
static void anchors_with_one_name_are_told_apart(void **state)
{
	struct world *w = *state;

	for (int has_ids = 0; has_ids <= 1; has_ids++) {
		struct form root_f = ROOT, leaf_f = { LEAF };
		X509 *old, *new, *expired, *leaf;

		root_f.has_ids = leaf_f.has_ids = has_ids;
		old = make(&root_f, w->second, NULL, NULL);
		new = make(&root_f, w->third, NULL, NULL);
		root_f.days_from = -9;
		root_f.days_to = -1;
		expired = make(&root_f, w->third, NULL, NULL);
		leaf = make(&leaf_f, w->keys[P_256], new, w->third);
		{
			X509 *const lists[][3] = { { old, new }, { new, old }, { old, expired, new }, { new, old, expired }, { expired, new, old } };
			SSL_CTX *server = serve(&leaf, 1, w->keys[P_256], TLS1_3_VERSION);

			for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
				print_message("    %s key identifiers, order %zu\n", has_ids ? "with" : "without", i);
				write_anchors(w, lists[i], lists[i][2] == NULL ? 2 : 3);
				expect(w, "broker.test", server, NULL, NULL);
			}
			write_anchors(w, &old, 1);
			expect(w, "broker.test", server, "tls.issuer", "does not lead to our trust anchors");
			write_anchors(w, (X509 *[]){ old, expired }, 2);
			expect(w, "broker.test", server, "tls.expired", "Root");
			SSL_CTX_free(server);
		}
		X509_free(old);
		X509_free(new);
		X509_free(expired);
		X509_free(leaf);
	}
}

static void a_new_root_that_the_old_one_signed(void **state)
{
	struct world *w = *state;
	struct form old_f = { .cn = "Old root", GOOD_BC, .has_ids = true }, new_f = { .cn = "New root", GOOD_BC, .has_ids = true };
	struct form over_f = { .cn = "New root", GOOD_BC, .has_ids = true, .days_from = -9, .days_to = -1 }, leaf_f = { LEAF, .has_ids = true };
	struct form same_f = { .cn = "Old root", GOOD_BC, .has_ids = true };
	X509 *old = make(&old_f, w->second, NULL, NULL), *new = make(&new_f, w->third, NULL, NULL);
	X509 *cross = make(&new_f, w->third, old, w->second), *over = make(&over_f, w->third, old, w->second);
	X509 *leaf = make(&leaf_f, w->keys[P_256], new, w->third);
	/* RFC 4210 section 4.4: the new key under the old name, signed with the old key. */
	X509 *new_with_old = make(&same_f, w->third, old, w->second), *later = make(&leaf_f, w->keys[P_256], new_with_old, w->third);
	const struct {
		const char *claim;
		X509 *leaf, *shown;
		X509 *anchors[2];
		const char *name;
	} rows[] = {
		{ "a device with the old one", leaf, cross, { old }, NULL },
		{ "a device with the new one", leaf, cross, { new }, NULL },
		{ "a device with both", leaf, cross, { old, new }, NULL },
		{ "the way over the old one has expired, for who has the new", leaf, over, { old, new }, NULL },
		{ "and for who has the old one only", leaf, over, { old }, "tls.expired" },
		{ "the same name, for who has the old key", later, new_with_old, { old }, NULL },
		{ "and without what leads to the new one", later, NULL, { old }, "tls.issuer" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		SSL_CTX *server = serve((X509 *[]){ rows[i].leaf, rows[i].shown }, rows[i].shown == NULL ? 1 : 2, w->keys[P_256], TLS1_3_VERSION);

		print_message("    %s\n", rows[i].claim);
		write_anchors(w, rows[i].anchors, rows[i].anchors[1] == NULL ? 1 : 2);
		expect(w, "broker.test", server, rows[i].name, "");
		SSL_CTX_free(server);
	}
	X509_free(old);
	X509_free(new);
	X509_free(cross);
	X509_free(over);
	X509_free(leaf);
	X509_free(new_with_old);
	X509_free(later);
}

/* One that is an anchor itself, as "openssl req -x509" makes it. */
static void a_server_may_be_its_own_anchor(void **state)
{
	struct world *w = *state;
	struct form f = { LEAF, .bc = "critical,CA:TRUE" };
	X509 *own = make(&f, w->keys[P_256], NULL, NULL), *other = make(&f, w->keys[P_384], NULL, NULL);
	SSL_CTX *server = serve(&own, 1, w->keys[P_256], TLS1_3_VERSION);

	write_anchors(w, &own, 1);
	expect(w, "broker.test", server, NULL, NULL);
	write_anchors(w, &other, 1);
	expect(w, "broker.test", server, "tls.self-signed", "self-signed and none of our trust anchors");
	SSL_CTX_free(server);
	X509_free(own);
	X509_free(other);
}

/* ---- files of anchors ---- */

static void files_of_anchors(void **state)
{
	struct world *w = *state;
	X509 *root = make(&root_form, w->second, NULL, NULL), *leaf = make(&leaf_form, w->keys[P_256], root, w->second);
	SSL_CTX *server = serve(&leaf, 1, w->keys[P_256], TLS1_3_VERSION);
	char pem[4096], crlf[8192], text[20000];
	BIO *bio = BIO_new(BIO_s_mem());
	size_t n = 0;
	int size;

	assert_int_equal(PEM_write_bio_X509(bio, root), 1);
	size = BIO_read(bio, pem, sizeof(pem) - 1);
	pem[size] = '\0';
	for (int i = 0; i <= size; i++) {
		if (pem[i] == '\n')
			crlf[n++] = '\r';
		crlf[n++] = pem[i];
	}
	const struct {
		const char *claim, *before, *pem, *after;
		const char *says;	/* NULL: good */
	} rows[] = {
		{ "nothing else", "", pem, "", NULL },
		{ "comments", "# our authority\nsubject=CN = Root\n\n", pem, "\n# the end\n", NULL },
		{ "line ends of Windows", "# ours\r\n", crlf, "\r\n", NULL },
		{ "a mark of an editor", "\xef\xbb\xbf", pem, "", NULL },
		{ "garbage around it", "\x01\x02\xff garbage\n-----\n", pem, "\n-----BEGIN X-----\nAAAA\n-----END X-----\n", NULL },
		{ "no line end at the end", "", pem, "x", NULL },
		{ "nothing", "", "", "", "no certificate in PEM form" },
		{ "text only", "Put the certificate of the authority here.\n", "", "", "no certificate in PEM form" },
		{ "a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "", "no certificate in PEM form" },
		{ "something else that was cut", "", pem, "\n-----BEGIN X-----\n", "certificate 2 is damaged" },
		{ "damage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", pem, "", "certificate 1 is damaged" },
		{ "a second one that was cut", pem, "-----BEGIN CERTIFICATE-----\nMIIB", "", "certificate 2 is damaged" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct agent_tls_options options = { .ca_file = w->anchors, .peer_name = "broker.test" };
		struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;
		FILE *f = fopen(w->anchors, "w");

		snprintf(text, sizeof(text), "%s%s%s", rows[i].before, rows[i].pem, rows[i].after);
		assert_true(f != NULL && fputs(text, f) >= 0);
		assert_int_equal(fclose(f), 0);
		print_message("    %s\n", rows[i].claim);
		if (rows[i].says == NULL) {
			expect(w, "broker.test", server, NULL, NULL);
			continue;
		}
		assert_int_equal(agent_tls_new(w->ctx, &options, &tls, &err), -EBADMSG);
		assert_non_null(strstr(agent_error_message(err), w->anchors));
		assert_non_null(strstr(agent_error_message(err), rows[i].says));
		assert_error(&err, -EBADMSG, "tls.file");
		agent_error_free(err);
	}
	BIO_free(bio);
	SSL_CTX_free(server);
	X509_free(root);
	X509_free(leaf);
}

static void names_with_other_letters_are_refused_as_settings(void **state)
{
	struct world *w = *state;
	struct agent_tls_options options = { .ca_file = w->anchors, .peer_name = "b\xc3\xbc""cher.test" };
	_cleanup_error_ struct agent_error *err = NULL;
	struct agent_tls *tls = NULL;

	assert_int_equal(agent_tls_new(w->ctx, &options, &tls, &err), -EINVAL);
	assert_non_null(strstr(agent_error_message(err), "xn--"));
	assert_error(&err, -EINVAL, "tls.options");
}

/* ---- a server that asks for our certificate ---- */

static void what_a_server_asks_for_is_told(void **state)
{
	struct world *w = *state;
	X509 *root = make(&root_form, w->second, NULL, NULL), *leaf = make(&leaf_form, w->keys[P_256], root, w->second);
	X509 *other = make(&(struct form){ .cn = "Other CA", GOOD_BC }, w->third, NULL, NULL);
	X509 *client = make(&(struct form){ .cn = "gw-0001", .eku = "clientAuth" }, w->keys[P_256], root, w->second);
	struct pki_signer software = { .pkey = w->keys[P_256] };
	struct agent_signer *signer = pki_signer_new(&software);
	struct agent_tls_options options = { .peer_name = "broker.test", .cert_file = w->client_file, .signer = signer };
	SSL_CTX *server;

	pki_write(w->client_file, client);
	write_anchors(w, &root, 1);
	for (int i = 0; i < 4; i++) {
		server = serve(&leaf, 1, w->keys[P_256], TLS1_3_VERSION);
		SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		X509_STORE_add_cert(SSL_CTX_get_cert_store(server), i == 1 || i == 2 ? other : root);
		if (i > 0)
			assert_int_equal(SSL_CTX_add_client_CA(server, i == 1 ? other : root), 1);
		/* What our key cannot do. */
		if (i == 3)
			assert_int_equal(SSL_CTX_set1_client_sigalgs_list(server, "RSA-PSS+SHA256"), 1);
		if (i == 0)
			expect_with(w, options, server, NULL, NULL);
		else
			expect_with(w, options, server, "tls.alert", i == 1 ? "unknown CA; it asks for one issued by \"Other CA\"" : i == 2 ?
				    "unknown CA; it asks for one issued by \"Root\"" : "none of the signature algorithms of our key");
		SSL_CTX_free(server);
	}
	agent_signer_unref(signer);
	X509_free(root);
	X509_free(leaf);
	X509_free(other);
	X509_free(client);
}

/* Whatever answers in the place of the server. */
static void what_is_no_tls_is_told(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n<html>pay here</html>", "SSH-2.0-OpenSSH_9.2p1\r\n", "220 mail.example ESMTP\r\n",
		"<html><body>Welcome</body></html>",
	};
	struct world *w = *state;
	X509 *root = make(&root_form, w->second, NULL, NULL);

	write_anchors(w, &root, 1);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct agent_tls_options options = { .ca_file = w->anchors, .peer_name = "broker.test" };
		struct agent_error *err = NULL;
		struct agent_tls *tls = NULL;
		BIO *a, *b;
		SSL *ssl;

		assert_int_equal(agent_tls_new(w->ctx, &options, &tls, NULL), 0);
		ssl = SSL_new(agent_openssl_ssl_ctx(tls));
		assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
		SSL_set_bio(ssl, a, a);
		assert_int_equal(BIO_write(b, answers[i], (int)strlen(answers[i])), (int)strlen(answers[i]));
		assert_int_equal(SSL_connect(ssl), -1);
		assert_int_equal(agent_tls_explain(tls, &err), -EPROTO);
		print_message("      %s: %s\n", agent_error_name(err), agent_error_message(err));
		assert_error(&err, -EPROTO, "tls.no-tls");
		agent_error_free(err);
		SSL_free(ssl);
		BIO_free(b);
		ERR_clear_error();
		agent_tls_unref(tls);
	}
	X509_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_server_shows_may_be_short_long_or_shuffled),
		cmocka_unit_test(anchors_with_one_name_are_told_apart),
		cmocka_unit_test(a_new_root_that_the_old_one_signed),
		cmocka_unit_test(a_server_may_be_its_own_anchor),
		cmocka_unit_test(files_of_anchors),
		cmocka_unit_test(names_with_other_letters_are_refused_as_settings),
		cmocka_unit_test(what_a_server_asks_for_is_told),
		cmocka_unit_test(what_is_no_tls_is_told),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
