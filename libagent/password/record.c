/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "password/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macro.h"
#include "base/secret.h"
#include "crypto/digest.h"

/* All MACs are made with one key, so each says what it is for; no text is a prefix of another. */
#define VERIFIER_PREFIX "agentd-pw-v2"
#define RECORD_PREFIX "agentd-record-v2"
#define RECORD_FIRST_LINE "agentd-accounts 1\n"
#define LABEL_FIRST_LINE "agentd-label 1\n"
#define MAC_KEY "mac "
#define HASH_MAX 384

static const char *const kind_names[] = { [RECORD_FACTORY] = "factory", [RECORD_OWNER] = "owner" };
static const char *const role_names[] = { [AGENT_ROLE_VIEWER] = "viewer", [AGENT_ROLE_OPERATOR] = "operator", [AGENT_ROLE_ADMIN] = "admin" };

const char *agent_account_role_name(enum agent_account_role role)
{
	return role >= AGENT_ROLE_VIEWER && role <= AGENT_ROLE_ADMIN ? role_names[role] : "unknown";
}

bool record_name_is_valid(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return n >= 1 && n <= AGENT_ACCOUNT_NAME_MAX && name[n] == '\0' && name[0] >= 'a' && name[0] <= 'z';
}

/* ---- verifiers -------------------------------------------------------------------------------------------------- */

int verifier_compute(struct agent_mac *mac, const char *name, const char *hash, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	uint8_t data[sizeof(VERIFIER_PREFIX) - 1 + 1 + AGENT_ACCOUNT_NAME_MAX + HASH_MAX];
	size_t n = sizeof(VERIFIER_PREFIX) - 1, n_name = strlen(name), n_hash = strlen(hash);
	int r;

	if (n_hash > HASH_MAX || n_name > AGENT_ACCOUNT_NAME_MAX)
		return agent_error_set(err, -EMSGSIZE, "password.setting", "hash string has %zu bytes, limit %d", n_hash, HASH_MAX);
	memcpy(data, VERIFIER_PREFIX, n);
	data[n++] = (uint8_t)n_name;
	memcpy(data + n, name, n_name);
	memcpy(data + n + n_name, hash, n_hash);
	r = agent_mac_compute(mac, data, n + n_name + n_hash, ret_mac, err);
	wipe(data, sizeof(data));
	return r;
}

int verifier_make(struct agent_mac *mac, const char *name, const char *hash, struct verifier *ret_verifier, struct agent_error **err)
{
	const char *last = strrchr(hash, '$');
	size_t n = last == NULL ? 0 : (size_t)(last - hash) + 1;
	struct verifier v = { 0 };
	int r;

	if (n == 0 || n > RECORD_SETTING_MAX)
		return agent_error_set(err, -EMSGSIZE, "password.setting", "the hash string has no setting of 1 to %d bytes", RECORD_SETTING_MAX);
	memcpy(v.setting, hash, n);
	r = verifier_compute(mac, name, hash, v.mac, err);
	if (r == 0)
		*ret_verifier = v;
	return r;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* A text of bounded length; false once it did not fit. */
struct text {
	char *data;
	size_t n, size;
	bool fits;
};

static void put(struct text *t, const char *fmt, ...) AGENT_PRINTF(2, 3);
static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->data + t->n, t->size - t->n, fmt, ap);
	va_end(ap);
	t->fits = t->fits && n >= 0 && (size_t)n < t->size - t->n;
	t->n += t->fits ? (size_t)n : 0;
}

static void put_verifier(struct text *t, const char *format, const struct verifier *v)
{
	char digits[2 * AGENT_MAC_SIZE + 1];

	hex_encode(v->mac, AGENT_MAC_SIZE, digits);
	put(t, "%s", v->setting);
	put(t, "%s", format);
	put(t, "%s\n", digits);
}

static void put_record(struct text *t, const struct record *record)
{
	put(t, RECORD_FIRST_LINE "kind %s\ngeneration %" PRIu64 "\n", kind_names[record->kind], record->generation);
	for (size_t i = 0; i < record->n; i++) {
		const struct agent_account *a = &record->accounts[i].account;

		put(t, "account %s %s %" PRIu64 " %s ", a->name, role_names[a->role], a->since, a->must_change ? "new" : "-");
		put_verifier(t, " ", &record->accounts[i].verifier);
	}
	put(t, MAC_KEY);
}

