/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/pattern.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

#define STEPS_MAX 1000
#define DEPTH_MAX 32
#define TIMES_MAX 255	/* RE_DUP_MAX of POSIX */

enum step_kind { STEP_BYTE, STEP_ANY, STEP_BRACKET, STEP_WORD, STEP_NO_WORD, STEP_BLANK, STEP_NO_BLANK, STEP_BEGIN, STEP_END, STEP_GO, STEP_FORK,
		 STEP_FITS };

struct step {
	uint8_t kind, byte;
	uint16_t to, or_to;	/* STEP_GO, STEP_FORK */
	const char *bracket;	/* behind "[" */
};

struct pattern {
	const char *at, *fault;
	unsigned depth;
	size_t n;
	struct step steps[STEPS_MAX + 1], block[STEPS_MAX];
};

static void fail(struct pattern *p, const char *fault)
{
	if (p->fault == NULL)
		p->fault = fault;
}

static void add(struct pattern *p, struct step step)
{
	if (p->n == STEPS_MAX)
		fail(p, "it is too long when its repetitions are written out");
	else
		p->steps[p->n++] = step;
}

/* ---- "[...]" ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*has)(int ch);
} classes[] = {
	{ ":alpha:]", isalpha }, { ":digit:]", isdigit }, { ":alnum:]", isalnum }, { ":upper:]", isupper }, { ":lower:]", islower }, { ":space:]", isspace },
	{ ":blank:]", isblank }, { ":punct:]", ispunct }, { ":print:]", isprint }, { ":graph:]", isgraph }, { ":cntrl:]", iscntrl }, { ":xdigit:]", isxdigit },
};

/* "a", "[.a.]" or "[=a=]" at *@p; -1 for anything else. */
static int element_byte(const char **p)
{
	const char *at = *p;

	if (at[0] != '[' || (at[1] != '.' && at[1] != '=' && at[1] != ':')) {
		*p = at + 1;
		return (unsigned char)at[0];
	}
	if (at[1] == ':' || at[2] == '\0' || at[3] != at[1] || at[4] != ']')
		return -1;
	*p = at + 5;
	return (unsigned char)at[2];
}

/* One element of the list at *@p: is @byte in it? -1 if it is no element. */
static int element_has(const char **p, unsigned char byte)
{
	int low, high;

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		size_t n = strlen(classes[i].name);

		if ((*p)[0] == '[' && strncmp(*p + 1, classes[i].name, n) == 0) {
			*p += 1 + n;
			return byte < 0x80 && classes[i].has(byte) != 0;
		}
	}
	low = high = element_byte(p);
	if (low >= 0 && (*p)[0] == '-' && (*p)[1] != ']' && (*p)[1] != '\0') {
		(*p)++;
		high = element_byte(p);
		if (high < low)
			return -1;
	}
	return low < 0 ? -1 : byte >= low && byte <= high;
}

/* @p is behind "[". -1: it has no end, or holds what is no element. */
static int bracket_has(const char *p, unsigned char byte, const char **ret_end)
{
	bool is_not = *p == '^', is_first = true;
	int is_in = 0;

	for (p += is_not; is_first || *p != ']'; is_first = false) {
		int r = *p == '\0' ? -1 : element_has(&p, byte);

		if (r < 0)
			return -1;
		is_in |= r;
	}
	*ret_end = p + 1;
	return is_in != is_not;
}

/* ---- into steps --------------------------------------------------------------------------------------------------------- */

static void parse_all(struct pattern *p);

static void parse_escape(struct pattern *p)
{
	static const char special[] = "wWsS";
	const char *found = *p->at == '\0' ? NULL : strchr(special, *p->at);

	if (*p->at == '\0')
		fail(p, "nothing follows a backslash");
	else if (*p->at >= '1' && *p->at <= '9')
		fail(p, "it refers back to a group");
	else if (strchr("bB<>`'", *p->at) != NULL)
		fail(p, "it has a word boundary of GNU");
	else if (found != NULL)
		add(p, (struct step){ .kind = (uint8_t)(STEP_WORD + (found - special)) });
	else
		add(p, (struct step){ .kind = STEP_BYTE, .byte = (uint8_t)*p->at });
	p->at += *p->at != '\0';
}

static void parse_group(struct pattern *p)
{
	if (p->depth == DEPTH_MAX) {
		fail(p, "its groups are nested too deep");
		return;
	}
	p->depth++;
	parse_all(p);
	p->depth--;
	if (*p->at != ')')
		fail(p, "a group is not closed");
	p->at += *p->at == ')';
}

