/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wire_error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"

#define E(name) { name, #name }
static const struct { int number; const char *name; } errnos[] = {
	E(EPERM), E(ENOENT), E(EINTR), E(EIO), E(ENXIO), E(EBADF), E(EAGAIN), E(ENOMEM), E(EACCES), E(EBUSY), E(EEXIST), E(EXDEV),
	E(ENODEV), E(ENOTDIR), E(EISDIR), E(EINVAL), E(ENFILE), E(EMFILE), E(EFBIG), E(ENOSPC), E(EROFS), E(EPIPE), E(ERANGE),
	E(ENAMETOOLONG), E(ENOSYS), E(ENOTEMPTY), E(ENODATA), E(ETIME), E(EPROTO), E(EBADMSG), E(EOVERFLOW), E(EMSGSIZE),
	E(EPROTONOSUPPORT), E(EOPNOTSUPP), E(EADDRINUSE), E(ENETDOWN), E(ENETUNREACH), E(ECONNABORTED), E(ECONNRESET), E(ENOTCONN),
	E(ESHUTDOWN), E(ETIMEDOUT), E(ECONNREFUSED), E(EHOSTDOWN), E(EHOSTUNREACH), E(EALREADY), E(EINPROGRESS), E(ESTALE),
	E(EDQUOT), E(ECANCELED), E(ENOKEY), E(EKEYEXPIRED), E(EKEYREVOKED), E(EKEYREJECTED), E(EUCLEAN), E(EREMOTEIO),
};
#undef E

void wire_error_name(int r, const struct agent_error *err, char *ret_name, size_t size)
{
	const char *number = "EIO";
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
		if (errnos[i].number == -r)
			number = errnos[i].name;
	n = (size_t)snprintf(ret_name, size, WIRE_ERROR_PREFIX "%s.", number);
	snprintf(ret_name + n, size - n, "%s", err == NULL ? "error.none" : agent_error_name(err));
	for (char *p = ret_name + n; *p != '\0'; p++)
		if (*p == '-')
			*p = '_';
}

int wire_error_set(const char *name, const char *message, struct agent_error **err)
{
	char dotted[64];
	const char *dot;
	int r = -EIO;

	name = strncmp(name, WIRE_ERROR_PREFIX, strlen(WIRE_ERROR_PREFIX)) == 0 ? name + strlen(WIRE_ERROR_PREFIX) : "";
	dot = strchr(name, '.');
	if (dot == NULL)
		return agent_error_set(err, -EIO, "bus.protocol", "the peer answered with a malformed error");
	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++)
		if (strlen(errnos[i].name) == (size_t)(dot - name) && memcmp(errnos[i].name, name, (size_t)(dot - name)) == 0)
			r = -errnos[i].number;
	snprintf(dotted, sizeof(dotted), "%s", dot + 1);
	for (char *p = dotted; *p != '\0'; p++)
		if (*p == '_')
			*p = '-';
	return agent_error_set(err, r, dotted, "%s", message == NULL ? "no explanation" : message);
}
