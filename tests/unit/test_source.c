/* SPDX-License-Identifier: Apache-2.0 */
/* hawkBit's state machine against a server of a few lines, that only keeps what it was told. */
#include "tests/unit/source_world.h"

#include "agentd/fetch/delay.h"

#define BASE "https://hawk.test/DEFAULT/controller/v1/gw1"
#define SWU "https://hawk.test/x/gw.swu"

/* What the server says and hears. */
static struct server {
	char action[32];	/* offered; "" for none */
	char kind[24];		/* "deploymentBase", "cancelAction", "confirmationBase" */
	char update[64], artifacts[400], sleep[16];
	int api_status, feedback_status, attributes_status, installed_status;
	bool is_down;
	char calls[4096];	/* "METHOD path body;" of all that change something */
	unsigned n_calls;
} server;

static int on_call(void *userdata, const char *method, const char *url, const char *body, struct wire_answer *out, struct agent_error **err)
{
	size_t used = strlen(server.calls);

	*out = (struct wire_answer){ 0 };
	server.n_calls++;
	if (server.is_down)
		return agent_error_set(err, -ECONNREFUSED, "fetch.connect", "nobody there");
	assert_int_equal(strncmp(url, BASE, strlen(BASE)), 0);
	url += strlen(BASE);
	if (body != NULL)
		snprintf(server.calls + used, sizeof(server.calls) - used, "%s %s %s;", method, url, body);
	if (server.api_status != 0)
		return answer(out, server.api_status, "{}");
	if (strstr(url, "/feedback") != NULL && server.feedback_status != 0)
		return answer(out, server.feedback_status, "{}");
	if (strcmp(url, "/configData") == 0 && server.attributes_status != 0)
		return answer(out, server.attributes_status, "{}");
	if (strcmp(url, "/installedBase") == 0 && server.installed_status != 0)
		return answer(out, server.installed_status, "{}");
	if (body != NULL && strstr(body, "\"closed\"") != NULL)
		server.action[0] = '\0';
	if (url[0] == '\0' && server.action[0] != '\0')
		return answer(out, 200, "{\"config\":{\"polling\":{\"sleep\":\"%s\"}},\"_links\":{\"%s\":{\"href\":\"" BASE "/%s/%s\"}}}", server.sleep, server.kind,
			      server.kind, server.action);
	if (url[0] == '\0')
		return answer(out, 200, "{\"config\":{\"polling\":{\"sleep\":\"%s\"}},\"_links\":{}}", server.sleep);
	if (strcmp(method, "GET") == 0 && strncmp(url, "/cancelAction/", 14) == 0)
		return answer(out, 200, "{\"id\":\"%s\",\"cancelAction\":{\"stopId\":\"%s\"}}", server.action, server.action);
	if (strcmp(method, "GET") == 0)
		return answer(out, 200, "{\"id\":\"%s\",\"%s\":{\"download\":\"forced\",\"update\":\"%s\",\"chunks\":[{\"version\":\"2.0\",\"artifacts\":[%s]}]}}",
			      server.action, strncmp(url, "/conf", 5) == 0 ? "confirmation" : "deployment", server.update, server.artifacts);
	return answer(out, 200, "%s", "");
}

static void look(void)
{
	const struct wire wire = { .call = on_call };
	const struct source_options options = {
		.base = BASE, .distribution = "gateway", .dir = dir.path, .poll_min_s = 10, .poll_max_s = 600, .poll_s = 100,
	};

	server.calls[0] = '\0';
	server.n_calls = 0;
	source_result_clear(&result);
	hawkbit_look(&options, &device, &wire, &result);
}

static int set_up(void **state)
{
	source_world_make();
	server = (struct server){ .kind = "deploymentBase", .update = "forced", .sleep = "00:01:00",
				  .artifacts = "{\"filename\":\"gw.swu\",\"size\":9,\"hashes\":{\"sha1\":\"x\"},\"_links\":{\"download\":{\"href\":\"" SWU "\"}}}" };
	look(); /* attributes */
	return 0;
}