static void parse_atom(struct pattern *p)
{
	const char *end;
	char ch = *p->at++;

	switch (ch) {
	case '(':
		parse_group(p);
		break;
	case '[':
		if (bracket_has(p->at, 0, &end) < 0) {
			fail(p, "a list in brackets has no end or holds what is not known");
			return;
		}
		add(p, (struct step){ .kind = STEP_BRACKET, .bracket = p->at });
		p->at = end;
		break;
	case '\\':
		parse_escape(p);
		break;
	case '*':
	case '+':
	case '?':
	case '{':
		fail(p, "a repetition follows nothing, or another one");
		break;
	case '.':
	case '^':
	case '$':
		add(p, (struct step){ .kind = ch == '.' ? STEP_ANY : ch == '^' ? STEP_BEGIN : STEP_END });
		break;
	default:
		add(p, (struct step){ .kind = STEP_BYTE, .byte = (uint8_t)ch });
		break;
	}
}

static unsigned parse_number(struct pattern *p, unsigned otherwise)
{
	size_t digits = strspn(p->at, "0123456789");
	unsigned long value = digits == 0 ? otherwise : digits > 3 ? TIMES_MAX + 1 : strtoul(p->at, NULL, 10);

	p->at += digits;
	if (value > TIMES_MAX)
		fail(p, "it repeats more than 255 times");
	return (unsigned)value;
}

/* @p->at is behind "{". *@ret_most 0: for ever. */
static void parse_bound(struct pattern *p, unsigned *ret_least, unsigned *ret_most)
{
	bool has_digits = *p->at >= '0' && *p->at <= '9';

	*ret_least = *ret_most = parse_number(p, 0);
	if (*p->at == ',') {
		p->at++;
		has_digits = has_digits || (*p->at >= '0' && *p->at <= '9');
		*ret_most = parse_number(p, 0);
	}
	if (*p->at != '}' || !has_digits || (*ret_most == 0 && p->at[-1] != ',') || (*ret_most != 0 && *ret_most < *ret_least))
		fail(p, "a bound in braces is not one of 1 to 255");
	p->at += *p->at == '}';
}

/* What was added from @from on, and jumps within itself and to its end only, once more. */
static void add_block(struct pattern *p, size_t from, size_t n)
{
	size_t by = p->n - from;

	for (size_t i = 0; i < n && p->fault == NULL; i++) {
		struct step step = p->block[i];

		step.to = (uint16_t)(step.to + by);
		step.or_to = (uint16_t)(step.or_to + by);
		add(p, step);
	}
}

/* The steps from @from on, @least times to @most times. */
static void repeat(struct pattern *p, size_t from, unsigned least, unsigned most)
{
	size_t n = p->n - from, end;

	memcpy(p->block, p->steps + from, n * sizeof(p->block[0]));
	p->n = from;
	for (unsigned i = 0; i < least && p->fault == NULL; i++)
		add_block(p, from, n);
	if (most == 0) {
		size_t top = p->n;

		add(p, (struct step){ .kind = STEP_FORK, .to = (uint16_t)(top + 1), .or_to = (uint16_t)(top + n + 2) });
		add_block(p, from, n);
		add(p, (struct step){ .kind = STEP_GO, .to = (uint16_t)top });
		return;
	}
	end = p->n + (most - least) * (n + 1);
	for (unsigned i = least; i < most && p->fault == NULL; i++) {
		add(p, (struct step){ .kind = STEP_FORK, .to = (uint16_t)(p->n + 1), .or_to = (uint16_t)end });
		add_block(p, from, n);
	}
}

static void parse_piece(struct pattern *p)
{
	size_t from = p->n;
	unsigned least = 0, most = 0;
	char ch;

	parse_atom(p);
	ch = *p->at;
	if (p->fault != NULL || ch == '\0' || strchr("*+?{", ch) == NULL)
		return;
	if (p->n > from && (p->steps[from].kind == STEP_BEGIN || p->steps[from].kind == STEP_END)) {
		fail(p, "a repetition follows nothing, or another one");
		return;
	}
	p->at++;
	if (ch == '{')
		parse_bound(p, &least, &most);
	else
		least = ch == '+';
	if (ch == '?')
		most = 1;
	if (p->fault == NULL)
		repeat(p, from, least, most);
}

