/* SPDX-License-Identifier: Apache-2.0 */
/* What a trial of a new certificate at the broker comes to: core is not there, the pairs are put in by hand. */
#include "tests/unit/test.h"

#include "agentd/link/identity.h"

static void begin(struct identity *i)
{
	*i = (struct identity){ .current = { .id = "old", .key = "device" }, .next = { .id = "new", .key = "device.next" } };
	assert_string_equal(identity_choose(i)->id, "new");
}

/* The new pair fails at broker 0, the old one is taken at @broker. */
static enum identity_verdict round_at(struct identity *i, const char *name, enum agent_tls_shown shown, size_t broker)
{
	enum identity_verdict verdict;

	assert_string_equal(identity_choose(i)->id, "new");
	identity_failed(i, 0, name, "so it says", shown);
	assert_string_equal(identity_choose(i)->id, "old");
	verdict = identity_succeeded(i, broker);
	return verdict;
}

static void a_broker_that_takes_it_proves_it(void **state)
{
	struct identity i;

	begin(&i);
	assert_int_equal(identity_succeeded(&i, 0), IDENTITY_PROVED);
}

static void what_only_the_checked_broker_can_say_counts_at_once(void **state)
{
	static const char *const names[] = { "tls.alert", "mqtt.not-authorised", "mqtt.client-id", "tls.key" };
	struct identity i;

	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		begin(&i);
		assert_int_equal(round_at(&i, names[n], n == 0 ? AGENT_TLS_REFUSED : AGENT_TLS_NOT_SHOWN, 0), IDENTITY_NOT_PROVED);
		assert_non_null(strstr(i.why, names[n]));
	}
}

/* Alerts before our key signed, refused connections, a certificate of the broker that is not good, a TPM that is away. */
static void before_the_key_signed_nothing_is_decided(void **state)
{
	static const char *const names[] = { "tls.alert", "mqtt.connect", "mqtt.lost", "tls.issuer", "tls.signer", "tls.handshake", "bus.lost" };
	static const unsigned waits[] = { 0, 1, 3, 7, 15, 31, 63, 63 };
	struct identity i;

	begin(&i);
	for (size_t n = 0; n < 10 * ARRAY_SIZE(names); n++) {
		assert_int_equal(round_at(&i, names[n % ARRAY_SIZE(names)], AGENT_TLS_NOT_SHOWN, 0), IDENTITY_AGAIN);
		/* It costs the connection in use each time, so less and less often. */
		assert_int_equal(identity_patience(&i), waits[n < ARRAY_SIZE(waits) ? n : ARRAY_SIZE(waits) - 1]);
	}
	assert_string_equal(identity_choose(&i)->id, "new");
	assert_int_equal(identity_succeeded(&i, 0), IDENTITY_PROVED);
}

static void three_failures_without_a_reason_are_one(void **state)
{
	struct identity i;

	begin(&i);
	assert_int_equal(round_at(&i, "mqtt.lost", AGENT_TLS_SHOWN, 0), IDENTITY_AGAIN);
	/* TLS 1.2: nothing protects an alert before the server's Finished. */
	assert_int_equal(round_at(&i, "tls.alert", AGENT_TLS_SHOWN, 0), IDENTITY_AGAIN);
	assert_int_equal(round_at(&i, "mqtt.lost", AGENT_TLS_NOT_SHOWN, 0), IDENTITY_AGAIN);
	assert_int_equal(round_at(&i, "mqtt.lost", AGENT_TLS_SHOWN, 0), IDENTITY_NOT_PROVED);
}

/* Nobody knows what the broker that refused the new one would say to the old one. */
static void another_broker_is_no_judge_of_it_at_once(void **state)
{
	struct identity i;

	begin(&i);
	assert_int_equal(round_at(&i, "tls.alert", AGENT_TLS_REFUSED, 1), IDENTITY_AGAIN);
	assert_int_equal(round_at(&i, "tls.alert", AGENT_TLS_REFUSED, 1), IDENTITY_AGAIN);
	assert_int_equal(round_at(&i, "tls.alert", AGENT_TLS_REFUSED, 1), IDENTITY_NOT_PROVED);
}

static void when_the_old_one_fares_no_better_it_is_tried_again(void **state)
{
	struct identity i;

	begin(&i);
	for (int n = 0; n < 10; n++) {
		identity_failed(&i, 0, "tls.alert", "no", AGENT_TLS_REFUSED);
		assert_string_equal(identity_choose(&i)->id, "old");
		identity_failed(&i, 0, "tls.alert", "no", AGENT_TLS_REFUSED);
		assert_string_equal(identity_choose(&i)->id, "new");
	}
	assert_int_equal(round_at(&i, "tls.alert", AGENT_TLS_REFUSED, 0), IDENTITY_NOT_PROVED);
}

static void with_nothing_on_trial_there_is_no_verdict(void **state)
{
	struct identity i;

	begin(&i);
	i.next.id[0] = '\0';
	assert_string_equal(identity_choose(&i)->id, "old");
	identity_failed(&i, 0, "tls.alert", "x", AGENT_TLS_REFUSED);
	assert_string_equal(identity_choose(&i)->id, "old");
	assert_int_equal(identity_succeeded(&i, 0), IDENTITY_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broker_that_takes_it_proves_it),
		cmocka_unit_test(what_only_the_checked_broker_can_say_counts_at_once),
		cmocka_unit_test(before_the_key_signed_nothing_is_decided),
		cmocka_unit_test(three_failures_without_a_reason_are_one),
		cmocka_unit_test(another_broker_is_no_judge_of_it_at_once),
		cmocka_unit_test(when_the_old_one_fares_no_better_it_is_tried_again),
		cmocka_unit_test(with_nothing_on_trial_there_is_no_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
