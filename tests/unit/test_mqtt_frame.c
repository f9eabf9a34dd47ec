/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "net/mqtt_frame.h"

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

static const struct {
	const char *claim;
	const uint8_t *bytes;
	size_t size;
	int r;
} rows[] = {
	{ "CONNACK without properties", BYTES("\x20\3\0\0\0"), 0 },
	{ "CONNACK of MQTT 3.1.1", BYTES("\x20\2\0\1"), 0 },
	{ "CONNACK with one of each", BYTES("\x20\x3e\0\0\x3b\x11\0\0\0\1\x21\0\1\x24\1\x25\1\x27\0\1\0\0\x12\0\1x\x22\0\1\x1f\0\0\x26\0\1k\0\1v\x28\1\x29\1\x2a\1\x13\0\1"
					    "\x1a\0\1x\x1c\0\1x\x15\0\1x\x16\0\1x"), 0 },
	{ "PUBLISH", BYTES("\x30\7\0\1d\0abc"), 0 },
	{ "PUBLISH with QoS 1", BYTES("\x32\x9\0\1d\0\1\0abc"), 0 },
	{ "PUBLISH with properties and a payload that looks like some", BYTES("\x30\x14\0\1d\x0d\1\1\2\0\0\0\1\x0b\x80\1\x23\0\1\xfe\xfe\xfe"), 0 },
	{ "PUBLISH with an empty topic", BYTES("\x30\3\0\0\0"), 0 },
	{ "PUBACK, short and long", BYTES("\x40\2\0\1\x40\3\0\1\x10\x40\7\0\1\x87\3\x1f\0\0"), 0 },
	{ "SUBACK and UNSUBACK", BYTES("\x90\4\0\1\0\1\xb0\4\0\1\0\0"), 0 },
	{ "PINGRESP, and what has no body", BYTES("\xd0\0\xd0\0\xe0\0"), 0 },
	{ "DISCONNECT with a reference", BYTES("\xe0\7\x9c\5\x1c\0\2h1"), 0 },
	{ "AUTH", BYTES("\xf0\2\x18\0"), 0 },
	{ "what is longer than 127 bytes", BYTES("\x30\x80\1\0\1d\0"), 0 },
	{ "a head of nothing, behind which another one comes", BYTES("\0\x30\7\0\1d\0abc"), -EBADMSG },
	{ "PUBLISH with QoS 2, PUBREL short and long", BYTES("\x34\x9\0\1d\0\1\0abc\x62\2\0\1\x62\4\0\1\x92\0"), 0 },
	{ "QoS 3", BYTES("\x36\x9\0\1d\0\1\0abc"), -EBADMSG },
	{ "a packet of type 0", BYTES("\1\0"), -EBADMSG },
	{ "an unknown property", BYTES("\x20\6\0\0\3\x04\0\0"), -EBADMSG },
	{ "number 0", BYTES("\x20\5\0\0\2\0\0"), -EBADMSG },
	{ "one behind the last", BYTES("\x20\5\0\0\2\x2b\0"), -EBADMSG },
	{ "one of two bytes", BYTES("\x20\6\0\0\3\x81\0\0"), -EBADMSG },
	{ "a second one that is unknown", BYTES("\x20\7\0\0\4\x24\1\x7f\0"), -EBADMSG },
	{ "in PUBLISH", BYTES("\x30\6\0\1d\2\xff\0"), -EBADMSG },
	{ "in PUBLISH with QoS 1", BYTES("\x32\x8\0\1d\0\1\2\xff\0"), -EBADMSG },
	{ "in PUBACK", BYTES("\x40\6\0\1\0\2\x7f\0"), -EBADMSG },
	{ "in SUBACK", BYTES("\x90\6\0\1\2\x7f\0\0"), -EBADMSG },
	{ "in DISCONNECT", BYTES("\xe0\4\0\2\x7f\0"), -EBADMSG },
	{ "in AUTH", BYTES("\xf0\4\0\2\x7f\0"), -EBADMSG },
	{ "more properties than packet", BYTES("\x20\4\0\0\x40\x24"), -EBADMSG },
	{ "a value that is longer than the properties", BYTES("\x20\x9\0\0\2\x11\0\0\0\0\0"), -EBADMSG },
	{ "a text that is longer than the properties", BYTES("\x30\x0c\0\1d\4\3\0\2xyzzzz"), -EBADMSG },
	{ "a text without its length", BYTES("\x30\6\0\1d\2\3\0x"), -EBADMSG },
	{ "one text where there are two", BYTES("\x30\x8\0\1d\4\x26\0\1k"), -EBADMSG },
	{ "a property without its value", BYTES("\x30\6\0\1d\1\x0b\0"), -EBADMSG },
	{ "a number that does not end in the properties", BYTES("\x30\x8\0\1d\2\x0b\x80\0\0"), -EBADMSG },
	{ "a number without end", BYTES("\x30\xa\0\1d\6\x0b\x80\x80\x80\x80\0"), -EBADMSG },
	{ "a length without end", BYTES("\x30\x80\x80\x80\x80\1"), -EBADMSG },
};

