/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/openssl_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/macro.h"

#define SIGNER_FUNC "agent_signer_sign"	/* tells our entries from those of other providers */

const char *openssl_error_text(unsigned long code, char buf[OPENSSL_ERROR_TEXT])
{
	static const struct {
		int lib, reason;	/* lib 0: any */
		const char *text;
	} known[] = {
		{ 0, ERR_R_MALLOC_FAILURE, "malloc failure" },
		{ 0, ERR_R_INTERNAL_ERROR, "internal error" },
		{ ERR_LIB_EC, EC_R_BAD_SIGNATURE, "bad signature" },
		{ ERR_LIB_X509, X509_R_KEY_TYPE_MISMATCH, "key type mismatch" },
		{ ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH, "key values mismatch" },
	};
	const char *text = ERR_reason_error_string(code);

	if (code == 0)
		return "no reason given";
	if (ERR_GET_LIB(code) == ERR_LIB_SYS)
		return strerror(ERR_GET_REASON(code));
	for (size_t i = 0; text == NULL && i < ARRAY_SIZE(known); i++)
		if ((known[i].lib == 0 || ERR_GET_LIB(code) == known[i].lib) && ERR_GET_REASON(code) == known[i].reason)
			text = known[i].text;
	if (text == NULL)
		snprintf(buf, OPENSSL_ERROR_TEXT, "OpenSSL error %08lX, see openssl errstr", code);
	return text == NULL ? buf : text;
}

void openssl_error_raise(int errnum, const struct agent_error *e)
{
	/*
	 * Not as a system error, which would be the natural place for an errno: SSL_get_error() then says
	 * SSL_ERROR_SYSCALL and callers look at the socket. So the errno travels as the line number.
	 */
	ERR_new();
	ERR_set_debug(__FILE__, -errnum, SIGNER_FUNC);
	ERR_set_error(ERR_LIB_PROV, ERR_R_OPERATION_FAIL, "%s: %s", agent_error_name(e), agent_error_message(e));
}

/* "name: sentence" of the entry -> a new error; the name is what comes before the first ": ". */
static int from_signer(struct agent_error **err, int errnum, const char *where, const char *data)
{
	const char *colon = strstr(data, ": ");
	char name[64];

	if (colon == NULL || (size_t)(colon - data) >= sizeof(name))
		return agent_error_set(err, errnum, "signer.backend", "%s: %s", where, data);
	snprintf(name, sizeof(name), "%.*s", (int)(colon - data), data);
	return agent_error_set(err, errnum, name, "%s: %s", where, colon + 2);
}

int openssl_error_set(struct agent_error **err, int errnum, const char *name, const char *fmt, ...)
{
	char where[256], first_text[256] = "", buf[OPENSSL_ERROR_TEXT];
	const char *func, *data;
	unsigned long code, first = 0;
	int flags, line, r = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(where, sizeof(where), fmt, ap);
	va_end(ap);

	while ((code = ERR_get_error_all(NULL, &line, &func, &data, &flags)) != 0) {
		const char *reason = openssl_error_text(code, buf);
		int has_text = (flags & ERR_TXT_STRING) && data != NULL && data[0] != '\0';

		if (r == 0 && ERR_GET_LIB(code) == ERR_LIB_PROV && line > 0 && has_text && func != NULL && strcmp(func, SIGNER_FUNC) == 0)
			r = from_signer(err, -line, where, data);
		if (first != 0)
			continue;
		first = code;
		snprintf(first_text, sizeof(first_text), "%s%s%s", reason, has_text ? ", " : "",
			 has_text ? data : "");
	}
	if (r < 0)
		return r;
	if (first == 0)
		return agent_error_set(err, errnum, name, "%s", where);
	agent_error_set(err, errnum, name, "%s: %s", where, first_text);
	agent_error_set_foreign(err, AGENT_ERROR_OPENSSL, (uint32_t)first);
	return errnum;
}