static void offered(const char *action)
{
	snprintf(server.action, sizeof(server.action), "%s", action);
	look();
	assert_true(result.has_offer);
	assert_string_equal(result.bundle.url, SWU);
	assert_string_equal(result.action, action);
	snprintf(device.action, sizeof(device.action), "%s", action);
}

static void installed(void)
{
	outcome("");
	is_now("trying", "a", "b", "r2");
	look();
	device.has_outcome = false;
	assert_string_equal(result.state, "installed");
}

/* Nothing but this was said, in this order. */
#define SAID(...) said((const char *[]){ __VA_ARGS__, NULL })
static void said(const char *const *wanted)
{
	const char *at = server.calls;
	size_t n = 0;

	for (; wanted[n] != NULL; n++) {
		at = strstr(at, wanted[n]);
		if (at == NULL)
			fail_msg("\"%s\" is not in \"%s\"", wanted[n], server.calls);
	}
	for (at = server.calls; (at = strchr(at, ';')) != NULL; at++)
		n--;
	if (n != 0)
		fail_msg("more or less than that: %s", server.calls);
}

static void success_is_told_after_the_confirmation_only(void **state)
{
	offered("5");
	SAID("POST /deploymentBase/5/feedback {\"id\":\"5\",\"timestamp\":");
	assert_null(strstr(server.calls, "closed"));
	device.is_busy = true;
	device.done_bytes = 60;
	device.total_bytes = 100;
	look();
	assert_string_equal(result.state, "installing");
	SAID("\"progress\":{\"cnt\":2,\"of\":4}");
	look();
	assert_string_equal(server.calls, ""); /* each quarter once */
	installed();
	SAID("\"proceeding\",\"result\":{\"finished\":\"none\"");
	is_now("trying", "b", "b", "r2");
	look();
	SAID("booted, awaiting");
	look();
	assert_string_equal(server.calls, "");
	is_now("confirmed", "b", "b", "r2");
	look();
	assert_string_equal(server.calls, "");
	is_now("idle", "b", "", "r2");
	look();
	SAID("\"closed\",\"result\":{\"finished\":\"success\"}", "PUT /configData");
	assert_true(result.has_told);
	assert_string_equal(result.told, "success");
	server.action[0] = '\0';
	look();
	assert_string_equal(server.calls, "");
}

static void failure_is_told_after_a_fall_back(void **state)
{
	offered("5");
	installed();
	is_now("failed", "a", "b", "r2");
	strcpy(device.failed_release_id, "r2");
	look();
	SAID("fell-back");
	assert_non_null(strstr(server.calls, "\"closed\",\"result\":{\"finished\":\"failure\"}"));
	assert_string_equal(result.told, "failure");
}

/* The agent was killed between the installation and the look that would have heard of it. */
static void a_fall_back_that_nobody_saw_coming_is_told_as_well(void **state)
{
	offered("5");
	is_now("failed", "a", "b", "r2");
	strcpy(device.failed_release_id, "r2");
	look();
	SAID("fell-back");
	assert_false(result.has_offer);
}

static void the_old_version_is_told_after_a_fall_back(void **state)
{
	success_is_told_after_the_confirmation_only(state);
	offered("6");
	outcome("");
	is_now("trying", "b", "a", "r3");
	look();
	device.has_outcome = false;
	is_now("failed", "b", "a", "r3");
	strcpy(device.failed_release_id, "r3");
	look();
	SAID("fell-back", "PUT /installedBase {\"name\":\"gateway\",\"version\":\"2.0\"}");
}

static void a_release_taken_back_is_a_failure(void **state)
{
	offered("5");
	installed();
	is_now("idle", "a", "", "r2");
	look();
	SAID("taken-back");
}

/* The agent was away from the installation to the rollback: not "installed", as it would be if it ran. */
static void a_release_taken_back_unseen_is_a_failure_too(void **state)
{
	offered("5");
	is_now("idle", "a", "b", "r2");
	look();
	SAID("taken-back");
	assert_false(result.has_offer);
}

