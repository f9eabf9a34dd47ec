/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vendor's program that uses the device's connection to the broker: no certificate, no key, no network of its own.
 *
 *   link-app [-s SOCKET] [-q QOS] publish TOPIC FIRST LAST [SIZE [PAUSE-MS]]   numbered messages; prints each number once it is acknowledged
 *   link-app [-s SOCKET] [-q QOS] subscribe FILTER...  prints what arrives, and where something may be missing
 *   link-app [-s SOCKET] [-q QOS] sleep FILTER SECONDS subscribes and then reads nothing: what one should not do
 *
 * QOS is 0, 1 (if not given) or 2.
 *
 * Rights are rows of mqtt.rights in agentd.conf: "publish uid:1000 ~/meter/#".
 */
#define _POSIX_C_SOURCE 200809L /* with -std=c11 the headers are bare */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <agent/agent.h>

#define SIZE_MAX_BYTES AGENT_LINK_MESSAGE_MAX

static int qos = 1;

/* What is no QoS goes to the library as it is, which says so. */
static unsigned qos_flags(void)
{
	return (qos & 1 ? AGENT_MQTT_QOS1 : 0u) | (qos & 2 ? AGENT_MQTT_QOS2 : 0u);
}

static int failed(struct agent_error *err)
{
	fprintf(stderr, "link-app: %s (%s)\n", agent_error_message(err), agent_error_name(err));
	agent_error_free(err);
	return 1;
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* Nobody knows whether the message was taken, or it was not because too much was asked: say it again. */
static int is_passing(int r)
{
	return r == -ENOTCONN || r == -ETIMEDOUT || r == -EBUSY || r == -ECONNREFUSED;
}

static int publish(struct agent_link *link, char **args, int n_args)
{
	long first = strtol(args[1], NULL, 10), last = strtol(args[2], NULL, 10);
	size_t size = n_args > 3 ? (size_t)strtol(args[3], NULL, 10) : 32;
	long pause_ms = n_args > 4 ? strtol(args[4], NULL, 10) : 0;
	char *payload = malloc(SIZE_MAX_BYTES);

	if (payload == NULL || size < 32 || size > SIZE_MAX_BYTES) {
		fputs("link-app: SIZE is 32 to 65536\n", stderr);
		free(payload);
		return 1;
	}
	for (long n = first; n <= last; n++) {
		struct agent_error *err = NULL;
		int r;

		/* The number, and then letters that depend on it, so that whoever reads can tell a message from a damaged one. */
		memset(payload, 'a' + (int)(n % 26), size);
		payload[snprintf(payload, size, "%ld", n)] = ':';
		r = agent_link_publish(link, args[0], payload, size, qos_flags(), 0, &err);
		if (r < 0 && is_passing(r)) {
			agent_error_free(err);
			wait_ms(50);
			n--;
			continue;
		}
		if (r < 0) {
			free(payload);
			return failed(err);
		}
		printf("%ld\n", n);
		fflush(stdout);
		if (pause_ms > 0)
			wait_ms(pause_ms);
	}
	free(payload);
	return 0;
}

static int subscribe_all(struct agent_link *link, char **args, int n_args)
{
	struct agent_error *err = NULL;

	for (int i = 0; i < n_args; i++)
		if (agent_link_subscribe(link, args[i], qos, &err) < 0)
			return failed(err);
	puts("subscribed");
	fflush(stdout);
	return 0;
}

static int listen_to(struct agent_link *link, char **args, int n_args)
{
	if (subscribe_all(link, args, n_args) != 0)
		return 1;
	for (;;) {
		struct agent_error *err = NULL;
		struct agent_link_event event;
		int r = agent_link_next(link, -1, &event, &err);

		if (r < 0) {
			/* agentd-link is being restarted; the subscriptions are repeated by the next call that gets through. */
			fprintf(stderr, "link-app: %s\n", agent_error_message(err));
			agent_error_free(err);
			wait_ms(200);
		} else if (r > 0 && event.type == AGENT_LINK_GAP) {
			printf("gap %s\n", event.reason);
		} else if (r > 0) {
			printf("message %s %.*s\n", event.topic, (int)event.size, (const char *)event.payload);
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	struct agent_error *err = NULL;
	const char *socket_path = NULL;
	struct agent_link *link;
	int result;

	if (argc > 2 && strcmp(argv[1], "-s") == 0) {
		socket_path = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc > 2 && strcmp(argv[1], "-q") == 0) {
		qos = atoi(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 3 || (strcmp(argv[1], "publish") == 0 && argc < 5) || (strcmp(argv[1], "sleep") == 0 && argc < 4)) {
		fputs("usage: link-app [-s SOCKET] [-q QOS] publish TOPIC FIRST LAST [SIZE [PAUSE-MS]] | subscribe FILTER... | sleep FILTER SECONDS\n", stderr);
		return 2;
	}
	if (agent_link_open(socket_path, &link, &err) < 0)
		return failed(err);
	if (strcmp(argv[1], "publish") == 0) {
		result = publish(link, argv + 2, argc - 2);
	} else if (strcmp(argv[1], "sleep") == 0) {
		result = subscribe_all(link, argv + 2, 1);
		if (result == 0)
			sleep((unsigned)atoi(argv[3]));
	} else {
		result = listen_to(link, argv + 2, argc - 2);
	}
	agent_link_free(link);
	return result;
}
