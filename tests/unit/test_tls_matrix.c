/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of key at every depth of a chain, every form that a certificate may have: who is taken, and by which property whoever is not. */
#include "tests/unit/tls_chain.h"

/* As the key of a server with TLS 1.3 and 1.2, and of an authority; NULL: taken. */
static const struct {
	const char *text;
	const char *name, *says, *name_12;
	const char *ca_name, *ca_says;
} kinds[KINDS] = {
	[RSA_2048] = { .text = "RSA-2048" },
	[RSA_3072] = { .text = "RSA-3072" },
	[RSA_PSS] = { .text = "RSASSA-PSS 2048" },
	[P_256] = { .text = "P-256" },
	[P_384] = { .text = "P-384" },
	[P_521] = { .text = "P-521" },
	[ED_25519] = { .text = "Ed25519" },
	/* The server finds out first that we would not take it, and says no more than that. */
	[ED_448] = { "Ed448", "tls.parameters", "RSA of 2048 bits or more, P-256, P-384, P-521 and Ed25519", "tls.parameters", "tls.algorithm", "Ed448 key" },
	[RSA_1024] = { "RSA-1024", "tls.weak", "RSA key of 1024 bits", "tls.weak", "tls.weak", "RSA key of 1024 bits" },
	/* A server of OpenSSL knows that TLS 1.3 has no name for such a key, and offers 1.2 only. */
	[P_224] = { "P-224", "tls.version", "", "tls.parameters", "tls.algorithm", "EC key on the curve secp224r1" },
	[BRAINPOOL] = { "brainpoolP256r1", "tls.version", "", "tls.parameters", "tls.algorithm", "EC key on the curve brainpoolP256r1" },
};

/* A chain with @n_above authorities with keys of @ca_kind above a server with a key of @kind, and a handshake with it. */
static void try_chain(struct world *w, enum kind kind, enum kind ca_kind, int n_above, int version, const char *name, const char *says)
{
	EVP_PKEY *key = w->keys[kind], *ca_key = w->keys[ca_kind];
	X509 *root = n_above > 0 ? make(&root_form, ca_key, NULL, NULL) : NULL;
	X509 *sub = n_above > 1 ? make(&sub_form, ca_key, root, ca_key) : NULL;
	X509 *leaf = make(&leaf_form, key, sub != NULL ? sub : root, n_above > 0 ? ca_key : NULL);
	X509 *chain[] = { leaf, sub }, *anchor = root != NULL ? root : leaf;
	SSL_CTX *server = serve(chain, n_above > 1 ? 2 : 1, key, version);

	write_anchors(w, &anchor, 1);
	expect_with(w, (struct agent_tls_options){ .peer_name = "broker.test", .allow_tls12 = version == TLS1_2_VERSION }, server, name, says);
	SSL_CTX_free(server);
	X509_free(root);
	X509_free(sub);
	X509_free(leaf);
}

static void kinds_of_keys_at_every_depth(void **state)
{
	struct world *w = *state;

	for (int kind = 0; kind < KINDS; kind++)
		for (int n_above = 0; n_above <= 2; n_above++) {
			print_message("    %s, %d above\n", kinds[kind].text, n_above);
			try_chain(w, (enum kind)kind, (enum kind)kind, n_above, TLS1_3_VERSION, kinds[kind].name, kinds[kind].says);
			try_chain(w, (enum kind)kind, (enum kind)kind, n_above, TLS1_2_VERSION, kinds[kind].name_12, kinds[kind].says);
		}
}

static void authorities_may_have_another_kind_than_servers(void **state)
{
	struct world *w = *state;

	for (int kind = 0; kind < KINDS; kind++)
		for (int n_above = 1; n_above <= 2; n_above++) {
			print_message("    P-256 under %d of %s\n", n_above, kinds[kind].text);
			try_chain(w, P_256, (enum kind)kind, n_above, TLS1_3_VERSION, kinds[kind].ca_name, kinds[kind].ca_says);
			if (kinds[kind].name == NULL)
				try_chain(w, (enum kind)kind, RSA_2048, n_above, TLS1_3_VERSION, NULL, NULL);
		}
}

