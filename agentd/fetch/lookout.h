/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_LOOKOUT_H
#define FETCH_LOOKOUT_H
/* One look at the source of updates, in a thread of its own: the real wire below hawkbit.c and index.c. */
#include "agentd/common/settings.h"
#include "agentd/common/tls_policy.h"
#include "agentd/fetch/source.h"

#include <agent/signer.h>

struct lookout_options {
	const struct settings *settings; /* lent until lookout_free() */
	const struct device *device;
	unsigned n_failures;
	const char *ca_file, *cert_file, *cert_pem; /* as for a download */
	const struct tls_policy *policy; /* lent until lookout_free() */
	struct agent_signer *signer;
	struct agent_time *time; /* lent until lookout_free() */
	int notify_fd;
};

struct lookout;

/* Copies the options. */
int lookout_start(const struct lookout_options *options, struct lookout **ret_lookout, struct agent_error **err);
/* Ended? Then the result, lent until lookout_free(). */
bool lookout_is_done(struct lookout *lookout, struct source_result **ret_result);
/* Seconds; 0: not known. */
struct lookout_time {
	uint64_t date_s, off_s;	 /* by the last answer of the server it is now @date_s, or up to @off_s later */
	uint64_t begin_s, end_s; /* newest signature on what vouches for it, and the end of its certificates */
};

/* When it is done. */
void lookout_get_time(const struct lookout *lookout, struct lookout_time *ret_time);
/* Aborts and waits for the thread, a second at most. */
struct lookout *lookout_free(struct lookout *lookout);

/* Address that the source is known by, for who may see our certificate and token; the caller frees it. NULL: out of memory. */
char *source_base(const struct settings *settings);

#endif
