/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_SOURCE_H
#define FETCH_SOURCE_H
/*
 * One look at the source of updates: what happened here is told, what is wanted there is read. Two kinds, hawkbit.c and index.c;
 * both speak through struct wire, so that tests can put words in a server's mouth.
 */
#include <stdbool.h>
#include <stdint.h>

#include <agent/error.h>

#include "agentd/fetch/body.h"
#include "agentd/fetch/record.h"

struct wire_answer {
	long status;
	uint64_t retry_after_s;
	char *body; /* at most BODY_BYTES_MAX; freed by the caller of call() */
	size_t size;
};

struct wire {
	/* 0 whatever the status is; else why there is no whole answer. @body may be NULL. */
	int (*call)(void *userdata, const char *method, const char *url, const char *body, struct wire_answer *ret_answer,
		    struct agent_error **err);
	void *userdata;
};

struct source_options {
	const char *base;	  /* hawkBit: https://host/TENANT/controller/v1/ID; else address of the index */
	const char *distribution; /* name for installedBase; "": not told */
	const char *dir;	  /* of the record */
	uint64_t poll_min_s, poll_max_s, poll_s;
	unsigned n_failures;	  /* looks in a row that failed */
};

/* What core is to do and to show. */
struct source_result {
	char state[16];		  /* "idle", "offered", "waiting", "installing", "installed", "failed", "refused" */
	char detail[400];
	bool has_failed;	  /* counts as a failure for the back-off */
	uint64_t next_ms;
	char action[ACTION_MAX + 1]; /* that is under way, or "" */
	char version[65];
	char waits_for[16];	  /* what the policy of the device wants first: "approval", "window", "clock"; else "" */
	bool has_offer;		  /* install @bundle now */
	bool is_forced;
	bool must_abort;	  /* give up the installation of @action */
	bool has_told;		  /* @action ended, and the server heard @told */
	char told[16];		  /* "success", "failure", "canceled", "rejected", "dropped" */
	struct body_bundle bundle;
};

/* Never fails as such: trouble is a state. The caller calls source_result_clear(). */
void hawkbit_look(const struct source_options *options, const struct device *device, const struct wire *wire, struct source_result *ret_result);
void index_look(const struct source_options *options, const struct device *device, const struct wire *wire, struct source_result *ret_result);
void source_result_clear(struct source_result *result);

/* Shared by both kinds. */
void source_say(struct source_result *result, const char *state, const char *fmt, ...) AGENT_PRINTF(3, 4);
/* A look that failed: back-off, at least @retry_after_s. */
void source_fail(const struct source_options *options, struct source_result *result, uint64_t retry_after_s, const char *fmt, ...) AGENT_PRINTF(4, 5);
/* Does the policy of the device want something first, which nobody gave this action, at this version? Then that is said in @result. */
bool source_must_wait(const struct device *device, const struct record *record, struct source_result *result);
/* Offer @bundle of @record, as the next try of it. */
int source_offer(const struct source_options *options, struct record *record, struct body_bundle *bundle, struct source_result *result, struct agent_error **err);

#endif
