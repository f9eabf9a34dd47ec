/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>

#include <tss2/tss2_mu.h>

#include "base/buf.h"
#include "tpm/keyfile.h"

/* Made with tpm2-openssl 1.1.1 on swtpm 0.7.1: openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 */
static const char foreign_pem[] =
	"-----BEGIN TSS2 PRIVATE KEY-----\n"
	"MIHwBgZngQUKAQOgAwEBAQIEQAAAAQRYAFYAIwALAAYAcgAAABAAEAADABAAILB1\n"
	"EG8WHc8WZrT83FX7gofib7nmJx3MvZDjJc0x9hc5ACBSpzm/8mj1mD+SzYMnNRyU\n"
	"9+P69z5xksoC8DU3IsJvugSBgAB+ACCd/yZRlt0gLsTS+YuQUtl/zYP8kD1ofqpX\n"
	"K3H2SLYLTAAQAlE654fCyH9l6UzkfTbV96+PBMW5/F2J0FF8fMNGYj8nazDT7Fdo\n"
	"NYfMknNNSd0dn/kr2EHWfPyqZgnGmhRISUxwnokLX1aE0h3w+Zh1HqFJYiSyv3rX\n"
	"EpRv\n"
	"-----END TSS2 PRIVATE KEY-----\n";

/* ---- a small DER writer, so that a case is one line ---------------------- */

struct der {
	uint8_t data[2048];
	size_t n;
};

static void put(struct der *d, uint8_t tag, const void *body, size_t n)
{
	d->data[d->n++] = tag;
	if (n >= 0x100) {
		d->data[d->n++] = 0x82;
		d->data[d->n++] = (uint8_t)(n >> 8);
	} else if (n >= 0x80) {
		d->data[d->n++] = 0x81;
	}
	d->data[d->n++] = (uint8_t)n;
	memcpy(d->data + d->n, body, n);
	d->n += n;
}

static void put_hex(struct der *d, const char *hex)
{
	size_t n = strlen(hex) / 2;

	assert_int_equal(hex_decode(hex, 2 * n, d->data + d->n, n), 0);
	d->n += n;
}

static struct keyfile foreign(void)
{
	struct keyfile file;

	assert_int_equal(keyfile_parse(foreign_pem, strlen(foreign_pem), &file, NULL), 0);
	return file;
}

static const char oid[] = "06066781050a0103";
static const char parent[] = "02050081000001";

/* OID, optional fields and parent as given, then real blobs, then @tail. */
static void build(struct der *out, const char *oid_hex, const char *options_hex, const char *parent_hex, const char *tail_hex)
{
	struct keyfile file = foreign();
	struct der body = { .n = 0 };
	uint8_t blob[1024];
	size_t n;

	put_hex(&body, oid_hex);
	put_hex(&body, options_hex);
	put_hex(&body, parent_hex);
	n = 0;
	assert_int_equal(Tss2_MU_TPM2B_PUBLIC_Marshal(&file.pub, blob, sizeof(blob), &n), 0);
	put(&body, 0x04, blob, n);
	n = 0;
	assert_int_equal(Tss2_MU_TPM2B_PRIVATE_Marshal(&file.priv, blob, sizeof(blob), &n), 0);
	put(&body, 0x04, blob, n);
	put_hex(&body, tail_hex);
	out->n = 0;
	put(out, 0x30, body.data, body.n);
}

/* ---- claims -------------------------------------------------------------- */

static void a_file_of_tpm2_openssl_is_read(void **state)
{
	struct keyfile file = foreign();

	(void)state;
	assert_true(file.has_empty_auth); /* written as 0x01, not DER's 0xff */
	assert_int_equal(file.parent, 0x40000001);
	assert_int_equal(file.pub.publicArea.type, TPM2_ALG_ECC);
	assert_int_equal(file.priv.size, 0x7e);
}

