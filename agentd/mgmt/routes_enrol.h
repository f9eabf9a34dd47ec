/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ROUTES_ENROL_H
#define MGMT_ROUTES_ENROL_H
/* Arguments and answers of the routes of enrolment; for routes.c alone. */
#include "agentd/mgmt/route.h"

static const struct arg_rule args_enrol[] = {
	{ "key", ARG_TEXT, OPTIONAL, 8, .values = "same new", .about = "new: a new key as well; left out: the key in use" },
	{ NULL },
};

static const struct arg_rule args_enrol_secret[] = {
	{ "secret", ARG_TEXT, REQUIRED, 256, 3, .about = "USER:PASSWORD of HTTP basic, good for one certificate", .is_secret = true },
	{ NULL },
};

static const struct arg_rule args_enrol_anchor[] = {
	{ "fingerprint", ARG_TEXT, REQUIRED, 95, 64, .bytes = "0-9A-Fa-f:", .about = "SHA-256 of the authority's certificate" },
	{ NULL },
};

static const struct arg_rule answer_enrol[] = {
	{ "state", ARG_TEXT, REQUIRED, .values = "idle asking waiting proving damaged", .about = "docs/design/connectivity.md" },
	{ "detail", ARG_TEXT, REQUIRED, .about = "the same in words" },
	{ "cause", ARG_TEXT, OPTIONAL, .values = "first due expired person", .about = "why a certificate is asked for" },
	{ "identity", ARG_TEXT, OPTIONAL, .values = "current factory secret expired", .about = "what the server is shown, while it is asked" },
	{ "failures", ARG_NUMBER, REQUIRED, .about = "in a row" },
	{ "reason", ARG_TEXT, OPTIONAL, .about = "of the last failure" },
	{ "next", ARG_NUMBER, OPTIONAL, .about = "when the server is asked again" },
	{ "wants_binding", ARG_TRUTH, REQUIRED, .about = "the server asked for challengePassword, which TLS 1.3 has no value for" },
	{ "has_anchors", ARG_TRUTH, REQUIRED },
	{ "has_secret", ARG_TRUTH, REQUIRED },
	{ "has_factory", ARG_TRUTH, REQUIRED },
	{ "subject", ARG_TEXT, OPTIONAL, .about = "of the certificate in use, as what follows" },
	{ "issuer", ARG_TEXT, OPTIONAL },
	{ "not_before", ARG_NUMBER, OPTIONAL },
	{ "not_after", ARG_NUMBER, OPTIONAL },
	{ "due", ARG_NUMBER, OPTIONAL, .about = "when it is renewed" },
	{ NULL },
};

#endif
