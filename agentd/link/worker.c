/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "agentd/link/worker_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>

#include "agentd/common/join.h"
#include "agentd/common/service.h"
#include "agentd/link/tables.h"
#include "base/macro.h"
#include "base/monotonic.h"
#include "base/text.h"
#include "base/thread.h"

#define RETRY_MS 5000		/* look again for a file or for core */
#define STOP_WAIT_S 5

static void ring(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;	/* the counter is full: it rings already */
}

struct worker_message *worker_next_message(struct worker *w)
{
	struct worker_message *m;

	pthread_mutex_lock(&w->lock);
	m = inbox_take(&w->inbox);
	pthread_mutex_unlock(&w->lock);
	return m;
}

/* With the lock. */
static void read_info(struct worker *w)
{
	struct agent_mqtt_info *info = &w->status.info;

	if (w->mqtt == NULL)
		return;
	agent_mqtt_get_info(w->mqtt, info);
	info->n_connects += w->past.n_connects;
	info->n_handshakes += w->past.n_handshakes;
	info->payload_sent += w->past.payload_sent;
	info->payload_received += w->past.payload_received;
	info->wire_sent += w->past.wire_sent;
	info->wire_received += w->past.wire_received;
}

/* With the lock. Between the handshake and now the time may have become known, or somebody else may have set it. */
static void look_at_time(struct worker *w, struct agent_tls *tls)
{
	_cleanup_error_ struct agent_error *why = NULL;
	int64_t begin_s = 0, end_s = 0;

	w->status.signed_s = w->status.not_after_s = 0;
	if (agent_tls_check_time(tls, &begin_s, &end_s, &why) < 0) {
		service_log(LOG_WARNING, "the time is better known now: %s", agent_error_message(why));
		agent_mqtt_reconnect(w->mqtt);
	} else if (begin_s > 0 && end_s > 0) {
		w->status.signed_s = (uint64_t)agent_tls_signed_time(tls);
		w->status.not_after_s = (uint64_t)end_s;
	}
}

/* With the lock. */
static void begin_liveness(struct worker *w)
{
	uint8_t nonce[LIVENESS_NONCE];

	/* Without random bytes somebody who guesses them could let a deaf connection look alive, and no more. */
	if (getrandom(nonce, sizeof(nonce), GRND_NONBLOCK) != (ssize_t)sizeof(nonce))
		memset(nonce, 0, sizeof(nonce));
	liveness_online(&w->alive, monotonic_ms(), nonce);
	w->told_foreign = false;
	w->no_canary[0] = '\0';
}

/* With the lock. Of several brokers the last reason alone says little: the others failed before. */
static void note_reason(struct worker *w, const struct agent_error *why)
{
	struct worker_status *s = &w->status;
	size_t n = 0;

	text_reason(s->why, sizeof(s->why), agent_error_message(why), agent_error_name(why));
	if (w->mqtt == NULL || s->state == AGENT_MQTT_ONLINE)
		return;
	read_info(w);
	text_reason(s->brokers[s->info.broker].why, sizeof(s->brokers[0].why), agent_error_message(why), agent_error_name(why));
	for (size_t i = 0; s->n_brokers > 1 && i < s->n_brokers && n < sizeof(s->why); i++)
		if (s->brokers[i].why[0] != '\0')
			n += (size_t)snprintf(s->why + n, sizeof(s->why) - n, "%s%s", n == 0 ? "" : "; ", s->brokers[i].why);
	/* "agentctl link" has the rest. */
	if (n >= sizeof(s->why)) {
		s->why[sizeof(s->why) - sizeof(" ...")] = '\0';
		text_drop_cut(s->why);
		strcat(s->why, " ...");
	}
}

/* With the lock. "Does not come back" says less than what the broker said of it before. */
static const struct agent_error *deaf_reason(struct worker *w, const struct agent_error *why, struct agent_error **ret_told)
{
	if (why == NULL || w->no_canary[0] == '\0' || strcmp(agent_error_name(why), "mqtt.deaf") != 0)
		return why;
	agent_error_set(ret_told, -EIO, "mqtt.deaf", "%s; we send it to ourselves to see that the connection carries anything", w->no_canary);
	return *ret_told != NULL ? *ret_told : why;
}

