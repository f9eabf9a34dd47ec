/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/body.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>

#include "agentd/common/json_depth.h"
#include "agentd/fetch/delay.h"
#include "base/macro.h"

#define HREF_MAX 2048

void body_poll_clear(struct body_poll *poll)
{
	free(poll->deployment);
	free(poll->cancel);
	free(poll->confirmation);
	free(poll->config_data);
	*poll = (struct body_poll){ 0 };
}

void body_bundle_clear(struct body_bundle *bundle)
{
	free(bundle->url);
	*bundle = (struct body_bundle){ 0 };
}

void body_deployment_clear(struct body_deployment *deployment)
{
	body_bundle_clear(&deployment->bundle);
	*deployment = (struct body_deployment){ 0 };
}

/* Letters, digits, '-' and '_', 1 to 64 of them: what may stand in a path. */
static bool id_is_good(const char *id)
{
	size_t n = strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_");

	return n > 0 && n <= ACTION_MAX && id[n] == '\0';
}

static int bad(struct agent_error **err, const char *what)
{
	return agent_error_set(err, -EBADMSG, "source.json", "the server's answer cannot be used: %s", what);
}

static int load(const char *data, size_t size, json_t **ret_root, struct agent_error **err)
{
	json_error_t why;
	json_t *root;

	if (size > BODY_BYTES_MAX)
		return agent_error_set(err, -EMSGSIZE, "source.json", "the server's answer has more than %d bytes", BODY_BYTES_MAX);
	if (json_is_too_deep(data, size, BODY_DEPTH_MAX))
		return agent_error_set(err, -EBADMSG, "source.json", "the server's answer is nested deeper than %d levels", BODY_DEPTH_MAX);
	root = json_loadb(data, size, JSON_REJECT_DUPLICATES, &why);
	if (root == NULL)
		return agent_error_set(err, -EBADMSG, "source.json", "the server's answer is no JSON: %s", why.text);
	if (!json_is_object(root)) {
		json_decref(root);
		return bad(err, "it is no object");
	}
	*ret_root = root;
	return 0;
}

/* The address below object @links with that name: NULL if there is none. */
static int read_href(const json_t *links, const char *name, char **ret_href, struct agent_error **err)
{
	const json_t *link = json_object_get(links, name), *address = json_object_get(link, "href");
	const char *href = json_string_value(address);

	*ret_href = NULL;
	if (link == NULL || json_is_null(link) || json_is_null(address) || (href != NULL && href[0] == '\0'))
		return 0;
	if (href == NULL || strlen(href) > HREF_MAX)
		return agent_error_set(err, -EBADMSG, "source.json", "the server's answer cannot be used: link %s has no address", name);
	*ret_href = strdup(href);
	return *ret_href == NULL ? agent_error_set(err, -ENOMEM, "source.memory", "out of memory") : 0;
}

int body_read_poll(const char *data, size_t size, struct body_poll *ret_poll, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_(body_poll_clear) struct body_poll poll = { 0 };
	const json_t *links;
	const char *sleep;
	int r;

	r = load(data, size, &root, err);
	if (r < 0)
		return r;
	sleep = json_string_value(json_object_get(json_object_get(json_object_get(root, "config"), "polling"), "sleep"));
	poll.sleep_s = sleep == NULL ? 0 : delay_parse_sleep(sleep);
	links = json_object_get(root, "_links");
	r = read_href(links, "deploymentBase", &poll.deployment, err);
	if (r >= 0)
		r = read_href(links, "cancelAction", &poll.cancel, err);
	if (r >= 0)
		r = read_href(links, "confirmationBase", &poll.confirmation, err);
	if (r >= 0)
		r = read_href(links, "configData", &poll.config_data, err);
	if (r < 0)
		return r;
	*ret_poll = poll;
	poll = (struct body_poll){ 0 };
	return 0;
}

/* hawkBit writes ids as text; a number is one as well. */
static int read_id(const json_t *value, char ret_id[ACTION_MAX + 1], struct agent_error **err)
{
	if (json_is_integer(value) && json_integer_value(value) >= 0)
		snprintf(ret_id, ACTION_MAX + 1, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_string(value) && id_is_good(json_string_value(value)))
		strcpy(ret_id, json_string_value(value));
	else
		return bad(err, "an id is missing, or has other signs than letters, digits, - and _");
	return 0;
}

