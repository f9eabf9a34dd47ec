/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_certs.h"

#include "agentd/mgmt/budget.h"

static SSL_CTX *server(void)
{
	struct identity id = certs_make("gateway", NULL, SPEC_SIGNER);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_use_certificate(ctx, id.cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, id.key), 1);
	identity_free(&id);
	return ctx;
}

static void a_handshake_is_measured(void **state)
{
	SSL_CTX *ctx = server();
	uint32_t us = budget_handshake_us(ctx);

	(void)state;
	/* Any processor this runs on, also under a sanitizer; a signature alone is some 20 us on the fastest. */
	assert_in_range(us, 10, 10000000);
	SSL_CTX_free(ctx);
}

static void without_a_certificate_nothing_is_measured(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	(void)state;
	assert_int_equal(budget_handshake_us(ctx), 0);
	SSL_CTX_free(ctx);
}

static void a_quarter_of_our_share_within_bounds(void **state)
{
	(void)state;
	assert_int_equal(budget_rate(1000, 1000), 250);
	assert_int_equal(budget_rate(1000, 500), 125);
	assert_int_equal(budget_rate(300, 100), 83);
	assert_int_equal(budget_rate(1, 1000), BUDGET_MAX);
	assert_int_equal(budget_rate(UINT32_MAX, 1), BUDGET_MIN);
	assert_int_equal(budget_rate(0, 1000), 100); /* not measured: as it is without */
}

/* What passes within ten seconds, each offered every millisecond. */
static unsigned passed(struct limit_table *t, enum limit_class class)
{
	unsigned n = 0;

	for (uint64_t ms = 0; ms < 10000; ms++)
		n += limit_take(t, class, "", 0, 1000000 + ms * 1000) == 0;
	return n;
}

static void three_quarters_are_for_everybody(void **state)
{
	static const unsigned rates[] = { 10, 100, 500 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		struct limit_table *t;
		unsigned all, known;

		assert_int_equal(limit_table_new(&t), 0);
		budget_apply(t, rates[i]);
		all = limit_rate(t, LIMIT_HANDSHAKE).burst;
		known = limit_rate(t, LIMIT_HANDSHAKE_KNOWN).burst;
		assert_in_range(all, 4, 75);
		assert_in_range(known, 10, 25);
		assert_in_range(passed(t, LIMIT_HANDSHAKE), rates[i] * 75 / 10 + all - rates[i] / 5, rates[i] * 75 / 10 + all + rates[i] / 5 + 1);
		assert_in_range(passed(t, LIMIT_HANDSHAKE_KNOWN), rates[i] * 25 / 10 + known - rates[i] / 5, rates[i] * 25 / 10 + known + rates[i] / 5 + 1);
		limit_table_free(t);
	}
}

static void put(const struct temp_dir *dir, const char *folder, const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "mkdir -p %s/%s", dir->path, folder);
	assert_int_equal(system(path), 0);
	snprintf(path, sizeof(path), "%s/%s/%s", dir->path, folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void the_share_is_the_least_of_the_group_and_those_above(void **state)
{
	static const struct {
		const char *groups;
		unsigned share;
	} cases[] = {
		{ "0::/a/b\n", 50 },
		{ "0::/a\n", 50 },	/* of its own */
		{ "0::/c\n", 800 },
		{ "0::/d\n", BUDGET_WHOLE_CPU },
		{ "0::/nowhere\n", BUDGET_WHOLE_CPU },
		{ "0::/\n", BUDGET_WHOLE_CPU },
		{ "0::/../a\n", BUDGET_WHOLE_CPU },
		{ "12:memory:/v1\n4:cpu,cpuacct:/v1\n0::/\n", 100 },
		{ "4:cpuacct,cpu:/v1\n", 100 },
		{ "4:cpuset:/v1\n3:cpuacct:/v1\n", BUDGET_WHOLE_CPU },
		{ "4:cpu:/free\n", BUDGET_WHOLE_CPU },
		{ "rubbish\n::\n:\n0:\n\n", BUDGET_WHOLE_CPU },
		{ "", BUDGET_WHOLE_CPU },
	};
	char groups[96], mount[96];
	struct temp_dir dir;

	(void)state;
	temp_dir_make(&dir);
	put(&dir, "m/a", "cpu.max", "5000 100000\n");
	put(&dir, "m/a/b", "cpu.max", "200000 100000\n");
	put(&dir, "m/c", "cpu.max", "80000 100000\n");
	put(&dir, "m/d", "cpu.max", "max 100000\n");
	put(&dir, "m/cpu/v1", "cpu.cfs_quota_us", "1000\n");
	put(&dir, "m/cpu/v1", "cpu.cfs_period_us", "10000\n");
	put(&dir, "m/cpu/free", "cpu.cfs_quota_us", "-1\n");
	put(&dir, "m/cpu/free", "cpu.cfs_period_us", "100000\n");
	snprintf(groups, sizeof(groups), "%s/groups", dir.path);
	snprintf(mount, sizeof(mount), "%s/m", dir.path);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put(&dir, ".", "groups", cases[i].groups);
		assert_int_equal(budget_cpu_share(groups, mount), cases[i].share);
	}
	assert_int_equal(budget_cpu_share("/nonexistent", mount), BUDGET_WHOLE_CPU);
	snprintf(groups, sizeof(groups), "rm -r %s/m", dir.path);
	assert_int_equal(system(groups), 0);
	temp_dir_remove(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handshake_is_measured),
		cmocka_unit_test(without_a_certificate_nothing_is_measured),
		cmocka_unit_test(a_quarter_of_our_share_within_bounds),
		cmocka_unit_test(three_quarters_are_for_everybody),
		cmocka_unit_test(the_share_is_the_least_of_the_group_and_those_above),
	};

	return cmocka_run_group_tests_name("mgmt_budget", tests, NULL, NULL);
}
