/* SPDX-License-Identifier: Apache-2.0 */
/* A provisioning file: each wrong one is refused for its own reason and changes nothing, the right one works once. */
#include "tests/unit/test_certs.h"

#include <errno.h>

#include "crypto/pwhash.h"
#include "tests/unit/password_world.h"

#define SERIAL "GW-0001"
#define EXPIRES (NOW_S + DAY_S)

static struct temp_dir trust;
static struct identity ca, signer, stranger, expired, wrong_use;
static char hash[PWHASH_MAX];

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
	return pwhash_new_yescrypt(OWNER_A, strlen(OWNER_A), PWHASH_COST_FOREIGN, hash, NULL) == -EOPNOTSUPP ? -1 : 0;
}

static int group_teardown(void **state)
{
	struct identity *ids[] = { &ca, &signer, &stranger, &expired, &wrong_use };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		identity_free(ids[i]);
	temp_dir_remove(&trust);
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
static const char *try_at(struct password_world *w, const char *text, const struct identity *id, uint64_t now_s, const char *serial)
{
	static char name[64];
	struct agent_error *err = NULL;
	char order_id[AGENT_ORDER_ID_MAX + 1] = "unchanged";
	size_t size;
	uint8_t *der = certs_sign_with(text, &id, 1, NULL, SIGN_FLAGS, EVP_sha256(), &size);
	const struct agent_password_order order = { .trust_dir = trust.path, .serial = serial, .text = text, .text_size = strlen(text), .signature = der,
						    .signature_size = size, .now_s = now_s };
	int r = agent_password_adopt_signed(w->pw, &order, order_id, &err);

	OPENSSL_free(der);
	assert_string_equal(order_id, r == 0 ? "order-7" : "unchanged");
	assert_int_equal(r == 0, err == NULL);
	snprintf(name, sizeof(name), "%s", err == NULL ? "" : agent_error_name(err));
	agent_error_free(err);
	return name;
}

static const char *try(struct password_world *w, const char *text)
{
	return try_at(w, text, &signer, NOW_S, SERIAL);
}

static void a_bad_file_is_refused_and_changes_nothing(void **state)
{
	struct password_world *w = *state;
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
		assert_string_equal(try(w, text), by_units[i].name);
		free(text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(whole); i++)
		assert_string_equal(try(w, whole[i]), "provision.format");
	assert_string_equal(try_at(w, good, &stranger, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(w, good, &expired, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(w, good, &wrong_use, NOW_S, SERIAL), "provision.signer");
	assert_string_equal(try_at(w, good, &ca, NOW_S, SERIAL), "provision.signer"); /* it issues signers, and is none */
	assert_string_equal(try_at(w, good, &signer, EXPIRES + 1, SERIAL), "provision.expired");
	assert_string_equal(try_at(w, good, &signer, 1700000000, SERIAL), "provision.clock");
	assert_string_equal(try_at(w, good, &signer, 0, SERIAL), "provision.clock");
	assert_string_equal(try_at(w, good, &signer, NOW_S, "GW-00"), "provision.serial");
	/* of another device, and weak: hashed at less than we accept from elsewhere */
	assert_true(asprintf(&units, "{\"serial\":\"" SERIAL "\",\"hash\":\"$y$j75$%s\"}", hash + 7) > 0);
	text = file_with(units);
	assert_string_equal(try(w, text), "password.hash");
	free(text);
	free(units);
	assert_int_equal(w->c.value, 1);
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_FACTORY);
	assert_int_equal(verify(w, SECRET), 0);
}

static void a_signature_of_other_bytes_is_none(void **state)
{
	struct password_world *w = *state;
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
		assert_int_equal(agent_password_adopt_signed(w->pw, &order, id, &err), code); \
		assert_string_equal(agent_error_name(err), what); \
		err = agent_error_free(err); \
	} while (0)
	REFUSED(-EKEYREJECTED, "provision.signature");
	order.signature_size = size - 1;
	REFUSED(-EBADMSG, "provision.signature");
	order.signature_size = 0;
	REFUSED(-EBADMSG, "provision.signature");
	order.trust_dir = w->dir.path; /* nobody is pinned there */
	REFUSED(-ENOKEY, "provision.trust");
	order.trust_dir = "/nonexistent/provision";
	assert_true(agent_password_adopt_signed(w->pw, &order, id, &err) < 0);
	assert_string_equal(agent_error_name(err), "provision.trust");
	err = agent_error_free(err);
	order.text_size = AGENT_ORDER_MAX + 1;
	REFUSED(-EMSGSIZE, "provision.format");
	order.serial = "";
	REFUSED(-EINVAL, "password.argument");
#undef REFUSED
	OPENSSL_free(der);
	assert_int_equal(w->c.value, 1);
}

static void the_right_file_works_once(void **state)
{
	struct password_world *w = *state;
	_cleanup_free_ char *good = good_file();
	struct agent_account account;

	assert_string_equal(try(w, good), "");
	assert_int_equal(agent_password_get_state(w->pw), AGENT_SETUP_ACTIVE);
	assert_int_equal(verify(w, OWNER_A), 0);
	assert_int_equal(verify(w, SECRET), -EACCES);
	assert_int_equal(agent_password_find(w->pw, "admin", &account, NULL), 0);
	assert_false(account.must_change);
	assert_string_equal(try(w, good), "setup.activated");
	/* The label counts again after a reset; the file does not. */
	assert_int_equal(agent_password_factory_reset(w->pw, NULL), 0);
	assert_string_equal(try(w, good), "provision.replayed");
	assert_int_equal(verify(w, SECRET), 0);
}

static void unless_said_otherwise_the_password_has_to_be_changed(void **state)
{
	struct password_world *w = *state;
	struct agent_account account;
	char *units, *text;

	assert_true(asprintf(&units, "{\"serial\":\"" SERIAL "\",\"hash\":\"%s\"}", hash) > 0);
	text = file_with(units);
	assert_string_equal(try(w, text), "");
	assert_int_equal(agent_password_find(w->pw, "admin", &account, NULL), 0);
	assert_true(account.must_change);
	free(text);
	free(units);
}

static void a_unit_that_was_never_provisioned_takes_none(void **state)
{
	struct password_world *w = *state;
	_cleanup_free_ char *good = good_file();

	assert_string_equal(try(w, good), "setup.unprovisioned");
	assert_int_equal(w->c.value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_bad_file_is_refused_and_changes_nothing, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_signature_of_other_bytes_is_none, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(the_right_file_works_once, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(unless_said_otherwise_the_password_has_to_be_changed, setup_factory, teardown),
		cmocka_unit_test_setup_teardown(a_unit_that_was_never_provisioned_takes_none, setup_empty, teardown),
	};
	char probe[PWHASH_MAX];

	/* Hashes made elsewhere are yescrypt: a build without it takes none, and says so (test_pwhash). */
	if (pwhash_new_yescrypt("x", 1, 1, probe, NULL) == -EOPNOTSUPP)
		return 77;
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
