/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/fetch/token.h"

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

static int open_token(const char *file, int *ret_fd, struct agent_error **err)
{
	_cleanup_free_ char *path = NULL;
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	if (file[0] == '/')
		path = strdup(file);
	else if (dir == NULL)
		return agent_error_set(err, -ENOENT, "source.token", "hawkbit.token_file \"%s\" is no absolute path, and there are no credentials of systemd", file);
	else if (strchr(file, '/') != NULL)
		return agent_error_set(err, -EINVAL, "source.token", "hawkbit.token_file \"%s\" is neither an absolute path nor a name", file);
	else if (asprintf(&path, "%s/%s", dir, file) < 0)
		path = NULL;
	if (path == NULL)
		return agent_error_set(err, -ENOMEM, "source.memory", "out of memory");
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*ret_fd < 0)
		return agent_error_set(err, -errno, "source.token", "hawkbit.token_file %s cannot be opened: %s", path, strerror(errno));
	return 0;
}

int token_read(const char *file, char ret_header[TOKEN_HEADER_SIZE], struct agent_error **err)
{
	_cleanup_close_ int fd = -1;
	char text[TOKEN_MAX + 2];
	struct stat st;
	ssize_t n;
	int r;

	r = open_token(file, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return agent_error_set(err, -EPERM, "source.token", "hawkbit.token_file %s is no regular file", file);
	/* Credentials are for this unit alone, by rights that the mode does not show. */
	if (file[0] == '/' && ((st.st_mode & 077) != 0 || (st.st_uid != geteuid() && st.st_uid != 0)))
		return agent_error_set(err, -EPERM, "source.token", "hawkbit.token_file %s has mode %04o: it must belong to the user of agentd-fetch, mode 0600",
				       file, (unsigned)st.st_mode & 07777);
	n = read_full(fd, text, sizeof(text));
	if (n > 0 && text[n - 1] == '\n')
		n--;
	r = 0;
	if (n <= 0 || n > TOKEN_MAX)
		r = agent_error_set(err, -EINVAL, "source.token", "hawkbit.token_file %s must hold 1 to %d letters and digits", file, TOKEN_MAX);
	for (ssize_t i = 0; r == 0 && i < n; i++)
		if (strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", text[i]) == NULL || text[i] == '\0')
			r = agent_error_set(err, -EINVAL, "source.token", "hawkbit.token_file %s holds something else than letters and digits", file);
	if (r == 0)
		snprintf(ret_header, TOKEN_HEADER_SIZE, "TargetToken %.*s", (int)n, text);
	wipe(text, sizeof(text));
	return r;
}
