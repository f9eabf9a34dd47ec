/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on the topic of commands; what was accepted is turned into words and back, which must not change it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agentd/common/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct command *c)
{
	char *words[COMMAND_ARGS_MAX + 1] = { NULL };
	struct command again;

	for (size_t i = 0; c->type->args[i].name != NULL; i++)
		words[i] = (char *)(uintptr_t)c->words[i];
	if (command_from_words(c->id, c->device, c->expires_s, c->type->name, words, &again, NULL) < 0 || strcmp(again.id, c->id) != 0 ||
	    again.type != c->type)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command_message m;

	if (command_message_parse((const char *)data, size, &m, NULL) >= 0)
		check(&m.command);
	command_message_clear(&m);
	return 0;
}
