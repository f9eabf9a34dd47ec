/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_SCRIPT_WIRE_H
#define COMMON_SCRIPT_WIRE_H
/*
 * Between agentd-install and agentd-script, programs of one build on one machine: one connection for one script. A request with the
 * script's memfd beside it (SCM_RIGHTS), then an answer when nothing of the script runs any more. Whoever hangs up before ends it.
 */
#include <stdint.h>

#define SCRIPT_SOCKET "script.sock"
#define SCRIPT_WIRE_VERSION 1
#define SCRIPT_SIZE_MAX (64 * 1024)
#define SCRIPT_LINE_MAX 160	/* of its output, in the log and in the answer */
#define SCRIPT_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

enum script_phase { SCRIPT_BEFORE, SCRIPT_AFTER };

struct script_request {
	uint32_t version;
	uint32_t phase;		/* enum script_phase */
	uint32_t has_argument;	/* "preinst" or "postinst" */
	char name[256];		/* for the log; printable ASCII */
};

enum script_end {
	SCRIPT_EXITED,	 /* value: its exit status */
	SCRIPT_SIGNALLED, /* value: the signal */
	SCRIPT_TIMEOUT,
	SCRIPT_FULL,	 /* it wrote more into its folder than it may, or shut a part of it */
	SCRIPT_REFUSED,	 /* it was not started; line: why */
	SCRIPT_STOPPED	 /* agentd-script was told to stop */
};

struct script_answer {
	uint32_t version;
	uint32_t end;	/* enum script_end */
	int32_t value;
	char line[SCRIPT_LINE_MAX + 1];	/* the last one it wrote, ASCII */
};

#endif
