/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_TABLES_H
#define LINK_TABLES_H
/*
 * What OpenSSL keeps in memory of this program: most of its heap. One library context for all threads, as each has tables of all algorithms, and no
 * table that nothing here looks into.
 */
#include <agent/context.h>
#include <agent/error.h>
#include <openssl/types.h>

struct tables {
	struct agent_context *ctx;
	OSSL_LIB_CTX *before;	/* of the first thread */
};

/* At the start of the program, before anything else asks OpenSSL for something. */
int tables_open(struct tables *tables, struct agent_error **err);
/* What asks for OpenSSL's default context in this thread gets the one of @ctx from now on. */
void tables_use(struct agent_context *ctx);
/* Pages of the heap that nothing is in go back to the kernel. */
void tables_give_back(void);
/* In the thread of tables_open(). */
void tables_close(struct tables *tables);

#endif