static void note_no_canary(struct worker *w, const struct agent_error *why)
{
	snprintf(w->no_canary, sizeof(w->no_canary), "%s", agent_error_message(why));
	text_drop_cut(w->no_canary);
}

static void set_status(struct worker *w, enum agent_mqtt_state state, const struct agent_error *why)
{
	_cleanup_error_ struct agent_error *told = NULL;

	pthread_mutex_lock(&w->lock);
	if (state == AGENT_MQTT_ONLINE && w->status.state != AGENT_MQTT_ONLINE) {
		read_info(w);
		look_at_time(w, w->tls[w->status.info.broker]);
		if (agent_tls_backup_pins(w->tls[w->status.info.broker]) == 0)
			service_log(LOG_WARNING, "each pin of mqtt.pins is a key of the broker's chain now: there is no backup pin");
		w->status.n_connects++;
		w->status.why[0] = w->status.brokers[w->status.info.broker].why[0] = '\0';
		begin_liveness(w);
		if (!w->status.info.session_present)
			inbox_put(&w->inbox, "connection", NULL, NULL, 0);
	}
	if (state != AGENT_MQTT_ONLINE)
		liveness_offline(&w->alive);
	else if (why != NULL && strcmp(agent_error_name(why), "mqtt.subscribe") == 0)
		w->status.n_refused++;
	if (state == AGENT_MQTT_ONLINE && why != NULL && strstr(agent_error_message(why), w->canary_topic) != NULL)
		note_no_canary(w, why);
	w->status.state = state;
	if (why != NULL)	/* otherwise the last reason stays visible while we try again */
		note_reason(w, deaf_reason(w, why, &told));
	pthread_mutex_unlock(&w->lock);
	ring(w->notify_fd);
}

static void on_message(void *userdata, const char *topic, const void *payload, size_t size)
{
	struct worker *w = userdata;
	bool is_foreign = false;

	pthread_mutex_lock(&w->lock);
	if (strcmp(topic, w->canary_topic) == 0) {
		if (!liveness_canary(&w->alive, monotonic_ms(), payload, size, &is_foreign) && is_foreign && !w->told_foreign) {
			w->told_foreign = true;
			service_log(LOG_NOTICE, "a message on %s is not ours of this connection: it does not count", topic);
		}
	} else {
		liveness_message(&w->alive, monotonic_ms());
		inbox_put(&w->inbox, size > STORE_MESSAGE_MAX ? "size" : NULL, topic, payload, size);
	}
	pthread_mutex_unlock(&w->lock);
	ring(w->notify_fd);
}

static void on_state(void *userdata, enum agent_mqtt_state state, const struct agent_error *why)
{
	struct worker *w = userdata;

	if (state == AGENT_MQTT_ONLINE && why != NULL && strcmp(agent_error_name(why), "mqtt.subscribe") != 0)
		service_log(LOG_WARNING, "%s (%s)", agent_error_message(why), agent_error_name(why));
	if (state == AGENT_MQTT_ONLINE && why != NULL && strcmp(agent_error_name(why), "mqtt.gap") == 0) {
		pthread_mutex_lock(&w->lock);
		inbox_put(&w->inbox, "connection", NULL, NULL, 0);
		pthread_mutex_unlock(&w->lock);
		ring(w->notify_fd);
		return;
	}
	if (state == AGENT_MQTT_OFFLINE && !atomic_load(&w->is_stopping))
		return;	/* only to read the files again */
	if (state == AGENT_MQTT_CONNECTING && !worker_files_changed(w))
		worker_renew_identity(w);
	set_status(w, state, why);
	store_set_online(w->store, state == AGENT_MQTT_ONLINE);
	/* A certificate or anchor that was replaced counts at the next attempt, not at the next start. */
	if (state == AGENT_MQTT_CONNECTING && worker_files_changed(w))
		agent_mqtt_stop(w->mqtt);
	worker_judge(w, state, why);
	if (state == AGENT_MQTT_ONLINE)
		tables_give_back();	/* a handshake touches much that the connection after it does not need */
}

