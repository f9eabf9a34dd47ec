/* SPDX-License-Identifier: Apache-2.0 */
/* The TPM thread with a pretend TPM: order, bounds, deadlines, and that nothing it does can hold the loop up. */
#include "config.h"

#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include <systemd/sd-event.h>

#include "agentd/core/worker_loop.h"

struct store_fake {
	atomic_int n_opens, open_result, is_usable, n_probes, probe_fails, probe_hangs, timeout_s;
};

static struct store_fake tpm;
static sd_event *event;
static struct worker *worker;
static int n_news, last_result;
static enum agent_tpm_state last_state;

static int fake_open(struct store *store, struct agent_error **err)
{
	int r = atomic_load(&tpm.open_result);

	atomic_fetch_add(&tpm.n_opens, 1);
	if (r < 0)
		return agent_error_set(err, r, "tpm.absent", "no TPM here");
	atomic_store(&tpm.is_usable, 1);
	return 0;
}

static bool fake_is_usable(struct store *store)
{
	return atomic_load(&tpm.is_usable);
}

static void fake_look(struct store *store, struct worker_news *news, bool was_opened)
{
	news->tpm_state = atomic_load(&tpm.is_usable) ? AGENT_TPM_READY : AGENT_TPM_ABSENT;
	news->is_open = atomic_load(&tpm.is_usable);
}

static void fake_news(struct core *core, const struct worker_news *news)
{
	n_news++;
	last_state = news->tpm_state;
	if (news->was_opened)
		last_result = news->result;
}

static unsigned fake_timeout(struct core *core)
{
	return (unsigned)atomic_load(&tpm.timeout_s);
}

static int fake_probe(struct store *store, struct agent_error **err)
{
	atomic_fetch_add(&tpm.n_probes, 1);
	while (atomic_load(&tpm.probe_hangs))
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	if (atomic_load(&tpm.probe_fails))
		atomic_store(&tpm.is_usable, 0);
	return 0;
}

static unsigned fake_probe_s(struct core *core)
{
	return 1;
}

static const struct worker_hooks hooks = { fake_open, fake_is_usable, fake_look, fake_news, fake_timeout, fake_probe, fake_probe_s };

/* A job that notes its steps; it waits in the thread until @gate opens. */
struct probe {
	atomic_int gate, has_run;
	int n_done, n_late, n_free, result;
	char name[16];
	char error[32];
	int run_result;
	bool breaks_tpm;
};

static char order[256];

static int probe_run(struct store *store, void *data, struct agent_error **err)
{
	struct probe *p = data;
	struct timespec nap = { .tv_nsec = 2000000 };
	sigset_t blocked;

	/* All signals, or a SIGTERM would cost the ESYS context. */
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1) || !sigismember(&blocked, SIGCHLD))
		return -ENOTRECOVERABLE;
	while (!atomic_load(&p->gate))
		nanosleep(&nap, NULL);
	if (p->breaks_tpm)
		atomic_store(&tpm.is_usable, 0);
	atomic_store(&p->has_run, 1);
	return p->run_result < 0 ? agent_error_set(err, p->run_result, "test.failed", "as told") : p->run_result;
}

static void probe_done(struct core *core, void *data, int r, struct agent_error **err)
{
	struct probe *p = data;

	p->n_done++;
	p->result = r;
	snprintf(p->error, sizeof(p->error), "%s", agent_error_name(*err));
	strcat(order, p->name);
}

static void probe_late(struct core *core, void *data, int r)
{
	((struct probe *)data)->n_late++;
}

static void probe_free(void *data)
{
	((struct probe *)data)->n_free++;
}

static const struct job_ops ops = { "probe", probe_run, probe_done, probe_late, probe_free };

static int setup(void **state)
{
	memset(&tpm, 0, sizeof(tpm));
	tpm.timeout_s = 30;
	order[0] = '\0';
	n_news = 0;
	last_result = 1;
	assert_true(sd_event_new(&event) >= 0);
	return 0;
}

static void start(void)
{
	assert_int_equal(worker_start(NULL, event, NULL, &hooks, &worker, NULL), 0);
}

static int teardown(void **state)
{
	assert_int_equal(worker_stop(worker), 0);
	event = sd_event_unref(event);
	return 0;
}

static void run_until(const int *value, int wanted)
{
	for (int i = 0; i < 1000 && *value < wanted; i++)
		sd_event_run(event, 10000);
	assert_int_equal(*value, wanted);
}

