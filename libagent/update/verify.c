/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/cms.h"
#include "update/verify_private.h"

int verify_load(struct container *container, const struct member *member, size_t max, char **ret_data, struct agent_error **err)
{
	_cleanup_free_ char *data = NULL;
	int r;

	if (member->size_bytes == 0 || member->size_bytes > max)
		return agent_error_set(err, -EMSGSIZE, "container.size", "%s has %" PRIu64 " bytes, allowed are 1 to %zu", member->name, member->size_bytes, max);
	data = malloc((size_t)member->size_bytes + 1);
	if (data == NULL)
		return agent_error_set(err, -ENOMEM, "container.memory", "no memory for %s", member->name);
	r = container_read(container, data, (size_t)member->size_bytes, err);
	if (r < 0)
		return r;
	data[member->size_bytes] = '\0';
	*ret_data = TAKE_PTR(data);
	return 0;
}

/* The next member must be @name with 1 to @max bytes; whole into memory, with a NUL after it. */
static int member_load(struct container *container, const char *name, size_t max, char **ret_data, size_t *ret_size, struct agent_error **err)
{
	struct member member;
	int r;

	r = container_next(container, &member, err);
	if (r < 0)
		return r;
	if (r == 0 || strcmp(member.name, name) != 0)
		return agent_error_set(err, -EBADMSG, "container.order", "the bundle has %s where %s must be", r == 0 ? "its end" : member.name, name);
	*ret_size = (size_t)member.size_bytes;
	return verify_load(container, &member, max, ret_data, err);
}

int verify_manifest(const struct verify_policy *policy, struct container *container, struct verified_buf **ret_buf, struct agent_error **err)
{
	_cleanup_free_ char *manifest = NULL, *signature = NULL;
	size_t manifest_size = 0, signature_size = 0;
	struct verified_buf *buf;
	struct cms_signers signers = { 0 };
	bool is_raw = false;
	int r;

	r = member_load(container, MANIFEST_NAME, MANIFEST_MAX, &manifest, &manifest_size, err);
	if (r == 0)
		r = member_load(container, SIGNATURE_NAME, SIGNATURE_MAX, &signature, &signature_size, err);
	if (r < 0)
		return r;
	is_raw = policy->raw != CMS_RAW_NONE && !cms_is_signed_data(signature, signature_size);
	if (is_raw)
		r = cms_verify_raw(policy->trust, policy->raw, signature, signature_size, manifest, manifest_size, policy->n_min_signers, &signers, err);
	else
		r = cms_verify_signers(policy->trust, signature, signature_size, manifest, manifest_size, policy->n_min_signers, policy->now_s, &signers, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", SIGNATURE_NAME);
	buf = calloc(1, sizeof(*buf));
	if (buf == NULL)
		return agent_error_set(err, -ENOMEM, "container.memory", "no memory for sw-description");
	*buf = (struct verified_buf){ .data = TAKE_PTR(manifest), .size = manifest_size, .signers = signers, .is_raw = is_raw };
	*ret_buf = buf;
	return 0;
}

int verified_buf_ours(const char *text, size_t size, struct verified_buf **ret_buf, struct agent_error **err)
{
	struct verified_buf *buf = calloc(1, sizeof(*buf));

	if (buf != NULL)
		buf->data = strdup(text);
	if (buf == NULL || buf->data == NULL) {
		free(buf);
		return agent_error_set(err, -ENOMEM, "container.memory", "no memory for sw-description");
	}
	buf->size = size;
	*ret_buf = buf;
	return 0;
}

struct verified_buf *verified_buf_free(struct verified_buf *buf)
{
	if (buf == NULL)
		return NULL;
	free(buf->data);
	free(buf);
	return NULL;
}

const char *verified_buf_data(const struct verified_buf *buf, size_t *ret_size)
{
	*ret_size = buf->size;
	return buf->data;
}

const struct cms_signers *verified_buf_signers(const struct verified_buf *buf)
{
	return &buf->signers;
}

bool verified_buf_is_raw(const struct verified_buf *buf)
{
	return buf->is_raw;
}