static void what_libmosquitto_may_not_see_is_found_however_it_is_cut(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("    %s\n", rows[i].claim);
		for (size_t piece = 1; piece <= rows[i].size; piece++) {
			struct mqtt_frame f = { 0 };
			struct mqtt_kept kept = { 0 };
			size_t at = 0;
			int r = 0;

			while (at < rows[i].size && r == 0) {
				size_t n = rows[i].size - at < piece ? rows[i].size - at : piece;

				r = mqtt_frame_take(&f, &kept, rows[i].bytes + at, n);
				at += n;
			}
			mqtt_kept_clear(&kept);
			assert_int_equal(r, rows[i].r);
		}
	}
}

/* Each good one is followed by each other one, so each leaves the stream where the next packet begins. */
static void packets_follow_each_other(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t k = 0; k < ARRAY_SIZE(rows) && rows[i].r == 0; k++) {
			struct mqtt_frame f = { 0 };
			struct mqtt_kept kept = { 0 };

			if (rows[i].bytes[1] == 0x80)
				continue;	/* it goes on */
			assert_int_equal(mqtt_frame_take(&f, &kept, rows[i].bytes, rows[i].size), 0);
			assert_int_equal(f.step, FRAME_HEAD);
			assert_int_equal(mqtt_frame_take(&f, &kept, rows[k].bytes, rows[k].size), rows[k].r);
			mqtt_kept_clear(&kept);
		}
}

#define TAKE(f, kept, s) mqtt_frame_take(f, kept, BYTES(s))

/* What libmosquitto keeps is counted with topic, properties and itself, and as long as it is there. */
static void messages_of_qos_2_are_counted_until_they_are_released(void **state)
{
	struct mqtt_frame f = { 0 };
	struct mqtt_kept kept = { 0 };

	assert_int_equal(TAKE(&f, &kept, "\x30\7\0\1d\0abc\x32\x9\0\1d\0\1\0abc"), 0);
	assert_int_equal(kept.n, 0);
	assert_int_equal(TAKE(&f, &kept, "\x34\x9\0\1d\1\2\0abc"), 0);
	assert_int_equal(kept.n, 1);
	assert_int_equal(kept.list[0].id, 0x102);
	assert_int_equal(kept.cost, 9 + 256);
	assert_int_equal(TAKE(&f, &kept, "\x3c\x9\0\1d\1\2\0abc\x34\x1b\0\3abc\0\3\x12\x26\0\1k\0\1v\x26\0\1k\0\1v\1\0\x0b\1m"), 0);
	assert_int_equal(kept.n, 3);
	assert_int_equal(kept.cost, 2 * (9 + 256) + 27 + 4 * 128 + 256);
	/* The second of two goes with a PUBREL of its own. */
	assert_int_equal(TAKE(&f, &kept, "\x62\2\1\2"), 0);
	assert_int_equal(kept.n, 2);
	assert_int_equal(TAKE(&f, &kept, "\x62\3\1\2\0"), 0);
	assert_int_equal(TAKE(&f, &kept, "\x62\2\1\2\x62\2\0\7"), 0);
	assert_int_equal(kept.n, 1);
	assert_int_equal(kept.cost, 27 + 4 * 128 + 256);
	assert_int_equal(TAKE(&f, &kept, "\x62\4\0\3\0\0"), 0);
	assert_int_equal(kept.n, 0);
	assert_int_equal(kept.cost, 0);
	assert_null(kept.list);
}

