/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Did the configuration change since core last ran? The digest of the effective settings is kept beside the event log. A
 * setting that is new with the agent counts, a comment does not.
 */
#include "agentd/core/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <openssl/evp.h>

#include "agentd/core/audit.h"
#include "agentd/core/store.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/macro.h"

#define FILE_DIGEST "config.sha256"
#define DIGEST_TEXT ((size_t)64)

/* Takes the comments out, in place. Returns the size of what stays. */
static size_t without_comments(char *text)
{
	char *to = text;

	for (const char *line = text, *next; *line != '\0'; line = next) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		if (line[strspn(line, " \t")] != '#') {
			memmove(to, line, (size_t)(next - line));
			to += next - line;
		}
	}
	return (size_t)(to - text);
}

/* 64 hexadecimal digits and a NUL. */
static int digest_now(const struct settings *settings, char ret_text[DIGEST_TEXT + 1])
{
	uint8_t hash[DIGEST_TEXT / 2];
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int r = -ENOMEM;

	if (out == NULL)
		return r;
	settings_print(settings, out);
	if (fclose(out) == 0 && EVP_Digest(text, without_comments(text), hash, NULL, EVP_sha256(), NULL) == 1)
		r = 0;
	free(text);
	if (r == 0)
		hex_encode(hash, sizeof(hash), ret_text);
	return r;
}

void configuration_look(struct core *core)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_close_ int dir_fd = -1;
	_cleanup_free_ char *before = NULL;
	char now[DIGEST_TEXT + 1];
	size_t size = 0;
	int r = store_open_folder(core->settings, "events", &dir_fd, &err);

	if (r == 0 && digest_now(core->settings, now) < 0)
		r = agent_error_set(&err, -ENOMEM, "config.digest", "no digest of the settings could be made");
	if (r == 0) {
		r = file_read_at(dir_fd, FILE_DIGEST, DIGEST_TEXT, &before, &size, NULL);
		if (r == 0 && size == DIGEST_TEXT && memcmp(before, now, DIGEST_TEXT) == 0)
			return;
		/* Nothing to compare with at the first start; a damaged file is a change that nobody can rule out. */
		if (r != -ENOENT)
			event_add(core, EVENT_CONFIG_CHANGED, "from", r == 0 && size == DIGEST_TEXT ? before : "", "to", now, NULL);
		r = file_replace_at(dir_fd, FILE_DIGEST, 0600, now, DIGEST_TEXT, &err);
	}
	if (r < 0)
		service_log(LOG_WARNING, "cannot note the state of the configuration: %s", agent_error_message(err));
}
