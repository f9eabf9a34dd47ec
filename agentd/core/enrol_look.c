/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: what the files say. Neither TPM nor network. */
#include "config.h"

#include "agentd/core/enrol_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agentd/core/rotation.h"
#include "base/file.h"
#include "base/macro.h"

#define ANCHORS_MAX (64 * KIB)

/* NULL when there is no such file, or none that can be read: that is said in the log by whoever needs it. */
static char *read_text(int dir_fd, const char *path, size_t max)
{
	char *text = NULL;
	size_t size;

	if (path == NULL || file_read_at(dir_fd, path, max, &text, &size, NULL) < 0)
		return NULL;
	if (strlen(text) == size)
		return text;
	free(text);
	return NULL;
}

static char *read_setting(const struct settings *s, const char *value, const char *fallback, size_t max)
{
	_cleanup_free_ char *path = settings_trust_path(s, value, fallback);

	return read_text(AT_FDCWD, path, max);
}

void enrol_scene_clear(struct enrol_scene *scene)
{
	free(scene->current);
	free(scene->factory);
	*scene = (struct enrol_scene){ .current = NULL };
}

int enrol_look(struct core *core, struct enrol_scene *ret_scene, struct agent_error **err)
{
	const struct settings *s = core->settings;
	struct enrol_scene scene = { .current = NULL };
	int r = rotation_read(core->keys_fd, ENROL_KEY, ".crt", &scene.current, err);

	if (r < 0)
		return r;
	if (scene.current == NULL)
		scene.current = s->mqtt.enable ? read_setting(s, s->mqtt.cert_file, "broker/device.pem", ROTATION_CERT_MAX) :
						 read_setting(s, "", "fetch/device.pem", ROTATION_CERT_MAX);
	scene.factory = read_setting(s, s->est.factory_cert, "est/factory.pem", ROTATION_CERT_MAX);
	scene.has_current = scene.current != NULL && enrol_describe(scene.current, &scene.about, NULL) >= 0;
	scene.has_factory = scene.factory != NULL && enrol_describe(scene.factory, &scene.factory_about, NULL) >= 0;
	scene.has_secret = faccessat(core->keys_fd, ENROL_FILE_SECRET, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (!scene.has_current)
		free(TAKE_PTR(scene.current));
	if (scene.has_current && rotation_id(scene.current, scene.id) < 0)
		scene.has_current = false;
	if (scene.has_current)
		scene.due_s = enrol_due_s(scene.id, scene.about.not_before_s, scene.about.not_after_s, (unsigned)s->est.renew_from, (unsigned)s->est.renew_to);
	*ret_scene = scene;
	return 0;
}

char *enrol_anchors(struct core *core)
{
	const struct settings *s = core->settings;
	_cleanup_free_ char *file = read_setting(s, s->est.ca_file, "est/ca.pem", ANCHORS_MAX);
	_cleanup_free_ char *confirmed = read_text(core->keys_fd, ENROL_FILE_ANCHORS, ANCHORS_MAX);
	char *both;

	if (file == NULL && confirmed == NULL)
		return NULL;
	return asprintf(&both, "%s\n%s", file != NULL ? file : "", confirmed != NULL ? confirmed : "") < 0 ? NULL : both;
}
