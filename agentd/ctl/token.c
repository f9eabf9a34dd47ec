/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/macro.h"
#include "base/secret.h"

#define TOKEN_FILE "agentctl.token"
#define TOKEN_FILE_MAX 512

/* The folder is ours alone, or another user could plant a token and watch what we do with it. */
static int open_folder(bool is_made, struct agent_error **err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
	_cleanup_free_ char *path = NULL;
	struct stat st;
	int fd, r;

	if (runtime != NULL && runtime[0] == '/')
		path = strdup(runtime);
	else if (home == NULL || home[0] != '/' || asprintf(&path, "%s/.cache", home) < 0)
		return agent_error_set(err, -ENOENT, "token.folder", "neither XDG_RUNTIME_DIR nor HOME says where to keep the session");
	if (path == NULL)
		return agent_error_set(err, -ENOMEM, "token.folder", "no memory");
	if (is_made)
		(void)mkdir(path, 0700);
	r = dir_open(path, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
		close(fd);
		return agent_error_set(err, -EPERM, "token.folder", "%s must belong to you and be writable for nobody else", path);
	}
	return fd;
}

char *token_load(const char *socket)
{
	_cleanup_close_ int fd = open_folder(false, NULL);
	char *text = NULL, *newline, *token = NULL;
	size_t size;

	if (fd < 0 || file_read_at(fd, TOKEN_FILE, TOKEN_FILE_MAX, &text, &size, NULL) < 0)
		return NULL;
	newline = strchr(text, '\n');
	if (newline != NULL && (size_t)(newline - text) == strlen(socket) && memcmp(text, socket, strlen(socket)) == 0 &&
	    strspn(newline + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == strcspn(newline + 1, "\n"))
		token = strndup(newline + 1, strcspn(newline + 1, "\n"));
	wipe(text, size);
	free(text);
	return token;
}

int token_store(const char *socket, const char *token)
{
	_cleanup_error_ struct agent_error *err = NULL;
	_cleanup_close_ int fd = open_folder(true, &err);
	char text[TOKEN_FILE_MAX];
	int n = snprintf(text, sizeof(text), "%s\n%s\n", socket, token);
	int r = fd < 0 ? fd : n < 0 || (size_t)n >= sizeof(text) ? -ENAMETOOLONG : file_replace_at(fd, TOKEN_FILE, 0600, text, (size_t)n, &err);

	wipe(text, sizeof(text));
	if (r < 0)
		fprintf(stderr, "agentctl: cannot keep the session: %s\n", err != NULL ? agent_error_message(err) : strerror(-r));
	return r;
}

void token_forget(void)
{
	_cleanup_close_ int fd = open_folder(false, NULL);

	if (fd >= 0)
		(void)unlinkat(fd, TOKEN_FILE, 0);
}

void token_free(char *token)
{
	if (token != NULL)
		wipe(token, strlen(token));
	free(token);
}
