/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of applications, and the gate before sd-bus. */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <sys/socket.h>

#include "agentd/common/gate.h"
#include "agentd/common/vendor.h"

#define S UINT64_C(1000000)

static void calls_per_second_are_counted_by_user(void **state)
{
	struct vendors v = { .limits = { .max_connections = 4, .calls_per_s = 10, .burst = 5 } };
	const char *why;
	struct vendor_user *a = vendor_enter(&v, 1000, S, &why), *a2 = vendor_enter(&v, 1000, S, &why), *b = vendor_enter(&v, 1001, S, &why);

	assert_ptr_equal(a, a2);
	for (int i = 0; i < 5; i++)
		assert_int_equal(vendor_call_begin(&v, i % 2 ? a : a2, S), 0);
	assert_int_equal(vendor_call_begin(&v, a, S), -EDQUOT);
	assert_int_equal(vendor_call_begin(&v, b, S), 0);
	assert_int_equal(vendor_call_begin(&v, a, S + S / 10), 0);
	assert_int_equal(vendor_call_begin(&v, a, S + S / 10), -EDQUOT);
	/* Leaving and coming back gains nothing. */
	while (a->n_calls > 0)
		vendor_call_end(a);
	vendor_leave(&v, a);
	vendor_leave(&v, a);
	a = vendor_enter(&v, 1000, S + S / 10, &why);
	assert_int_equal(vendor_call_begin(&v, a, S + S / 10), -EDQUOT);
	assert_int_equal(vendor_call_begin(&v, a, S * 2), 0);
}

static void waiting_calls_are_bounded(void **state)
{
	struct vendors v = { .limits = { .max_connections = 4, .calls_per_s = 1000, .burst = 1000 } };
	const char *why;
	struct vendor_user *a = vendor_enter(&v, 1000, S, &why);

	for (int i = 0; i < VENDOR_MAX_CALLS; i++)
		assert_int_equal(vendor_call_begin(&v, a, S), 0);
	assert_int_equal(vendor_call_begin(&v, a, S), -EBUSY);
	vendor_call_end(a);
	assert_int_equal(vendor_call_begin(&v, a, S), 0);
}

static void connections_are_bounded_by_user_and_in_all(void **state)
{
	struct vendors v = { .limits = { .max_connections = 2, .calls_per_s = 10, .burst = 5 } };
	struct vendor_user *first, *user;
	const char *why = NULL;

	first = vendor_enter(&v, 0, S, &why);
	assert_non_null(first);
	assert_non_null(vendor_enter(&v, 0, S, &why));
	assert_null(vendor_enter(&v, 0, S, &why));
	assert_non_null(why);
	vendor_leave(&v, first);
	for (uint32_t uid = 1; uid < VENDOR_MAX_USERS; uid++)
		assert_non_null(vendor_enter(&v, uid, S, &why));
	assert_null(vendor_enter(&v, 5000, S, &why));
	/* A row is given to another user only when its bucket is full again. */
	user = &v.users[7];
	assert_int_equal(vendor_call_begin(&v, user, S), 0);
	vendor_call_end(user);
	vendor_leave(&v, user);
	assert_null(vendor_enter(&v, 5000, S, &why));
	assert_ptr_equal(vendor_enter(&v, 5000, S * 2, &why), user);
}

static void refusals_do_not_fill_the_log(void **state)
{
	struct vendors v = { .limits = { .max_connections = 2, .calls_per_s = 10, .burst = 5 } };
	const char *why;
	struct vendor_user *a = vendor_enter(&v, 1, S, &why);
	uint64_t left_out = 0;
	int n = 0;

	for (int i = 0; i < 1000; i++)
		n += vendor_may_log(a, VENDOR_REFUSED, S, &left_out);
	assert_int_equal(n, VENDOR_LOG_BURST);
	assert_true(vendor_may_log(a, VENDOR_THROTTLED, S, &left_out));
	assert_int_equal(left_out, 0);
	assert_true(vendor_may_log(a, VENDOR_REFUSED, S + VENDOR_LOG_INTERVAL_US, &left_out));
	assert_int_equal(left_out, 990);
}

/* ---- gate ------------------------------------------------------------------------------------------------------- */

struct gated {
	sd_event *event;
	struct gate *gate;
	int outside, inside;
	char why[64];
};

static void on_broken(void *userdata, const char *why)
{
	struct gated *g = userdata;

	snprintf(g->why, sizeof(g->why), "%s", why);
}