static void what_is_written_is_read_back(void **state)
{
	static const uint32_t parents[] = { 0x81000001, 0x40000001, 0x7fffffff, 0xffffffff, 0x80, 0x7f, 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		_cleanup_free_ char *text = NULL, *again = NULL;
		struct keyfile in = foreign(), out;
		size_t n, n_again;

		in.parent = parents[i];
		in.has_empty_auth = i % 2;
		assert_int_equal(keyfile_write(&in, &text, &n, NULL), 0);
		assert_int_equal(keyfile_parse(text, n, &out, NULL), 0);
		assert_int_equal(out.parent, in.parent);
		assert_int_equal(out.has_empty_auth, in.has_empty_auth);
		assert_int_equal(keyfile_write(&out, &again, &n_again, NULL), 0);
		assert_string_equal(text, again);
	}
}

static void fields_we_do_not_act_on_are_refused(void **state)
{
	static const struct {
		const char *claim, *oid, *options, *parent, *tail;
		int r;
		const char *name;
	} cases[] = {
		{ "plain", oid, "", parent, "", 0, NULL },
		{ "emptyAuth 0xff", oid, "a0030101ff", parent, "", 0, NULL },
		{ "emptyAuth 0x01", oid, "a003010101", parent, "", 0, NULL },
		{ "emptyAuth false", oid, "a003010100", parent, "", 0, NULL },
		{ "emptyAuth of two bytes", oid, "a00401020101", parent, "", -EBADMSG, "keyfile.format" },
		{ "emptyAuth and more in its tag", oid, "a0060101ff010100", parent, "", -EBADMSG, "keyfile.format" },
		{ "emptyAuth as an INTEGER", oid, "a003020101", parent, "", -EBADMSG, "keyfile.format" },
		{ "emptyAuth twice", oid, "a0030101ffa0030101ff", parent, "", -EBADMSG, "keyfile.format" },
		{ "policy", oid, "a1023000", parent, "", -EOPNOTSUPP, "keyfile.field" },
		{ "secret", oid, "a2020400", parent, "", -EOPNOTSUPP, "keyfile.field" },
		{ "authPolicy", oid, "a3023000", parent, "", -EOPNOTSUPP, "keyfile.field" },
		{ "emptyAuth, then policy", oid, "a0030101ffa1023000", parent, "", -EOPNOTSUPP, "keyfile.field" },
		{ "description", oid, "a4040c026869", parent, "", 0, NULL },
		{ "description as bytes", oid, "a40404026869", parent, "", -EBADMSG, "keyfile.format" },
		{ "rsaParent false", oid, "a503010100", parent, "", 0, NULL },
		{ "rsaParent true", oid, "a5030101ff", parent, "", -EOPNOTSUPP, "keyfile.field" },
		{ "policy after description", oid, "a4040c026869a1023000", parent, "", -EBADMSG, "keyfile.format" },
		{ "unknown field", oid, "a6020400", parent, "", -EBADMSG, "keyfile.format" },
		{ "importable key", "06066781050a0104", "", parent, "", -EOPNOTSUPP, "keyfile.type" },
		{ "sealed data", "06066781050a0105", "", parent, "", -EOPNOTSUPP, "keyfile.type" },
		{ "OID cut", "06056781050a01", "", parent, "", -EOPNOTSUPP, "keyfile.type" },
		{ "no OID", "", "", parent, "", -EBADMSG, "keyfile.format" },
		{ "parent without sign byte", oid, "", "020481000001", "", 0, NULL },
		{ "parent of the owner hierarchy", oid, "", "020440000001", "", 0, NULL },
		{ "parent with needless zero", oid, "", "02050040000001", "", -EBADMSG, "keyfile.format" },
		{ "parent of 40 bits", oid, "", "02050181000001", "", -EBADMSG, "keyfile.format" },
		{ "parent of no bytes", oid, "", "0200", "", -EBADMSG, "keyfile.format" },
		{ "no parent", oid, "", "", "", -EBADMSG, "keyfile.format" },
		{ "one more element", oid, "", parent, "0500", -EBADMSG, "keyfile.format" },
		{ "one more byte", oid, "", parent, "00", -EBADMSG, "keyfile.format" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct keyfile file;
		struct der der;
		int r;

		build(&der, cases[i].oid, cases[i].options, cases[i].parent, cases[i].tail);
		r = keyfile_parse_der(der.data, der.n, &file, &err);
		if (r != cases[i].r || (r < 0 && strcmp(agent_error_name(err), cases[i].name) != 0))
			fail_msg("%s: %d %s", cases[i].claim, r, agent_error_name(err));
	}
}

static void bytes_after_the_sequence_are_refused(void **state)
{
	struct keyfile file;
	struct der der;

	(void)state;
	build(&der, oid, "", parent, "");
	der.data[der.n] = 0;
	assert_int_equal(keyfile_parse_der(der.data, der.n + 1, &file, NULL), -EBADMSG);
}

static void a_truncated_file_is_refused_at_every_byte(void **state)
{
	struct keyfile file;
	struct der der;

	(void)state;
	build(&der, oid, "a0030101ffa4040c026869", parent, "");
	assert_int_equal(keyfile_parse_der(der.data, der.n, &file, NULL), 0);
	for (size_t n = 0; n < der.n; n++) {
		/* exact size, for the sanitizer */
		uint8_t *copy = malloc(n == 0 ? 1 : n);

		memcpy(copy, der.data, n);
		assert_true(keyfile_parse_der(copy, n, &file, NULL) < 0);
		free(copy);
	}
	for (size_t n = 0; n < strlen(foreign_pem) - 2; n++)
		assert_true(keyfile_parse(foreign_pem, n, &file, NULL) < 0);
}

static void any_flipped_bit_is_refused_or_read_but_never_worse(void **state)
{
	struct keyfile file;
	struct der der;

	(void)state;
	build(&der, oid, "a0030101ff", parent, "");
	for (size_t i = 0; i < der.n; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int r;

			der.data[i] ^= (uint8_t)(1u << bit);
			r = keyfile_parse_der(der.data, der.n, &file, NULL);
			assert_true(r == 0 || r == -EBADMSG || r == -EOPNOTSUPP);
			der.data[i] ^= (uint8_t)(1u << bit);
		}
	}
}

