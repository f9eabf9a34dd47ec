/* SPDX-License-Identifier: Apache-2.0 */
/* agentd-mgmt: the management API. It owns the listening sockets that it is given, and nothing else. */
#include <errno.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "agentd/common/sandbox.h"
#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/mgmt.h"
#include "agentd/mgmt/setup.h"
#include "base/macro.h"

static size_t take_fds(const char *name, int *ret_fds)
{
	int n = service_listen_fds(name, ret_fds, LISTEN_MAX);

	return n < 0 ? 0 : (size_t)n;
}

static void close_fds(const int *fds, size_t *n)
{
	while (*n > 0)
		close(fds[--*n]);
}

static int start(struct service *service, struct mgmt **ret_mgmt, struct agent_error **err)
{
	struct listener_fds fds = { .n_unix = 0 };
	struct mgmt *m;
	int r;

	fds.n_unix = take_fds("mgmt-unix", fds.unix_fds);
	fds.n_https = take_fds("mgmt-https", fds.https_fds);
	fds.n_client = take_fds("mgmt-client", fds.client_fds);
	fds.n_plain = take_fds("mgmt-http", fds.plain_fds);
	fds.n_setup = take_fds("mgmt-setup", fds.setup_fds);
	fds.n_setup_plain = take_fds("mgmt-setup-http", fds.setup_plain_fds);
	if (fds.n_unix == 0 && fds.n_https == 0)
		return agent_error_set(err, -ENOENT, "mgmt.sockets",
				       "no listening socket was handed over; start agentd-mgmt through its socket units or \"agentd --supervise\"");
	r = mgmt_new(service->settings, service->event, &m, err);
	if (r < 0)
		return r;
	*ret_mgmt = m;
	if (!service->settings->mgmt.https) {
		close_fds(fds.https_fds, &fds.n_https);
		close_fds(fds.client_fds, &fds.n_client);
		close_fds(fds.setup_fds, &fds.n_setup);
	}
	/* It leads to HTTPS and has nothing else to say. */
	if (fds.n_https == 0)
		close_fds(fds.plain_fds, &fds.n_plain);
	if (fds.n_https == 0)
		close_fds(fds.setup_plain_fds, &fds.n_setup_plain);
	if (fds.n_client > 0 && clients_new(m) < 0)
		return agent_error_set(err, -ENOMEM, "mgmt.start", "out of memory");
	if (fds.n_https + fds.n_client > 0) {
		r = tls_new(m, err);
		if (r < 0)
			return r;
	}
	r = sandbox_enter(SANDBOX_MGMT, service->settings, NULL, 0, err);
	if (r < 0)
		return r;
	r = setup_new(m, &fds, err);
	if (r < 0)
		return r;
	r = listener_new(m, &fds, err);
	if (r < 0)
		return r;
	core_connect(m);
	return setup_close(m, err);
}

int main(int argc, char **argv)
{
	struct service service;
	struct mgmt *m = NULL;
	_cleanup_error_ struct agent_error *err = NULL;
	int r;

	service_start(&service, "agentd-mgmt", "Management API of the security agent, on a Unix socket and HTTPS.", argc, argv);
	r = start(&service, &m, &err);
	if (r < 0) {
		service_log(LOG_ERR, "%s (%s)", agent_error_message(err), agent_error_name(err));
		mgmt_free(m);
		service_stop(&service);
		return r == -ENOENT ? EXIT_CODE_UNAVAILABLE : EXIT_CODE_OS;
	}
	r = service_run(&service);
	mgmt_free(m);
	service_stop(&service);
	return r < 0 ? EXIT_CODE_OS : EXIT_SUCCESS;
}
