/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_EST_H
#define FETCH_EST_H
/*
 * One conversation with an EST server (RFC 7030), in a thread of its own. Core says what is asked, with which certificate and
 * which anchors, and decides what to make of the answer; here is no state.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/signer.h>

#include "agentd/common/est_kind.h"
#include "agentd/common/tls_policy.h"
#include "agentd/fetch/est_read.h"

struct est_options {
	enum est_kind kind;
	const char *url;	 /* of the server */
	const char *anchors;	 /* PEM; not for EST_ANCHORS and prove_url */
	const char *prove_url;	 /* EST_PROVE with another server than that of url, or NULL */
	const char *ca_file;	 /* anchors for prove_url */
	const char *cert_pem;	 /* who we are, or NULL; EST_PROVE needs it */
	const char *secret;	 /* "user:password" for HTTP basic, or NULL; not for EST_ANCHORS */
	const char *csr;	 /* PEM; EST_ENROL and EST_REENROL */
	struct agent_signer *signer; /* with cert_pem */
	const struct tls_policy *policy; /* with anchors; lent until est_free() */
	const char *dir;	 /* LINK_DIR */
	unsigned connect_timeout_s;
	struct agent_time *time;  /* for the dates of certificates; outlives the transfer */
	int notify_fd;
};

struct est_result {
	bool is_issued;		/* or prepared, or taken */
	uint64_t retry_after_s; /* if not: ask again after so long; 0: the server does not say */
	char *pem;		/* certificates */
	struct est_attributes attributes;
};

struct est;

/* Copies the options. -EINVAL "fetch.url", -ENOMEM. */
int est_start(const struct est_options *options, struct est **ret_est, struct agent_error **err);
/*
 * Ended? Then 0 and the result, lent until est_free(), or the reason: fetch.*, tls.*, est.base64, est.pkcs7, est.size, est.type,
 * -EACCES "est.refused" (401, 403; of EST_PROVE 400 as well), "est.http" (any other status), "est.redirect". That a server answers EST_PROVE says nothing if it did not
 * ask for a certificate: whoever signs for us knows.
 */
bool est_is_done(struct est *est, int *ret_r, const struct est_result **ret_result, struct agent_error **err);
/* Aborts and waits for the thread, a second at most. */
struct est *est_free(struct est *est);

#endif
