/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/ctl/output.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agentd/ctl/commands.h"
#include "base/file.h"
#include "base/macro.h"

void print_text(FILE *out, const char *text)
{
	if (text == NULL) {
		fputc('-', out);
		return;
	}
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		/* C1 controls are 0xc2 0x80..0x9f in UTF-8. */
		if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
			fputc('?', out);
			p++;
		} else {
			fputc(*p < 0x20 || *p == 0x7f ? '?' : *p, out);
		}
	}
}

void print_padded(const char *text, int width)
{
	print_text(stdout, text);
	for (int n = (int)strlen(text == NULL ? "-" : text); n < width; n++)
		fputc(' ', stdout);
}

void print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT);
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
