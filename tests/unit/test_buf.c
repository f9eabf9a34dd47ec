/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/buf.h"

static void getters_read_big_endian_and_step(void **state)
{
	const uint8_t data[] = { 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4 };
	struct buf b = buf_from(data, sizeof(data));
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	assert_int_equal(buf_get_u8(&b, &u8), 0);
	assert_int_equal(buf_get_be16(&b, &u16), 0);
	assert_int_equal(buf_get_be32(&b, &u32), 0);
	assert_int_equal(buf_get_be64(&b, &u64), 0);
	assert_int_equal(u8, 1);
	assert_int_equal(u16, 2);
	assert_int_equal(u32, 3);
	assert_int_equal(u64, 4);
	assert_int_equal(buf_left(&b), 0);
	assert_int_equal(buf_get_u8(&b, &u8), -EBADMSG);
}

static void a_short_buffer_moves_nothing(void **state)
{
	struct buf b = buf_from("\x01\x02\x03", 3);
	uint32_t v = 99;
	const uint8_t *p;

	assert_int_equal(buf_get_be32(&b, &v), -EBADMSG);
	assert_int_equal(buf_get_bytes(&b, SIZE_MAX, &p), -EBADMSG);
	assert_int_equal(buf_skip(&b, 4), -EBADMSG);
	assert_int_equal(v, 99);
	assert_int_equal(buf_pos(&b), 0);
}

static void hex_fields_take_both_cases_and_nothing_else(void **state)
{
	static const struct { const char *text; int r; uint32_t value; } cases[] = {
		{ "0000002A", 0, 42 }, { "ffffffff", 0, 0xffffffff }, { "FfFfFfFe", 0, 0xfffffffe },
		{ "0000000g", -EBADMSG, 0 }, { "       1", -EBADMSG, 0 }, { "0x000001", -EBADMSG, 0 }, { "+0000001", -EBADMSG, 0 },
		{ "1234567", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = buf_from(cases[i].text, strlen(cases[i].text));
		uint32_t v = 0;

		assert_int_equal(buf_get_hex32(&b, &v), cases[i].r);
		assert_int_equal(v, cases[i].value);
		assert_int_equal(buf_pos(&b), cases[i].r == 0 ? 8 : 0);
	}
}

static void hex_strings_round_trip(void **state)
{
	uint8_t data[3] = { 0 };
	char text[7];

	hex_encode("\x00\xab\xff", 3, text);
	assert_string_equal(text, "00abff");
	assert_int_equal(hex_decode("00ABfF", 6, data, 3), 0);
	assert_memory_equal(data, "\x00\xab\xff", 3);
	assert_int_equal(hex_decode("00abf", 5, data, 3), -EBADMSG);
	assert_int_equal(hex_decode("00abfg", 6, data, 3), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(getters_read_big_endian_and_step),
		cmocka_unit_test(a_short_buffer_moves_nothing),
		cmocka_unit_test(hex_fields_take_both_cases_and_nothing_else),
		cmocka_unit_test(hex_strings_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
