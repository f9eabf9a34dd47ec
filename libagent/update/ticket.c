/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/ticket.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/macro.h"
#include "crypto/cms.h"
#include "update/engine.h"
#include "update/lines.h"
#include "update/trust.h"

#define PEM_NAME "CMS"
#define PEM_BEGIN "-----BEGIN " PEM_NAME "-----\n"

static int bad(struct agent_error **err, const char *what)
{
	return agent_error_set(err, -EBADMSG, "update.ticket", "the service ticket: %s", what);
}

int ticket_device_check(const char *device)
{
	size_t n = strlen(device);

	return n >= 1 && n <= AGENT_UPDATE_DEVICE_MAX && strspn(device, "0123456789abcdef") == n ? 0 : -EBADMSG;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------- */

/* One block without headers, and nothing behind it. */
static int signatures_read(const char *pem, uint8_t **ret_der, size_t *ret_size, struct agent_error **err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	long size = 0;
	int r = 0;

	if (bio == NULL || PEM_read_bio(bio, &name, &header, &der, &size) != 1 || strcmp(name, PEM_NAME) != 0 || header[0] != '\0' || size <= 0 ||
	    BIO_pending(bio) != 0)
		r = bad(err, "behind its lines there must be one PEM block, \"" PEM_NAME "\", and nothing else");
	if (r == 0) {
		*ret_der = malloc((size_t)size);
		if (*ret_der == NULL)
			r = agent_error_set(err, -ENOMEM, "update.memory", "no memory for a service ticket");
	}
	if (r == 0) {
		memcpy(*ret_der, der, (size_t)size);
		*ret_size = (size_t)size;
	}
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

int ticket_split(const char *text, size_t *ret_size, uint8_t **ret_der, size_t *ret_der_size, struct agent_error **err)
{
	const char *pem;

	if (strnlen(text, AGENT_UPDATE_TICKET_MAX + 1) > AGENT_UPDATE_TICKET_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.ticket", "the service ticket has more than %d bytes", AGENT_UPDATE_TICKET_MAX);
	if (strncmp(text, TICKET_MAGIC, strlen(TICKET_MAGIC)) != 0)
		return bad(err, "it does not begin with the line of a service ticket");
	pem = strstr(text, "\n" PEM_BEGIN);
	if (pem == NULL)
		return bad(err, "there is no signature behind its lines");
	*ret_size = (size_t)(pem + 1 - text);
	return signatures_read(pem + 1, ret_der, ret_der_size, err);
}

/* ---- the lines ------------------------------------------------------------------------------------------------------------ */

static int get_hex(const char *value, size_t n_digits, char *ret_text, struct agent_error **err)
{
	if (strlen(value) != n_digits || strspn(value, "0123456789abcdef") != n_digits)
		return bad(err, "manifest must be a SHA-256 in lower-case hexadecimal digits");
	memcpy(ret_text, value, n_digits + 1);
	return 0;
}

/* Each line is there once. */
static int line_take(const char *key, const char *value, struct ticket *t, unsigned *seen, struct agent_error **err)
{
	static const char *const keys[] = { "device", "release", "manifest", "counter", "security-version", "not-before", "not-after" };
	uint64_t *const numbers[] = { &t->counter, &t->security_version, &t->not_before_s, &t->not_after_s };
	size_t i = 0;

	while (i < ARRAY_SIZE(keys) && strcmp(keys[i], key) != 0)
		i++;
	if (i == ARRAY_SIZE(keys))
		return bad(err, "it has a line that is not known");
	if ((*seen & (1u << i)) != 0)
		return agent_error_set(err, -EBADMSG, "update.ticket", "the service ticket: it has two lines %s", keys[i]);
	*seen |= 1u << i;
	if (i == 0) {
		if (ticket_device_check(value) < 0)
			return bad(err, "device must be lower-case hexadecimal digits");
		strcpy(t->device, value);
		return 0;
	}
	if (i == 1)
		return value[0] == '\0' || lines_get_name(value, t->release_id, sizeof(t->release_id)) < 0 ? bad(err, "release is no release id") : 0;
	if (i == 2)
		return get_hex(value, 2 * DIGEST_SIZE, t->manifest, err);
	if (lines_get_u64(value, INT64_MAX, numbers[i - 3]) < 0)
		return agent_error_set(err, -EBADMSG, "update.ticket", "the service ticket: %s must be a number", keys[i]);
	return 0;
}

int ticket_parse(const char *text, size_t size, struct ticket *ret_ticket, struct agent_error **err)
{
	_cleanup_free_ char *copy = NULL;
	const size_t n_magic = strlen(TICKET_MAGIC);
	char *cursor, *key, *value;
	struct ticket t = { 0 };
	unsigned seen = 0;
	int r;

	if (size > TICKET_TEXT_MAX)
		return agent_error_set(err, -EMSGSIZE, "update.ticket", "the lines of the service ticket have %zu bytes, limit %zu", size, TICKET_TEXT_MAX);
	if (size < n_magic || memcmp(text, TICKET_MAGIC, n_magic) != 0)
		return bad(err, "it does not begin with the line of a service ticket");
	copy = strndup(text + n_magic, size - n_magic);
	if (copy == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a service ticket");
	if (strlen(copy) != size - n_magic)
		return bad(err, "it holds a byte that is 0");
	cursor = copy;
	while ((r = lines_next(&cursor, &key, &value)) > 0) {
		r = line_take(key, value, &t, &seen, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return bad(err, "it has a line without '='");
	if (seen != (1u << 7) - 1)
		return bad(err, "it must have device, release, manifest, counter, security-version, not-before and not-after");
	if (t.not_after_s == 0 || t.not_after_s < t.not_before_s)
		return bad(err, "it must end, and not before it begins");
	*ret_ticket = t;
	return 0;
}

/* ---- is it good --------------------------------------------------------------------------------------------------------- */

int ticket_open(const struct trust *trust, const char *text, uint64_t now_s, struct ticket *ret_ticket, struct agent_error **err)
{
	_cleanup_free_ uint8_t *der = NULL;
	size_t size = 0, der_size = 0;
	int r = ticket_split(text, &size, &der, &der_size, err);

	if (r < 0)
		return r;
	r = cms_verify(trust->certs, der, der_size, text, size, trust->n_min_signers, now_s, NULL, err);
	if (r < 0)
		return agent_error_prefix(err, r, "the service ticket");
	return ticket_parse(text, size, ret_ticket, err);
}

int ticket_check(const struct ticket *t, const char *device, uint64_t counter, uint64_t now_s, struct agent_error **err)
{
	if (strcmp(t->device, device) != 0)
		return agent_error_set(err, -EPERM, "update.ticket-device", "the service ticket is for device %.16s..., this one is %.16s...", t->device, device);
	if (t->counter < counter)
		return agent_error_set(err, -ESTALE, "update.ticket-used", "the service ticket is for use %" PRIu64 ", and this device is at %" PRIu64
				       ": it, or another one, was used", t->counter, counter);
	if (t->counter > counter)
		return agent_error_set(err, -ESTALE, "update.ticket-used", "the service ticket is for use %" PRIu64 ", and this device is at %" PRIu64
				       ": agentctl update ticket shows what to make one for", t->counter, counter);
	if (now_s < t->not_before_s)
		return agent_error_set(err, -ESTALE, "update.ticket-too-early", "the service ticket is valid from %" PRIu64 " on, the clock says %" PRIu64,
				       t->not_before_s, now_s);
	if (now_s > t->not_after_s)
		return agent_error_set(err, -ESTALE, "update.ticket-expired", "the service ticket was valid until %" PRIu64 ", the clock says %" PRIu64,
				       t->not_after_s, now_s);
	return 0;
}

int ticket_fits(const struct ticket *t, const struct manifest *m, const char *manifest_sha256, struct agent_error **err)
{
	if (strcmp(t->release_id, m->release_id) != 0 || t->security_version != m->security_version)
		return agent_error_set(err, -EPERM, "update.ticket-release", "the service ticket is for release %s with security version %" PRIu64
				       ", the bundle is release %s with %" PRIu64, t->release_id, t->security_version, m->release_id, m->security_version);
	if (strcmp(t->manifest, manifest_sha256) != 0)
		return agent_error_set(err, -EPERM, "update.ticket-release", "the service ticket is for another bundle that is called release %s too", m->release_id);
	return 0;
}

/* ---- of an engine --------------------------------------------------------------------------------------------------------- */

int agent_update_set_ticket(struct agent_update *u, const struct agent_update_ticket *ticket, struct agent_error **err)
{
	char *text;

	if (u == NULL || (ticket != NULL && (ticket->text == NULL || ticket->device == NULL || ticket->use == NULL || ticket_device_check(ticket->device) < 0)))
		return agent_error_set(err, -EINVAL, "update.argument", "a service ticket needs its text, the name of this device, and a function that uses it up");
	text = ticket == NULL ? NULL : strdup(ticket->text);
	if (ticket != NULL && text == NULL)
		return agent_error_set(err, -ENOMEM, "update.memory", "no memory for a service ticket");
	free(u->ticket.text);
	memset(&u->ticket, 0, sizeof(u->ticket));
	if (ticket == NULL)
		return 0;
	u->ticket.text = text;
	strcpy(u->ticket.device, ticket->device);
	u->ticket.counter = ticket->counter;
	u->ticket.use = ticket->use;
	u->ticket.userdata = ticket->userdata;
	return 0;
}

int agent_update_check_ticket(struct agent_update *u, const char *text, const char *device, uint64_t counter, uint64_t now_s,
			      struct agent_update_ticket_facts *ret_facts, struct agent_error **err)
{
	_cleanup_trust_ struct trust trust = { 0 };
	struct ticket t = { 0 };
	int r;

	if (u == NULL || text == NULL || device == NULL || ret_facts == NULL)
		return agent_error_set(err, -EINVAL, "update.argument", "to check a service ticket takes an engine, the ticket, and the name of this device");
	r = trust_load(u->ctx, u->trust_dir, u->state_fd, u->n_min_signers, &trust, err);
	if (r == 0)
		cms_trust_require_crls(trust.certs, u->require_crl);
	if (r == 0)
		r = trust_check_floor(&trust, u->trust_floor, err);
	if (r == 0)
		r = ticket_open(&trust, text, now_s, &t, err);
	if (r == 0)
		r = ticket_check(&t, device, counter, now_s, err);
	if (r < 0)
		return r;
	*ret_facts = (struct agent_update_ticket_facts){ .security_version = t.security_version, .not_after_s = t.not_after_s };
	snprintf(ret_facts->release_id, sizeof(ret_facts->release_id), "%s", t.release_id);
	return 0;
}
