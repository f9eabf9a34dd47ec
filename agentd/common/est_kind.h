/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_EST_KIND_H
#define COMMON_EST_KIND_H
/* What core may ask agentd-fetch to ask an EST server; crosses the bus as a number. */
enum est_kind {
	EST_ANCHORS, /* cacerts of a server that cannot be checked yet: a person compares the fingerprint */
	EST_PREPARE, /* cacerts, then csrattrs */
	EST_ENROL,   /* simpleenroll */
	EST_REENROL, /* simplereenroll */
	EST_PROVE    /* a connection with a certificate, to est.prove_url or else the EST server: does it take it? */
};

#endif
