/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_BODY_H
#define FETCH_BODY_H
/* JSON of hawkBit's direct device integration and of an index: bytes of a server into checked values, and our answers into text. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#include "agentd/fetch/record.h"

#define BODY_BYTES_MAX (256 * 1024)
#define BODY_DEPTH_MAX 16
#define BODY_LIST_MAX 256	/* chunks, artifacts, bundles of an index */

/* What is to be done; each is an address or NULL. */
struct body_poll {
	uint64_t sleep_s; /* 0: not said */
	char *deployment, *cancel, *confirmation, *config_data;
};

/* One bundle. */
struct body_bundle {
	char *url;
	uint64_t size;	   /* 0: not said */
	char version[65];
	char release_id[65]; /* index only */
};

struct body_deployment {
	char id[ACTION_MAX + 1];
	bool is_skip;	   /* not now: outside of the maintenance window, or for the store only */
	bool is_forced;
	struct body_bundle bundle;
	char why_not[160]; /* there is no bundle that could be installed; or "" */
};

void body_poll_clear(struct body_poll *poll);
void body_bundle_clear(struct body_bundle *bundle);
void body_deployment_clear(struct body_deployment *deployment);

/* -EBADMSG "source.json" and what is wrong with it; -EMSGSIZE. */
int body_read_poll(const char *data, size_t size, struct body_poll *ret_poll, struct agent_error **err);
/* @member: "deployment" or "confirmation" */
int body_read_deployment(const char *data, size_t size, const char *member, struct body_deployment *ret_deployment, struct agent_error **err);
/* -> id of the cancellation and of the action to stop. */
int body_read_cancel(const char *data, size_t size, char ret_id[ACTION_MAX + 1], char ret_stop_id[ACTION_MAX + 1], struct agent_error **err);
/*
 * The newest bundle for @product whose security version is at least @floor. @ret_bundle->url is NULL when there is none; it
 * is as the index says, so maybe relative.
 */
int body_read_index(const char *data, size_t size, const char *product, uint64_t floor, struct body_bundle *ret_bundle, struct agent_error **err);

/* New text, NULL when memory is short. @progress: quarters done, or -1. */
char *body_feedback(const char *id, const char *execution, const char *finished, int progress, const char *detail);
/* @knows_release: what core names as release is what runs. */
char *body_attributes(const struct device *device, bool knows_release);
char *body_confirmation(void);
char *body_installed(const char *name, const char *version);

/* Order of two versions: runs of digits by value, the rest by letters; as strverscmp() but for leading zeros. */
int body_compare_versions(const char *a, const char *b);

#endif
