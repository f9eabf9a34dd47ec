/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WIRE_ERROR_H
#define BASE_WIRE_ERROR_H
/*
 * A struct agent_error on its way between programs: "ERRNO_NAME.dotted_name" (dashes as underscores, which is all that a
 * D-Bus error name allows) and the sentence. The errno travels by name because numbers differ between architectures.
 */
#include <stddef.h>

#include <agent/error.h>

#define WIRE_ERROR_PREFIX "org.libagent.Error."

/* WIRE_ERROR_PREFIX "EBADMSG.update.no_slot". An errno that is not in the list travels as EIO. */
void wire_error_name(int r, const struct agent_error *err, char *ret_name, size_t size);
/* What such a name means; @name with the prefix. Returns the negative errno; -EIO "bus.protocol" if @name is malformed. */
int wire_error_set(const char *name, const char *message, struct agent_error **err);

#endif