static void on_acked(void *userdata, uint64_t id)
{
	struct worker *w = userdata;
	bool is_news;

	pthread_mutex_lock(&w->lock);
	is_news = liveness_acked(&w->alive, monotonic_ms(), id);
	pthread_mutex_unlock(&w->lock);
	if (is_news)
		ring(w->notify_fd);
	store_acked(w->store, id);
}

static void on_refused(void *userdata, uint64_t id, const struct agent_error *why)
{
	struct worker *w = userdata;
	bool is_ours, is_first;

	pthread_mutex_lock(&w->lock);
	is_ours = liveness_refused(&w->alive, id);
	if (is_ours)
		note_no_canary(w, why);
	read_info(w);
	is_first = w->status.info.broker == 0;
	pthread_mutex_unlock(&w->lock);
	if (is_ours) {
		service_log(LOG_WARNING, "%s (%s)", agent_error_message(why), agent_error_name(why));
		ring(w->notify_fd);
	} else if (strcmp(agent_error_name(why), "mqtt.not-authorised") == 0) {
		store_denied(w->store, id, is_first, agent_error_message(why));
	} else {
		store_refused(w->store, id, agent_error_message(why));
	}
}

static void wait_ms(struct worker *w, unsigned ms)
{
	struct pollfd p = { .fd = w->stop_fd, .events = POLLIN };
	uint64_t deadline = monotonic_ms() + ms, now;

	while (!atomic_load(&w->is_stopping) && (now = monotonic_ms()) < deadline)
		(void)poll(&p, 1, (int)(deadline - now));
}

static void hand_over(struct worker *w, struct agent_mqtt *mqtt)
{
	pthread_mutex_lock(&w->lock);
	if (mqtt == NULL) {
		read_info(w);
		w->past = w->status.info;
	}
	w->mqtt = mqtt;
	w->has_live_tls = mqtt != NULL;
	w->live_crl = w->crl_stamp;
	for (size_t i = 0; mqtt != NULL && i < w->n_filters; i++)
		if (agent_mqtt_subscribe(mqtt, w->filters[i].text, w->filters[i].qos, NULL) < 0)
			service_log(LOG_ERR, "out of memory: a subscription of an application is not repeated");
	liveness_forget(&w->alive);
	pthread_mutex_unlock(&w->lock);
	store_attach(w->store, mqtt);
	/* A stop that came before there was a client to tell. */
	if (mqtt != NULL && atomic_load(&w->is_stopping))
		agent_mqtt_stop(mqtt);
}

static void *work(void *userdata)
{
	static const struct agent_mqtt_handlers handlers = { .state = on_state, .acked = on_acked, .message = on_message, .refused = on_refused };
	struct worker *w = userdata;

	tables_use(w->ctx);
	wait_ms(w, w->delay_ms);
	while (!atomic_load(&w->is_stopping)) {
		_cleanup_error_ struct agent_error *err = NULL;
		struct agent_mqtt *mqtt = NULL;

		if (worker_make_client(w, &handlers, &mqtt, &err) < 0) {
			worker_drop_profiles(w);
			set_status(w, AGENT_MQTT_WAITING, err);
			wait_ms(w, RETRY_MS);
			continue;
		}
		hand_over(w, mqtt);
		if (agent_mqtt_run(mqtt, &err) < 0) {
			set_status(w, AGENT_MQTT_WAITING, err);
			wait_ms(w, RETRY_MS);
		}
		hand_over(w, NULL);
		agent_mqtt_free(mqtt);
		worker_drop_profiles(w);
	}
	return NULL;
}

