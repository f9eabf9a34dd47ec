/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_DOWNLOAD_H
#define FETCH_DOWNLOAD_H
/*
 * One bundle in a thread of its own: the installation asks over a socket for ranges (agentd/common/asks.h), each becomes a Range request
 * over HTTPS, and a connection that breaks is made again and goes on where it stopped. What comes is counted, not looked at.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/signer.h>

struct download_options {
	const char *url;
	const char *home;	      /* address of the server that we are known to, or NULL: that of url. Others see no certificate and no token */
	const char *authorization;    /* value of the header, for home only; or NULL */
	bool may_leave;		      /* follow a redirection to another server */
	uint64_t size;		      /* what was announced; 0: not */
	const char *ca_file;
	const struct tls_policy *policy; /* lent until download_free() */
	const char *cert_file;	      /* or NULL */
	const char *cert_pem;	      /* the certificate itself, instead of the file; or NULL */
	struct agent_signer *signer;  /* or NULL; used in the thread */
	unsigned connect_timeout_s;
	struct agent_time *time; /* lent until download_free() */
	int socket_fd;	/* asks in, bytes out; stays the caller's, open until download_free() */
	int notify_fd;	/* eventfd written at the end; lent */
};

struct download;

/* Copies the options. -EINVAL "fetch.url", -ENOMEM. */
int download_start(const struct download_options *options, struct download **ret_download, struct agent_error **err);
/* Ended? Then 0 and the bytes that came from the server, or the reason: fetch.*, tls.*. */
bool download_is_done(struct download *download, int *ret_result, uint64_t *ret_bytes, struct agent_error **err);
/* Aborts and waits for the thread. */
struct download *download_free(struct download *download);

#endif