static void put_label(struct text *t, const struct verifier *label)
{
	put(t, LABEL_FIRST_LINE "setting ");
	put_verifier(t, "\nverifier ", label);
	put(t, MAC_KEY);
}

/* MAC over the first @n bytes of a text, through a digest: a TPM takes 1024 bytes at once. */
static int compute_mac(struct agent_mac *mac, const char *text, size_t n, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	uint8_t data[sizeof(RECORD_PREFIX) - 1 + DIGEST_SIZE];
	int r;

	memcpy(data, RECORD_PREFIX, sizeof(RECORD_PREFIX) - 1);
	r = digest_sha256(text, n, data + sizeof(RECORD_PREFIX) - 1);
	if (r < 0)
		return agent_error_set(err, r, "password.memory", "cannot compute a digest");
	return agent_mac_compute(mac, data, sizeof(data), ret_mac, err);
}

/* Append the MAC and hand the text over; what is not handed over the caller frees. */
static int finish(struct text *t, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	uint8_t tag[AGENT_MAC_SIZE];
	char digits[2 * AGENT_MAC_SIZE + 1];
	int r;

	if (t->fits) {
		r = compute_mac(mac, t->data, t->n, tag, err);
		if (r < 0)
			return r;
		hex_encode(tag, sizeof(tag), digits);
		put(t, "%s\n", digits);
	}
	if (!t->fits)
		return agent_error_set(err, -EMSGSIZE, "password.record", "record is over %zu bytes", t->size - 1);
	*ret_text = TAKE_PTR(t->data);
	*ret_size = t->n;
	return 0;
}

static int text_new(struct text *t, struct agent_error **err)
{
	*t = (struct text){ .data = calloc(1, RECORD_MAX_BYTES + 1), .size = RECORD_MAX_BYTES + 1, .fits = true };
	return t->data != NULL ? 0 : agent_error_set(err, -ENOMEM, "password.memory", "no memory for a password record");
}

int record_format(const struct record *record, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	struct text t;
	int r = text_new(&t, err);

	if (r < 0)
		return r;
	put_record(&t, record);
	r = finish(&t, mac, ret_text, ret_size, err);
	free(t.data);
	return r;
}