static void a_refused_bundle_is_a_failure_at_once(void **state)
{
	offered("5");
	outcome("update.signature");
	look();
	SAID("update.signature: the reason");
	assert_false(result.has_offer);
}

static void a_broken_download_is_tried_again_later_and_not_for_ever(void **state)
{
	offered("5");
	for (unsigned i = 1; i < TRIES_MAX; i++) {
		outcome("fetch.lost");
		look();
		assert_false(result.has_offer);
		assert_string_equal(server.calls, "");
		assert_true(result.next_ms >= 10000 && result.next_ms <= 610000);
		device.has_outcome = false;
		look();
		assert_true(result.has_offer);
	}
	outcome("fetch.lost");
	look();
	SAID("\"failure\"");
}

static void a_restart_of_the_agent_goes_on(void **state)
{
	offered("5");
	device.is_busy = false; /* no outcome: nobody remembers */
	look();
	assert_true(result.has_offer);
	is_now("trying", "a", "b", "r2");
	look();
	assert_string_equal(result.state, "installed");
	assert_false(result.has_offer);
}

static void the_record_is_written_before_anything_is_said(void **state)
{
	struct record record;

	server.feedback_status = 500;
	strcpy(server.action, "5");
	look();
	assert_true(result.has_failed);
	assert_false(result.has_offer);
	assert_int_equal(record_load(dir.path, &record, NULL), 0);
	assert_int_equal(record.phase, RECORD_ACCEPTED);
	assert_string_equal(record.action, "5");
}

static void no_record_no_work(void **state)
{
	char path[128];

	/* A folder in its place: it cannot be replaced, whoever we are. */
	snprintf(path, sizeof(path), "rm -f %s/source.json; mkdir %s/source.json", dir.path, dir.path);
	assert_int_equal(system(path), 0);
	strcpy(server.action, "5");
	look();
	assert_true(result.has_failed);
	assert_false(result.has_offer);
	assert_null(strstr(server.calls, "proceeding"));
	snprintf(path, sizeof(path), "rmdir %s/source.json", dir.path);
	assert_int_equal(system(path), 0);
}

static void cancel_before_the_switch_gives_up(void **state)
{
	offered("5");
	device.is_busy = true;
	strcpy(server.kind, "cancelAction");
	look();
	assert_true(result.must_abort);
	assert_string_equal(server.calls, "");
	outcome("update.canceled");
	look();
	SAID("POST /cancelAction/5/feedback");
	assert_non_null(strstr(server.calls, "\"closed\",\"result\":{\"finished\":\"success\"}"));
	assert_string_equal(result.told, "canceled");
	server.action[0] = '\0';
	device.has_outcome = false;
	look();
	assert_string_equal(server.calls, "");
}

/* The last bytes were faster than the cancellation. */
static void cancel_that_comes_too_late_is_rejected(void **state)
{
	offered("5");
	device.is_busy = true;
	strcpy(server.kind, "cancelAction");
	look();
	assert_true(result.must_abort);
	outcome("");
	is_now("trying", "a", "b", "r2");
	look();
	SAID("POST /cancelAction/5/feedback");
	assert_non_null(strstr(server.calls, "\"rejected\""));
	device.has_outcome = false;
	strcpy(server.kind, "deploymentBase");
	look();
	assert_string_equal(result.state, "installed");
}

static void cancel_of_what_we_never_had_is_accepted(void **state)
{
	strcpy(server.action, "77");
	strcpy(server.kind, "cancelAction");
	look();
	SAID("POST /cancelAction/77/feedback");
	assert_non_null(strstr(server.calls, "\"closed\""));
}

