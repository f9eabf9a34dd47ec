/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CONTEXT_H
#define AGENT_CONTEXT_H

#include <agent/common.h>
#include <agent/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct agent_context - what the objects of one program share
 *
 * Holds the log hook and a private OpenSSL library context with our provider. libagent has no global state: each
 * thread may have its own context; one context and the objects made from it belong to one thread at a time unless an
 * object's description says otherwise. Reference counted. Since: 0.1
 */
struct agent_context;

/**
 * agent_log_fn - receives what the library has to say, one line at a time
 * @userdata: as given to agent_set_log_fn()
 * @line:     one line without newline, lent for the call
 *
 * Errors are not logged but returned; this is debug output. Called in the thread that uses the object. Since: 0.1
 */
typedef void (*agent_log_fn)(void *userdata, const char *line);

/** agent_context_new() - make a context with one reference. Returns 0 or -ENOMEM. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_context_new(struct agent_context **ret_ctx);

/** agent_context_ref() - take one more reference; returns @ctx. Since: 0.1 */
AGENT_EXPORT struct agent_context *agent_context_ref(struct agent_context *ctx);

/** agent_context_unref() - give one reference back; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_context *agent_context_unref(struct agent_context *ctx);

/** agent_set_log_fn() - set or, with NULL, remove the log hook. Since: 0.1 */
AGENT_EXPORT void agent_set_log_fn(struct agent_context *ctx, agent_log_fn fn, void *userdata);

/** agent_version() - "MAJOR.MINOR.PATCH" of the library in use, lent. Since: 0.1 */
AGENT_EXPORT const char *agent_version(void);

#ifdef __cplusplus
}
#endif

#endif