int label_format(const struct verifier *label, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	struct text t;
	int r = text_new(&t, err);

	if (r < 0)
		return r;
	put_label(&t, label);
	r = finish(&t, mac, ret_text, ret_size, err);
	free(t.data);
	return r;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct word {
	const char *p;
	size_t n;
};

/* What comes before @end, as a cursor of its own. */
static bool get_until(struct buf *in, char end, struct word *ret_word)
{
	const char *p = (const char *)in->data + in->pos;
	const char *stop = memchr(p, end, buf_left(in));

	if (stop == NULL)
		return false;
	*ret_word = (struct word){ p, (size_t)(stop - p) };
	in->pos += ret_word->n + 1;
	return true;
}

static bool get_text(struct buf *in, const char *text)
{
	size_t n = strlen(text);

	if (buf_left(in) < n || memcmp(in->data + in->pos, text, n) != 0)
		return false;
	in->pos += n;
	return true;
}

static bool word_is(const struct word *w, const char *text)
{
	return w->n == strlen(text) && memcmp(w->p, text, w->n) == 0;
}

static bool parse_number(const struct word *w, uint64_t *ret_value)
{
	uint64_t v = 0;

	if (w->n == 0 || w->n > 19 || (w->n > 1 && w->p[0] == '0'))	/* 19 digits cannot overflow */
		return false;
	for (size_t i = 0; i < w->n; i++) {
		if (w->p[i] < '0' || w->p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(w->p[i] - '0');
	}
	*ret_value = v;
	return true;
}

static bool get_verifier(struct buf *in, char after_setting, const char *before_mac, struct verifier *v)
{
	struct word w;

	if (!get_until(in, after_setting, &w) || w.n == 0 || w.n > RECORD_SETTING_MAX || memchr(w.p, '\0', w.n) != NULL)
		return false;
	memcpy(v->setting, w.p, w.n);
	return get_text(in, before_mac) && get_until(in, '\n', &w) && hex_decode(w.p, w.n, v->mac, AGENT_MAC_SIZE) >= 0;
}

static bool get_account(struct buf *in, struct record *record)
{
	struct record_account *a = &record->accounts[record->n];
	struct word w;

	if (record->n == AGENT_ACCOUNTS_MAX || !get_until(in, ' ', &w) || w.n > AGENT_ACCOUNT_NAME_MAX)
		return false;
	memcpy(a->account.name, w.p, w.n);
	if (!record_name_is_valid(a->account.name))
		return false;
	for (size_t i = 0; i < record->n; i++)
		if (strcmp(record->accounts[i].account.name, a->account.name) == 0)
			return false;
	if (!get_until(in, ' ', &w))
		return false;
	for (enum agent_account_role role = AGENT_ROLE_VIEWER; role <= AGENT_ROLE_ADMIN; role++)
		if (word_is(&w, role_names[role]))
			a->account.role = role;
	if (a->account.role == 0 || !get_until(in, ' ', &w) || !parse_number(&w, &a->account.since) || a->account.since > record->generation)
		return false;
	if (!get_until(in, ' ', &w) || (!word_is(&w, "new") && !word_is(&w, "-")))
		return false;
	a->account.must_change = word_is(&w, "new");
	if (!get_verifier(in, ' ', "", &a->verifier))
		return false;
	record->n++;
	return true;
}

static bool has_admin(const struct record *record)
{
	for (size_t i = 0; i < record->n; i++)
		if (record->accounts[i].account.role == AGENT_ROLE_ADMIN)
			return true;
	return false;
}

static bool get_record(struct buf *in, struct record *record)
{
	struct word w;

	if (!get_text(in, RECORD_FIRST_LINE "kind ") || !get_until(in, '\n', &w))
		return false;
	for (enum record_kind kind = RECORD_FACTORY; kind <= RECORD_OWNER; kind++)
		if (word_is(&w, kind_names[kind]))
			record->kind = kind;
	if (record->kind == 0 || !get_text(in, "generation ") || !get_until(in, '\n', &w) || !parse_number(&w, &record->generation))
		return false;
	while (get_text(in, "account "))
		if (!get_account(in, record))
			return false;
	return record->kind == RECORD_FACTORY ? record->n == 0 : has_admin(record);
}

/* Is @in at the line with the MAC, is that the last one, is what comes before it what we would write, and is the MAC right. */
static int check(struct buf *in, const struct text *again, struct agent_mac *mac, struct agent_error **err)
{
	char digits[2 * AGENT_MAC_SIZE + 1];
	uint8_t tag[AGENT_MAC_SIZE];
	struct word w;
	size_t n;
	int r;

	if (!get_text(in, MAC_KEY))
		return agent_error_set(err, -EBADMSG, "password.record", "password record is damaged");
	n = in->pos;
	if (!get_until(in, '\n', &w) || w.n != 2 * AGENT_MAC_SIZE || buf_left(in) != 0 || !again->fits || again->n != n ||
	    memcmp(again->data, in->data, n) != 0)
		return agent_error_set(err, -EBADMSG, "password.record", "password record is damaged");
	r = compute_mac(mac, again->data, n, tag, err);
	if (r < 0)
		return r;
	hex_encode(tag, sizeof(tag), digits);
	if (!secret_equal(&(struct secret){ .data = (uint8_t *)digits, .size = 2 * AGENT_MAC_SIZE }, w.p, w.n))
		return agent_error_set(err, -EBADMSG, "password.record", "password record was not written by this device");
	return 0;
}

int record_parse(const char *text, size_t size, struct agent_mac *mac, struct record *ret_record, struct agent_error **err)
{
	struct buf in = buf_from(text, size);
	struct record record = { 0 };
	struct text again;
	int r;

	if (size > RECORD_MAX_BYTES || !get_record(&in, &record))
		return agent_error_set(err, -EBADMSG, "password.record", "password record is damaged");
	r = text_new(&again, err);
	if (r < 0)
		return r;
	put_record(&again, &record);
	r = check(&in, &again, mac, err);
	free(again.data);
	if (r == 0)
		*ret_record = record;
	return r;
}

int label_parse(const char *text, size_t size, struct agent_mac *mac, struct verifier *ret_label, struct agent_error **err)
{
	struct buf in = buf_from(text, size);
	struct verifier label = { 0 };
	struct text again;
	int r;

	if (size > RECORD_MAX_BYTES || !get_text(&in, LABEL_FIRST_LINE "setting ") || !get_verifier(&in, '\n', "verifier ", &label))
		return agent_error_set(err, -EBADMSG, "password.record", "record of the label is damaged");
	r = text_new(&again, err);
	if (r < 0)
		return r;
	put_label(&again, &label);
	r = check(&in, &again, mac, err);
	free(again.data);
	if (r == 0)
		*ret_label = label;
	return r;
}
