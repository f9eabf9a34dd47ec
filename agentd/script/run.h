/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCRIPT_RUN_H
#define SCRIPT_RUN_H
/* One script from fork() to the last of what it left behind. */
#include "agentd/common/script_wire.h"
#include "agentd/common/settings.h"

/*
 * End every process of our user but ourselves. Only where that user is ours alone; main() has seen to that.
 */
void run_kill_all(void);
/*
 * Run the script in @script_fd, sealed, and fill @ret. @peer_fd is who waits for it: when he hangs up, it ends. Feeds the watchdog.
 * Blocks for update.script_timeout_s and a little. When it returns, nothing of the script runs and its folder is empty.
 */
void run_script(const struct settings *settings, const char *folder, const struct script_request *request, int script_fd, int peer_fd,
		struct script_answer *ret);

#endif