static void lengths_that_der_forbids_are_refused(void **state)
{
	static const char *const cases[] = {
		"3080",			  /* indefinite */
		"30840000000106",	  /* four length bytes */
		"308106066781050a01",	  /* long form for a short length */
		"30820006066781050a0103", /* two bytes where none is needed */
		"30ff",
	};
	uint8_t der[32];
	struct keyfile file;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i]) / 2;

		assert_int_equal(hex_decode(cases[i], 2 * n, der, n), 0);
		assert_int_equal(keyfile_parse_der(der, n, &file, NULL), -EBADMSG);
	}
}

static void pem_around_it_is_checked(void **state)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char text[2 * KEYFILE_MAX];
	struct keyfile file;

	(void)state;
	snprintf(text, sizeof(text), "%s\n \r\n", foreign_pem);
	assert_int_equal(keyfile_parse(text, strlen(text), &file, &err), 0);
	snprintf(text, sizeof(text), "%sx", foreign_pem);
	assert_int_equal(keyfile_parse(text, strlen(text), &file, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "keyfile.format");
	snprintf(text, sizeof(text), "%s%s", foreign_pem, foreign_pem);
	assert_int_equal(keyfile_parse(text, strlen(text), &file, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "keyfile.format");
	snprintf(text, sizeof(text), "text before\n%s", foreign_pem);
	assert_int_equal(keyfile_parse(text, strlen(text), &file, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "keyfile.format");
	snprintf(text, sizeof(text), "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
	assert_int_equal(keyfile_parse(text, strlen(text), &file, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "keyfile.format");
	memset(text, '-', sizeof(text));
	assert_int_equal(keyfile_parse(text, KEYFILE_MAX + 1, &file, &err), -EMSGSIZE);
	assert_error(&err, -EMSGSIZE, "keyfile.size");
	assert_int_equal(keyfile_parse("", 0, &file, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "keyfile.format");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_of_tpm2_openssl_is_read),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(fields_we_do_not_act_on_are_refused),
		cmocka_unit_test(bytes_after_the_sequence_are_refused),
		cmocka_unit_test(a_truncated_file_is_refused_at_every_byte),
		cmocka_unit_test(any_flipped_bit_is_refused_or_read_but_never_worse),
		cmocka_unit_test(lengths_that_der_forbids_are_refused),
		cmocka_unit_test(pem_around_it_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
