/* SPDX-License-Identifier: Apache-2.0 */
/* A provisioning file: each wrong one is refused for its own reason and changes nothing, the right one works once. */
#include "tests/unit/test_certs.h"

#include <errno.h>

#include <agent/password.h>

#include "crypto/pwhash.h"
#include "tests/unit/fake_tpm.h"

#define SECRET "7K2M-9QXT-04AB"
#define OWNER "correct purple kettle drum"
#define SERIAL "GW-0001"
#define EXPIRES (NOW_S + DAY_S)

static struct temp_dir trust;
static struct identity ca, signer, stranger, expired, wrong_use;
static char hash[PWHASH_MAX];

struct fixture {
	struct temp_dir dir;
	struct fake_counter c;
	struct fake_mac m;
	struct agent_counter *counter;
	struct agent_mac *mac;
	struct agent_password *pw;
};

static int group_setup(void **state)
{
	temp_dir_make(&trust);
	ca = certs_make("Fleet CA", NULL, SPEC_CA);
	signer = certs_make("Fleet", &ca, SPEC_SIGNER);
	stranger = certs_make("Somebody else", NULL, SPEC_SIGNER);
	expired = certs_make("Last year", &ca, (struct cert_spec){ .basic_constraints = "critical,CA:FALSE", .key_usage = "critical,digitalSignature",
								 .ext_key_usage = "codeSigning", .start_s = -60 * DAY_S, .end_s = -DAY_S });
	wrong_use = certs_make("Web server", &ca, (struct cert_spec){ .basic_constraints = "critical,CA:FALSE", .key_usage = "critical,digitalSignature",
								     .ext_key_usage = "serverAuth" });
	certs_write(&trust, "ca.pem", ca.cert);
	return pwhash_new_yescrypt(OWNER, strlen(OWNER), PWHASH_COST_FOREIGN, hash, NULL) == -EOPNOTSUPP ? -1 : 0;
}

static int group_teardown(void **state)
{
	struct identity *ids[] = { &ca, &signer, &stranger, &expired, &wrong_use };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		identity_free(ids[i]);
	temp_dir_remove(&trust);
	return 0;
}

static int setup(void **state)
{
	const struct agent_password_options options = { .cost = 1 };
	struct fixture *f = test_calloc(1, sizeof(*f));

	temp_dir_make(&f->dir);
	memset(f->m.key, 9, sizeof(f->m.key));
	assert_int_equal(agent_counter_new(&fake_counter_ops, &f->c, &f->counter, NULL), 0);
	assert_int_equal(agent_mac_new(&fake_mac_ops, &f->m, &f->mac, NULL), 0);
	assert_int_equal(agent_password_open(NULL, f->dir.fd, f->counter, f->mac, &options, &f->pw, NULL), 0);
	*state = f;
	return 0;
}

