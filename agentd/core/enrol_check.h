/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_ENROL_CHECK_H
#define CORE_ENROL_CHECK_H
/* Is what an EST server sent the certificate that was asked for? Texts in, verdict out: no files, no TPM. */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#define ENROL_TEXT_MAX 200

struct enrol_about {
	char subject[ENROL_TEXT_MAX], issuer[ENROL_TEXT_MAX]; /* printable ASCII */
	uint64_t not_before_s, not_after_s;
};

/* The first certificate of @pem. -EBADMSG "est.certificate". */
int enrol_describe(const char *pem, struct enrol_about *ret_about, struct agent_error **err);

struct enrol_wanted {
	const char *csr;      /* PEM: key and subject */
	const char *current;  /* certificate in use, PEM, or NULL */
	const char *anchors;  /* PEM: whom the owner trusts for the server */
	const char *cacerts;  /* PEM: what the server named as its authorities over a checked connection, or NULL */
	uint64_t now_s;       /* the clock; it may be behind, so "not yet valid" is no reason to refuse */
	uint64_t min_life_s;
};

/*
 * @pem (of the server): find the certificate for the key of the request, examine it and put its chain together: new text, leaf
 * first, without the root; the caller frees it. -EBADMSG "est.certificate"; -EKEYREJECTED: "est.key" (none is for our key), "est.ca",
 * "est.subject", "est.usage", "est.chain"; -EKEYEXPIRED "est.expired"; -ERANGE "est.life" (too short, or not longer than the one in use).
 */
int enrol_check(const char *pem, const struct enrol_wanted *wanted, char **ret_chain, struct enrol_about *ret_about, struct agent_error **err);

/*
 * Find the certificate of an authority with this fingerprint (SHA-256 of its DER, 64 hex digits; colons are passed over) among those of
 * @pem. New PEM text of it alone. -EINVAL "est.fingerprint": no fingerprint; -EKEYREJECTED "est.fingerprint": none has it, and those that
 * there are.
 */
int enrol_pick(const char *pem, const char *fingerprint, char **ret_pem, struct enrol_about *ret_about, struct agent_error **err);

#endif
