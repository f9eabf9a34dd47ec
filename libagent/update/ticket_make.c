/* SPDX-License-Identifier: Apache-2.0 */
/* Service tickets on the maker's side. */
#include "config.h"

#include <agent/bundle.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/buf.h"
#include "base/file.h"
#include "update/bundle_parts.h"
#include "update/bundle_signers.h"
#include "update/container.h"
#include "update/hash.h"
#include "update/syntax.h"
#include "update/ticket.h"
#include "update/verify.h"

/* The first member, whole. */
static int description_load(const char *path, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	_cleanup_(container_freep) struct container *container = NULL;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct member member;
	int r;

	if (fd < 0)
		return agent_error_set(err, -errno, "bundle.source", "cannot open %s: %s", path, strerror(errno));
	r = container_new(fd, &container, err);
	if (r == 0)
		r = container_next(container, &member, err);
	if (r == 0 || (r > 0 && strcmp(member.name, MANIFEST_NAME) != 0))
		r = agent_error_set(err, -EBADMSG, "container.order", "%s does not begin with " MANIFEST_NAME, path);
	if (r < 0)
		return r;
	*ret_size = (size_t)member.size_bytes;
	return verify_load(container, &member, MANIFEST_MAX, ret_text, err);
}

static int lines_make(const struct agent_ticket_options *o, char ret_text[TICKET_TEXT_MAX], struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_free_ char *description = NULL;
	const char *release_id;
	const json_t *agent, *security_version;
	char sha256[2 * DIGEST_SIZE + 1];
	uint8_t digest[DIGEST_SIZE];
	struct ticket ticket;
	size_t size = 0;
	int r = description_load(o->bundle, &description, &size, err);

	if (r < 0)
		return r;
	r = digest_sha256(description, size, digest);
	if (r < 0)
		return hash_failed(r, err);
	hex_encode(digest, sizeof(digest), sha256);
	r = syntax_parse(description, size, &root, NULL, err);
	if (r < 0)
		return r;
	agent = json_object_get(root, "agent");
	release_id = json_string_value(json_object_get(agent, "release-id"));
	security_version = json_object_get(agent, "security-version");
	if (release_id == NULL || !json_is_integer(security_version) || json_integer_value(security_version) < 0)
		return agent_error_set(err, -EBADMSG, "bundle.source", "%s has no agent group with release-id and security-version: a ticket is for a strict bundle",
				       o->bundle);
	r = snprintf(ret_text, TICKET_TEXT_MAX,
		     TICKET_MAGIC "device=%s\ncounter=%" PRIu64 "\nrelease=%s\nsecurity-version=%" JSON_INTEGER_FORMAT "\nmanifest=%s\nnot-before=%" PRIu64
		     "\nnot-after=%" PRIu64 "\n",
		     o->device, o->counter, release_id, json_integer_value(security_version), sha256, o->not_before_s, o->not_after_s);
	if (r < 0 || (size_t)r >= TICKET_TEXT_MAX)
		return agent_error_set(err, -EMSGSIZE, "bundle.options", "the lines of the ticket would have more than %zu bytes", TICKET_TEXT_MAX);
	/* By the device's reader, before anybody signs it. */
	return ticket_parse(ret_text, strlen(ret_text), &ticket, err);
}

/* Sign @text, with what was signed before in @old, and make the file. */
static int text_sign(struct agent_context *ctx, const char *out, const char *text, const void *old, size_t old_size, const struct agent_bundle_signer *signers,
		     size_t n_signers, uint64_t time_s, struct agent_error **err)
{
	_cleanup_signers_ struct signer_set set = { 0 };
	_cleanup_free_ uint8_t *der = NULL;
	size_t size = 0;
	char *pem = NULL;
	long pem_size;
	BIO *bio;
	int r = out_check(out, err);

	if (r == 0)
		r = signers_open(ctx, signers, n_signers, time_s, &set, err);
	if (r == 0)
		r = cms_sign(ctx, old, old_size, text, strlen(text), set.items, set.n, time_s, &der, &size, err);
	if (r < 0)
		return r;
	bio = BIO_new(BIO_s_mem());
	if (bio == NULL || size > AGENT_UPDATE_TICKET_MAX || PEM_write_bio(bio, "CMS", "", der, (long)size) <= 0)
		r = agent_error_set(err, -ENOMEM, "update.memory", "no memory for a service ticket");
	pem_size = r == 0 ? BIO_get_mem_data(bio, &pem) : 0;
	if (r == 0 && strlen(text) + (size_t)pem_size > AGENT_UPDATE_TICKET_MAX)
		r = agent_error_set(err, -EMSGSIZE, "update.ticket", "the ticket would have more than %d bytes", AGENT_UPDATE_TICKET_MAX);
	if (r == 0)
		r = out_make(out, text, pem, (size_t)pem_size, err);
	BIO_free(bio);
	ERR_clear_error();
	return r;
}

int agent_bundle_ticket(struct agent_context *ctx, const struct agent_ticket_options *o, struct agent_error **err)
{
	char text[TICKET_TEXT_MAX];
	int r;

	if (ctx == NULL || o == NULL || o->bundle == NULL || o->out == NULL || o->signers == NULL || o->n_signers == 0 ||
	    o->n_signers > AGENT_BUNDLE_SIGNERS_MAX || o->time_s == 0)
		return agent_error_set(err, -EINVAL, "bundle.options", "a ticket takes a bundle, a file to write, 1 to %d signers and the time", AGENT_BUNDLE_SIGNERS_MAX);
	if (o->device == NULL || ticket_device_check(o->device) < 0)
		return agent_error_set(err, -EINVAL, "bundle.options", "a ticket is for one device: the lower-case hexadecimal digits that agentctl update ticket shows there");
	if (o->not_after_s <= o->time_s || o->not_after_s < o->not_before_s || o->not_after_s > INT64_MAX || o->counter > INT64_MAX)
		return agent_error_set(err, -EINVAL, "bundle.options", "a ticket must end, later than now and than it begins");
	r = lines_make(o, text, err);
	return r < 0 ? r : text_sign(ctx, o->out, text, NULL, 0, o->signers, o->n_signers, o->time_s, err);
}

int agent_bundle_ticket_sign(struct agent_context *ctx, const char *path, const char *out, const struct agent_bundle_signer *signers, size_t n_signers,
			     uint64_t time_s, struct agent_error **err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ uint8_t *der = NULL;
	size_t file_size = 0, size = 0, der_size = 0;
	struct ticket ticket;
	int r;

	if (ctx == NULL || path == NULL || out == NULL || signers == NULL || n_signers == 0 || n_signers > AGENT_BUNDLE_SIGNERS_MAX || time_s == 0)
		return agent_error_set(err, -EINVAL, "bundle.options", "to sign takes a ticket, a file to write, 1 to %d signers and the time", AGENT_BUNDLE_SIGNERS_MAX);
	r = file_read_at(AT_FDCWD, path, AGENT_UPDATE_TICKET_MAX, &text, &file_size, err);
	if (r == 0 && strlen(text) != file_size)
		r = agent_error_set(err, -EBADMSG, "update.ticket", "the service ticket: it holds a byte that is 0");
	if (r == 0)
		r = ticket_split(text, &size, &der, &der_size, err);
	if (r == 0)
		r = ticket_parse(text, size, &ticket, err);
	if (r < 0)
		return r;
	text[size] = '\0';
	return text_sign(ctx, out, text, der, der_size, signers, n_signers, time_s, err);
}