static int setup_factory(void **state)
{
	setup(state);
	return agent_password_provision(((struct fixture *)*state)->pw, SECRET, strlen(SECRET), NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	agent_password_free(f->pw);
	agent_counter_unref(f->counter);
	agent_mac_unref(f->mac);
	temp_dir_remove(&f->dir);
	test_free(f);
	return 0;
}

/* A file with these units, as JSON text. */
static char *file_with(const char *units)
{
	char *text;

	assert_true(asprintf(&text, "{\"profile\":\"agent-provisioning-1\",\"id\":\"order-7\",\"not_after\":%llu,\"units\":[%s]}",
			     (unsigned long long)EXPIRES, units) > 0);
	return text;
}

static char *good_file(void)
{
	char *units, *text;

	assert_true(asprintf(&units, "{\"serial\":\"GW-0000\",\"hash\":\"%s\"},{\"serial\":\"" SERIAL "\",\"generation\":1,\"hash\":\"%s\",\"must_change\":false}",
			     hash, hash) > 0);
	text = file_with(units);
	free(units);
	return text;
}

/* The name of the error of trying @text as signed by @id, "" if it worked. */
static const char *try_at(struct fixture *f, const char *text, const struct identity *id, uint64_t now_s, const char *serial)
{
	static char name[64];
	struct agent_error *err = NULL;
	char order_id[AGENT_ORDER_ID_MAX + 1] = "unchanged";
	size_t size;
	uint8_t *der = certs_sign_with(text, &id, 1, NULL, SIGN_FLAGS, EVP_sha256(), &size);
	const struct agent_password_order order = { .trust_dir = trust.path, .serial = serial, .text = text, .text_size = strlen(text), .signature = der,
						    .signature_size = size, .now_s = now_s };
	int r = agent_password_adopt_signed(f->pw, &order, order_id, &err);

	OPENSSL_free(der);
	assert_string_equal(order_id, r == 0 ? "order-7" : "unchanged");
	assert_int_equal(r == 0, err == NULL);
	snprintf(name, sizeof(name), "%s", err == NULL ? "" : agent_error_name(err));
	agent_error_free(err);
	return name;
}

static const char *try(struct fixture *f, const char *text)
{
	return try_at(f, text, &signer, NOW_S, SERIAL);
}

static int verify(struct fixture *f, const char *text)
{
	return agent_password_verify(f->pw, "admin", text, strlen(text), NULL);
}

static void a_bad_file_is_refused_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *good = good_file();
	char *units, *text;
	static const struct { const char *units, *name; } by_units[] = {
		{ "", "provision.format" },
		{ "{\"serial\":\"GW-0002\",\"hash\":\"$y$\"}", "provision.serial" },
		{ "{\"serial\":\"" SERIAL "\"}", "provision.format" },
		{ "{\"serial\":\"\",\"hash\":\"x\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"plain text\"}", "password.hash" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"hash\":\"y\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"password\":\"y\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"generation\":0}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"generation\":\"1\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"must_change\":\"no\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\"},{\"serial\":\"" SERIAL "\",\"hash\":\"y\"}", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\"},7", "provision.format" },
		{ "{\"serial\":\"" SERIAL "\",\"hash\":\"x\",\"generation\":2}", "provision.replayed" },
	};
	static const char *const whole[] = {
		"", "{", "[]", "{}", "{\"profile\":\"agent-provisioning-1\"}", "\xff\xfe",
		"{\"profile\":\"agent-trust-1\",\"id\":\"a\",\"not_after\":9999999999,\"units\":[{\"serial\":\"" SERIAL "\",\"hash\":\"x\"}]}",
		"{\"profile\":\"agent-provisioning-1\",\"id\":\"a b\",\"not_after\":9999999999,\"units\":[{\"serial\":\"" SERIAL "\",\"hash\":\"x\"}]}",
		"{\"profile\":\"agent-provisioning-1\",\"id\":\"a\\nb\",\"not_after\":9999999999,\"units\":[{\"serial\":\"" SERIAL "\",\"hash\":\"x\"}]}",
		"{\"profile\":\"agent-provisioning-1\",\"id\":\"a\",\"not_after\":-1,\"units\":[{\"serial\":\"" SERIAL "\",\"hash\":\"x\"}]}",
		"{\"profile\":\"agent-provisioning-1\",\"id\":\"a\",\"not_after\":9999999999,\"units\":{}}",
		"{\"profile\":\"agent-provisioning-1\",\"id\":\"a\",\"not_after\":9999999999,\"units\":[{\"serial\":\"" SERIAL "\",\"hash\":\"x\"}]} x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(by_units); i++) {
		text = file_with(by_units[i].units);
		assert_string_equal(try(f, text), by_units[i].name);
		free(text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		assert_string_equal(try(f, whole[i]), "provision.format");
	assert_string_equal(try_at(f, good, &stranger, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(f, good, &expired, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(f, good, &wrong_use, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(f, good, &ca, NOW_S, SERIAL), "provision.signer"); /* it issues signers, and is none */
	assert_string_equal(try_at(f, good, &signer, EXPIRES + 1, SERIAL), "provision.expired");
	assert_string_equal(try_at(f, good, &signer, 1700000000, SERIAL), "provision.clock");
	assert_string_equal(try_at(f, good, &signer, 0, SERIAL), "provision.clock");
	assert_string_equal(try_at(f, good, &signer, NOW_S, "GW-00"), "provision.serial");
	/* of another device, and weak: hashed at less than we accept from elsewhere */
	assert_true(asprintf(&units, "{\"serial\":\"" SERIAL "\",\"hash\":\"$y$j75$%s\"}", hash + 7) > 0);
	text = file_with(units);
	assert_string_equal(try(f, text), "password.hash");
	free(text);
	free(units);
	assert_int_equal(f->c.value, 1);
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(f, SECRET), 0);
}

static void a_signature_of_other_bytes_is_none(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *good = good_file(), *other = file_with("{\"serial\":\"GW-0002\",\"hash\":\"x\"}");
	const struct identity *ids[] = { &signer };
	size_t size;
	uint8_t *der = certs_sign_with(other, ids, 1, NULL, SIGN_FLAGS, EVP_sha256(), &size);
	struct agent_password_order order = { .trust_dir = trust.path, .serial = SERIAL, .text = good, .text_size = strlen(good), .signature = der,
					      .signature_size = size, .now_s = NOW_S };
	char id[AGENT_ORDER_ID_MAX + 1];
	struct agent_error *err = NULL;

#define REFUSED(code, what) \
	do { \
		assert_int_equal(agent_password_adopt_signed(f->pw, &order, id, &err), code); \
		assert_string_equal(agent_error_name(err), what); \
		err = agent_error_free(err); \
	} while (0)
	REFUSED(-EKEYREJECTED, "provision.signature");
	order.signature_size = size - 1;
	REFUSED(-EBADMSG, "provision.signature");
	order.signature_size = 0;
	REFUSED(-EBADMSG, "provision.signature");
	order.trust_dir = f->dir.path; /* nobody is pinned there */
	REFUSED(-ENOKEY, "provision.trust");
	order.trust_dir = "/nonexistent/provision";
	assert_true(agent_password_adopt_signed(f->pw, &order, id, &err) < 0);
	assert_string_equal(agent_error_name(err), "provision.trust");
	err = agent_error_free(err);
	order.text_size = AGENT_ORDER_MAX + 1;
	REFUSED(-EMSGSIZE, "provision.format");
	order.serial = "";
	REFUSED(-EINVAL, "password.argument");
#undef REFUSED
	OPENSSL_free(der);
	assert_int_equal(f->c.value, 1);
}

static void the_right_file_works_once(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *good = good_file();
	struct agent_account account;

	assert_string_equal(try(f, good), "");
	assert_int_equal(agent_password_get_state(f->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify(f, OWNER), 0);
	assert_int_equal(verify(f, SECRET), -EACCES);
	assert_int_equal(agent_password_find(f->pw, "admin", &account, NULL), 0);
	assert_false(account.must_change);
	assert_string_equal(try(f, good), "setup.activated");
	/* The label counts again after a reset; the file does not. */
	assert_int_equal(agent_password_factory_reset(f->pw, NULL), 0);
	assert_string_equal(try(f, good), "provision.replayed");
	assert_int_equal(verify(f, SECRET), 0);
}

static void unless_said_otherwise_the_password_has_to_be_changed(void **state)
{
	struct fixture *f = *state;
	struct agent_account account;
	char *units, *text;

	assert_true(asprintf(&units, "{\"serial\":\"" SERIAL "\",\"hash\":\"%s\"}", hash) > 0);
	text = file_with(units);
	assert_string_equal(try(f, text), "");
	assert_int_equal(agent_password_find(f->pw, "admin", &account, NULL), 0);
	assert_true(account.must_change);
	free(text);
	free(units);
}

static void a_unit_that_was_never_provisioned_takes_none(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *good = good_file();

	assert_string_equal(try(f, good), "setup.unprovisioned");
	assert_int_equal(f->c.value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_bad_file_is_refused_and_changes_nothing, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_signature_of_other_bytes_is_none, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(the_right_file_works_once, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(unless_said_otherwise_the_password_has_to_be_changed, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_unit_that_was_never_provisioned_takes_none, setup, teardown),
	};
	char probe[PWHASH_MAX];

	/* Hashes made elsewhere are yescrypt: a build without it takes none, and says so (test_pwhash). */
	if (pwhash_new_yescrypt("x", 1, 1, probe, NULL) == -EOPNOTSUPP)
		return 77;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
