/* SPDX-License-Identifier: Apache-2.0 */
/* The tag that compares what was written with what comes back: with Poly1305, and with HMAC where OpenSSL has none. */
#include "tests/unit/test.h"

#include <errno.h>
#include <openssl/evp.h>

#include "crypto/tag.h"

static bool has_poly1305 = true, has_random = true, has_any = true;

EVP_MAC *__real_EVP_MAC_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);
EVP_MAC *__wrap_EVP_MAC_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);
EVP_MAC *__wrap_EVP_MAC_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties)
{
	return !has_any || (!has_poly1305 && strcmp(name, "POLY1305") == 0) ? NULL : __real_EVP_MAC_fetch(ctx, name, properties);
}

ssize_t __real_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
	return has_random ? __real_getrandom(data, size, flags) : (ssize_t)size - 1;
}

static void tag_of(struct tag *t, const uint8_t *data, size_t size, uint8_t ret_tag[TAG_SIZE])
{
	assert_int_equal(tag_update(t, data, size), 0);
	assert_int_equal(tag_final(t, ret_tag), 0);
}

static void the_same_bytes_have_the_same_tag_however_they_come(void **state)
{
	_cleanup_(tag_freep) struct tag *t = NULL;
	uint8_t data[1000], whole[TAG_SIZE], parts[TAG_SIZE];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	assert_int_equal(tag_new(&t), 0);
	tag_of(t, data, sizeof(data), whole);
	for (size_t step = 1; step < 70; step += 3) {
		for (size_t i = 0; i < sizeof(data); i += step)
			assert_int_equal(tag_update(t, data + i, sizeof(data) - i < step ? sizeof(data) - i : step), 0);
		assert_int_equal(tag_final(t, parts), 0);
		assert_true(tag_is_equal(whole, parts));
	}
}

static void each_bit_and_the_length_count(void **state)
{
	_cleanup_(tag_freep) struct tag *t = NULL;
	uint8_t data[81] = { 0 }, whole[TAG_SIZE], other[TAG_SIZE];

	assert_int_equal(tag_new(&t), 0);
	for (size_t size = 0; size < sizeof(data); size++) {
		tag_of(t, data, size, whole);
		for (size_t bit = 0; bit < size * 8; bit++) {
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			tag_of(t, data, size, other);
			assert_false(tag_is_equal(whole, other));
			data[bit / 8] = 0;
		}
		/* One zero more at the end. */
		tag_of(t, data, size + 1, other);
		assert_false(tag_is_equal(whole, other));
	}
}

static void each_key_is_another_one(void **state)
{
	_cleanup_(tag_freep) struct tag *a = NULL;
	_cleanup_(tag_freep) struct tag *b = NULL;
	uint8_t of_a[TAG_SIZE], of_b[TAG_SIZE];

	assert_int_equal(tag_new(&a), 0);
	assert_int_equal(tag_new(&b), 0);
	tag_of(a, (const uint8_t *)"same", 4, of_a);
	tag_of(b, (const uint8_t *)"same", 4, of_b);
	assert_false(tag_is_equal(of_a, of_b));
	/* In the middle of a message. */
	assert_int_equal(tag_update(b, "rest", 4), 0);
}

static void what_is_missing_is_an_error(void **state)
{
	struct tag *t = NULL;

	has_random = false;
	assert_int_equal(tag_new(&t), -EIO);
	has_random = true;
	has_any = false;
	assert_int_equal(tag_new(&t), -ENOMEM);
	has_any = true;
	assert_null(t);
}

static int without_poly1305(void **state)
{
	has_poly1305 = false;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_bytes_have_the_same_tag_however_they_come),
		cmocka_unit_test(each_bit_and_the_length_count),
		cmocka_unit_test(each_key_is_another_one),
		cmocka_unit_test(what_is_missing_is_an_error),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	return r != 0 ? r : cmocka_run_group_tests(tests, without_poly1305, NULL);
}
