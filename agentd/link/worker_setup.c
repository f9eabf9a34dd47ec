/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection is made with: files, certificate and key, TLS profiles, client. All of it in the worker's thread. */
#include "config.h"

#include "agentd/link/worker_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include <agent/client.h>

#include "agentd/common/fill_in.h"
#include "agentd/common/service.h"
#include "base/file.h"
#include "base/macro.h"

#define QUEUE_MESSAGES 64	/* of the MQTT client: what the store has under way, and canaries */
#define QUEUE_BYTES (STORE_IN_FLIGHT_BYTES + 2 * STORE_MESSAGE_MAX)
#define CERT_FILE_MAX (256 * KIB)
#define PACKET_MAX (256 * KIB)	/* from the broker: the longest message that anybody here is given, and four times that */

DEFINE_CLEANUP(struct agent_signer *, agent_signer_unref)

struct stamp worker_take_stamp(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return (struct stamp){ 0 };
	return (struct stamp){ .device = st.st_dev, .inode = st.st_ino, .changed = st.st_ctim, .size = st.st_size };
}

bool worker_is_same(const struct stamp *a, const struct stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

bool worker_files_changed(const struct worker *w)
{
	struct stamp ca = worker_take_stamp(w->ca_file), cert = worker_take_stamp(w->cert_file), crl = worker_take_stamp(w->policy.crl_file);

	return !worker_is_same(&ca, &w->ca_stamp) || !worker_is_same(&cert, &w->cert_stamp) || !worker_is_same(&crl, &w->crl_stamp);
}

/* Over a connection of the thread's own, made anew when core was restarted. */
static int open_signer(struct worker *w, const char *key, struct agent_signer **ret_signer, struct agent_error **err)
{
	const struct settings *s = w->settings;
	_cleanup_free_ char *path = NULL;
	struct agent_client *client;
	int r;

	if (asprintf(&path, "%s/core-link.sock", s->paths.run_dir) < 0) {
		path = NULL;
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	}
	r = agent_client_open(w->ctx, path, &client, err);
	if (r < 0)
		return r;
	/* Core gives up first; its reason is better than "no answer". */
	agent_client_set_timeout(client, ((unsigned)s->tpm.sign_timeout_s + 5) * 1000);
	r = agent_client_signer(client, key, ret_signer, err);
	agent_client_unref(client);
	return r;
}

/* The profile shows this pair from the next connection on. */
static int apply_identity(struct worker *w, const struct identity_pair *pair, struct agent_error **err)
{
	_cleanup_(agent_signer_unrefp) struct agent_signer *signer = NULL;
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r;

	if (pair->id[0] == '\0')
		r = file_read_at(AT_FDCWD, w->cert_file, CERT_FILE_MAX, &text, &size, err);
	else
		r = (text = strdup(pair->pem)) == NULL ? agent_error_set(err, -ENOMEM, "link.memory", "out of memory") : 0;
	if (r >= 0)
		r = open_signer(w, pair->key, &signer, err);
	for (size_t i = 0; r >= 0 && i < w->n_tls; i++)
		r = agent_tls_set_identity(w->tls[i], text, strlen(text), signer, err);
	if (r < 0)
		return agent_error_prefix(err, r, "%s", pair->id[0] == '\0' ? w->cert_file : "client certificate");
	pthread_mutex_lock(&w->lock);
	strcpy(w->shown, pair->id);
	w->has_shown = true;
	pthread_mutex_unlock(&w->lock);
	strcpy(w->signer_key, pair->key);
	return 0;
}

void worker_judge(struct worker *w, enum agent_mqtt_state state, const struct agent_error *why)
{
	_cleanup_error_ struct agent_error *err = NULL;
	enum identity_verdict verdict;
	size_t broker;

	pthread_mutex_lock(&w->lock);
	broker = w->status.info.broker;
	pthread_mutex_unlock(&w->lock);
	for (size_t i = 0; state == AGENT_MQTT_CONNECTING && i < w->n_tls; i++)
		(void)agent_tls_take_shown(w->tls[i]);
	if (state == AGENT_MQTT_WAITING && why != NULL)
		identity_failed(&w->identity, broker, agent_error_name(why), agent_error_message(why), agent_tls_take_shown(w->tls[broker]));
	if (state != AGENT_MQTT_ONLINE || why != NULL)
		return;
	verdict = identity_succeeded(&w->identity, broker);
	if (verdict == IDENTITY_PROVED || verdict == IDENTITY_NOT_PROVED) {
		service_log(LOG_NOTICE, verdict == IDENTITY_PROVED ? "the broker took the new certificate" :
								     "the broker refused the new certificate and took the old one");
		if (identity_tell(&w->identity, verdict, w->settings->paths.run_dir, w->settings->mqtt.key, &err) < 0)
			service_log(LOG_WARNING, "agentd was not told about the new certificate: %s", agent_error_message(err));
	}
	pthread_mutex_lock(&w->lock);
	w->wants_trial = verdict == IDENTITY_AGAIN;
	w->trial_wait = identity_patience(&w->identity);
	pthread_mutex_unlock(&w->lock);
}

void worker_renew_identity(struct worker *w)
{
	_cleanup_error_ struct agent_error *err = NULL;
	const struct identity_pair *pair;

	if (identity_refresh(&w->identity, w->settings->paths.run_dir, w->settings->mqtt.key, NULL) < 0)
		return; /* the one we have may still do */
	pair = identity_choose(&w->identity);
	if (strcmp(pair->id, w->shown) == 0 && strcmp(pair->key, w->signer_key) == 0)
		return;
	if (apply_identity(w, pair, &err) >= 0)
		return;
	service_log(LOG_WARNING, "%s certificate cannot be used: %s", w->identity.uses_next ? "the new" : "our", agent_error_message(err));
	if (w->identity.uses_next)
		identity_failed(&w->identity, 0, agent_error_name(err), agent_error_message(err), AGENT_TLS_NOT_SHOWN);
	err = agent_error_free(err);
	if (apply_identity(w, identity_choose(&w->identity), &err) < 0)
		service_log(LOG_ERR, "our certificate cannot be used: %s", agent_error_message(err));
}

void worker_name_brokers(struct worker *w)
{
	const struct settings *s = w->settings;
	struct worker_status *status = &w->status;

	snprintf(status->brokers[0].host, sizeof(status->brokers[0].host), "%s", s->mqtt.host);
	status->brokers[0].port = (uint16_t)s->mqtt.port;
	status->n_brokers = 1;
	for (size_t i = 0; s->mqtt.brokers != NULL && s->mqtt.brokers[i] != NULL && i < BROKER_ROWS_MAX; i++) {
		struct worker_broker *b = &status->brokers[status->n_brokers++];
		struct broker_row row;

		if (broker_row_parse(s->mqtt.brokers[i], (uint16_t)s->mqtt.port, &row, NULL) < 0)
			continue;	/* worker_make_client() says what is wrong with it */
		snprintf(b->host, sizeof(b->host), "%s", row.host);
		b->port = row.port;
	}
}

void worker_drop_profiles(struct worker *w)
{
	for (; w->n_tls > 0; w->n_tls--) {
		agent_tls_unref(w->tls[w->n_tls - 1]);
		w->tls[w->n_tls - 1] = NULL;
	}
}

static int add_profile(struct worker *w, const char *name, struct agent_error **err)
{
	struct agent_tls_options options = {
		.ca_file = w->ca_file, .peer_name = name, .allow_tls12 = w->settings->mqtt.allow_tls12, .time = w->time,
	};
	int r;

	tls_policy_put(&w->policy, &options);
	r = agent_tls_new(w->ctx, &options, &w->tls[w->n_tls], err);
	if (r >= 0)
		w->n_tls++;
	return r;
}

/* Profiles of all brokers; @rows and @brokers are filled in for those after the first. */
static int make_profiles(struct worker *w, struct broker_row *rows, struct agent_mqtt_broker *brokers, struct agent_error **err)
{
	const struct settings *s = w->settings;
	int r = add_profile(w, s->mqtt.host, err);

	for (size_t i = 0; r >= 0 && s->mqtt.brokers != NULL && s->mqtt.brokers[i] != NULL && i < BROKER_ROWS_MAX; i++) {
		r = broker_row_parse(s->mqtt.brokers[i], (uint16_t)s->mqtt.port, &rows[i], err);
		if (r >= 0)
			r = add_profile(w, rows[i].name, err);
		if (r >= 0)
			brokers[i] = (struct agent_mqtt_broker){ .host = rows[i].host, .port = rows[i].port, .tls = w->tls[i + 1] };
	}
	return r;
}

static enum agent_mqtt_version version_of(const char *text)
{
	if (strcmp(text, "5") == 0)
		return AGENT_MQTT_5;
	return strcmp(text, "auto") == 0 ? AGENT_MQTT_ANY : AGENT_MQTT_3_1_1;
}

/* The client, once the profiles are there. */
static int open_client(struct worker *w, const struct agent_mqtt_handlers *handlers, const struct agent_mqtt_broker *brokers, struct agent_mqtt **ret_mqtt,
		       struct agent_error **err)
{
	const struct settings *s = w->settings;
	int64_t start_s = s->mqtt.keepalive_s;
	_cleanup_free_ char *client_id = settings_fill_in(s, s->mqtt.client_id[0] != '\0' ? s->mqtt.client_id : "{serial}", false);
	_cleanup_free_ char *username = settings_fill_in(s, s->mqtt.username, false);
	struct agent_mqtt_options options = {
		.host = s->mqtt.host, .port = (uint16_t)s->mqtt.port, .client_id = client_id,
		.keepalive_s = (unsigned)start_s, .backoff_min_ms = (unsigned)s->mqtt.backoff_min_ms,
		.backoff_max_ms = (unsigned)s->mqtt.backoff_max_ms, .will_topic = w->state_topic, .will_payload = "offline",
		.birth_payload = "online", .queue_max_messages = QUEUE_MESSAGES, .queue_max_bytes = QUEUE_BYTES,
		.brokers = brokers, .n_brokers = w->n_tls - 1, .return_s = (unsigned)s->mqtt.return_s,
		.version = version_of(s->mqtt.version), .session_s = (uint32_t)s->mqtt.session_s, .max_packet = PACKET_MAX,
		.username = username != NULL && username[0] != '\0' ? username : NULL,
		.alpn = s->mqtt.alpn[0] != '\0' ? s->mqtt.alpn : NULL, .no_retain = !s->mqtt.retain,
		/* keepalive_s may have been set outside of the others' defaults. */
		.keepalive_min_s = (unsigned)(start_s < s->mqtt.keepalive_min_s ? start_s : s->mqtt.keepalive_min_s),
		.keepalive_max_s = (unsigned)(start_s > s->mqtt.keepalive_max_s ? start_s : s->mqtt.keepalive_max_s),
	};

	if (client_id == NULL || username == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	return agent_mqtt_new(w->ctx, w->tls[0], &options, handlers, w, ret_mqtt, err);
}

int worker_make_client(struct worker *w, const struct agent_mqtt_handlers *handlers, struct agent_mqtt **ret_mqtt, struct agent_error **err)
{
	struct agent_mqtt_broker brokers[BROKER_ROWS_MAX];
	struct broker_row rows[BROKER_ROWS_MAX];
	struct agent_mqtt *mqtt;
	int r;

	w->ca_stamp = worker_take_stamp(w->ca_file);
	w->cert_stamp = worker_take_stamp(w->cert_file);
	w->crl_stamp = worker_take_stamp(w->policy.crl_file);
	r = identity_refresh(&w->identity, w->settings->paths.run_dir, w->settings->mqtt.key, err);
	if (r >= 0)
		r = make_profiles(w, rows, brokers, err);
	if (r < 0)
		return r;
	r = apply_identity(w, identity_choose(&w->identity), err);
	if (r < 0) {
		identity_failed(&w->identity, 0, agent_error_name(*err), agent_error_message(*err), AGENT_TLS_NOT_SHOWN);
		return r;
	}
	r = open_client(w, handlers, brokers, &mqtt, err);
	if (r < 0)
		return r;
	r = w->settings->mqtt.canary_s > 0 ? agent_mqtt_subscribe(mqtt, w->canary_topic, 1, err) : 0;
	if (r < 0) {
		agent_mqtt_free(mqtt);
		return r;
	}
	*ret_mqtt = mqtt;
	return 0;
}
