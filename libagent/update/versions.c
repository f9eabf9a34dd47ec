/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "update/versions.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define NUMBERS 4

/* "1", "1.2" .. "1.2.3.4", each at most 65535. */
static bool numbers_parse(const char *text, uint64_t *ret_value)
{
	uint64_t value = 0;
	int n = 0;

	while (n < NUMBERS) {
		size_t digits = strspn(text, "0123456789");
		uint64_t part = 0;

		if (digits < 1 || digits > 5)
			return false;
		for (size_t i = 0; i < digits; i++)
			part = part * 10 + (uint64_t)(text[i] - '0');
		if (part > UINT16_MAX)
			return false;
		value = value << 16 | part;
		n++;
		text += digits;
		if (*text != '.')
			break;
		text++;
	}
	*ret_value = value << 16 * (NUMBERS - n);
	return *text == '\0';
}

struct semver {
	uint64_t core[3];
	const char *pre;	/* behind '-', up to n_pre; n_pre 0: a release */
	size_t n_pre;
};

static bool semver_parse(const char *text, struct semver *ret)
{
	*ret = (struct semver){ 0 };
	for (int i = 0; i < 3; i++) {
		size_t digits = strspn(text, "0123456789");

		if (digits < 1 || digits > 18 || (i < 2 && text[digits] != '.'))
			return false;
		for (size_t k = 0; k < digits; k++)
			ret->core[i] = ret->core[i] * 10 + (uint64_t)(text[k] - '0');
		text += digits + (i < 2);
	}
	if (*text == '-') {
		ret->pre = ++text;
		ret->n_pre = strcspn(text, "+");
		text += ret->n_pre;
		if (ret->n_pre == 0)
			return false;
	}
	return *text == '\0' || *text == '+';
}

/* One identifier each: numbers by value and below words, words by their bytes. */
static int identifier_compare(const char *a, size_t n_a, const char *b, size_t n_b)
{
	bool a_is_number = strspn(a, "0123456789") >= n_a, b_is_number = strspn(b, "0123456789") >= n_b;
	int order;

	if (a_is_number != b_is_number)
		return a_is_number ? -1 : 1;
	while (a_is_number && n_a > 1 && *a == '0') {
		a++;
		n_a--;
	}
	while (b_is_number && n_b > 1 && *b == '0') {
		b++;
		n_b--;
	}
	if (a_is_number && n_a != n_b)
		return n_a < n_b ? -1 : 1;
	order = memcmp(a, b, n_a < n_b ? n_a : n_b);
	return order != 0 ? order : n_a < n_b ? -1 : n_a > n_b;
}

static int semver_compare(const struct semver *a, const struct semver *b)
{
	const char *x = a->pre, *y = b->pre;
	size_t n_x = a->n_pre, n_y = b->n_pre;

	for (int i = 0; i < 3; i++)
		if (a->core[i] != b->core[i])
			return a->core[i] < b->core[i] ? -1 : 1;
	if (n_x == 0 || n_y == 0) /* a pre-release comes before its release */
		return (n_x == 0) - (n_y == 0);
	while (n_x > 0 && n_y > 0) {
		const char *dot_x = memchr(x, '.', n_x), *dot_y = memchr(y, '.', n_y);
		size_t part_x = dot_x == NULL ? n_x : (size_t)(dot_x - x), part_y = dot_y == NULL ? n_y : (size_t)(dot_y - y);
		int order = identifier_compare(x, part_x, y, part_y);

		if (order != 0)
			return order;
		x += part_x + (dot_x != NULL);
		n_x -= part_x + (dot_x != NULL);
		y += part_y + (dot_y != NULL);
		n_y -= part_y + (dot_y != NULL);
	}
	return (n_x > 0) - (n_y > 0);
}

int versions_compare(const char *a, const char *b)
{
	struct semver left, right;
	uint64_t x, y;

	if (numbers_parse(a, &x) && numbers_parse(b, &y))
		return x < y ? -1 : x > y;
	if (semver_parse(a, &left) && semver_parse(b, &right))
		return semver_compare(&left, &right);
	return strcmp(a, b);
}

static const char *version_of(const struct versions *v, const char *name)
{
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->items[i].name, name) == 0)
			return v->items[i].version;
	return NULL;
}

int versions_add(struct versions *v, const char *name, const char *version, struct agent_error **err)
{
	size_t i = 0;

	if (!manifest_is_name(name) || !manifest_is_name(version))
		return agent_error_set(err, -EINVAL, "update.versions", "a version on the device needs a name and a version of 1 to %d letters, digits and ._+:-",
				       MANIFEST_TEXT_MAX);
	while (i < v->n && strcmp(v->items[i].name, name) != 0)
		i++;
	if (i == VERSIONS_MAX)
		return agent_error_set(err, -ENOSPC, "update.versions", "more than %d versions on the device", VERSIONS_MAX);
	strcpy(v->items[i].name, name);
	strcpy(v->items[i].version, version);
	if (i == v->n)
		v->n++;
	return 0;
}

/* Does the rule of the image say that the device has it already? */
static bool is_there(const struct manifest_image *image, const char *runs)
{
	int order = runs == NULL ? 1 : versions_compare(image->version, runs);

	return runs != NULL && ((image->if_different && order == 0) || (image->if_higher && order <= 0));
}

int versions_check(const struct versions *v, const struct manifest *m, struct agent_error **err)
{
	const struct manifest_image *first = NULL, *lower = NULL;
	size_t n_there = 0;

	for (size_t i = 0; i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];
		const char *runs = image->if_different || image->if_higher ? version_of(v, image->name) : NULL;

		if (!is_there(image, runs))
			continue;
		n_there++;
		if (first == NULL)
			first = image;
		if (lower == NULL && image->if_higher && versions_compare(image->version, runs) < 0)
			lower = image;
	}
	if (n_there > 0 && n_there == m->n_images)
		return agent_error_set(err, -EALREADY, "update.nothing-new", "release %s: %s %s is not above %s, which runs, and all else is here as well: nothing is installed",
				       m->release_id, first->name, first->version, version_of(v, first->name));
	if (lower != NULL)
		return agent_error_set(err, -ESTALE, "update.lower", "release %s: %s has %s %s, install-if-higher, and %s runs: a slot is written as a whole, with a lower one",
				       m->release_id, lower->member, lower->name, lower->version, version_of(v, lower->name));
	return 0;
}
