/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "password/rules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include <agent/password.h>

#include "base/macro.h"
#include "password/fold.h"
#include "password/words.h"

#define RUN_MIN 5		/* "1234" may be part of a good password, "12345" counts as a run */
#define FREE_DIGITS 8		/* digits beside well-known words that do not make them better: a year, a date */
#define LEFTOVER_MIN 5		/* letters beside well-known words that do */
#define CONTEXT_MIN 4		/* shorter names occur inside ordinary words */
/* Canonical decomposition makes at most 4 code points of one, and 3 times the bytes (UAX #15, section 9). */
#define DECOMPOSED_MAX (4 * AGENT_PASSWORD_MAX)

struct reasons {
	char text[768];
	size_t n;
};

static void add_reason(struct reasons *reasons, const char *fmt, ...) AGENT_PRINTF(2, 3);
static void add_reason(struct reasons *reasons, const char *fmt, ...)
{
	size_t left = sizeof(reasons->text) - reasons->n;
	va_list ap;
	int n = reasons->n > 0 ? snprintf(reasons->text + reasons->n, left, "; ") : 0;

	if ((size_t)n >= left)
		return;
	reasons->n += (size_t)n;
	left -= (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(reasons->text + reasons->n, left, fmt, ap);
	va_end(ap);
	reasons->n += n < 0 ? 0 : (size_t)n >= left ? left - 1 : (size_t)n;
}

/* NFC as code points in @work, which is large enough for the re-encoding in place. */
static int decompose(const char *text, size_t size, struct secret *work, size_t *ret_n, struct agent_error **err)
{
	const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
	utf8proc_ssize_t n;

	if (size > AGENT_PASSWORD_MAX)
		return agent_error_set(err, -EINVAL, "password.text", "longer than %d characters", RULES_MAX_LENGTH);
	if (memchr(text, '\0', size) != NULL)
		return agent_error_set(err, -EINVAL, "password.text", "contains a NUL byte");
	if (secret_alloc(work, (DECOMPOSED_MAX + 1) * sizeof(utf8proc_int32_t)) < 0)
		return agent_error_set(err, -ENOMEM, "password.memory", "no memory to look at a password");
	n = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, (utf8proc_int32_t *)(void *)work->data, DECOMPOSED_MAX, options);
	if (n < 0 || n > DECOMPOSED_MAX)
		return agent_error_set(err, -EINVAL, "password.text", "not valid UTF-8");
	n = utf8proc_normalize_utf32((utf8proc_int32_t *)(void *)work->data, n, options);
	if (n < 0)
		return agent_error_set(err, -EINVAL, "password.text", "not valid UTF-8");
	*ret_n = (size_t)n;
	return 0;
}

int rules_normalise(const char *text, size_t size, struct secret *ret_text, struct agent_error **err)
{
	_cleanup_secret_ struct secret work = { 0 };
	utf8proc_ssize_t n_bytes;
	size_t n;
	int r = decompose(text, size, &work, &n, err);

	if (r < 0)
		return r;
	n_bytes = utf8proc_reencode((utf8proc_int32_t *)(void *)work.data, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
	if (n_bytes < 0)
		return agent_error_set(err, -EINVAL, "password.text", "not valid UTF-8");
	if (n_bytes > AGENT_PASSWORD_MAX)
		return agent_error_set(err, -EINVAL, "password.text", "longer than %d characters", RULES_MAX_LENGTH);
	r = secret_alloc(ret_text, (size_t)n_bytes + 1);
	if (r < 0)
		return agent_error_set(err, r, "password.memory", "no memory to look at a password");
	memcpy(ret_text->data, work.data, (size_t)n_bytes);
	ret_text->data[n_bytes] = '\0';
	ret_text->size = (size_t)n_bytes;
	return 0;
}

/* As fold_ascii() says; what is not ASCII in lower case. */
static utf8proc_int32_t fold(utf8proc_int32_t c)
{
	c = utf8proc_tolower(c);
	return c > 0 && c < 128 ? (utf8proc_int32_t)fold_ascii((char)c) : c;
}

/* One password at two levels: lower case as typed, and folded; @is_digit belongs to the folded one. */
struct view {
	utf8proc_int32_t lower[RULES_MAX_LENGTH];
	size_t n;
	utf8proc_int32_t folded[RULES_MAX_LENGTH];
	bool is_digit[RULES_MAX_LENGTH];
	bool is_mark[RULES_MAX_LENGTH]; /* ASCII, and no letter */
	size_t n_folded;
	uint8_t least[RULES_MAX_LENGTH + 1];	/* scratch of is_well_known() */
	bool has_word[RULES_MAX_LENGTH + 1];
	bool in_run[RULES_MAX_LENGTH];
};

static size_t fold_word(const char *word, utf8proc_int32_t *out, size_t max)
{
	const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)word;
	utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(word);
	size_t n = 0;

	while (left > 0 && n < max) {
		utf8proc_int32_t c;
		utf8proc_ssize_t used = utf8proc_iterate(p, left, &c);

		if (used <= 0)
			break;
		p += used;
		left -= used;
		c = fold(c);
		if (c != 0)
			out[n++] = c;
	}
	return n;
}

