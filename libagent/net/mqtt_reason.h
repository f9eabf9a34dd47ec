/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_REASON_H
#define NET_MQTT_REASON_H
/* Reason codes of MQTT 5 (OASIS Standard, 7 March 2019, section 2.4) and what we make of them. */
/* What a refusal says of the message that was refused. */
enum mqtt_outlook {
	MQTT_MAYBE,	/* nothing: it is tried again a few times */
	MQTT_FINAL,	/* the same message fares no better later */
	MQTT_PASSING,	/* the refusal is not about the message, and ends */
};

struct mqtt_reason {
	int code;
	int errnum;
	const char *name;	/* of the error */
	const char *text;
	enum mqtt_outlook outlook;	/* in a PUBACK */
};

/* Never NULL: an unknown code has a row of its own. */
const struct mqtt_reason *mqtt_reason_get(int code);
/* The MQTT 5 code that says the same as a return code of MQTT 3.1.1 (section 3.2.2.3). */
int mqtt_reason_of_311(int code);

#endif
