/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_COMMAND_WINDOW_H
#define CORE_COMMAND_WINDOW_H
/*
 * Which commands were taken already. STATE_DIR/commands/window: 512 records of 64 bytes, made once, written in place and synced before a
 * command is carried out. A command is forgotten no earlier than at its end, and then only for want of room; what ended by then is refused
 * for ever, so that a clock that is set back lets nothing in twice. Damage is answered by silence until all that could have been in
 * the damaged record has ended.
 */
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#define COMMAND_WINDOW_SLOTS 512
#define COMMAND_WINDOW_FILE "window"

struct command_window;

/* @dir_fd is lent. Makes the file if there is none. -errno command.window. */
int command_window_open(int dir_fd, struct command_window **ret_window, struct agent_error **err);
struct command_window *command_window_close(struct command_window *window);
/*
 * Take @id for good, before it is carried out: durable after a return of 0. @ahead_s: the furthest end that is accepted. @keep: so many places are left
 * to others.
 *
 * -EEXIST command.replayed, -ESTALE command.forgotten (nobody knows any more whether it was taken), -EBUSY command.window (full of commands that
 * have not ended), -errno command.window (it cannot be written down, so it is not to be carried out).
 */
int command_window_take(struct command_window *window, const char *id, uint64_t expires_s, uint64_t now_s, uint64_t ahead_s,
			size_t keep, struct agent_error **err);

#endif