/* In MQTT 3.1.1 there are no properties, and what stands in their place is payload. */
static void packets_of_mqtt_3_1_1_are_counted_too(void **state)
{
	struct mqtt_frame f = { .is_311 = true };
	struct mqtt_kept kept = { 0 };

	assert_int_equal(TAKE(&f, &kept, "\x20\2\0\0\x90\3\0\1\2\x30\6\0\1d\xff\xff\xff\x34\x8\0\1d\0\5\xff\xff\xff\x34\5\0\1d\0\6"), 0);
	assert_int_equal(f.step, FRAME_HEAD);
	assert_int_equal(kept.n, 2);
	assert_int_equal(kept.list[0].id, 5);
	assert_int_equal(kept.cost, 8 + 5 + 2 * 256);
	assert_int_equal(TAKE(&f, &kept, "\x62\2\0\5\x62\2\0\6"), 0);
	assert_int_equal(kept.n, 0);
}

static void a_packet_costs_no_more_than_it_may(void **state)
{
	struct mqtt_kept kept = { 0 };
	struct mqtt_frame f = { .max_cost = 20 };

	assert_int_equal(TAKE(&f, &kept, "\x30\x14\0\1d\0abcdefghijklmnop"), 0);
	assert_int_equal(TAKE(&f, &kept, "\x30\x15"), -EMSGSIZE);	/* as soon as it says how long it is */
	f = (struct mqtt_frame){ .max_cost = 300 };
	assert_int_equal(TAKE(&f, &kept, "\x30\xe\0\1d\xa\x26\0\0\0\0\x26\0\0\0\0"), 0);
	assert_int_equal(TAKE(&f, &kept, "\x30\x13\0\1d\xf\x26\0\0\0\0\x26\0\0\0\0\x26"), -EMSGSIZE);
	f = (struct mqtt_frame){ .max_kept = 600 };
	assert_int_equal(TAKE(&f, &kept, "\x34\6\0\1d\0\1\0\x34\6\0\1d\0\2\0"), 0);
	assert_int_equal(TAKE(&f, &kept, "\x34\6\0\1d\0\3\0"), -ENOSPC);
	mqtt_kept_clear(&kept);
}

static void noise_is_taken_or_refused(void **state)
{
	uint32_t x = 1;

	for (unsigned round = 0; round < 20000; round++) {
		struct mqtt_frame f = { 0 };
		struct mqtt_kept kept = { 0 };
		uint8_t bytes[64];

		for (size_t i = 0; i < sizeof(bytes); i++) {
			x = x * 1664525 + 1013904223;
			/* Small numbers come more often: they are lengths and identifiers. */
			bytes[i] = (uint8_t)(x >> 24 & (x & 0x10000 ? 0xff : 0x2f));
		}
		(void)mqtt_frame_take(&f, &kept, bytes, sizeof(bytes));
		mqtt_kept_clear(&kept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_libmosquitto_may_not_see_is_found_however_it_is_cut),
		cmocka_unit_test(packets_follow_each_other),
		cmocka_unit_test(messages_of_qos_2_are_counted_until_they_are_released),
		cmocka_unit_test(packets_of_mqtt_3_1_1_are_counted_too),
		cmocka_unit_test(a_packet_costs_no_more_than_it_may),
		cmocka_unit_test(noise_is_taken_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
