/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_WORKER_INSIDE_H
#define LINK_WORKER_INSIDE_H
/* Inside of struct worker: worker.c is the thread and what others call, worker_setup.c what a connection is made with. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <time.h>

#include <agent/tls.h>

#include "agentd/common/tls_policy.h"
#include "agentd/link/identity.h"
#include "agentd/link/worker.h"

#define FILTERS_MAX 48

/* Which file it was that we read. */
struct stamp {
	dev_t device;
	ino_t inode;
	struct timespec changed;
	off_t size;
};

struct worker {
	const struct settings *settings;
	struct agent_time *time;
	struct store *store;	/* lent */
	int notify_fd;	/* lent: to main */
	int stop_fd;	/* from main: ends a wait */
	unsigned delay_ms;
	pthread_t thread;
	atomic_bool is_stopping;

	char *ca_file, *cert_file, *state_topic, *canary_topic;
	struct tls_policy policy;
	struct stamp ca_stamp, cert_stamp, crl_stamp;	/* thread only */
	struct agent_context *ctx;		/* thread only */
	struct agent_tls *tls[BROKER_ROWS_MAX + 1];	/* thread only: of mqtt, lent; one for each broker */
	size_t n_tls;
	struct identity identity;		/* thread only */
	char signer_key[IDENTITY_KEY_MAX];	/* thread only: key of the pair in use */

	pthread_mutex_t lock;	/* guards the rest */
	struct agent_mqtt *mqtt;
	bool has_live_tls;		/* tls belongs to mqtt */
	struct agent_mqtt_info past;	/* counters of clients that are gone */
	struct stamp live_crl;		/* revocation lists that it looked at */
	struct worker_status status;
	struct liveness alive;
	bool told_foreign;	/* on this connection */
	char no_canary[200];	/* on this connection: how the broker refused the canary or its subscription, "" it did not */
	char shown[IDENTITY_ID_MAX];	/* id of the certificate on the connection, "" for the file's */
	bool has_shown;
	struct {
		char *text;
		int qos;
	} filters[FILTERS_MAX];	/* of applications */
	size_t n_filters;
	struct inbox inbox;
	bool wants_trial;	/* a new certificate waits for another try */
	unsigned trial_wait;	/* and lets so many turns pass */
};

/* worker_setup.c */
/* status.brokers of the configuration. */
void worker_name_brokers(struct worker *w);
struct stamp worker_take_stamp(const char *path);
bool worker_is_same(const struct stamp *a, const struct stamp *b);
/* Others than the client was made with. */
bool worker_files_changed(const struct worker *w);
/* Profiles of all brokers, the certificate that core names, and the client that uses them. */
int worker_make_client(struct worker *w, const struct agent_mqtt_handlers *handlers, struct agent_mqtt **ret_mqtt, struct agent_error **err);
void worker_drop_profiles(struct worker *w);
/* The certificate for the next attempt: what core says now, if it can be asked. */
void worker_renew_identity(struct worker *w);
/* What the outcome of an attempt says about a new pair on trial. */
void worker_judge(struct worker *w, enum agent_mqtt_state state, const struct agent_error *why);

#endif