/* Text for people, at most @size - 1 printable ASCII signs of it. */
static void read_text(const json_t *value, char *ret_text, size_t size)
{
	const char *text = json_string_value(value);

	snprintf(ret_text, size, "%s", text == NULL ? "" : text);
	for (char *p = ret_text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
}

static bool is_bundle_name(const char *name)
{
	size_t n = name == NULL ? 0 : strlen(name);

	return n > 4 && strcasecmp(name + n - 4, ".swu") == 0;
}

/* Servers behind a proxy often have one link only, "download-http", set to https. */
static int read_https_href(const json_t *links, char **ret_href, struct agent_error **err)
{
	static const char *const NAMES[] = { "download", "download-http" };

	*ret_href = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(NAMES); i++) {
		int r = read_href(links, NAMES[i], ret_href, err);

		if (r < 0 || (*ret_href != NULL && strncasecmp(*ret_href, "https://", strlen("https://")) == 0))
			return r;
		free(*ret_href);
		*ret_href = NULL;
	}
	return 0;
}

static int read_artifact(const json_t *chunk, const json_t *artifact, struct body_bundle *ret_bundle, struct agent_error **err)
{
	json_int_t size = json_integer_value(json_object_get(artifact, "size"));
	int r;

	if (size < 0)
		return bad(err, "an artifact has a negative size");
	r = read_https_href(json_object_get(artifact, "_links"), &ret_bundle->url, err);
	if (r < 0)
		return r;
	ret_bundle->size = (uint64_t)size;
	read_text(json_object_get(chunk, "version"), ret_bundle->version, sizeof(ret_bundle->version));
	return 0;
}

/* The one artifact that is a bundle. */
static int read_chunks(const json_t *chunks, struct body_deployment *d, struct agent_error **err)
{
	size_t i, k, n_seen = 0, n_bundles = 0;
	const json_t *chunk, *artifact;

	json_array_foreach(chunks, i, chunk) {
		json_array_foreach(json_object_get(chunk, "artifacts"), k, artifact) {
			if (++n_seen > BODY_LIST_MAX)
				return bad(err, "it has more than 256 artifacts");
			if (!is_bundle_name(json_string_value(json_object_get(artifact, "filename"))) || ++n_bundles > 1)
				continue;
			int r = read_artifact(chunk, artifact, &d->bundle, err);

			if (r < 0)
				return r;
		}
	}
	if (n_bundles != 1)
		snprintf(d->why_not, sizeof(d->why_not), "the distribution set has %zu artifacts named *.swu, exactly one is wanted", n_bundles);
	else if (d->bundle.url == NULL)
		snprintf(d->why_not, sizeof(d->why_not), "the artifact has no link for https (download, download-http): set the protocol of the server's artifact addresses");
	return 0;
}

int body_read_deployment(const char *data, size_t size, const char *member, struct body_deployment *ret_deployment, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_(body_deployment_clear) struct body_deployment d = { 0 };
	const json_t *deployment, *chunks;
	const char *update, *window;
	int r;

	r = load(data, size, &root, err);
	if (r >= 0)
		r = read_id(json_object_get(root, "id"), d.id, err);
	if (r < 0)
		return r;
	deployment = json_object_get(root, member);
	chunks = json_object_get(deployment, "chunks");
	update = json_string_value(json_object_get(deployment, "update"));
	if (!json_is_array(chunks) || update == NULL)
		return bad(err, "a deployment without update or chunks");
	if (json_array_size(chunks) > BODY_LIST_MAX)
		return bad(err, "it has more than 256 chunks");
	window = json_string_value(json_object_get(deployment, "maintenanceWindow"));
	/* hawkBit says both outside of its window. */
	d.is_skip = strcmp(update, "skip") == 0 || (window != NULL && strcmp(window, "unavailable") == 0);
	d.is_forced = strcmp(update, "forced") == 0;
	r = read_chunks(chunks, &d, err);
	if (r < 0)
		return r;
	*ret_deployment = d;
	d = (struct body_deployment){ 0 };
	return 0;
}

int body_read_cancel(const char *data, size_t size, char ret_id[ACTION_MAX + 1], char ret_stop_id[ACTION_MAX + 1], struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	int r;

	r = load(data, size, &root, err);
	if (r >= 0)
		r = read_id(json_object_get(root, "id"), ret_id, err);
	if (r >= 0)
		r = read_id(json_object_get(json_object_get(root, "cancelAction"), "stopId"), ret_stop_id, err);
	return r;
}

/* ---- index ------------------------------------------------------------------------------------------------------ */

int body_compare_versions(const char *a, const char *b)
{
	while (*a != '\0' || *b != '\0') {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			size_t n_a, n_b;
			int r;

			a += strspn(a, "0");
			b += strspn(b, "0");
			n_a = strspn(a, "0123456789");
			n_b = strspn(b, "0123456789");
			if (n_a != n_b)
				return n_a < n_b ? -1 : 1;
			r = strncmp(a, b, n_a);
			if (r != 0)
				return r < 0 ? -1 : 1;
			a += n_a;
			b += n_b;
		} else if (*a != *b) {
			return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
		} else {
			a++;
			b++;
		}
	}
	return 0;
}

