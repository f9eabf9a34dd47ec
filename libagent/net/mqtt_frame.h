/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_FRAME_H
#define NET_MQTT_FRAME_H
/*
 * The properties in what a broker of MQTT 5 sends, looked at before libmosquitto does: it ends the whole program (an assertion, 2.0.11 to 2.0.22) when it
 * meets one that it does not know, and counts below zero when one is longer than it may be.
 */
#include <stddef.h>
#include <stdint.h>

enum mqtt_frame_step {
	FRAME_HEAD, FRAME_LENGTH, FRAME_TOPIC_HIGH, FRAME_TOPIC_LOW, FRAME_SKIP, FRAME_PROPERTIES, FRAME_ID, FRAME_FIXED, FRAME_NUMBER, FRAME_TEXT_HIGH,
	FRAME_TEXT_LOW, FRAME_TEXT, FRAME_REST
};

/* Where in the stream of packets we are; all zero at its begin. */
struct mqtt_frame {
	enum mqtt_frame_step step;
	uint8_t head;
	unsigned shift;		/* of the number under way */
	uint32_t left;		/* bytes of the packet that are to come */
	uint32_t properties;	/* of these, how many are properties */
	uint32_t skip;		/* to the next step */
	unsigned n_texts;	/* of the property under way */
};

/* The next bytes, cut anywhere. 0, or -EBADMSG for a packet that libmosquitto must not see; then there is no going on. */
int mqtt_frame_take(struct mqtt_frame *frame, const uint8_t *data, size_t size);

#endif