static void another_action_takes_the_place_of_one_that_is_being_installed(void **state)
{
	offered("5");
	device.is_busy = true;
	strcpy(server.action, "6");
	look();
	assert_true(result.must_abort);
	assert_string_equal(server.calls, "");
	outcome("update.canceled");
	look();
	assert_true(result.has_offer);
	assert_string_equal(result.action, "6");
	SAID("POST /deploymentBase/6/feedback");
}

static void another_action_waits_for_a_release_under_trial(void **state)
{
	offered("5");
	installed();
	strcpy(server.action, "6");
	look();
	assert_string_equal(result.state, "waiting");
	assert_false(result.has_offer || result.must_abort);
	assert_string_equal(server.calls, "");
}

static void gone_actions_are_dropped(void **state)
{
	offered("5");
	device.is_busy = true;
	device.done_bytes = device.total_bytes = 4;
	server.feedback_status = 410;
	look();
	assert_true(result.must_abort);
	assert_string_equal(result.told, "dropped");
	outcome("update.canceled");
	server.action[0] = '\0';
	look();
	assert_string_equal(server.calls, "");
	/* And a result that nobody wants. */
	server.feedback_status = 0;
	device.has_outcome = false;
	offered("6");
	installed();
	server.feedback_status = 410;
	is_now("idle", "b", "", "r2");
	server.action[0] = '\0';
	look();
	assert_string_equal(result.told, "dropped");
	look();
	assert_null(strstr(server.calls, "deploymentBase"));
}

static void results_survive_a_server_that_is_down(void **state)
{
	offered("5");
	outcome("update.signature");
	server.is_down = true;
	look();
	assert_true(result.has_failed);
	device.has_outcome = false;
	server.is_down = false;
	server.feedback_status = 503;
	look();
	assert_true(result.has_failed);
	server.feedback_status = 0;
	look();
	SAID("update.signature");
}

static void a_quota_that_is_used_up_is_not_asked_for_ever(void **state)
{
	offered("5");
	outcome("update.signature");
	server.feedback_status = 429;
	for (int i = 0; i < 9; i++) {
		look();
		assert_true(result.has_failed);
	}
	look();
	assert_string_equal(result.told, "dropped");
}

/* Something at the server fails over this one action: other updates come all the same. */
static void one_result_that_is_never_taken_does_not_end_updates(void **state)
{
	static const int statuses[] = { 302, 401, 403, 500, 502 };

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		server.feedback_status = 0;
		device.has_outcome = false;
		offered("5");
		outcome("update.signature");
		server.feedback_status = statuses[i];
		for (int k = 0; k < 9; k++) {
			look();
			assert_true(result.has_failed);
			assert_false(result.has_told);
		}
		strcpy(server.action, "6");
		look();
		device.has_outcome = false;
		look();
		assert_true(result.has_offer || result.has_failed);
		server.feedback_status = 0;
		look();
		assert_true(result.has_offer);
		assert_string_equal(result.action, "6");
		strcpy(device.action, "6");
		outcome("update.signature");
		look();
		device.has_outcome = false;
	}
	/* It was not lost: the server that still offers the action hears the result. */
	offered("7");
	outcome("update.signature");
	server.feedback_status = 500;
	for (int k = 0; k < 25; k++)
		look();
	server.feedback_status = 0;
	look();
	SAID("\"closed\",\"result\":{\"finished\":\"failure\"}");
	assert_string_equal(result.told, "failure");
}

static void what_is_no_result_keeps_no_update_back(void **state)
{
	static const int statuses[] = { 401, 403, 429, 500 };

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		snprintf(device.serial, sizeof(device.serial), "S-%zu", i); /* attributes that changed */
		server.attributes_status = statuses[i];
		server.action[0] = '\0';
		look();
		SAID("PUT /configData");
		assert_false(result.has_failed);
		assert_non_null(strstr(result.detail, "attributes"));
		snprintf(server.action, sizeof(server.action), "1%zu", i);
		look();
		SAID("PUT /configData", "POST /deploymentBase/1");
		assert_true(result.has_offer);
		device.has_outcome = false;
		snprintf(device.action, sizeof(device.action), "1%zu", i);
		outcome("update.signature");
		server.attributes_status = 0;
		look();
		SAID("closed", "PUT /configData");
		device.has_outcome = false;
		look();
		assert_string_equal(server.calls, "");
	}
}

