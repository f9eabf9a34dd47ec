/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LISTS_H
#define CORE_LISTS_H
/*
 * Revocation lists that vanish. Where lists need not be there, one that goes lets in whom it revoked, and nothing fails: so what was there is kept in
 * STATE_DIR/events/lists, and looked for at the start and every 10 minutes.
 */
#include "agentd/core/core.h"

struct lists;

/* Look, and go on. Trouble is logged and stops nothing. */
void lists_open(struct core *core);
void lists_stop(struct core *core);

/* ---- without a core, for tests ---------------------------------------------------------------------------------------- */

/* One path a line: lists of @settings that exist. NULL: no memory. */
char *lists_find(const struct settings *settings);
/* Of the lines of @before, those that are missing in @now although the settings still ask for them: told one by one. What cannot be seen is added to *now. */
int lists_compare(const struct settings *settings, const char *before, char **now, void (*gone)(void *userdata, const char *path), void *userdata);

#endif
