/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTALL_SCRIPT_H
#define INSTALL_SCRIPT_H
/* Has agentd-script run what agentd-install verified and may not start itself. */
#include <agent/update.h>

#include "agentd/common/settings.h"

/* Hand @script over and wait for its end, of it and all it started. -EPERM update.script with how it ended and its last line, else -errno update.script. */
int script_run(const struct settings *settings, const struct agent_update_script *script, struct agent_error **err);

#endif