static void an_old_version_that_the_server_cannot_take_is_not_told_for_ever(void **state)
{
	static const int statuses[] = { 401, 403, 429, 500 };

	success_is_told_after_the_confirmation_only(state);
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		char release[8], action[8];

		snprintf(release, sizeof(release), "r%zu", i + 3);
		snprintf(action, sizeof(action), "%zu", i + 6);
		is_now("idle", "b", "", "r2");
		device.failed_release_id[0] = '\0';
		offered(action);
		outcome("");
		is_now("trying", "b", "a", release);
		look();
		device.has_outcome = false;
		is_now("failed", "b", "a", release);
		strcpy(device.failed_release_id, release);
		server.installed_status = statuses[i];
		for (int k = 0; k < 9; k++) {
			look();
			assert_true(result.has_failed);
		}
		look();
		assert_false(result.has_failed);
		look();
		assert_null(strstr(server.calls, "installedBase"));
	}
}

static void a_result_outlives_a_proxy_that_lost_patience(void **state)
{
	offered("5");
	outcome("update.signature");
	server.feedback_status = 408;
	look();
	assert_true(result.has_failed);
	assert_false(result.has_told);
	server.feedback_status = 0;
	look();
	assert_string_equal(result.told, "failure");
}

static void an_answer_to_a_cancel_is_not_said_to_be_told_if_nobody_took_it(void **state)
{
	static const int statuses[] = { 401, 403, 408, 429, 503 };

	offered("5");
	outcome("update.canceled");
	strcpy(server.kind, "cancelAction");
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		server.feedback_status = statuses[i];
		look();
		assert_true(result.has_failed);
		assert_false(result.has_told);
	}
	server.feedback_status = 0;
	look();
	assert_string_equal(result.told, "canceled");
}

static void servers_that_say_no_are_backed_off_from(void **state)
{
	static const int statuses[] = { 301, 400, 401, 403, 404, 429, 500, 503 };

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		server.api_status = statuses[i];
		look();
		assert_true(result.has_failed);
		assert_string_equal(result.state, "failed");
		assert_int_equal(server.n_calls, 1);
		assert_true(result.next_ms >= 10000 && result.next_ms <= 20000); /* n_failures is 0 */
	}
}

static void only_what_is_to_be_installed_now_is_offered(void **state)
{
	strcpy(server.update, "skip");
	strcpy(server.action, "5");
	look();
	assert_string_equal(result.state, "waiting");
	assert_false(result.has_offer);
	assert_string_equal(server.calls, "");
	strcpy(server.update, "forced\",\"maintenanceWindow\":\"unavailable");
	look();
	assert_string_equal(result.state, "waiting");
	assert_false(result.has_offer);
	strcpy(server.update, "attempt\",\"maintenanceWindow\":\"available");
	look();
	assert_true(result.has_offer);
	assert_false(result.is_forced);
}

static void the_policy_of_the_device_comes_first(void **state)
{
	strcpy(device.waits_for, "window");
	strcpy(server.action, "5");
	look();
	assert_false(result.has_offer);
	assert_string_equal(result.state, "waiting");
	assert_non_null(strstr(result.detail, "window"));
	/* Somebody lets it in: this action, at this version. */
	strcpy(device.approved, "4");
	snprintf(device.approved_version, sizeof(device.approved_version), "%s", result.version);
	look();
	assert_false(result.has_offer);
	strcpy(device.approved, "5");
	strcpy(device.approved_version, "9.9");
	look();
	assert_false(result.has_offer);
	snprintf(device.approved_version, sizeof(device.approved_version), "%s", result.version);
	look();
	assert_true(result.has_offer);
}

