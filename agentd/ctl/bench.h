/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H
/*
 * Steps at the bench, with the agent stopped: agentctl starts agentd itself, as the user that owns the agent's state. There
 * is no way to these steps over a socket, so nothing that listens anywhere can ask for them.
 */
#include "agentd/common/settings.h"
#include "agentd/ctl/http.h"
#include "base/secret.h"

/*
 * Settings of this agent, if the caller may act for it: root, or the owner of its state. CTL_OK, or an exit code after saying
 * what is wrong; the caller frees with settings_free().
 */
int bench_begin(const struct ctl *ctl, struct settings **ret_settings);

/*
 * Run agentd with @args (NULL-terminated, without --config) and wait for its end. @inputs become its descriptors 0 and 3, -1 for none; what it
 * prints comes back in @output with a NUL after it, and its complaints go to stderr. Returns an exit code of CTL_*.
 */
int bench_run(const struct ctl *ctl, const struct settings *settings, const char *const *args, const int inputs[2], char *output, size_t output_size);

/* The value of "NAME: value" in what agentd printed; false if there is none or it is too long. */
bool bench_get(const char *output, const char *name, char *ret_value, size_t size);

#endif
