/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MQTT_FRAME_H
#define NET_MQTT_FRAME_H
/*
 * What a broker sends, looked at before libmosquitto does. With properties of MQTT 5 that one ends the whole program (an assertion, 2.0.11 to 2.0.22) when it
 * meets one that it does not know, counts below zero when one is longer than it may be, and makes 128 bytes of one of 5. And messages of QoS 2 are kept,
 * with topic and properties, until the broker releases them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mqtt_frame_step {
	FRAME_HEAD, FRAME_LENGTH, FRAME_TOPIC_HIGH, FRAME_TOPIC_LOW, FRAME_SKIP, FRAME_PROPERTIES, FRAME_ID, FRAME_FIXED, FRAME_NUMBER, FRAME_TEXT_HIGH,
	FRAME_TEXT_LOW, FRAME_TEXT, FRAME_REST
};

/* Messages of QoS 2 that came and were not released, one for each PUBLISH; all zero: none. */
struct mqtt_kept {
	struct mqtt_kept_one {
		uint32_t cost;
		uint16_t id;
	} *list;
	size_t n, room;
	uint64_t cost;		/* of all */
};

/* Where in the stream of packets we are; all zero at its begin, but for what is said below. */
struct mqtt_frame {
	bool is_311;		/* packets have no properties. To be set at the begin, as the next two */
	uint32_t max_cost;	/* of a packet; 0: any */
	uint64_t max_kept;	/* of what is in @kept; 0: any */
	enum mqtt_frame_step step;
	uint8_t head;
	unsigned shift;		/* of the number under way */
	uint32_t left;		/* bytes of the packet that are to come */
	uint32_t properties;	/* of these, how many are properties */
	uint32_t skip;		/* to the next step */
	unsigned n_texts;	/* of the property under way */
	uint32_t cost;		/* of the packet in memory of libmosquitto: its bytes, and more for each property */
	uint16_t id;
};

/*
 * The next bytes, cut anywhere; @kept follows them. 0, or there is no going on: -EBADMSG for a packet that libmosquitto must not see, -EMSGSIZE for one that
 * costs more than may be, -ENOSPC when too much would be kept, -ENOMEM.
 */
int mqtt_frame_take(struct mqtt_frame *frame, struct mqtt_kept *kept, const uint8_t *data, size_t size);
void mqtt_kept_clear(struct mqtt_kept *kept);

#endif