static void the_policy_may_end_to_want_something(void **state)
{
	strcpy(device.waits_for, "window");
	strcpy(server.action, "5");
	look();
	assert_false(result.has_offer);
	device.waits_for[0] = '\0';
	look();
	assert_true(result.has_offer);
}

static void sets_without_one_bundle_are_a_failure(void **state)
{
	static const char *const cases[] = {
		"", "{\"filename\":\"a.txt\"}", "{\"filename\":\"a.swu\",\"_links\":{\"download-http\":{\"href\":\"http://hawk.test/a.swu\"}}}",
		"{\"filename\":\"a.swu\",\"_links\":{\"download\":{\"href\":\"http://hawk.test/a.swu\"}}}",
		"{\"filename\":\"a.swu\",\"_links\":{\"download\":{\"href\":\"" SWU "\"}}},{\"filename\":\"b.swu\"}",
		"{\"filename\":\"a.swu\",\"_links\":{\"download\":{\"href\":\"\"}}}", "{\"filename\":\"a.swu\",\"_links\":{\"download\":{\"href\":null}}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		strcpy(server.artifacts, cases[i]);
		snprintf(server.action, sizeof(server.action), "%zu", i + 20);
		look();
		assert_false(result.has_offer);
		SAID("source.artifact");
	}
}

static void any_link_of_the_artifact_that_is_https_will_do(void **state)
{
	static const char *const links[] = {
		"\"download-http\":{\"href\":\"" SWU "\"}",
		"\"download\":{\"href\":\"http://hawk.test/a.swu\"},\"download-http\":{\"href\":\"" SWU "\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(server.artifacts, sizeof(server.artifacts), "{\"filename\":\"gw.swu\",\"size\":9,\"_links\":{%s}}", links[i]);
		snprintf(server.action, sizeof(server.action), "%zu", i + 30);
		look();
		assert_true(result.has_offer);
		assert_string_equal(result.bundle.url, SWU);
		device.waits_for[0] = '\0';
	}
}

static void confirmations_are_given(void **state)
{
	strcpy(server.action, "5");
	strcpy(server.kind, "confirmationBase");
	look();
	SAID("POST /confirmationBase/5/feedback {\"confirmation\":\"confirmed\"");
	assert_false(result.has_offer);
}

static void the_server_sets_the_pace_within_bounds(void **state)
{
	static const struct {
		const char *sleep;
		uint64_t min_ms, max_ms;
	} cases[] = {
		{ "00:01:00", 54000, 66000 }, { "00:00:00", 90000, 110000 }, { "00:00:01", 10000, 11000 }, { "24:00:00", 540000, 660000 },
		{ "nonsense", 90000, 110000 }, { "00:61:00", 90000, 110000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		strcpy(server.sleep, cases[i].sleep);
		look();
		assert_in_range(result.next_ms, cases[i].min_ms, cases[i].max_ms);
	}
}

static void bad_json_is_refused(void **state)
{
	static const char *const cases[] = {
		"", "[]", "null", "{", "{\"a\":1,\"a\":2}", "{\"_links\":{\"deploymentBase\":{}}}", "{\"_links\":{\"deploymentBase\":{\"href\":7}}}",
		"{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", "{\"a\":\"\\ud800\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct body_poll poll;

		assert_int_equal(body_read_poll(cases[i], strlen(cases[i]), &poll, &err), -EBADMSG);
		assert_error(&err, -EBADMSG, "source.json");
	}
}

static void a_link_that_is_null_is_none(void **state)
{
	static const char text[] = "{\"config\":null,\"_links\":{\"deploymentBase\":null,\"cancelAction\":{\"href\":\"https://x/y\"}}}";
	struct body_poll poll;

	assert_int_equal(body_read_poll(text, strlen(text), &poll, NULL), 0);
	assert_null(poll.deployment);
	assert_string_equal(poll.cancel, "https://x/y");
	body_poll_clear(&poll);
}

static void ids_that_do_not_belong_in_a_path_are_refused(void **state)
{
	static const char *const cases[] = { "\"../x\"", "\"\"", "\"5/cancel\"", "\"5?\"", "-1", "1.5", "null", "\"a b\"" };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct body_deployment d;
		char text[200];

		snprintf(text, sizeof(text), "{\"id\":%s,\"deployment\":{\"update\":\"forced\",\"chunks\":[]}}", cases[i]);
		assert_int_equal(body_read_deployment(text, strlen(text), "deployment", &d, &err), -EBADMSG);
	}
}