static void gated_start(struct gated *g)
{
	int pair[2];

	*g = (struct gated){ .inside = -1 };
	assert_true(sd_event_new(&g->event) >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	g->outside = pair[0];
	assert_int_equal(gate_new(g->event, pair[1], on_broken, g, &g->inside, &g->gate, NULL), 0);
}

static void gated_end(struct gated *g)
{
	gate_free(g->gate);
	close(g->outside);
	close(g->inside);
	sd_event_unref(g->event);
}

static void turn(struct gated *g)
{
	while (sd_event_run(g->event, 0) > 0)
		;
}

/* What came through, and whether the end did. */
static size_t received(int fd, uint8_t *data, size_t size, bool *ret_ended)
{
	size_t n = 0;
	ssize_t m = 0;

	while (n < size && (m = recv(fd, data + n, size - n, 0)) > 0)
		n += (size_t)m;
	*ret_ended = m == 0;
	return n;
}

static size_t message(uint8_t *data, uint32_t fields, uint32_t body, char endian)
{
	const uint32_t words[3] = { body, 1, fields };

	memset(data, 0x55, 16);
	data[0] = (uint8_t)endian;
	for (int w = 0; w < 3; w++)
		for (int i = 0; i < 4; i++)
			data[4 + w * 4 + (endian == 'B' ? 3 - i : i)] = (uint8_t)(words[w] >> (8 * i));
	return 16 + (fields + 7) / 8 * 8 + (size_t)body;
}

#define HELLO "\0AUTH ANONYMOUS\r\nBEGIN\r\n"

static void whole_messages_pass_and_nothing_is_lost(void **state)
{
	static uint8_t in[3 * GATE_MESSAGE_MAX], out[3 * GATE_MESSAGE_MAX];
	struct gated g;
	size_t size = sizeof(HELLO) - 1, n = 0, sent = 0;
	bool ended;

	memset(in, 0x55, sizeof(in));
	memcpy(in, HELLO, size);
	size += message(in + size, 20, 3, 'l');
	size += message(in + size, 8, GATE_MESSAGE_MAX - 24, 'B'); /* the longest there may be */
	size += message(in + size, 0, 0, 'l');
	gated_start(&g);
	while (sent < size) {
		size_t piece = size - sent < 1777 ? size - sent : 1777;
		ssize_t m = send(g.outside, in + sent, piece, 0);

		assert_true(m > 0 || errno == EAGAIN);
		sent += m > 0 ? (size_t)m : 0;
		turn(&g);
		n += received(g.inside, out + n, sizeof(out) - n, &ended);
	}
	turn(&g);
	n += received(g.inside, out + n, sizeof(out) - n, &ended);
	assert_int_equal(n, size);
	assert_memory_equal(in, out, size);
	assert_false(ended);
	/* And back. */
	assert_int_equal(send(g.inside, in, 10000, 0), 10000);
	for (n = 0; n < 10000; n += received(g.outside, out + n, sizeof(out) - n, &ended))
		turn(&g);
	assert_memory_equal(in, out, 10000);
	/* Half a message stays outside. */
	message(in, 8, 8, 'l');
	assert_int_equal(send(g.outside, in, 30, 0), 30);
	turn(&g);
	assert_int_equal(received(g.inside, out, sizeof(out), &ended), 0);
	close(g.outside);
	g.outside = -1;
	turn(&g);
	assert_int_equal(received(g.inside, out, sizeof(out), &ended), 0);
	assert_true(ended);
	assert_string_equal(g.why, ""); /* leaving breaks no rule */
	gated_end(&g);
}

static void what_breaks_the_rules_ends_the_connection(void **state)
{
	static const struct {
		uint32_t fields, body;
		char endian;
	} cases[] = {
		{ 8, GATE_MESSAGE_MAX - 23, 'l' }, { 8, 128u << 20, 'l' }, { 0xffffffff, 0, 'l' }, { 0xffffffff, 0xffffffff, 'B' },
		{ 0, 0, 'x' }, { 0, 0, 0 },
	};
	uint8_t data[64], out[64];
	struct gated g;
	bool ended;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		gated_start(&g);
		assert_int_equal(send(g.outside, HELLO, sizeof(HELLO) - 1, 0), sizeof(HELLO) - 1);
		message(data, cases[i].fields, cases[i].body, cases[i].endian);
		send(g.outside, data, 16, 0);
		turn(&g);
		assert_int_equal(received(g.inside, out, sizeof(out), &ended), sizeof(HELLO) - 1);
		received(g.inside, out, sizeof(out), &ended);
		assert_true(ended);
		assert_string_not_equal(g.why, "");
		gated_end(&g);
	}
	gated_start(&g);
	memset(data, 'A', sizeof(data));
	for (int i = 0; i < GATE_HELLO_MAX / (int)sizeof(data) + 1; i++)
		send(g.outside, data, sizeof(data), 0);
	turn(&g);
	assert_string_equal(g.why, "handshake too long");
	gated_end(&g);
}

static void a_paused_gate_reads_nothing(void **state)
{
	uint8_t out[64];
	struct gated g;
	bool ended;

	gated_start(&g);
	gate_pause(g.gate, 20000);
	send(g.outside, HELLO, sizeof(HELLO) - 1, 0);
	turn(&g);
	assert_int_equal(received(g.inside, out, sizeof(out), &ended), 0);
	for (int i = 0; i < 100 && received(g.inside, out, sizeof(out), &ended) == 0; i++)
		sd_event_run(g.event, 10000);
	gated_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_per_second_are_counted_by_user),
		cmocka_unit_test(waiting_calls_are_bounded),
		cmocka_unit_test(connections_are_bounded_by_user_and_in_all),
		cmocka_unit_test(refusals_do_not_fill_the_log),
		cmocka_unit_test(whole_messages_pass_and_nothing_is_lost),
		cmocka_unit_test(what_breaks_the_rules_ends_the_connection),
		cmocka_unit_test(a_paused_gate_reads_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
