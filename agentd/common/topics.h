/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_TOPICS_H
#define COMMON_TOPICS_H
/*
 * MQTT topics (3.1.1, section 4.7), and the rows of mqtt.queues. A topic
 * that begins with "~/" lies below the device's own prefix; it is put in full with topic_expand() before it is compared.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/queue.h>

#include "agentd/common/settings.h"

#define TOPIC_MAX 1024		/* bytes, in full */
#define TOPIC_LEVELS_MAX 64
#define QUEUE_CLASSES_MAX 8	/* with the two that are always there */
#define QUEUE_NAME_MAX 24
#define QUEUE_TOPICS_MAX 8

/* A name to publish to: 1 to TOPIC_MAX bytes of UTF-8 without control characters and wildcards. */
bool topic_is_valid(const char *topic);
/* The same with "+" and "#" where they may stand. */
bool topic_filter_is_valid(const char *filter);
/* @filter against @topic, both valid and in full. What begins with "$" is matched by no wildcard in front. */
bool topic_matches(const char *filter, const char *topic);
/* Is every topic that @inner, a filter or a topic, matches also matched by @outer? */
bool topic_covers(const char *outer, const char *inner);
/* mqtt.topic_prefix or, without it, devices/SERIAL. The caller frees it; NULL when memory is short. */
char *topic_prefix(const struct settings *settings);
/* "~/x" -> PREFIX/x, anything else as it is. -EMSGSIZE when it is longer than TOPIC_MAX. */
int topic_expand(const char *prefix, const char *text, char ret_topic[TOPIC_MAX + 1]);

/* One queue: what waits in it, where, and for how long. */
struct queue_class {
	char name[QUEUE_NAME_MAX + 1];
	char *topics[QUEUE_TOPICS_MAX];	/* as in the file */
	size_t n_topics;
	uint64_t size_kib;
	uint64_t loss_messages;	/* 1: acknowledged when the disk has it */
	uint64_t loss_s;
	uint64_t priority;	/* 9 goes first */
	uint64_t ttl_s;		/* 0: no end */
	uint64_t rate_per_s;	/* 0: as fast as it goes */
	enum agent_queue_full full;
};

struct queue_classes {
	struct queue_class items[QUEUE_CLASSES_MAX];
	size_t n;
};

/*
 * mqtt.queues and, behind them, "telemetry" and "default" unless rows have those names. The first whose topic fits is
 * taken, and "default" takes all. -EINVAL "config.range" names the row and the word.
 */
int queue_classes_read(const struct settings *settings, struct queue_classes *ret_classes, struct agent_error **err);
void queue_classes_clear(struct queue_classes *classes);

#endif