static bool has_text(const json_t *list, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_is_string(item) && strcmp(json_string_value(item), text) == 0)
			return true;
	return false;
}

static int read_index_bundle(const json_t *item, struct body_bundle *ret_bundle, uint64_t *ret_security_version, struct agent_error **err)
{
	const char *url = json_string_value(json_object_get(item, "url"));
	const char *version = json_string_value(json_object_get(item, "version"));
	const char *release_id = json_string_value(json_object_get(item, "release-id"));
	json_int_t security_version = json_integer_value(json_object_get(item, "security-version"));
	json_int_t size = json_integer_value(json_object_get(item, "size"));

	if (url == NULL || strlen(url) > HREF_MAX || version == NULL || strlen(version) > 64 || release_id == NULL || release_id[0] == '\0' ||
	    strlen(release_id) > 64 || !json_is_array(json_object_get(item, "products")) ||
	    !json_is_integer(json_object_get(item, "security-version")) || security_version < 0 || size < 0)
		return bad(err, "a bundle needs url, version, release-id, security-version and products");
	read_text(json_object_get(item, "version"), ret_bundle->version, sizeof(ret_bundle->version));
	read_text(json_object_get(item, "release-id"), ret_bundle->release_id, sizeof(ret_bundle->release_id));
	ret_bundle->size = (uint64_t)size;
	*ret_security_version = (uint64_t)security_version;
	ret_bundle->url = strdup(url);
	return ret_bundle->url == NULL ? agent_error_set(err, -ENOMEM, "source.memory", "out of memory") : 0;
}

int body_read_index(const char *data, size_t size, const char *product, uint64_t floor, struct body_bundle *ret_bundle, struct agent_error **err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_(body_bundle_clear) struct body_bundle best = { 0 };
	const json_t *bundles, *item;
	const char *profile;
	size_t i;
	int r;

	r = load(data, size, &root, err);
	if (r < 0)
		return r;
	profile = json_string_value(json_object_get(root, "profile"));
	bundles = json_object_get(root, "bundles");
	if (profile == NULL || strcmp(profile, "agent-index-1") != 0 || !json_is_array(bundles))
		return bad(err, "an index has profile \"agent-index-1\" and a list of bundles");
	if (json_array_size(bundles) > BODY_LIST_MAX)
		return bad(err, "it has more than 256 bundles");
	json_array_foreach(bundles, i, item) {
		_cleanup_(body_bundle_clear) struct body_bundle bundle = { 0 };
		uint64_t security_version = 0;

		r = read_index_bundle(item, &bundle, &security_version, err);
		if (r < 0)
			return r;
		if (!has_text(json_object_get(item, "products"), product) || security_version < floor ||
		    (best.url != NULL && body_compare_versions(bundle.version, best.version) <= 0))
			continue;
		body_bundle_clear(&best);
		best = bundle;
		bundle = (struct body_bundle){ 0 };
	}
	*ret_bundle = best;
	best = (struct body_bundle){ 0 };
	return 0;
}

/* ---- what we say ------------------------------------------------------------------------------------------------ */

/* Takes @root. */
static char *dump(json_t *root)
{
	char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);

	json_decref(root);
	return text;
}

char *body_feedback(const char *id, const char *execution, const char *finished, int progress, const char *detail)
{
	char cut[513];
	json_t *result, *status;

	/* hawkBit takes 512 signs of each entry. */
	snprintf(cut, sizeof(cut), "%s", detail);
	for (char *p = cut; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	result = progress < 0 ? json_pack("{s:s}", "finished", finished) :
				json_pack("{s:s, s:{s:i, s:i}}", "finished", finished, "progress", "cnt", progress, "of", 4);
	status = json_pack("{s:s, s:o, s:[s]}", "execution", execution, "result", result, "details", cut);
	/* Servers before 0.3.0M9 answer 404 without the id, later ones pass over it. */
	return dump(json_pack("{s:s, s:I, s:o}", "id", id, "timestamp", (json_int_t)time(NULL) * 1000, "status", status));
}

char *body_attributes(const struct device *device, bool knows_release)
{
	json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:s}", "product", device->product, "serial", device->serial, "model", device->model,
				 "agent.version", device->agent_version, "slot", device->booted_slot);

	/* "merge" leaves what was told before. */
	if (knows_release && device->release_id[0] != '\0') {
		json_object_set_new(data, "release", json_string(device->release_id));
		json_object_set_new(data, "version", json_string(device->version));
	}
	return dump(json_pack("{s:s, s:o}", "mode", "merge", "data", data));
}

char *body_confirmation(void)
{
	return dump(json_pack("{s:s, s:i, s:[s]}", "confirmation", "confirmed", "code", 1, "details", "the device decides when to install"));
}

char *body_installed(const char *name, const char *version)
{
	return dump(json_pack("{s:s, s:s}", "name", name, "version", version));
}