static void weak_digests_are_named(void **state)
{
	static const struct {
		const char *digest, *name, *says;
	} rows[] = {
		{ "SHA1", "tls.weak", "sha1WithRSAEncryption" }, { "MD5", "tls.weak", "md5WithRSAEncryption" },
		{ "SHA256", NULL, NULL }, { "SHA384", NULL, NULL }, { "SHA512", NULL, NULL },
	};
	struct world *w = *state;
	EVP_PKEY *key = w->keys[RSA_2048];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (int where = 0; where < 3; where++) {
			const EVP_MD *md = EVP_get_digestbyname(rows[i].digest);
			struct form root_f = root_form, sub_f = sub_form, leaf_f = leaf_form;
			X509 *root, *sub, *leaf;
			SSL_CTX *server;

			*(where == 0 ? &root_f.md : where == 1 ? &sub_f.md : &leaf_f.md) = md;
			root = make(&root_f, key, NULL, NULL);
			sub = make(&sub_f, key, root, key);
			leaf = make(&leaf_f, key, sub, key);
			server = serve((X509 *[]){ leaf, sub }, 2, key, TLS1_3_VERSION);
			write_anchors(w, &root, 1);
			print_message("    %s in %s\n", rows[i].digest, where == 0 ? "the anchor" : where == 1 ? "the authority" : "the server's");
			/* Nobody relies on what an anchor signed itself with. */
			expect(w, "broker.test", server, where == 0 ? NULL : rows[i].name, rows[i].says);
			SSL_CTX_free(server);
			X509_free(root);
			X509_free(sub);
			X509_free(leaf);
		}
}

/* ---- what a server's certificate says of itself ---- */

#define NAMED(n) { .cn = "broker", .names = n, .eku = "serverAuth", .bc = "CA:FALSE" }
static const struct {
	const char *claim;
	struct form leaf;
	const char *peer_name, *name, *says;
} leaves[] = {
	{ "a wildcard stands for one label", NAMED("DNS:*.example.test"), "a.example.test", NULL, NULL },
	{ "  not for two", NAMED("DNS:*.example.test"), "a.b.example.test", "tls.name", "for *.example.test, not for a.b.example.test" },
	{ "  not for none", NAMED("DNS:*.example.test"), "example.test", "tls.name", "*.example.test" },
	{ "  not below a single label", NAMED("DNS:*.test"), "broker.test", "tls.name", "*.test" },
	{ "  not alone", NAMED("DNS:*"), "broker", "tls.name", "not for broker" },
	{ "  not in the middle", NAMED("DNS:a.*.test"), "a.b.test", "tls.name", "a.*.test" },
	{ "  not as a part of a label", NAMED("DNS:b*.example.test"), "broker.example.test", "tls.name", "b*.example.test" },
	{ "  not as a part of an international one", NAMED("DNS:xn--*.example.test"), "xn--bcher-kva.example.test", "tls.name", "xn--*" },
	{ "  but for an international one", NAMED("DNS:*.example.test"), "xn--bcher-kva.example.test", NULL, NULL },
	{ "an international name in its ASCII form", NAMED("DNS:xn--bcher-kva.test"), "xn--bcher-kva.test", NULL, NULL },
	{ "letters may be large or small", NAMED("DNS:Broker.TEST"), "bROKER.test", NULL, NULL },
	{ "a dot at the end of our name means nothing", NAMED("DNS:broker.test"), "broker.test.", NULL, NULL },
	{ "one of several names", NAMED("DNS:a.test,DNS:b.test,IP:192.0.2.1"), "b.test", NULL, NULL },
	{ "an address", NAMED("IP:192.0.2.1"), "192.0.2.1", NULL, NULL },
	{ "  that is not a name", NAMED("DNS:192.0.2.1"), "192.0.2.1", "tls.name", "for 192.0.2.1 (as a DNS name), not for the address 192.0.2.1" },
	{ "  nor is a wildcard one", NAMED("DNS:*.0.2.1"), "192.0.2.1", "tls.name", "not for the address 192.0.2.1" },
	{ "  in another form", NAMED("IP:2001:db8::7"), "2001:0DB8:0:0::7", NULL, NULL },
	{ "  another one", NAMED("IP:2001:db8::7"), "2001:db8::8", "tls.name", "for 2001:db8::7, not for the address 2001:db8::8" },
	{ "  for a name", NAMED("IP:192.0.2.1"), "broker.test", "tls.name", "for 192.0.2.1, not for broker.test" },
	{ "a common name alone", { .cn = "broker.test", .eku = "serverAuth" }, "broker.test", "tls.name", "a common name does not count" },
	{ "  beside a mail address", { .cn = "broker.test", .names = "email:a@broker.test" }, "broker.test", "tls.name", "a common name does not count" },
	{ "  beside an address", { .cn = "broker.test", .names = "IP:192.0.2.1" }, "broker.test", "tls.name", "for 192.0.2.1" },
	{ "no extended key usage", { .cn = "broker", .names = "DNS:broker.test" }, "broker.test", NULL, NULL },
	{ "one for servers among others", { .cn = "b", .names = "DNS:broker.test", .eku = "clientAuth,serverAuth" }, "broker.test", NULL, NULL },
	{ "one for clients", { .cn = "b", .names = "DNS:broker.test", .eku = "clientAuth" }, "broker.test", "tls.purpose", "extended key usage clientAuth" },
	{ "one for code", { .cn = "b", .names = "DNS:broker.test", .eku = "codeSigning,1.2.3.4" }, "broker.test", "tls.purpose", "codeSigning, 1.2.3.4" },
	{ "one for anything", { .cn = "b", .names = "DNS:broker.test", .eku = "anyExtendedKeyUsage" }, "broker.test", "tls.purpose", "anyExtendedKeyUsage" },
	{ "key usage for signatures", { LEAF, .ku = "critical,digitalSignature" }, "broker.test", NULL, NULL },
	{ "  for encipherment too", { LEAF, .ku = "digitalSignature,keyEncipherment" }, "broker.test", NULL, NULL },
	{ "  for encipherment alone", { LEAF, .ku = "keyEncipherment" }, "broker.test", "tls.purpose", "digitalSignature" },
	{ "  for agreement alone", { LEAF, .ku = "keyAgreement" }, "broker.test", "tls.purpose", "digitalSignature" },
	{ "  for lists alone", { LEAF, .ku = "cRLSign" }, "broker.test", "tls.purpose", "key usage" },
	{ "an authority's own", { LEAF, .bc = "critical,CA:TRUE", .ku = "critical,digitalSignature,keyCertSign" }, "broker.test", "tls.purpose", "CA:TRUE" },
	{ "as openssl req -x509 -CA makes it", { LEAF, .bc = "critical,CA:TRUE" }, "broker.test", NULL, NULL },
	{ "no basic constraints", { LEAF }, "broker.test", NULL, NULL },
	{ "an unknown extension", { LEAF, .odd = "1.2.3.4.5" }, "broker.test", NULL, NULL },
	{ "  that is critical", { LEAF, .odd = "critical,1.2.3.4.5" }, "broker.test", "tls.extension", "1.2.3.4.5" },
	{ "version 1 has no names", { .cn = "broker.test", .is_v1 = true }, "broker.test", "tls.name", "a common name does not count" },
	{ "it has expired", { LEAF, .days_from = -9, .days_to = -1 }, "broker.test", "tls.expired", "expired on" },
	{ "it will be good", { LEAF, .days_from = 1, .days_to = 9 }, "broker.test", "tls.not-yet-valid", "valid from" },
};