static void submit(enum worker_priority priority, struct probe *p, unsigned timeout_s)
{
	assert_int_equal(worker_submit(worker, priority, &ops, p, timeout_s, NULL), 0);
	assert_int_equal(p->n_done, 0); /* never from inside */
}

static void a_job_comes_back_in_the_loop(void **state)
{
	struct probe good = { .gate = 1, .run_result = 5 }, bad = { .gate = 1, .run_result = -EIO };

	start();
	submit(WORKER_WORK, &good, 0);
	submit(WORKER_WORK, &bad, 0);
	run_until(&bad.n_free, 1);
	assert_int_equal(good.result, 5);
	assert_int_equal(good.n_done, 1);
	assert_int_equal(good.n_free, 1);
	assert_int_equal(bad.result, -EIO);
	assert_string_equal(bad.error, "test.failed");
}

static void signatures_go_before_hashes(void **state)
{
	struct probe first = { .name = "0" }, hash = { .gate = 1, .name = "h" }, work = { .gate = 1, .name = "w" },
		     sign = { .gate = 1, .name = "s" };

	start();
	submit(WORKER_HASH, &first, 0);
	while (!worker_has_tried(worker))
		sd_event_run(event, 1000);
	for (struct worker_info info = { 0 }; !info.is_open; worker_get_info(worker, &info))
		;
	/* Wait until the first one runs, so that the others queue behind it. */
	for (int i = 0; i < 50; i++)
		sd_event_run(event, 1000);
	submit(WORKER_HASH, &hash, 0);
	submit(WORKER_WORK, &work, 0);
	submit(WORKER_SIGN, &sign, 0);
	atomic_store(&first.gate, 1);
	run_until(&hash.n_free, 1);
	assert_string_equal(order, "0swh");
}

static void the_queue_of_hashes_holds_four(void **state)
{
	struct probe running = { .name = "r" }, waiting[4] = { 0 }, extra = { 0 };
	struct agent_error *err = NULL;

	start();
	submit(WORKER_HASH, &running, 0);
	for (int i = 0; i < 50; i++)
		sd_event_run(event, 1000);
	for (size_t i = 0; i < 4; i++) {
		waiting[i].gate = 1;
		submit(WORKER_HASH, &waiting[i], 0);
	}
	assert_int_equal(worker_submit(worker, WORKER_HASH, &ops, &extra, 0, &err), -EBUSY);
	assert_error(&err, -EBUSY, "core.busy");
	assert_int_equal(extra.n_free, 0); /* stays ours */
	atomic_store(&running.gate, 1);
	run_until(&waiting[3].n_free, 1);
}

static void a_tpm_that_hangs_costs_its_caller_the_deadline_and_the_loop_nothing(void **state)
{
	struct probe hangs = { .name = "x" }, behind = { .gate = 1, .name = "b" };
	struct timespec before, after;

	start();
	submit(WORKER_SIGN, &hangs, 1);
	submit(WORKER_SIGN, &behind, 1);
	clock_gettime(CLOCK_MONOTONIC, &before);
	run_until(&hangs.n_done, 1);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(after.tv_sec - before.tv_sec <= 2);
	assert_int_equal(hangs.result, -ETIMEDOUT);
	assert_string_equal(hangs.error, "tpm.timeout");
	assert_int_equal(hangs.n_free, 0); /* the thread still uses it */
	run_until(&behind.n_free, 1);
	assert_int_equal(behind.result, -ETIMEDOUT);
	assert_int_equal(atomic_load(&behind.has_run), 0);
	atomic_store(&hangs.gate, 1);
	run_until(&hangs.n_free, 1);
	assert_int_equal(hangs.n_late, 1);
	assert_int_equal(hangs.n_done, 1);
}

static void without_a_tpm_jobs_fail_with_the_reason_and_work_again_when_it_is_back(void **state)
{
	struct probe early = { .gate = 1 }, later = { .gate = 1 };

	atomic_store(&tpm.open_result, -ENODEV);
	start();
	submit(WORKER_SIGN, &early, 0);
	run_until(&early.n_free, 1);
	assert_int_equal(early.result, -ENODEV);
	assert_string_equal(early.error, "tpm.absent");
	assert_int_equal(atomic_load(&early.has_run), 0);
	assert_int_equal(last_result, -ENODEV);
	atomic_store(&tpm.open_result, 0);
	/* Tried again by itself, without a job, after the back-off. */
	for (int i = 0; i < 300 && last_state != AGENT_TPM_READY; i++)
		sd_event_run(event, 10000);
	assert_int_equal(last_state, AGENT_TPM_READY);
	assert_int_equal(last_result, 0);
	submit(WORKER_SIGN, &later, 0);
	run_until(&later.n_free, 1);
	assert_int_equal(later.result, 0);
}

