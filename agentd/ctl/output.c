/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/output.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agentd/ctl/commands.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/text.h"

void print_text(FILE *out, const char *text)
{
	if (text == NULL) {
		fputc('-', out);
		return;
	}
	while (*text != '\0') {
		size_t n = text_printable(text);

		if (n > 0) {
			fwrite(text, 1, n, out);
			text += n;
			continue;
		}
		fputc('?', out);
		do /* all of a character is one mark */
			text++;
		while (((unsigned char)*text & 0xc0) == 0x80);
	}
}

void print_padded(const char *text, int width)
{
	print_text(stdout, text);
	for (int n = (int)strlen(text == NULL ? "-" : text); n < width; n++)
		fputc(' ', stdout);
}

/* One character that a terminal must not see; a JSON text has them in strings only. */
static size_t print_escaped(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	uint32_t c = n == 1 ? s[0] : s[0] & 0x7fu >> n;

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3fu);
	if (c >= 0x10000) {
		printf("\\u%04" PRIX32, 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	printf("\\u%04" PRIX32, c);
	return n;
}

void print_json(const json_t *value)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_COMPACT);

	for (const char *p = text == NULL ? "" : text; *p != '\0';) {
		size_t n = text_printable(p);

		if (n > 0)
			fwrite(p, 1, n, stdout);
		p += n > 0 ? n : print_escaped(p);
	}
	fputc('\n', stdout);
	fflush(stdout);
}

bool reader_is_gone(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0;
}

void print_done(const struct ctl *ctl, const char *sentence, const char *json)
{
	puts(ctl->is_json ? json : sentence);
}

void print_value(FILE *out, const json_t *value)
{
	size_t i;
	const json_t *item;

	switch (json_typeof(value)) {
	case JSON_STRING:
		print_text(out, json_string_value(value));
		break;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_TRUE:
		fputs("yes", out);
		break;
	case JSON_FALSE:
		fputs("no", out);
		break;
	case JSON_ARRAY:
		json_array_foreach(value, i, item) {
			if (i > 0)
				fputs(", ", out);
			print_value(out, item);
		}
		break;
	default:
		fputc('-', out);
	}
}

void print_fields(const json_t *object, const struct field *fields, size_t n)
{
	size_t width = 0;

	for (size_t i = 0; i < n; i++)
		if (json_object_get(object, fields[i].member) != NULL && strlen(fields[i].label) > width)
			width = strlen(fields[i].label);
	for (size_t i = 0; i < n; i++) {
		const json_t *value = json_object_get(object, fields[i].member);

		if (value == NULL)
			continue;
		printf("%-*s  ", (int)width, fields[i].label);
		print_value(stdout, value);
		fputc('\n', stdout);
	}
}

void print_time(FILE *out, uint64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char text[32] = "-";

	if (gmtime_r(&t, &tm) != NULL)
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &tm);
	fputs(text, out);
}

int text_write(const char *file, const char *text)
{
	_cleanup_error_ struct agent_error *err = NULL;

	if (file == NULL) {
		fputs(text, stdout);
		return CTL_OK;
	}
	if (file_replace_at(AT_FDCWD, file, 0644, text, strlen(text), &err) >= 0)
		return CTL_OK;
	fprintf(stderr, "agentctl: %s\n", agent_error_message(err));
	return CTL_FAILED;
}