static void certificates_of_servers(void **state)
{
	struct world *w = *state;
	EVP_PKEY *ca_key = w->keys[RSA_2048], *key = w->keys[P_256];
	X509 *root = make(&root_form, ca_key, NULL, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		X509 *leaf = make(&leaves[i].leaf, key, root, ca_key);
		SSL_CTX *server = serve(&leaf, 1, key, TLS1_3_VERSION);

		print_message("    %s\n", leaves[i].claim);
		write_anchors(w, &root, 1);
		expect(w, leaves[i].peer_name, server, leaves[i].name, leaves[i].says);
		SSL_CTX_free(server);
		X509_free(leaf);
	}
	X509_free(root);
}

/* A name with a NUL, and one that would steer a terminal. */
static void names_cannot_lie(void **state)
{
	static const struct {
		const char *bytes;
		int size;
		const char *shown;
	} rows[] = {
		{ "broker.test\0.evil.test", 22, "broker.test?.evil.test" }, { "a\033[2Jb.test", 11, "a?[2Jb.test" }, { "a\nb.test", 8, "a?b.test" },
		{ "\xc3\xa4\xff.test", 8, "???.test" },
	};
	struct world *w = *state;
	EVP_PKEY *key = w->keys[P_256];
	X509 *root = make(&root_form, w->second, NULL, NULL);

	write_anchors(w, &root, 1);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		X509 *leaf = make(&(struct form){ .cn = "broker.test" }, key, root, w->second);
		GENERAL_NAMES *names = GENERAL_NAMES_new();
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();
		SSL_CTX *server;

		assert_int_equal(ASN1_STRING_set(text, rows[i].bytes, rows[i].size), 1);
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
		assert_true(sk_GENERAL_NAME_push(names, name) > 0);
		assert_int_equal(X509_add1_ext_i2d(leaf, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT), 1);
		sign(leaf, w->second, NULL);
		server = serve(&leaf, 1, key, TLS1_3_VERSION);
		expect(w, "broker.test", server, "tls.name", rows[i].shown);
		SSL_CTX_free(server);
		GENERAL_NAMES_free(names);
		X509_free(leaf);
	}
	X509_free(root);
}

/* ---- authorities between server and anchor ---- */

