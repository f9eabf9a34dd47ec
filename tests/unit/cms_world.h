/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CMS_WORLD_H
#define TESTS_UNIT_CMS_WORLD_H
/* A folder of trust with one CA, a signer that it issued, and what the signatures of others are held against it. */
#include "tests/unit/test_certs.h"

#include <errno.h>

#include <agent/context.h>

#include "crypto/cms.h"

#define CONTENT "software = { version = \"1.0\"; };\n"

static struct agent_context *ctx;
static struct temp_dir dir;
static struct identity ca, signer; /* the CA is pinned, it issued the signer */

static inline int setup(void **state)
{
	temp_dir_make(&dir);
	assert_int_equal(agent_context_new(&ctx), 0);
	ca = certs_make("Update CA", NULL, SPEC_CA);
	signer = certs_make("Release signer", &ca, SPEC_SIGNER);
	certs_write(&dir, "ca.pem", ca.cert);
	return 0;
}

static inline int teardown(void **state)
{
	identity_free(&ca);
	identity_free(&signer);
	ctx = agent_context_unref(ctx);
	temp_dir_remove(&dir);
	return 0;
}

static inline int verify_min(const uint8_t *der, size_t size, const char *content, unsigned n_min, uint64_t now_s, unsigned *ret_n_valid,
		      struct agent_error **err)
{
	_cleanup_(cms_trust_freep) struct cms_trust *trust = NULL;
	int r = cms_trust_load(ctx, dir.path, &trust, err);

	return r < 0 ? r : cms_verify(trust, der, size, content, strlen(content), n_min, now_s, ret_n_valid, err);
}

static inline int verify(const uint8_t *der, size_t size, struct agent_error **err)
{
	return verify_min(der, size, CONTENT, 1, NOW_S, NULL, err);
}

/* @id signs and is refused with this name and a sentence that contains @word. */
static inline void refused(const struct identity *id, const char *name, const char *word)
{
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, id, &size);

	assert_int_equal(verify(der, size, &err), -EKEYREJECTED);
	if (strstr(agent_error_message(err), word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", agent_error_message(err), word);
	assert_error(&err, -EKEYREJECTED, name);
	OPENSSL_free(der);
}

static inline void accepted(const struct identity *id)
{
	_cleanup_error_ struct agent_error *err = NULL;
	size_t size;
	uint8_t *der = certs_sign(CONTENT, id, &size);

	if (verify(der, size, &err) < 0)
		fail_msg("%s", agent_error_message(err));
	OPENSSL_free(der);
}

#endif
