/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/core/lists.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "agentd/common/tls_policy.h"
#include "agentd/core/store.h"
#include "base/file.h"
#include "base/macro.h"

#define FILE_LISTS "lists"
#define TEXT_MAX (256 * KIB)
#define LOOK_US (600 * UINT64_C(1000000))

DEFINE_CLEANUP(DIR *, closedir)

struct lists {
	sd_event_source *timer;
	char *known;	/* as in the file */
	bool is_unsaved;	/* or as it should be there */
};

/* ---- where they are --------------------------------------------------------------------------------------------------- */

static const char *const folders[] = { "update", "command/viewer", "command/operator", "command/admin" };

static bool is_list(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".crl") == 0 && strchr(name, '\n') == NULL;
}

/* NULL: the settings do not ask for it. */
static char *list_of(const struct settings *s, enum tls_peer peer)
{
	bool is_used = peer == TLS_PEER_MQTT ? s->mqtt.enable : peer == TLS_PEER_EST ? s->est.url[0] != '\0' : true;
	struct tls_policy policy;
	char *path = NULL;

	if (!is_used || tls_policy_read(s, peer, &policy, NULL) < 0)
		return NULL;
	if (policy.crl != AGENT_TLS_CRL_OFF && strchr(policy.crl_file, '\n') == NULL)
		path = TAKE_PTR(policy.crl_file);
	tls_policy_clear(&policy);
	return path;
}

static void find_in(const char *trust_dir, const char *folder, FILE *out)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	_cleanup_free_ char *path = NULL;
	const struct dirent *entry;

	if (asprintf(&path, "%s/%s", trust_dir, folder) < 0) {
		path = NULL;
		return;
	}
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (is_list(entry->d_name))
			fprintf(out, "%s/%s\n", path, entry->d_name);
}

char *lists_find(const struct settings *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	for (int peer = 0; peer <= TLS_PEERS_; peer++) {
		_cleanup_free_ char *path = peer < TLS_PEERS_ ? list_of(s, (enum tls_peer)peer) : settings_trust_path(s, "", "mgmt/clients.crl");
		struct stat st;

		if (path != NULL && stat(path, &st) == 0)
			fprintf(out, "%s\n", path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		find_in(s->paths.trust_dir, folders[i], out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- what is gone ------------------------------------------------------------------------------------------------------ */

static bool has_line(const char *text, const char *line)
{
	size_t n = strlen(line);

	for (const char *p = text; (p = strstr(p, line)) != NULL; p++)
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return true;
	return false;
}

/* Nobody misses a list of other settings than today's. */
static bool is_asked_for(const struct settings *s, const char *path)
{
	size_t n_dir = strlen(s->paths.trust_dir);
	const char *rest;

	for (int peer = 0; peer < TLS_PEERS_; peer++) {
		_cleanup_free_ char *list = list_of(s, (enum tls_peer)peer);

		if (list != NULL && strcmp(list, path) == 0)
			return true;
	}
	if (strncmp(path, s->paths.trust_dir, n_dir) != 0 || path[n_dir] != '/')
		return false;
	rest = path + n_dir + 1;
	if (strcmp(rest, "mgmt/clients.crl") == 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		size_t n = strlen(folders[i]);

		if (strncmp(rest, folders[i], n) == 0 && rest[n] == '/' && strchr(rest + n + 1, '/') == NULL && is_list(rest + n + 1))
			return true;
	}
	return false;
}

static int add_line(char **text, const char *line)
{
	char *longer;

	if (asprintf(&longer, "%s%s\n", *text, line) < 0)
		return -ENOMEM;
	free(*text);
	*text = longer;
	return 0;
}

int lists_compare(const struct settings *s, const char *before, char **now, void (*gone)(void *userdata, const char *path), void *userdata)
{
	_cleanup_free_ char *lines = strdup(before);
	char *at = NULL;
	struct stat st;

	if (lines == NULL)
		return -ENOMEM;
	for (char *path = strtok_r(lines, "\n", &at); path != NULL; path = strtok_r(NULL, "\n", &at)) {
		if (has_line(*now, path) || !is_asked_for(s, path))
			continue;
		if (stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
			gone(userdata, path);
		else if (add_line(now, path) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- from time to time ------------------------------------------------------------------------------------------------- */

static void tell(void *userdata, const char *path)
{
	char text[512];

	snprintf(text, sizeof(text), "%s", path);
	for (char *p = text; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	event_add(userdata, EVENT_LIST_GONE, "file", text, NULL);
}

static int load(int dir_fd, struct lists *lists, struct agent_error **err)
{
	size_t size;
	int r;

	if (lists->known != NULL)
		return 0;
	r = file_read_at(dir_fd, FILE_LISTS, TEXT_MAX, &lists->known, &size, err);
	if (r >= 0 && strlen(lists->known) == size)
		return 0;
	free(TAKE_PTR(lists->known));
	if (r >= 0)
		return agent_error_set(err, -EBADMSG, "lists.file", "%s is damaged, and begun anew", FILE_LISTS);
	if (r == -ENOENT && err != NULL)
		*err = agent_error_free(*err);
	return r == -ENOENT ? 0 : r;
}

static void look(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_close_ int dir_fd = -1;
	_cleanup_free_ char *now = lists_find(core->settings);
	struct lists *lists = core->lists;
	int r = now == NULL ? agent_error_set(&err, -ENOMEM, "core.memory", "out of memory") : store_open_folder(core->settings, "events", &dir_fd, &err);

	if (r >= 0 && load(dir_fd, lists, &err) < 0)
		service_log(LOG_WARNING, "which revocation lists there were is not known: %s", agent_error_message(err));
	/* First the events: after a power cut in between rather twice than never. */
	if (r >= 0 && lists->known != NULL)
		r = lists_compare(core->settings, lists->known, &now, tell, core);
	if (r >= 0 && (lists->known == NULL || lists->is_unsaved || strcmp(lists->known, now) != 0)) {
		err = agent_error_free(err);
		r = file_replace_at(dir_fd, FILE_LISTS, 0600, now, strlen(now), &err);
		lists->is_unsaved = r < 0;
		free(lists->known);
		lists->known = TAKE_PTR(now);
	}
	if (r < 0)
		service_log(LOG_WARNING, "cannot note which revocation lists there are: %s", err == NULL ? strerror(-r) : agent_error_message(err));
}

static int on_timer(sd_event_source *timer, uint64_t usec, void *userdata)
{
	look(userdata);
	(void)sd_event_source_set_time_relative(timer, LOOK_US);
	return sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

void lists_open(struct core *core)
{
	core->lists = calloc(1, sizeof(*core->lists));
	if (core->lists == NULL || sd_event_add_time_relative(core->event, &core->lists->timer, CLOCK_MONOTONIC, LOOK_US, 0, on_timer, core) < 0)
		service_log(LOG_ERR, "no timer for revocation lists");
	if (core->lists != NULL)
		look(core);
}

void lists_stop(struct core *core)
{
	if (core->lists == NULL)
		return;
	sd_event_source_disable_unref(core->lists->timer);
	free(core->lists->known);
	free(core->lists);
	core->lists = NULL;
}
