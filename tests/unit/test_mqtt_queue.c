/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "net/mqtt_queue.h"

static void sent(struct mqtt_queue *q, struct mqtt_message *m, int mid)
{
	mqtt_queue_sent(q, m, 1);
	m->mid = mid;
}

static void messages_leave_in_order_and_only_once(void **state)
{
	struct mqtt_queue q;
	struct mqtt_message *m;
	uint64_t id, ids[3];

	mqtt_queue_init(&q, 10, 1000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(mqtt_queue_add(&q, "t", "abc", (size_t)i, 0, 0, &ids[i]), 0);
	for (int i = 0; i < 3; i++) {
		m = mqtt_queue_next(&q, 0, 0);
		assert_int_equal(m->id, ids[i]);
		assert_int_equal(m->size, (size_t)i);
		sent(&q, m, 100 + i);
	}
	assert_null(mqtt_queue_next(&q, 0, 0));
	assert_int_equal(q.n_sent, 3);
	assert_true(mqtt_queue_done(&q, 102, &id));	/* the last first */
	assert_int_equal(id, ids[2]);
	assert_false(mqtt_queue_done(&q, 102, &id));
	assert_int_equal(mqtt_queue_add(&q, "t", NULL, 0, 0, 0, &id), 0);
	assert_int_equal(mqtt_queue_next(&q, 0, 0)->id, id);
	assert_true(mqtt_queue_done(&q, 100, &id));
	assert_true(mqtt_queue_done(&q, 101, &id));
	mqtt_queue_drop(&q, mqtt_queue_next(&q, 0, 0));
	assert_int_equal(q.n_messages, 0);
	assert_int_equal(q.n_bytes, 0);
	assert_int_equal(q.n_sent, 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "x", 1, 0, 0, &id), 0);
	assert_ptr_equal(mqtt_queue_next(&q, 0, 0), q.first);
	mqtt_queue_clear(&q);
}

static void a_lost_connection_sends_the_unacknowledged_again(void **state)
{
	struct mqtt_queue q;
	uint64_t first, second, id;

	mqtt_queue_init(&q, 10, 1000);
	assert_int_equal(mqtt_queue_add(&q, "t", "1", 1, 0, 0, &first), 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "2", 1, 0, 0, &second), 0);
	sent(&q, mqtt_queue_next(&q, 0, 0), 1);
	sent(&q, mqtt_queue_next(&q, 0, 0), 2);
	assert_true(mqtt_queue_done(&q, 1, &id));
	mqtt_queue_rewind(&q);
	assert_int_equal(mqtt_queue_next(&q, 0, 0)->id, second);
	assert_false(mqtt_queue_done(&q, 2, &id));	/* an old packet identifier means nothing now */
	mqtt_queue_clear(&q);
}

static void what_is_held_or_was_sent_is_told_by_its_qos(void **state)
{
	struct mqtt_queue q;
	uint64_t first, second, id;

	mqtt_queue_init(&q, 10, 1000);
	assert_int_equal(mqtt_queue_add(&q, "t", "1", 1, 4, 0, &first), 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "2", 1, 0, 0, &second), 0);
	assert_true(mqtt_queue_has_waiting(&q, 4));
	assert_int_equal(mqtt_queue_next(&q, 0, 4)->id, second);
	mqtt_queue_sent(&q, mqtt_queue_next(&q, 0, 4), 0);
	assert_false(mqtt_queue_has_sent(&q, 2));
	mqtt_queue_sent(&q, mqtt_queue_next(&q, 0, 0), 2);
	q.first->mid = 7;
	assert_true(mqtt_queue_has_sent(&q, 2));
	assert_false(mqtt_queue_has_waiting(&q, 4));
	assert_int_equal(q.n_sent, 2);
	mqtt_queue_rewind_qos0(&q);	/* the other goes on with its number */
	assert_int_equal(q.n_sent, 1);
	assert_int_equal(mqtt_queue_next(&q, 0, 0)->id, second);
	assert_true(mqtt_queue_done(&q, 7, &id));
	assert_int_equal(id, first);
	mqtt_queue_clear(&q);
}

static void what_was_put_off_is_due_when_it_was_said(void **state)
{
	struct mqtt_queue q;
	struct mqtt_message *m;
	uint64_t id;

	mqtt_queue_init(&q, 10, 1000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mqtt_queue_add(&q, "t", "1", 1, 0, 0, &id), 0);
		sent(&q, mqtt_queue_next(&q, 0, 0), i + 1);
	}
	assert_int_equal(mqtt_queue_again_ms(&q, 10), 0);
	mqtt_queue_postpone(&q, mqtt_queue_find(&q, 2), 3000);
	mqtt_queue_postpone(&q, mqtt_queue_find(&q, 1), 1000);
	assert_int_equal(mqtt_queue_again_ms(&q, 999), 1000);
	assert_null(mqtt_queue_next(&q, 999, 0));
	m = mqtt_queue_next(&q, 1000, 0);
	assert_ptr_equal(m, q.first);
	/* It may go now, whether it does or not: nothing to be woken for. */
	assert_int_equal(mqtt_queue_again_ms(&q, 1000), 3000);
	sent(&q, m, 4);
	assert_int_equal(mqtt_queue_again_ms(&q, 3000), 0);
	mqtt_queue_postpone(&q, m, 5000);
	mqtt_queue_rewind(&q);
	assert_int_equal(mqtt_queue_again_ms(&q, 5000), 0);
	mqtt_queue_clear(&q);
}

static void limits_hold(void **state)
{
	struct mqtt_queue q;
	uint64_t id = 7;

	mqtt_queue_init(&q, 2, 10);
	assert_int_equal(mqtt_queue_add(&q, "topic", "123456", 6, 0, 0, &id), -EMSGSIZE);
	assert_int_equal(mqtt_queue_add(&q, "topic", "123456", SIZE_MAX, 0, 0, &id), -EMSGSIZE);
	assert_int_equal(mqtt_queue_add(&q, "topic-too-long", "", 0, 0, 0, &id), -EMSGSIZE);
	assert_int_equal(id, 7);
	assert_int_equal(mqtt_queue_add(&q, "topic", "12345", 5, 0, 0, &id), 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "", 0, 0, 0, &id), -EDQUOT);
	mqtt_queue_clear(&q);
	assert_int_equal(mqtt_queue_add(&q, "t", "", 0, 0, 0, &id), 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "", 0, 0, 0, &id), 0);
	assert_int_equal(mqtt_queue_add(&q, "t", "", 0, 0, 0, &id), -EDQUOT);
	mqtt_queue_clear(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_leave_in_order_and_only_once),
		cmocka_unit_test(a_lost_connection_sends_the_unacknowledged_again),
		cmocka_unit_test(what_is_held_or_was_sent_is_told_by_its_qos),
		cmocka_unit_test(what_was_put_off_is_due_when_it_was_said),
		cmocka_unit_test(limits_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