static void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	if (w->stop_fd >= 0)
		close(w->stop_fd);
	identity_clear(&w->identity);
	agent_context_unref(w->ctx);
	agent_time_unref(w->time);
	for (size_t i = 0; i < w->n_filters; i++)
		free(w->filters[i].text);
	inbox_clear(&w->inbox);
	pthread_mutex_destroy(&w->lock);
	tls_policy_clear(&w->policy);
	free(w->ca_file);
	free(w->cert_file);
	free(w->state_topic);
	free(w->canary_topic);
	free(w);
}
DEFINE_CLEANUP(struct worker *, worker_free)

static int make_names(struct worker *w, const char *prefix)
{
	const struct settings *s = w->settings;

	w->ca_file = settings_trust_path(s, s->mqtt.ca_file, "broker/ca.pem");
	w->cert_file = settings_trust_path(s, s->mqtt.cert_file, "broker/device.pem");
	if (w->ca_file == NULL || w->cert_file == NULL)
		return -ENOMEM;
	if (asprintf(&w->state_topic, "%s/state", prefix) < 0)
		w->state_topic = NULL;
	if (asprintf(&w->canary_topic, "%s/canary", prefix) < 0)
		w->canary_topic = NULL;
	return w->state_topic == NULL || w->canary_topic == NULL ? -ENOMEM : 0;
}

int worker_start(const struct settings *settings, struct agent_context *ctx, struct agent_time *time, struct store *store, const char *prefix,
		 int notify_fd, unsigned delay_ms, struct worker **ret_worker, struct agent_error **err)
{
	_cleanup_(worker_freep) struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	pthread_mutex_init(&w->lock, NULL);
	inbox_init(&w->inbox);
	w->settings = settings;
	w->ctx = agent_context_ref(ctx);
	w->time = agent_time_ref(time);
	w->store = store;
	w->notify_fd = notify_fd;
	w->delay_ms = delay_ms;
	worker_name_brokers(w);
	liveness_init(&w->alive, (uint64_t)settings->mqtt.canary_s, (uint64_t)settings->mqtt.canary_timeout_s);
	w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->stop_fd < 0 || make_names(w, prefix) < 0)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory or descriptors");
	r = tls_policy_read(settings, TLS_PEER_MQTT, &w->policy, err);
	if (r < 0)
		return r;
	r = thread_start(&w->thread, NULL, work, w);
	if (r < 0)
		return agent_error_set(err, r, "link.thread", "cannot start the broker thread: %s", strerror(-r));
	*ret_worker = TAKE_PTR(w);
	return 0;
}

bool worker_stop(struct worker *w)
{
	if (w == NULL)
		return true;
	atomic_store(&w->is_stopping, true);
	pthread_mutex_lock(&w->lock);
	agent_mqtt_stop(w->mqtt);
	pthread_mutex_unlock(&w->lock);
	ring(w->stop_fd);
	if (join_until(w->thread, join_limit_ms(STOP_WAIT_S))) {
		worker_free(w);
		return true;
	}
	service_log(LOG_WARNING, "the broker thread still waits for a name server or a signature");
	return false;
}

void worker_get_status(struct worker *w, struct worker_status *ret_status)
{
	pthread_mutex_lock(&w->lock);
	read_info(w);
	w->status.round_trip_ms = w->alive.round_trip_ms;
	w->status.alive = w->alive.state;
	w->status.n_deaf = w->alive.n_deaf;
	w->status.n_lost = w->inbox.n_lost;
	*ret_status = w->status;
	pthread_mutex_unlock(&w->lock);
}

/* With the lock. */
static void send_canary(struct worker *w)
{
	_cleanup_error_ struct agent_error *err = NULL;
	char text[LIVENESS_TEXT];
	uint64_t id;

	liveness_text(&w->alive, text);
	if (w->mqtt == NULL)
		return;
	if (agent_mqtt_publish_ttl(w->mqtt, w->canary_topic, text, strlen(text), AGENT_MQTT_QOS1, (uint32_t)w->settings->mqtt.canary_timeout_s, &id, &err) < 0)
		service_log(LOG_DEBUG, "a message to ourselves has to wait: %s", agent_error_message(err));
	else
		liveness_sent(&w->alive, monotonic_ms(), id);
}