static void a_tpm_lost_during_a_job_is_opened_again_for_the_next(void **state)
{
	struct probe breaks = { .gate = 1, .breaks_tpm = true, .run_result = -EIO }, next = { .gate = 1 };

	start();
	submit(WORKER_SIGN, &breaks, 0);
	run_until(&breaks.n_free, 1);
	submit(WORKER_SIGN, &next, 0);
	run_until(&next.n_free, 1);
	assert_int_equal(next.result, 0);
	assert_int_equal(atomic_load(&tpm.n_opens), 2);
}

static void a_job_that_needs_no_open_store_runs_without(void **state)
{
	static const struct job_ops any = { "probe", probe_run, probe_done, probe_late, probe_free, true };
	struct probe p = { .gate = 1 };

	atomic_store(&tpm.open_result, -ENODEV);
	start();
	assert_int_equal(worker_submit(worker, WORKER_SIGN, &any, &p, 0, NULL), 0);
	run_until(&p.n_free, 1);
	assert_int_equal(p.result, 0);
	assert_int_equal(atomic_load(&p.has_run), 1);
}

static void an_idle_tpm_that_went_away_is_noticed_and_opened_again(void **state)
{
	start();
	for (int i = 0; i < 300 && atomic_load(&tpm.n_probes) < 1; i++)
		sd_event_run(event, 10000);
	assert_int_equal(atomic_load(&tpm.n_opens), 1); /* all was well */
	atomic_store(&tpm.probe_fails, 1);
	for (int i = 0; i < 300 && atomic_load(&tpm.n_opens) < 2; i++)
		sd_event_run(event, 10000);
	assert_int_equal(atomic_load(&tpm.n_opens), 2);
}

static void a_tpm_that_hangs_while_idle_is_said_to_be_busy_until_it_answers(void **state)
{
	struct worker_info info;

	atomic_store(&tpm.timeout_s, 1);
	atomic_store(&tpm.probe_hangs, 1);
	start();
	for (int i = 0; i < 500 && last_state != AGENT_TPM_BUSY; i++)
		sd_event_run(event, 10000);
	assert_int_equal(last_state, AGENT_TPM_BUSY);
	worker_get_info(worker, &info);
	assert_int_equal(info.tpm_state, AGENT_TPM_BUSY);
	assert_non_null(strstr(info.tpm_detail, "hangs"));
	atomic_store(&tpm.probe_hangs, 0);
	for (int i = 0; i < 300 && last_state != AGENT_TPM_READY; i++)
		sd_event_run(event, 10000);
	assert_int_equal(last_state, AGENT_TPM_READY);
	worker_get_info(worker, &info);
	assert_string_equal(info.tpm_detail, "");
}

static void stopping_frees_what_waits(void **state)
{
	struct probe running = { 0 }, waiting = { .gate = 1 };

	start();
	submit(WORKER_WORK, &running, 0);
	for (int i = 0; i < 20; i++)
		sd_event_run(event, 1000);
	submit(WORKER_WORK, &waiting, 0);
	atomic_store(&running.gate, 1);
	assert_int_equal(worker_stop(worker), 0);
	worker = NULL;
	assert_int_equal(running.n_free, 1);
	assert_int_equal(waiting.n_free, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_job_comes_back_in_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(signatures_go_before_hashes, setup, teardown),
		cmocka_unit_test_setup_teardown(the_queue_of_hashes_holds_four, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tpm_that_hangs_costs_its_caller_the_deadline_and_the_loop_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_tpm_jobs_fail_with_the_reason_and_work_again_when_it_is_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tpm_lost_during_a_job_is_opened_again_for_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(a_job_that_needs_no_open_store_runs_without, setup, teardown),
		cmocka_unit_test_setup_teardown(an_idle_tpm_that_went_away_is_noticed_and_opened_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_tpm_that_hangs_while_idle_is_said_to_be_busy_until_it_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(stopping_frees_what_waits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
