/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_REASON_H
#define NET_MQTT_REASON_H
/* Reason codes of MQTT 5 (OASIS Standard, 7 March 2019, section 2.4) and what we make of them. */
#include <stdbool.h>

struct mqtt_reason {
	int code;
	int errnum;
	const char *name;	/* of the error */
	const char *text;
	bool is_final;		/* for a PUBACK: the same message fares no better later */
};

/* Never NULL: an unknown code has a row of its own. */
const struct mqtt_reason *mqtt_reason_get(int code);
/* The MQTT 5 code that says the same as a return code of MQTT 3.1.1 (section 3.2.2.3). */
int mqtt_reason_of_311(int code);

#endif
