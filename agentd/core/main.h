/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_MAIN_H
#define CORE_MAIN_H
/* The ways to run agentd; each returns an exit code of service.h. */
#include "agentd/core/core.h"
#include "agentd/core/supervise.h"

struct provision_options {
	const char *csr_subject, *csr_out; /* both or neither */
	bool is_keys_only;		   /* no factory secret yet */
	bool is_secret_given;		   /* it comes on standard input and is not printed */
};

int core_main(const char *purpose, int argc, char **argv);
int provision_main(const char *purpose, const struct provision_options *options, int argc, char **argv);

/* At the device, with core stopped: being able to run this counts as standing before it. */
int reset_main(const char *purpose, int argc, char **argv);
/* The first password, from a provisioning file on standard input and its signature on descriptor 3. */
int activate_main(const char *purpose, int argc, char **argv);
/* In recovery: another factory secret, printed. */
int renew_main(const char *purpose, int argc, char **argv);

/* Exit code for an error that stops the start. */
int exit_code_for(int r);

#endif
