/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of commands are not those of updates, and each wrong one is refused for its reason. */
#include "tests/unit/cms_world.h"

#include <agent/command.h>

static void signatures_of_commands_and_of_updates_are_not_one_another(void **state)
{
	struct cert_spec spec = SPEC_SIGNER;
	struct identity commander, both;
	const struct identity *ids[3];
	_cleanup_error_ struct agent_error *err = NULL;
	char name[AGENT_COMMAND_SIGNER_MAX + 1] = "";

	spec.ext_key_usage = AGENT_COMMAND_EKU;
	commander = certs_make("Fleet\noperations", &ca, spec);
	spec.ext_key_usage = "codeSigning," AGENT_COMMAND_EKU;
	both = certs_make("Both", &ca, spec);
	ids[0] = &signer;
	ids[1] = &commander;
	ids[2] = &both;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		size_t size;
		uint8_t *der = certs_sign(CONTENT, ids[i], &size);
		int r = agent_command_verify(ctx, dir.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err);

		assert_int_equal(r, i == 0 ? -EKEYREJECTED : 0);
		if (i == 0) {
			assert_non_null(strstr(agent_error_message(err), AGENT_COMMAND_EKU));
			assert_error(&err, -EKEYREJECTED, "command.signer");
			assert_string_equal(name, "");
		}
		assert_int_equal(verify(der, size, &err), i == 1 ? -EKEYREJECTED : 0);
		if (i == 1)
			assert_error(&err, -EKEYREJECTED, "update.signer");
		if (i == 1)
			assert_string_equal(name, "Fleet?operations");
		OPENSSL_free(der);
	}
	identity_free(&commander);
	identity_free(&both);
}

static void a_command_is_refused_for_its_reason(void **state)
{
	struct cert_spec spec = SPEC_SIGNER;
	struct identity commander;
	_cleanup_error_ struct agent_error *err = NULL;
	char name[AGENT_COMMAND_SIGNER_MAX + 1];
	struct temp_dir none;
	char path[160];
	size_t size;
	FILE *f;
	uint8_t *der;

	spec.ext_key_usage = AGENT_COMMAND_EKU;
	commander = certs_make("Operations", &ca, spec);
	der = certs_sign(CONTENT, &commander, &size);
	assert_int_equal(agent_command_verify(ctx, dir.path, "other", 5, der, size, NOW_S, name, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "command.signature");
	assert_int_equal(agent_command_verify(ctx, dir.path, CONTENT, strlen(CONTENT), der, size - 1, NOW_S, name, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "command.signature");
	assert_int_equal(agent_command_verify(ctx, dir.path, CONTENT, strlen(CONTENT), der, size, NOW_S + 400 * DAY_S, name, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "command.signer");
	assert_int_equal(agent_command_verify(ctx, dir.path, CONTENT, strlen(CONTENT), der, size, 0, name, &err), -EKEYREJECTED);
	assert_error(&err, -EKEYREJECTED, "command.signer");
	temp_dir_make(&none);
	assert_int_equal(agent_command_verify(ctx, none.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err), -ENOKEY);
	assert_error(&err, -ENOKEY, "command.trust");
	/* What is wrong with the folder is not the signer's fault. */
	snprintf(path, sizeof(path), "%s/broken.pem", none.path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("no certificate", f);
	fclose(f);
	assert_int_equal(agent_command_verify(ctx, none.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err), -EBADMSG);
	assert_error(&err, -EBADMSG, "command.trust-broken");
	assert_int_equal(agent_command_verify(ctx, path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err), -ENOTDIR);
	assert_error(&err, -ENOTDIR, "command.trust-broken");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("nowhere", path), 0);
	assert_true(agent_command_verify(ctx, none.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err) < 0);
	assert_error(&err, agent_error_errno(err), "command.trust-broken");
	assert_int_equal(unlink(path), 0);
	temp_dir_remove(&none);
	assert_int_equal(agent_command_verify(ctx, none.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err), -ENOENT);
	assert_error(&err, -ENOENT, "command.trust");
	assert_int_equal(agent_command_verify(NULL, dir.path, CONTENT, strlen(CONTENT), der, size, NOW_S, name, &err), -EINVAL);
	assert_error(&err, -EINVAL, "command.argument");
	OPENSSL_free(der);
	identity_free(&commander);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(signatures_of_commands_and_of_updates_are_not_one_another),
		T(a_command_is_refused_for_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
