/* SPDX-License-Identifier: Apache-2.0 */
#include "agentd/mgmt/mgmt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>

#include "agentd/common/service.h"
#include "agentd/mgmt/conn.h"
#include "agentd/mgmt/request.h"
#include "agentd/mgmt/setup.h"
#include "base/macro.h"

#define SECOND_US UINT64_C(1000000)
#define SUMMARY_US (60 * SECOND_US)

int64_t mgmt_date(const struct mgmt *m)
{
	struct agent_time_reading now;

	agent_time_get(m->time, &now);
	return (int64_t)now.now_s;
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mgmt *m = userdata;

	if (m->conns != NULL || setup_is_waiting(m))
		return 0;
	service_log(LOG_INFO, "no connection for %lld s, leaving until the next one", (long long)m->settings->mgmt.idle_exit_s);
	return sd_event_exit(m->event, 0);
}

void mgmt_idle_update(struct mgmt *m)
{
	uint64_t at;

	if (m->settings->mgmt.idle_exit_s == 0)
		return;
	/* Nor before the password is set: sockets that do not listen start nobody. */
	if (m->conns != NULL || setup_is_waiting(m)) {
		if (m->idle_timer != NULL)
			sd_event_source_set_enabled(m->idle_timer, SD_EVENT_OFF);
		return;
	}
	at = mgmt_now_us(m) + (uint64_t)m->settings->mgmt.idle_exit_s * 1000000;
	if (m->idle_timer == NULL) {
		(void)sd_event_add_time(m->event, &m->idle_timer, CLOCK_MONOTONIC, at, 0, on_idle, m);
		return;
	}
	sd_event_source_set_time(m->idle_timer, at);
	sd_event_source_set_enabled(m->idle_timer, SD_EVENT_ONESHOT);
}

static int on_told(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
	return 0;
}

/* Once a minute, however many there were: a flood must not become a flood of events. */
static int on_summary(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct mgmt *m = userdata;
	sd_bus_message *call = NULL;

	if (core_message(m, "PeersThrottled", &call, NULL) < 0)
		return sd_event_source_set_time(source, usec + SUMMARY_US) < 0 ? 0 : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (sd_bus_message_append(call, "tt", m->n_refused, m->n_limited) >= 0 && core_send(m, call, 0, on_told, m, NULL, NULL) >= 0)
		m->n_refused = m->n_limited = 0;
	sd_bus_message_unref(call);
	return 0;
}

/* The first one of a minute is told soon, what follows when the minute is over. */
static void summary(struct mgmt *m)
{
	uint64_t now_us = mgmt_now_us(m), at;

	if (m->n_refused + m->n_limited > 1)
		return;
	at = now_us + SECOND_US;
	if (m->last_summary_us != 0 && m->last_summary_us + SUMMARY_US > at)
		at = m->last_summary_us + SUMMARY_US;
	m->last_summary_us = at;
	if (m->summary_timer == NULL) {
		(void)sd_event_add_time(m->event, &m->summary_timer, CLOCK_MONOTONIC, at, 0, on_summary, m);
		return;
	}
	sd_event_source_set_time(m->summary_timer, at);
	sd_event_source_set_enabled(m->summary_timer, SD_EVENT_ONESHOT);
}

void mgmt_count_refused(struct mgmt *m)
{
	m->n_refused++;
	summary(m);
}

void mgmt_count_limited(struct mgmt *m)
{
	m->n_limited++;
	summary(m);
}

static int on_reap(sd_event_source *source, void *userdata)
{
	conn_reap(userdata);
	return 0;
}

static int name_add(struct mgmt *m, const char *prefix, const char *name, const char *suffix)
{
	char *text;

	if (m->n_names == ARRAY_SIZE(m->names))
		return 0;
	if (asprintf(&text, "%s%s%s", prefix, name, suffix) < 0)
		return -ENOMEM;
	for (char *p = text; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	m->names[m->n_names++] = text;
	return 0;
}

int mgmt_new(const struct settings *settings, sd_event *event, struct mgmt **ret_mgmt, struct agent_error **err)
{
	struct mgmt *m = calloc(1, sizeof(*m));
	int r;

	if (m == NULL)
		return agent_error_set(err, -ENOMEM, "mgmt.start", "out of memory");
	m->settings = settings;
	m->event = sd_event_ref(event);
	r = limit_table_new(&m->limits);
	if (r >= 0)
		r = agent_time_new(&m->time, NULL);
	if (r >= 0)
		r = name_add(m, "gw-", settings->device.serial, ".local");
	if (r >= 0)
		r = name_add(m, "", "localhost", "");
	for (char **host = settings->mgmt.hosts; r >= 0 && host != NULL && *host != NULL; host++)
		r = name_add(m, "", *host, "");
	if (r >= 0)
		r = sd_event_add_defer(event, &m->reap_defer, on_reap, m);
	if (r < 0)
		r = agent_error_set(err, r, "mgmt.start", "cannot prepare: %s", strerror(-r));
	else
		r = http_start(m, err);
	if (r < 0) {
		mgmt_free(m);
		return r;
	}
	mgmt_idle_update(m);
	*ret_mgmt = m;
	return 0;
}

struct mgmt *mgmt_free(struct mgmt *m)
{
	if (m == NULL)
		return NULL;
	listener_free(m);
	setup_free(m);
	for (struct conn *c = m->conns, *next; c != NULL; c = next) {
		next = c->next;
		conn_close(c, false);
	}
	http_stop(m);
	conn_reap(m);
	tls_free(m);
	clients_free(m);
	core_disconnect(m);
	sd_event_source_disable_unref(m->retry_timer);
	sd_event_source_disable_unref(m->lost_defer);
	sd_event_source_disable_unref(m->idle_timer);
	sd_event_source_disable_unref(m->summary_timer);
	sd_event_source_disable_unref(m->reap_defer);
	limit_table_free(m->limits);
	for (size_t i = 0; i < m->n_names; i++)
		free(m->names[i]);
	sd_event_unref(m->event);
	agent_time_unref(m->time); /* after the last TLS object */
	free(m);
	return NULL;
}

/* Only names that are ours: a page on a foreign name that was made to resolve to our address (DNS rebinding) stays out. */
bool host_is_ours(const struct mgmt *m, const char *host, const char *local_ip)
{
	char name[256];
	const char *port;
	size_t n;

	if (host[0] == '[') {
		const char *end = strchr(host, ']');

		if (end == NULL)
			return false;
		n = (size_t)(end - host - 1);
		host++;
		port = end + 1;
		if (memchr(host, ':', n) == NULL) /* RFC 3986 section 3.2.2: brackets are for IPv6 */
			return false;
	} else {
		n = strcspn(host, ":");
		port = host + n;
	}
	if (n == 0 || n >= sizeof(name) || (*port != '\0' && *port != ':'))
		return false;
	if (*port == ':' && (port[1] == '\0' || strlen(port + 1) > 5 || strspn(port + 1, "0123456789") != strlen(port + 1)))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	for (size_t i = 0; i < m->n_names; i++)
		if (strcasecmp(name, m->names[i]) == 0)
			return true;
	return local_ip[0] != '\0' && strcasecmp(name, local_ip) == 0;
}
