/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/common/fill_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

char *settings_fill_in(const struct settings *settings, const char *text, bool escape)
{
	const struct {
		const char *word, *value;
	} words[] = {
		{ "{serial}", settings->device.serial }, { "{product}", settings->device.product }, { "{model}", settings->device.model },
	};
	char *out = NULL;
	size_t size = 0, i;
	FILE *f = open_memstream(&out, &size);

	if (f == NULL)
		return NULL;
	while (*text != '\0') {
		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (strncmp(text, words[i].word, strlen(words[i].word)) == 0)
				break;
		if (i == ARRAY_SIZE(words)) {
			fputc(*text++, f);
			continue;
		}
		for (const char *p = words[i].value; *p != '\0'; p++) {
			if (escape && (*p == ',' || *p == '\\'))
				fputc('\\', f);
			fputc(*p, f);
		}
		text += strlen(words[i].word);
	}
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}