static bool matches_at(const utf8proc_int32_t *text, size_t n, size_t at, const utf8proc_int32_t *word, size_t n_word)
{
	return at <= n && n_word <= n - at && memcmp(text + at, word, n_word * sizeof(*word)) == 0;
}

static bool contains_folded(const struct view *v, const char *word)
{
	utf8proc_int32_t folded[RULES_MAX_LENGTH];
	size_t n = fold_word(word, folded, RULES_MAX_LENGTH);

	if (n < CONTEXT_MIN)
		return false;
	for (size_t at = 0; at + n <= v->n_folded; at++)
		if (matches_at(v->folded, v->n_folded, at, folded, n))
			return true;
	return false;
}

static size_t count_distinct(const struct view *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		size_t k = 0;

		while (k < i && v->lower[k] != v->lower[i])
			k++;
		n += k == i;
	}
	return n;
}

/* Length of the unit that the text repeats at least twice, the last time perhaps cut; 0 if there is none. */
static size_t find_period(const struct view *v)
{
	for (size_t p = 1; p <= v->n / 2; p++)
		if (memcmp(v->lower, v->lower + p, (v->n - p) * sizeof(*v->lower)) == 0)
			return p;
	return 0;
}

static bool are_neighbours(utf8proc_int32_t a, utf8proc_int32_t b, const char *row, int step)
{
	const char *p = a > 0 && a < 128 ? strchr(row, (int)a) : NULL;
	ptrdiff_t at;

	if (p == NULL)
		return false;
	at = p - row + step;
	return at >= 0 && row[at] != '\0' && row[at] == b;
}

static void mark(struct view *v, size_t from, size_t to)
{
	if (to - from >= RUN_MIN)
		for (size_t i = from; i < to; i++)
			v->in_run[i] = true;
}

/* Characters that belong to a run of RUN_MIN or more: one character repeated, or neighbours in a row of keys. */
static size_t count_in_runs(struct view *v)
{
	size_t start = 0, n = 0;

	for (size_t i = 1; i <= v->n; i++)
		if (i == v->n || v->lower[i] != v->lower[start]) {
			mark(v, start, i);
			start = i;
		}
	for (const char *const *row = keyboard_rows; *row != NULL; row++)
		for (int step = -1; step <= 1; step += 2) {
			start = 0;
			for (size_t i = 1; i <= v->n; i++)
				if (i == v->n || !are_neighbours(v->lower[i - 1], v->lower[i], *row, step)) {
					mark(v, start, i);
					start = i;
				}
		}
	for (size_t i = 0; i < v->n; i++)
		n += v->in_run[i];
	return n;
}

/*
 * Is it well-known words with at most a few letters and a date added? The least number of characters that no word covers,
 * by dynamic programming from the end: least[i] is that of the part from i on.
 */
static bool is_well_known(struct view *v)
{
	size_t digits = 0, letters;

	v->least[v->n_folded] = 0;
	v->has_word[v->n_folded] = false;
	for (size_t i = v->n_folded; i-- > 0;) {
		v->least[i] = (uint8_t)(v->least[i + 1] + 1);
		v->has_word[i] = v->has_word[i + 1];
		for (const char *const *word = common_words; *word != NULL; word++) {
			utf8proc_int32_t folded[64];
			size_t n = fold_word(*word, folded, ARRAY_SIZE(folded));

			if (matches_at(v->folded, v->n_folded, i, folded, n) && v->least[i + n] < v->least[i]) {
				v->least[i] = v->least[i + n];
				v->has_word[i] = true;
			}
		}
	}
	if (!v->has_word[0] || 2 * (v->n_folded - v->least[0]) < v->n_folded)
		return false;
	for (size_t i = 0; i < v->n_folded; i++)
		digits += v->is_digit[i];
	/* Digits inside a word ("passw0rd") are counted as free too: that errs on the strict side. */
	digits = digits > FREE_DIGITS ? FREE_DIGITS : digits;
	letters = v->least[0] > digits ? v->least[0] - digits : 0;
	return letters < LEFTOVER_MIN;
}