uint64_t worker_look_alive(struct worker *w)
{
	enum liveness_action action;
	uint64_t wait_ms;

	pthread_mutex_lock(&w->lock);
	action = liveness_check(&w->alive, monotonic_ms(), &wait_ms);
	if (action == LIVENESS_SEND) {
		send_canary(w);
	} else if (action == LIVENESS_REJECT) {
		service_log(LOG_WARNING, "the broker does not bring back what we send to ourselves: another connection is made");
		agent_mqtt_reject(w->mqtt, w->alive.was_good);
	}
	pthread_mutex_unlock(&w->lock);
	return wait_ms;
}

int worker_subscribe(struct worker *w, const char *filter, int qos, struct agent_error **err)
{
	char *copy = strdup(filter);
	int r = 0;

	if (copy == NULL)
		return agent_error_set(err, -ENOMEM, "link.memory", "out of memory");
	pthread_mutex_lock(&w->lock);
	if (w->n_filters == FILTERS_MAX)
		r = agent_error_set(err, -EDQUOT, "link.filters", "there are %d subscriptions already", FILTERS_MAX);
	if (r >= 0 && w->mqtt != NULL)
		r = agent_mqtt_subscribe(w->mqtt, filter, qos, err);
	if (r >= 0) {
		w->filters[w->n_filters].text = TAKE_PTR(copy);
		w->filters[w->n_filters++].qos = qos;
	}
	pthread_mutex_unlock(&w->lock);
	free(copy);
	return r;
}

void worker_unsubscribe(struct worker *w, const char *filter)
{
	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < w->n_filters; i++) {
		if (strcmp(w->filters[i].text, filter) != 0)
			continue;
		free(w->filters[i].text);
		w->filters[i] = w->filters[--w->n_filters];
		i--;
	}
	if (w->mqtt != NULL)
		(void)agent_mqtt_unsubscribe(w->mqtt, filter, NULL);
	pthread_mutex_unlock(&w->lock);
}

void worker_identity_changed(struct worker *w, const char *current_id, const char *next_id)
{
	pthread_mutex_lock(&w->lock);
	/* One that is shown and still on trial: core did not hear that it was taken, and hears it after the next connection. */
	if (w->has_shown && (next_id[0] != '\0' || strcmp(w->shown, current_id) != 0))
		agent_mqtt_reconnect(w->mqtt);
	pthread_mutex_unlock(&w->lock);
}

void worker_reconnect(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	agent_mqtt_reconnect(w->mqtt);
	pthread_mutex_unlock(&w->lock);
}

void worker_try_again(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	if (w->wants_trial && w->trial_wait > 0) {
		w->trial_wait--;
	} else if (w->wants_trial) {
		agent_mqtt_reconnect(w->mqtt);
		w->wants_trial = false;
	}
	pthread_mutex_unlock(&w->lock);
}

void worker_look_at_lists(struct worker *w)
{
	struct stamp crl = worker_take_stamp(w->policy.crl_file);
	const struct stamp none = { 0 };

	pthread_mutex_lock(&w->lock);
	if (w->has_live_tls && w->status.state == AGENT_MQTT_ONLINE && w->policy.crl != AGENT_TLS_CRL_OFF && !worker_is_same(&crl, &w->live_crl)) {
		w->live_crl = crl; /* once */
		if (worker_is_same(&crl, &none))
			service_log(LOG_WARNING, "%s is gone: the broker is looked at again, without a revocation list", w->policy.crl_file);
		else
			service_log(LOG_NOTICE, "%s changed: the broker is looked at again", w->policy.crl_file);
		agent_mqtt_reconnect(w->mqtt);
	}
	pthread_mutex_unlock(&w->lock);
}

void worker_time_changed(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	if (w->has_live_tls && w->status.state == AGENT_MQTT_ONLINE)
		look_at_time(w, w->tls[w->status.info.broker]);
	pthread_mutex_unlock(&w->lock);
}
