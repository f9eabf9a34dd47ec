/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mqtt_reason.h"

#include <errno.h>
#include <stddef.h>

#include "base/macro.h"

static const struct mqtt_reason reasons[] = {
	{ 0x80, EACCES,          "mqtt.refused",	    "the broker refuses and gives no reason", MQTT_MAYBE },
	{ 0x81, EBADMSG,         "mqtt.malformed",	    "the broker says that it cannot read what we send", MQTT_MAYBE },
	{ 0x82, EPROTO,          "mqtt.protocol",	    "the broker says that we break the rules of MQTT", MQTT_MAYBE },
	{ 0x83, EACCES,          "mqtt.broker-rule",	    "a rule of this broker refuses it; its log knows more", MQTT_MAYBE },
	{ 0x84, EPROTONOSUPPORT, "mqtt.version",	    "the broker does not speak this version of MQTT; see mqtt.version", MQTT_MAYBE },
	{ 0x85, EACCES,          "mqtt.client-id",	    "the broker does not accept our client id", MQTT_MAYBE },
	{ 0x86, EACCES,          "mqtt.credentials",	    "the broker does not accept our user name or certificate", MQTT_MAYBE },
	{ 0x87, EACCES,          "mqtt.not-authorised",	    "the broker's access list does not allow it", MQTT_FINAL },
	{ 0x88, EAGAIN,          "mqtt.unavailable",	    "the broker is not available now", MQTT_MAYBE },
	{ 0x89, EAGAIN,          "mqtt.busy",		    "the broker is busy", MQTT_MAYBE },
	{ 0x8a, EACCES,          "mqtt.banned",		    "the broker has banned this client", MQTT_MAYBE },
	{ 0x8b, ECONNRESET,      "mqtt.shutdown",	    "the broker shuts down", MQTT_MAYBE },
	{ 0x8c, EACCES,          "mqtt.auth-method",	    "the broker wants another way to authenticate", MQTT_MAYBE },
	{ 0x8d, ETIMEDOUT,       "mqtt.keepalive",	    "the broker heard nothing from us within the keep-alive", MQTT_MAYBE },
	{ 0x8e, ECONNRESET,      "mqtt.taken-over",	    "another connection uses our client id: is there a second device with this serial number?", MQTT_MAYBE },
	{ 0x8f, EINVAL,          "mqtt.filter",		    "the broker does not accept this topic filter", MQTT_FINAL },
	{ 0x90, EINVAL,          "mqtt.topic-refused",	    "the broker does not accept this topic", MQTT_FINAL },
	{ 0x91, EAGAIN,          "mqtt.packet-id",	    "the broker says that the packet identifier is in use", MQTT_MAYBE },
	{ 0x92, EPROTO,          "mqtt.packet-id",	    "the broker does not know the packet identifier", MQTT_MAYBE },
	{ 0x93, EPROTO,          "mqtt.receive-maximum",    "the broker says that too many messages are under way", MQTT_MAYBE },
	{ 0x94, EPROTO,          "mqtt.topic-alias",	    "the broker does not accept a topic alias", MQTT_MAYBE },
	{ 0x95, EMSGSIZE,        "mqtt.too-large",	    "the packet is larger than the broker takes", MQTT_FINAL },
	{ 0x96, EAGAIN,          "mqtt.rate",		    "the broker gets too much from us in a short time", MQTT_PASSING },
	{ 0x97, EDQUOT,          "mqtt.quota",		    "a quota of the broker is used up", MQTT_PASSING },
	{ 0x98, ECONNRESET,      "mqtt.administrative",	    "an administrator of the broker ended the connection", MQTT_MAYBE },
	{ 0x99, EBADMSG,         "mqtt.payload-format",	    "the broker does not accept the format of the payload", MQTT_FINAL },
	{ 0x9a, EINVAL,          "mqtt.retain",		    "the broker keeps no retained messages: mqtt.retain = false", MQTT_FINAL },
	{ 0x9b, EINVAL,          "mqtt.qos",		    "the broker does not offer this QoS", MQTT_FINAL },
	{ 0x9c, EREMCHG,         "mqtt.moved",		    "the broker says: use another server for now", MQTT_MAYBE },
	{ 0x9d, EREMCHG,         "mqtt.moved",		    "the broker says: it has moved for good", MQTT_MAYBE },
	{ 0x9e, EINVAL,          "mqtt.filter",		    "the broker offers no shared subscriptions", MQTT_FINAL },
	{ 0x9f, EAGAIN,          "mqtt.rate",		    "the broker sees too many connections in a short time", MQTT_MAYBE },
	{ 0xa0, ECONNRESET,      "mqtt.connect-time",	    "the broker allows no longer connection", MQTT_MAYBE },
	{ 0xa1, EINVAL,          "mqtt.filter",		    "the broker offers no subscription identifiers", MQTT_FINAL },
	{ 0xa2, EINVAL,          "mqtt.filter",		    "the broker offers no wildcards", MQTT_FINAL },
};

const struct mqtt_reason *mqtt_reason_get(int code)
{
	static const struct mqtt_reason unknown = { 0, EACCES, "mqtt.refused", "the broker refuses with a reason that we do not know", MQTT_MAYBE };

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].code == code)
			return &reasons[i];
	return &unknown;
}

int mqtt_reason_of_311(int code)
{
	static const int as_5[] = { 0, 0x84, 0x85, 0x88, 0x86, 0x87 };

	return code >= 0 && (size_t)code < ARRAY_SIZE(as_5) ? as_5[code] : code;
}