static bool is_entry(const struct filter *filter, const utf8proc_int32_t *text, size_t n)
{
	char ascii[RULES_MAX_LENGTH];
	bool is_found;

	if (n < CONTEXT_MIN)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= 0 || text[i] >= 128)
			return false;
		ascii[i] = (char)text[i];
	}
	is_found = filter_has(filter, ascii, n);
	wipe(ascii, n);
	return is_found;
}

/* One entry of the list of common passwords or two, with a date or the like before and after. */
static bool is_listed(const struct filter *filter, const struct view *v)
{
	size_t begins[2] = { 0, 0 }, ends[2] = { v->n_folded, v->n_folded };

	while (begins[1] < v->n_folded && v->is_mark[begins[1]])
		begins[1]++;
	while (ends[1] > begins[1] && v->is_mark[ends[1] - 1])
		ends[1]--;
	for (size_t b = 0; b < 2; b++)
		for (size_t e = 0; e < 2; e++) {
			size_t from = begins[b], n = ends[e] - from;

			if (v->n_folded - n > FREE_DIGITS)
				continue;
			if (is_entry(filter, v->folded + from, n))
				return true;
			for (size_t k = CONTEXT_MIN; k + CONTEXT_MIN <= n; k++)
				if (is_entry(filter, v->folded + from, k) && is_entry(filter, v->folded + from + k, n - k))
					return true;
		}
	return false;
}

static void check_view(const struct rules *rules, struct view *v, struct reasons *reasons)
{
	if (count_distinct(v) < RULES_MIN_DISTINCT)
		add_reason(reasons, "has fewer than %d different characters", RULES_MIN_DISTINCT);
	if (find_period(v) > 0)
		add_reason(reasons, "repeats itself");
	if (2 * count_in_runs(v) >= v->n && v->n > 0)
		add_reason(reasons, "is mostly runs of neighbouring keys, letters or digits");
	if (is_well_known(v) || (rules->filter != NULL && is_listed(rules->filter, v)))
		add_reason(reasons, "is made of well-known passwords");
	for (const char *const *word = rules->context_words; word != NULL && *word != NULL; word++)
		if (contains_folded(v, *word))
			add_reason(reasons, "contains \"%s\", which everybody can find out about this device", *word);
	if (rules->label_secret != NULL && contains_folded(v, rules->label_secret))
		add_reason(reasons, "contains the code on the label");
}

int rules_check(const struct rules *rules, const char *text, size_t size, struct agent_error **err)
{
	_cleanup_error_ struct agent_error *why = NULL;
	_cleanup_secret_ struct secret work = { 0 }, views = { 0 };
	struct reasons reasons = { 0 };
	unsigned min_length = rules->min_length > RULES_MIN_LENGTH ? rules->min_length : RULES_MIN_LENGTH;
	const utf8proc_int32_t *points;
	bool has_control = false, has_unassigned = false;
	struct view *v;
	size_t n;
	int r = decompose(text, size, &work, &n, &why);

	if (r == -EINVAL)
		return agent_error_set(err, r, "password.weak", "%s", agent_error_message(why));
	if (r < 0)
		return agent_error_move(err, &why);
	points = (const utf8proc_int32_t *)(const void *)work.data;
	for (size_t i = 0; i < n; i++) {
		utf8proc_category_t category = utf8proc_category(points[i]);

		has_control |= category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
		/* The normal form of an unassigned code point may differ after an update of the tables. */
		has_unassigned |= category == UTF8PROC_CATEGORY_CN;
	}
	if (has_control)
		add_reason(&reasons, "contains a control character");
	if (has_unassigned)
		add_reason(&reasons, "contains a character that this device does not know");
	if (n < min_length)
		add_reason(&reasons, "needs at least %u characters and has %zu", min_length, n);
	if (n > RULES_MAX_LENGTH) {
		add_reason(&reasons, "has more than %d characters", RULES_MAX_LENGTH);
	} else {
		r = secret_alloc(&views, sizeof(*v));
		if (r < 0)
			return agent_error_set(err, r, "password.memory", "no memory to look at a password");
		v = (struct view *)(void *)views.data;
		v->n = n;
		for (size_t i = 0; i < n; i++) {
			utf8proc_int32_t c = fold(points[i]);

			v->lower[i] = utf8proc_tolower(points[i]);
			if (c != 0) {
				v->is_digit[v->n_folded] = points[i] >= '0' && points[i] <= '9';
				v->is_mark[v->n_folded] = points[i] < 128 && (v->lower[i] < 'a' || v->lower[i] > 'z');
				v->folded[v->n_folded++] = c;
			}
		}
		check_view(rules, v, &reasons);
	}
	if (reasons.n > 0)
		return agent_error_set(err, -EINVAL, "password.weak", "%s", reasons.text);
	return 0;
}
