/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_ERROR_H
#define AGENT_ERROR_H

#include <stdint.h>

#include <agent/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct agent_error - why a call failed, in words
 *
 * Functions of libagent return a negative errno; where that alone would not tell an operator what to do, they also
 * fill a struct agent_error through their last argument. Pass NULL if you do not care. An error object has one owner,
 * who frees it with agent_error_free(). Since: 0.1
 */
struct agent_error;

/** enum agent_error_source - whose code agent_error_foreign_code() returns. Since: 0.1 */
enum agent_error_source {
	AGENT_ERROR_NONE = 0,	/* no foreign code */
	AGENT_ERROR_TPM = 1,	/* TSS2_RC, TCG TSS 2.0 Overview and Common Structures, section 5 */
	AGENT_ERROR_OPENSSL = 2, /* ERR_get_error() */
	AGENT_ERROR_MQTT = 3,	/* MOSQ_ERR_* of libmosquitto */
	AGENT_ERROR_CURL = 4	/* CURLcode of libcurl */
};

/**
 * agent_error_set() - record why a call fails
 * @err:    where to put the explanation; NULL is allowed, an error already there is replaced
 * @errnum: negative errno
 * @name:   stable dotted name such as "update.signature"; copied
 * @fmt:    printf format of one sentence with the values involved
 *
 * Control characters in the sentence become '?'. Does not block. Returns @errnum, also when memory is short: *@err is
 * then NULL. Since: 0.1
 */
AGENT_EXPORT int agent_error_set(struct agent_error **err, int errnum, const char *name, const char *fmt, ...)
	AGENT_PRINTF(4, 5);

/**
 * agent_error_set_foreign() - add the code of the library that failed
 * @err:    an error set before; NULL and *NULL are allowed
 * @source: whose code it is
 * @code:   the code
 *
 * Since: 0.1
 */
AGENT_EXPORT void agent_error_set_foreign(struct agent_error **err, enum agent_error_source source, uint32_t code);

/**
 * agent_error_prefix() - put "prefix: " before the sentence, to say where we were
 * @err:    an error set before; NULL and *NULL are allowed
 * @errnum: returned as it is
 *
 * Returns @errnum. Since: 0.1
 */
AGENT_EXPORT int agent_error_prefix(struct agent_error **err, int errnum, const char *fmt, ...) AGENT_PRINTF(3, 4);

/** agent_error_errno() - the negative errno; 0 for NULL. Since: 0.1 */
AGENT_EXPORT int agent_error_errno(const struct agent_error *err);

/** agent_error_name() - the stable dotted name, lent; "error.none" for NULL. Since: 0.1 */
AGENT_EXPORT const char *agent_error_name(const struct agent_error *err);

/** agent_error_message() - the sentence, lent, never NULL, UTF-8 without control characters. Since: 0.1 */
AGENT_EXPORT const char *agent_error_message(const struct agent_error *err);

/** agent_error_foreign_source() - whose code agent_error_foreign_code() returns. Since: 0.1 */
AGENT_EXPORT enum agent_error_source agent_error_foreign_source(const struct agent_error *err);

/** agent_error_foreign_code() - the foreign code, 0 if there is none. Since: 0.1 */
AGENT_EXPORT uint32_t agent_error_foreign_code(const struct agent_error *err);

/** agent_error_move() - hand @from over to *@to, replacing what was there; @to may be NULL. Returns the errno; -ENOMEM without an error, which memory was short for. Since: 0.1 */
AGENT_EXPORT int agent_error_move(struct agent_error **to, struct agent_error **from);

/** agent_error_free() - free; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_error *agent_error_free(struct agent_error *err);

#ifdef __cplusplus
}
#endif

#endif
