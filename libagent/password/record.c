/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "password/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/macro.h"
#include "base/secret.h"

/* Both MACs are made with one key, so each says what it is for; neither text is a prefix of the other. */
#define VERIFIER_PREFIX "agentd-pw-v1"
#define RECORD_PREFIX "agentd-record-v1"
#define FIRST_LINE "agentd-password 1\n"
#define HASH_MAX 384

static const char *const kind_names[] = { [RECORD_FACTORY] = "factory", [RECORD_OWNER] = "owner" };

int record_compute_verifier(struct agent_mac *mac, uint64_t generation, const char *hash, uint8_t ret_verifier[AGENT_MAC_SIZE],
			    struct agent_error **err)
{
	uint8_t data[sizeof(VERIFIER_PREFIX) - 1 + 8 + HASH_MAX];
	size_t n = sizeof(VERIFIER_PREFIX) - 1, n_hash = strlen(hash);
	int r;

	if (n_hash > HASH_MAX)
		return agent_error_set(err, -EMSGSIZE, "password.setting", "hash string has %zu bytes, limit %d", n_hash, HASH_MAX);
	memcpy(data, VERIFIER_PREFIX, n);
	for (int shift = 56; shift >= 0; shift -= 8)
		data[n++] = (uint8_t)(generation >> shift);
	memcpy(data + n, hash, n_hash);
	r = agent_mac_compute(mac, data, n + n_hash, ret_verifier, err);
	wipe(data, sizeof(data));
	return r;
}

/* MAC over the first @n bytes of the text. */
static int compute_record_mac(struct agent_mac *mac, const char *text, size_t n, uint8_t ret_mac[AGENT_MAC_SIZE], struct agent_error **err)
{
	uint8_t data[sizeof(RECORD_PREFIX) - 1 + RECORD_MAX_BYTES];

	if (n > RECORD_MAX_BYTES)
		return agent_error_set(err, -EMSGSIZE, "password.record", "record has %zu bytes, limit %d", n, RECORD_MAX_BYTES);
	memcpy(data, RECORD_PREFIX, sizeof(RECORD_PREFIX) - 1);
	memcpy(data + sizeof(RECORD_PREFIX) - 1, text, n);
	return agent_mac_compute(mac, data, sizeof(RECORD_PREFIX) - 1 + n, ret_mac, err);
}

/* Everything up to and including "mac "; returns the length. */
static int format_body(const struct record *record, char *text, size_t size)
{
	char verifier[2 * AGENT_MAC_SIZE + 1];

	hex_encode(record->verifier, AGENT_MAC_SIZE, verifier);
	return snprintf(text, size, FIRST_LINE "kind %s\ngeneration %" PRIu64 "\nsetting %s\nverifier %s\nmac ", kind_names[record->kind],
			record->generation, record->setting, verifier);
}

int record_format(const struct record *record, struct agent_mac *mac, char **ret_text, size_t *ret_size, struct agent_error **err)
{
	_cleanup_free_ char *text = calloc(1, RECORD_MAX_BYTES + 1);
	uint8_t tag[AGENT_MAC_SIZE];
	int n, r;

	if (text == NULL)
		return agent_error_set(err, -ENOMEM, "password.record", "no memory for a password record");
	n = format_body(record, text, RECORD_MAX_BYTES);
	if (n < 0 || n + 2 * AGENT_MAC_SIZE + 1 > RECORD_MAX_BYTES)
		return agent_error_set(err, -EMSGSIZE, "password.record", "record is over %d bytes", RECORD_MAX_BYTES);
	r = compute_record_mac(mac, text, (size_t)n, tag, err);
	if (r < 0)
		return r;
	hex_encode(tag, sizeof(tag), text + n);
	n += 2 * AGENT_MAC_SIZE;
	text[n++] = '\n';
	text[n] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_size = (size_t)n;
	return 0;
}

