/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_MQTT_SETTINGS_H
#define COMMON_MQTT_SETTINGS_H
/* What the group mqtt of the settings means beyond ranges, and rows of mqtt.brokers: "HOST", then port=PORT and name=NAME in any order. */
#include <stdint.h>

#include "agentd/common/settings.h"

#define BROKER_ROWS_MAX 7
#define BROKER_HOST_MAX 253	/* RFC 1035 section 2.3.4, as text */

struct broker_row {
	char host[BROKER_HOST_MAX + 1];
	char name[BROKER_HOST_MAX + 1];	/* in its certificate */
	uint16_t port;
};

/* @port: where the row names none. -EINVAL (config.range) with the word that is wrong. */
int broker_row_parse(const char *text, uint16_t port, struct broker_row *ret_row, struct agent_error **err);
/* Topic filter of commands and topic of answers in full, below @prefix. -EINVAL (config.range), -ENOMEM. Both are to be freed, also on failure. */
int command_topics_read(const struct settings *settings, const char *prefix, char **ret_filter, char **ret_answer, struct agent_error **err);
/* Rows of lists and what belongs together. -EINVAL (config.range, config.missing). */
int mqtt_settings_check(const struct settings *settings, struct agent_error **err);

#endif