/* ---- waiting, the record ------------------------------------------------------------------------------------------- */

static void delays_stay_below_their_ceiling(void **state)
{
	for (unsigned n = 0; n < 80; n++) {
		uint64_t ceiling = n > 5 ? 60000 : 2000ull << n;

		if (ceiling > 60000)
			ceiling = 60000;
		assert_int_equal(delay_after_failures_ms(n, 2000, 60000, ceiling), ceiling);
		assert_int_equal(delay_after_failures_ms(n, 2000, 60000, ceiling + 1), 0);
	}
}

static void a_damaged_record_is_an_empty_one(void **state)
{
	struct record record = { .phase = RECORD_INSTALLED, .action = "5", .n_tries = 3, .is_fallback = true }, read;
	char path[128];
	FILE *f;

	assert_int_equal(record_save(dir.path, &record, NULL), 0);
	assert_int_equal(record_load(dir.path, &read, NULL), 0);
	assert_true(record_is_equal(&record, &read));
	snprintf(path, sizeof(path), "%s/" RECORD_FILE, dir.path);
	f = fopen(path, "r+");
	assert_non_null(f);
	fputs("x", f);
	fclose(f);
	assert_int_equal(record_load(dir.path, &read, NULL), 0);
	assert_int_equal(read.phase, RECORD_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, source_world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(success_is_told_after_the_confirmation_only), TEST(failure_is_told_after_a_fall_back),
		TEST(a_fall_back_that_nobody_saw_coming_is_told_as_well), TEST(the_old_version_is_told_after_a_fall_back),
		TEST(a_release_taken_back_is_a_failure), TEST(a_release_taken_back_unseen_is_a_failure_too), TEST(a_refused_bundle_is_a_failure_at_once),
		TEST(a_broken_download_is_tried_again_later_and_not_for_ever), TEST(a_restart_of_the_agent_goes_on),
		TEST(the_record_is_written_before_anything_is_said), TEST(no_record_no_work), TEST(cancel_before_the_switch_gives_up),
		TEST(cancel_that_comes_too_late_is_rejected), TEST(cancel_of_what_we_never_had_is_accepted),
		TEST(another_action_takes_the_place_of_one_that_is_being_installed), TEST(another_action_waits_for_a_release_under_trial),
		TEST(gone_actions_are_dropped), TEST(results_survive_a_server_that_is_down), TEST(a_quota_that_is_used_up_is_not_asked_for_ever),
		TEST(one_result_that_is_never_taken_does_not_end_updates), TEST(what_is_no_result_keeps_no_update_back),
		TEST(an_old_version_that_the_server_cannot_take_is_not_told_for_ever),
		TEST(a_result_outlives_a_proxy_that_lost_patience), TEST(an_answer_to_a_cancel_is_not_said_to_be_told_if_nobody_took_it),
		TEST(a_link_that_is_null_is_none), TEST(servers_that_say_no_are_backed_off_from), TEST(only_what_is_to_be_installed_now_is_offered),
		TEST(the_policy_of_the_device_comes_first), TEST(the_policy_may_end_to_want_something),
		TEST(sets_without_one_bundle_are_a_failure), TEST(any_link_of_the_artifact_that_is_https_will_do), TEST(confirmations_are_given), TEST(the_server_sets_the_pace_within_bounds),
		TEST(bad_json_is_refused), TEST(ids_that_do_not_belong_in_a_path_are_refused), TEST(delays_stay_below_their_ceiling),
		TEST(a_damaged_record_is_an_empty_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
