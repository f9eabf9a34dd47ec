/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_TICKET_H
#define UPDATE_TICKET_H
/*
 * The service ticket: one release below the floor, on one device, once, until a date. A text of lines and, behind it, the CMS signatures over
 * it as PEM. docs/design/update.md, "Service ticket". Error names: update.ticket, .ticket-device, .ticket-used, .ticket-too-early,
 * .ticket-expired, .ticket-release, and those of cms_verify().
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/update.h>

#include "crypto/digest.h"
#include "update/manifest.h"

/*
 * The first line of what is signed: neither syntax of sw-description can begin like that, nor can a policy of signers. So a signature that was
 * made for the one is none for the other, whoever holds the key.
 */
#define TICKET_MAGIC "agent service ticket 1\n"
#define TICKET_TEXT_MAX ((size_t)4096)	/* the lines, without signatures */

struct ticket {
	char device[AGENT_UPDATE_DEVICE_MAX + 1];
	uint64_t counter;
	char release_id[MANIFEST_TEXT_MAX + 1];
	uint64_t security_version;
	char manifest[2 * DIGEST_SIZE + 1];	/* SHA-256 of sw-description */
	uint64_t not_before_s, not_after_s;
};

struct trust;

/* Where the lines end and the signatures as DER, which the caller frees. -EBADMSG, -EMSGSIZE update.ticket. */
int ticket_split(const char *text, size_t *ret_size, uint8_t **ret_der, size_t *ret_der_size, struct agent_error **err);
/* Read the lines, which need not be signed: for who is about to sign them. -EBADMSG update.ticket. */
int ticket_parse(const char *text, size_t size, struct ticket *ret_ticket, struct agent_error **err);
/* The signatures first, by those who sign bundles and as many of them; then the lines. */
int ticket_open(const struct trust *trust, const char *text, uint64_t now_s, struct ticket *ret_ticket, struct agent_error **err);
/* Is it for this device, still good for one use, and now? -EPERM, -ESTALE. */
int ticket_check(const struct ticket *ticket, const char *device, uint64_t counter, uint64_t now_s, struct agent_error **err);
/* Is it for this very release? @manifest_sha256 as in struct ticket. -EPERM. */
int ticket_fits(const struct ticket *ticket, const struct manifest *manifest, const char *manifest_sha256, struct agent_error **err);
/* A device name: 1 to AGENT_UPDATE_DEVICE_MAX lower-case hexadecimal digits. */
int ticket_device_check(const char *device);

#endif
