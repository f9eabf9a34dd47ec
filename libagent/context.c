/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "context.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>

struct agent_context {
	atomic_uint n_refs;
	agent_log_fn log_fn;
	void *log_userdata;
	OSSL_LIB_CTX *libctx;
	OSSL_PROVIDER *default_provider;
	OSSL_PROVIDER *extra_provider;	/* what setup loaded, once */
};

int agent_context_new(struct agent_context **ret_ctx)
{
	struct agent_context *ctx;

	if (ret_ctx == NULL)
		return -EINVAL;
	ctx = calloc(1, sizeof(*ctx));
	if (ctx == NULL)
		return -ENOMEM;
	atomic_init(&ctx->n_refs, 1);
	*ret_ctx = ctx;
	return 0;
}

struct agent_context *agent_context_ref(struct agent_context *ctx)
{
	if (ctx != NULL)
		atomic_fetch_add(&ctx->n_refs, 1);
	return ctx;
}

struct agent_context *agent_context_unref(struct agent_context *ctx)
{
	if (ctx == NULL || atomic_fetch_sub(&ctx->n_refs, 1) != 1)
		return NULL;
	if (ctx->extra_provider != NULL)
		OSSL_PROVIDER_unload(ctx->extra_provider);
	if (ctx->default_provider != NULL)
		OSSL_PROVIDER_unload(ctx->default_provider);
	OSSL_LIB_CTX_free(ctx->libctx);
	free(ctx);
	return NULL;
}

void agent_set_log_fn(struct agent_context *ctx, agent_log_fn fn, void *userdata)
{
	if (ctx == NULL)
		return;
	ctx->log_fn = fn;
	ctx->log_userdata = userdata;
}

const char *agent_version(void)
{
	return PACKAGE_VERSION;
}

void context_log(struct agent_context *ctx, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (ctx == NULL || ctx->log_fn == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	ctx->log_fn(ctx->log_userdata, line);
}

int context_get_libctx(struct agent_context *ctx,
		       int (*setup)(OSSL_LIB_CTX *libctx, OSSL_PROVIDER **ret_provider, struct agent_error **err),
		       OSSL_LIB_CTX **ret_libctx, struct agent_error **err)
{
	int r;

	if (ctx->libctx == NULL) {
		OSSL_LIB_CTX *libctx = OSSL_LIB_CTX_new();
		OSSL_PROVIDER *prov = libctx == NULL ? NULL : OSSL_PROVIDER_load(libctx, "default");

		if (prov == NULL) {
			OSSL_LIB_CTX_free(libctx);
			r = agent_error_set(err, -ENOMEM, "crypto.context", "OpenSSL cannot make a library context with its default provider");
			agent_error_set_foreign(err, AGENT_ERROR_OPENSSL, (uint32_t)ERR_peek_last_error());
			ERR_clear_error();
			return r;
		}
		ctx->libctx = libctx;
		ctx->default_provider = prov;
	}
	if (setup != NULL && ctx->extra_provider == NULL) {
		r = setup(ctx->libctx, &ctx->extra_provider, err);
		if (r < 0)
			return r;
	}
	*ret_libctx = ctx->libctx;
	return 0;
}