/* The rest of a line that begins with @key and a space, as a cursor of its own. */
static bool get_line(struct buf *in, const char *key, const char **ret_value, size_t *ret_size)
{
	const char *p = (const char *)in->data + in->pos;
	const char *end = memchr(p, '\n', buf_left(in));
	size_t n_key = strlen(key);

	if (end == NULL || (size_t)(end - p) < n_key + 1 || memcmp(p, key, n_key) != 0 || p[n_key] != ' ')
		return false;
	*ret_value = p + n_key + 1;
	*ret_size = (size_t)(end - *ret_value);
	in->pos += (size_t)(end - p) + 1;
	return true;
}

static bool parse_generation(const char *p, size_t n, uint64_t *ret_value)
{
	uint64_t v = 0;

	if (n == 0 || n > 19 || (n > 1 && p[0] == '0'))	/* 19 digits cannot overflow */
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	*ret_value = v;
	return true;
}

/* All fields; *ret_mac_pos is where the digits of the MAC begin, which end the text but for a newline. */
static bool parse_fields(struct buf *in, struct record *record, size_t *ret_mac_pos)
{
	const char *p;
	size_t n;

	if (buf_left(in) < sizeof(FIRST_LINE) - 1 || memcmp(in->data, FIRST_LINE, sizeof(FIRST_LINE) - 1) != 0)
		return false;
	in->pos = sizeof(FIRST_LINE) - 1;
	if (!get_line(in, "kind", &p, &n))
		return false;
	for (enum record_kind kind = RECORD_FACTORY; kind <= RECORD_OWNER; kind++)
		if (n == strlen(kind_names[kind]) && memcmp(p, kind_names[kind], n) == 0)
			record->kind = kind;
	if (record->kind == 0)
		return false;
	if (!get_line(in, "generation", &p, &n) || !parse_generation(p, n, &record->generation))
		return false;
	if (!get_line(in, "setting", &p, &n) || n == 0 || n > RECORD_SETTING_MAX || memchr(p, '\0', n) != NULL)
		return false;
	memcpy(record->setting, p, n);
	if (!get_line(in, "verifier", &p, &n) || hex_decode(p, n, record->verifier, AGENT_MAC_SIZE) < 0)
		return false;
	*ret_mac_pos = in->pos + strlen("mac ");
	return get_line(in, "mac", &p, &n) && n == 2 * AGENT_MAC_SIZE && buf_left(in) == 0;
}

int record_parse(const char *text, size_t size, struct agent_mac *mac, struct record *ret_record, struct agent_error **err)
{
	struct buf in = buf_from(text, size);
	struct record record = { 0 };
	uint8_t tag[AGENT_MAC_SIZE];
	char again[RECORD_MAX_BYTES + 1], digits[2 * AGENT_MAC_SIZE + 1];
	size_t mac_pos = 0;
	int n, r;

	if (size > RECORD_MAX_BYTES || !parse_fields(&in, &record, &mac_pos))
		return agent_error_set(err, -EBADMSG, "password.record", "password record is damaged");
	/* One text per record: what was read must be what would be written. */
	n = format_body(&record, again, sizeof(again));
	if (n < 0 || (size_t)n != mac_pos || memcmp(again, text, mac_pos) != 0)
		return agent_error_set(err, -EBADMSG, "password.record", "password record is damaged");
	r = compute_record_mac(mac, text, mac_pos, tag, err);
	if (r < 0)
		return r;
	hex_encode(tag, sizeof(tag), digits);
	if (!secret_equal(&(struct secret){ .data = (uint8_t *)digits, .size = 2 * AGENT_MAC_SIZE }, text + mac_pos, 2 * AGENT_MAC_SIZE))
		return agent_error_set(err, -EBADMSG, "password.record", "password record was not written by this device");
	*ret_record = record;
	return 0;
}

int record_set_setting(struct record *record, const char *hash, struct agent_error **err)
{
	const char *last = strrchr(hash, '$');
	size_t n = last == NULL ? 0 : (size_t)(last - hash) + 1;

	if (n == 0 || n > RECORD_SETTING_MAX)
		return agent_error_set(err, -EMSGSIZE, "password.setting", "the hash string has no setting of 1 to %d bytes", RECORD_SETTING_MAX);
	memset(record->setting, 0, sizeof(record->setting));
	memcpy(record->setting, hash, n);
	return 0;
}
