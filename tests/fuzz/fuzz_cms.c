/* SPDX-License-Identifier: Apache-2.0 */
/* A CMS signature from outside, against a pinned certificate: must refuse or accept, and nothing else. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <agent/context.h>

#include "crypto/cms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Signed the corpus; the key is thrown away. */
static const char cert_pem[] =
#include "tests/fuzz/fuzz_cms_cert.h"
;

static struct cms_trust *load(void)
{
	char dir[] = "/tmp/agent-fuzz-XXXXXX", path[64];
	struct agent_context *ctx = NULL;
	struct cms_trust *trust = NULL;
	FILE *f;

	if (mkdtemp(dir) == NULL)
		abort();
	snprintf(path, sizeof(path), "%s/a.pem", dir);
	f = fopen(path, "w");
	if (f == NULL || fputs(cert_pem, f) == EOF || fclose(f) != 0)
		abort();
	if (agent_context_new(&ctx) < 0 || cms_trust_load(ctx, dir, &trust, NULL) < 0)
		abort();
	agent_context_unref(ctx);
	unlink(path);
	rmdir(dir);
	return trust;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cms_trust *trust;
	_cleanup_error_ struct agent_error *err = NULL;
	unsigned n_valid = 0;

	if (trust == NULL)
		trust = load();
	if (cms_verify(trust, data, size, "hello\n", 6, 1, 1800000000, &n_valid, &err) == 0 && n_valid != 1)
		abort();
	return 0;
}
