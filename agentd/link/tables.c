/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/tables.h"

#include <errno.h>
#ifdef HAVE_MALLOC_TRIM
#include <malloc.h>
#endif
#include <syslog.h>

#include <agent/openssl.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "agentd/common/service.h"

/*
 * 1,300 texts of libcrypto and 400 of libssl, for a handful that can come up here: openssl_error_text() and tls_reason_text() have those. Ciphers by
 * their names of OpenSSL 1.1 are what encrypted PEM, PKCS#12 and CMS ask for; TLS fetches its own.
 */
static int leave_out(void)
{
	uint64_t crypto = OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS | OPENSSL_INIT_NO_ADD_ALL_CIPHERS;

	return OPENSSL_init_crypto(crypto, NULL) == 1 && OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_SSL_STRINGS, NULL) == 1 ? 0 : -ENOMEM;
}

static void log_debug(void *userdata, const char *line)
{
	service_log(LOG_DEBUG, "%s", line);
}

int tables_open(struct tables *t, struct agent_error **err)
{
	OSSL_LIB_CTX *libctx;
	int r;

	if (leave_out() < 0 || agent_context_new(&t->ctx) < 0)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	agent_set_log_fn(t->ctx, log_debug, NULL);
	r = agent_openssl_libctx(t->ctx, &libctx, err);	/* made here, as this is no matter for two threads at once */
	if (r >= 0)
		t->before = OSSL_LIB_CTX_set0_default(libctx);
	return r;
}

void tables_use(struct agent_context *ctx)
{
	OSSL_LIB_CTX *libctx;

	if (agent_openssl_libctx(ctx, &libctx, NULL) >= 0)
		(void)OSSL_LIB_CTX_set0_default(libctx);
}

void tables_give_back(void)
{
#ifdef HAVE_MALLOC_TRIM
	(void)malloc_trim(0);
#endif
}

void tables_close(struct tables *t)
{
	if (t->before != NULL)
		(void)OSSL_LIB_CTX_set0_default(t->before);
	t->before = NULL;
	t->ctx = agent_context_unref(t->ctx);
}