#define BAD_SUB(...) { .cn = "Issuing CA", __VA_ARGS__ }
static const struct {
	const char *claim;
	struct form root, sub;
	const char *name, *says;
} authorities[] = {
	{ "good ones", ROOT, SUB, NULL, NULL },
	{ "one that has expired", ROOT, BAD_SUB(GOOD_BC, .days_from = -9, .days_to = -1), "tls.expired", "Issuing CA" },
	{ "one that will be good", ROOT, BAD_SUB(GOOD_BC, .days_from = 1, .days_to = 9), "tls.not-yet-valid", "Issuing CA" },
	{ "an anchor that has expired", { .cn = "Root", GOOD_BC, .days_from = -9, .days_to = -1 }, SUB, "tls.expired", "Root" },
	{ "one that is none", ROOT, BAD_SUB(.bc = "critical,CA:FALSE"), "tls.authority", "basic constraints" },
	{ "one that does not say that it is one", ROOT, BAD_SUB(.bc = NULL), "tls.authority", "basic constraints" },
	{ "one that says so in its key usage alone", ROOT, BAD_SUB(.ku = "keyCertSign"), "tls.authority", "basic constraints" },
	{ "an anchor that says so in its key usage alone", { .cn = "Root", .ku = "keyCertSign" }, SUB, NULL, NULL },
	{ "one of version 1", ROOT, BAD_SUB(.is_v1 = true), "tls.authority", "basic constraints" },
	{ "an anchor of version 1", { .cn = "Root", .is_v1 = true }, SUB, NULL, NULL },
	{ "one that may not sign certificates", ROOT, BAD_SUB(GOOD_BC, .ku = "cRLSign"), "tls.authority", "" },
	{ "one that may", ROOT, BAD_SUB(GOOD_BC, .ku = "critical,keyCertSign,cRLSign"), NULL, NULL },
	{ "path length that is long enough", { .cn = "Root", .bc = "critical,CA:TRUE,pathlen:1" }, BAD_SUB(.bc = "critical,CA:TRUE,pathlen:0"), NULL, NULL },
	{ "path length that is too short", { .cn = "Root", .bc = "critical,CA:TRUE,pathlen:0" }, SUB, "tls.chain", "path length" },
	{ "one for certificates of clients", ROOT, BAD_SUB(GOOD_BC, .eku = "clientAuth"), "tls.purpose", "issuing those of TLS servers (extended key usage clientAuth" },
	{ "one for certificates of servers", ROOT, BAD_SUB(GOOD_BC, .eku = "serverAuth"), NULL, NULL },
	{ "an unknown critical extension", ROOT, BAD_SUB(GOOD_BC, .odd = "critical,1.2.3.4"), "tls.extension", "1.2.3.4" },
	{ "constraints that include the name", ROOT, BAD_SUB(GOOD_BC, .constraints = "critical,permitted;DNS:test"), NULL, NULL },
	{ "constraints that do not", ROOT, BAD_SUB(GOOD_BC, .constraints = "critical,permitted;DNS:example.org"), "tls.constraints", "do not include its names" },
	{ "constraints of the anchor", { .cn = "Root", GOOD_BC, .constraints = "critical,permitted;DNS:example.org" }, SUB, "tls.constraints", "do not include" },
	{ "constraints that exclude it", ROOT, BAD_SUB(GOOD_BC, .constraints = "critical,excluded;DNS:broker.test"), "tls.constraints", "exclude its names" },
	{ "constraints for addresses", ROOT, BAD_SUB(GOOD_BC, .constraints = "critical,permitted;IP:192.0.2.0/255.255.255.0"), NULL, NULL },
};

static void authorities_in_between(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(authorities); i++) {
		X509 *root = make(&authorities[i].root, w->second, NULL, NULL), *sub = make(&authorities[i].sub, w->third, root, w->second);
		X509 *leaf = make(&leaf_form, w->keys[P_256], sub, w->third);
		SSL_CTX *server = serve((X509 *[]){ leaf, sub }, 2, w->keys[P_256], TLS1_3_VERSION);

		print_message("    %s\n", authorities[i].claim);
		write_anchors(w, &root, 1);
		expect(w, "broker.test", server, authorities[i].name, authorities[i].says);
		SSL_CTX_free(server);
		X509_free(root);
		X509_free(sub);
		X509_free(leaf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_of_keys_at_every_depth),
		cmocka_unit_test(authorities_may_have_another_kind_than_servers),
		cmocka_unit_test(weak_digests_are_named),
		cmocka_unit_test(certificates_of_servers),
		cmocka_unit_test(names_cannot_lie),
		cmocka_unit_test(authorities_in_between),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