/* Branches up to the end of the text or of the group. */
static void parse_all(struct pattern *p)
{
	size_t first = p->n, fork;

	for (bool is_more = true; is_more && p->fault == NULL;) {
		fork = p->n;
		add(p, (struct step){ .kind = STEP_GO, .to = (uint16_t)(p->n + 1) });
		while (p->fault == NULL && *p->at != '\0' && *p->at != '|' && *p->at != ')')
			parse_piece(p);
		is_more = *p->at == '|' && p->fault == NULL;
		if (!is_more)
			break;
		p->at++;
		add(p, (struct step){ .kind = STEP_GO, .byte = 1 });	/* to the end of all branches */
		p->steps[fork].kind = STEP_FORK;
		p->steps[fork].or_to = (uint16_t)p->n;
	}
	for (size_t i = first; i < p->n; i++) {
		if (p->steps[i].kind == STEP_GO && p->steps[i].byte == 1) {
			p->steps[i].byte = 0;
			p->steps[i].to = (uint16_t)p->n;
		}
	}
}

/* ---- through a text ----------------------------------------------------------------------------------------------------- */

struct places {
	bool has[STEPS_MAX + 1];
	uint16_t list[STEPS_MAX + 1];
	size_t n;
};

/* All places that are reached from @first without a byte. Each is in the list once, so the stack never holds more than there are. */
static void places_add(struct places *places, const struct pattern *p, size_t first, bool at_begin, bool at_end)
{
	size_t i = places->n;

	if (places->has[first])
		return;
	places->has[first] = true;
	places->list[places->n++] = (uint16_t)first;
	for (; i < places->n; i++) {
		const struct step *step = &p->steps[places->list[i]];
		size_t next[2] = { step->to, step->or_to };
		size_t n_next = step->kind == STEP_GO ? 1 : step->kind == STEP_FORK ? 2 : 0;

		if ((step->kind == STEP_BEGIN && at_begin) || (step->kind == STEP_END && at_end)) {
			next[0] = (size_t)(step - p->steps) + 1;
			n_next = 1;
		}
		for (size_t k = 0; k < n_next; k++) {
			if (places->has[next[k]])
				continue;
			places->has[next[k]] = true;
			places->list[places->n++] = (uint16_t)next[k];
		}
	}
}

static bool step_takes(const struct step *step, unsigned char byte)
{
	const char *end;

	switch ((enum step_kind)step->kind) {
	case STEP_BYTE:
		return step->byte == byte;
	case STEP_ANY:
		return true;
	case STEP_BRACKET:
		return bracket_has(step->bracket, byte, &end) > 0;
	case STEP_WORD:
	case STEP_NO_WORD:
		return (byte < 0x80 && (isalnum(byte) || byte == '_')) == (step->kind == STEP_WORD);
	case STEP_BLANK:
	case STEP_NO_BLANK:
		return (byte < 0x80 && isspace(byte)) == (step->kind == STEP_BLANK);
	case STEP_BEGIN:
	case STEP_END:
	case STEP_GO:
	case STEP_FORK:
	case STEP_FITS:
		break;
	}
	return false;
}

static bool run(const struct pattern *p, const char *text)
{
	struct places places[2] = { 0 }, *now = &places[0], *then = &places[1];

	places_add(now, p, 0, true, *text == '\0');
	for (; *text != '\0' && now->n > 0; text++) {
		struct places *spare = now;

		memset(then, 0, sizeof(*then));
		for (size_t i = 0; i < now->n; i++)
			if (step_takes(&p->steps[now->list[i]], (unsigned char)*text))
				places_add(then, p, now->list[i] + 1u, false, text[1] == '\0');
		now = then;
		then = spare;
	}
	return now->has[p->n - 1];
}

bool pattern_matches(const char *pattern, const char *text, const char **ret_fault)
{
	_cleanup_free_ struct pattern *p = calloc(1, sizeof(*p));
	bool fits = false;

	if (ret_fault != NULL)
		*ret_fault = p == NULL ? "there is no memory for it" : NULL;
	if (p == NULL)
		return false;
	p->at = pattern;
	parse_all(p);
	if (*p->at == ')')
		fail(p, "a group is closed that was not opened");
	if (p->fault == NULL) {
		p->steps[p->n++] = (struct step){ .kind = STEP_FITS };
		fits = run(p, text);
	}
	if (ret_fault != NULL)
		*ret_fault = p->fault;
	return fits;
}
