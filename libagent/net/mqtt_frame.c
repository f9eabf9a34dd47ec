/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mqtt_frame.h"

#include <errno.h>
#include <stdbool.h>

#define NUMBER_SHIFT_MAX 21	/* variable byte integers have four bytes: MQTT 5 section 1.5.5 */

/* MQTT 5 section 2.2.2.2: what follows an identifier. */
enum { UNKNOWN, ONE_BYTE, TWO_BYTES, FOUR_BYTES, NUMBER, TEXT, TWO_TEXTS };
static const uint8_t kinds[] = {
	[0x01] = ONE_BYTE, [0x02] = FOUR_BYTES, [0x03] = TEXT, [0x08] = TEXT, [0x09] = TEXT, [0x0b] = NUMBER, [0x11] = FOUR_BYTES, [0x12] = TEXT,
	[0x13] = TWO_BYTES, [0x15] = TEXT, [0x16] = TEXT, [0x17] = ONE_BYTE, [0x18] = FOUR_BYTES, [0x19] = ONE_BYTE, [0x1a] = TEXT, [0x1c] = TEXT,
	[0x1f] = TEXT, [0x21] = TWO_BYTES, [0x22] = TWO_BYTES, [0x23] = TWO_BYTES, [0x24] = ONE_BYTE, [0x25] = ONE_BYTE, [0x26] = TWO_TEXTS,
	[0x27] = FOUR_BYTES, [0x28] = ONE_BYTE, [0x29] = ONE_BYTE, [0x2a] = ONE_BYTE,
};

/* What stands before the properties of a packet, by its type; PUBLISH has a topic, and no entry has none. */
static const uint8_t before[16] = { [2] = 2, [4] = 3, [5] = 3, [6] = 3, [7] = 3, [9] = 2, [11] = 2, [14] = 1, [15] = 1 };

/* One more byte of a number; 1 when it was the last. */
static int take_number(struct mqtt_frame *f, uint32_t *number, uint8_t byte)
{
	*number |= (uint32_t)(byte & 0x7f) << f->shift;
	if ((byte & 0x80) == 0)
		return 1;
	f->shift += 7;
	return f->shift > NUMBER_SHIFT_MAX ? -EBADMSG : 0;
}

static void go(struct mqtt_frame *f, enum mqtt_frame_step step)
{
	f->step = step;
	f->shift = 0;
}

static void begin_properties(struct mqtt_frame *f)
{
	go(f, FRAME_PROPERTIES);
	f->properties = 0;
}

static void skip(struct mqtt_frame *f, uint32_t n)
{
	f->skip = n;
	if (n == 0)
		begin_properties(f);
	else
		go(f, FRAME_SKIP);
}

static void begin_body(struct mqtt_frame *f)
{
	unsigned type = f->head >> 4;

	if (type == 3)
		go(f, FRAME_TOPIC_HIGH);
	else if (before[type] != 0)
		skip(f, before[type]);
	else
		go(f, FRAME_REST);
}

static void next_property(struct mqtt_frame *f)
{
	go(f, f->properties == 0 ? FRAME_REST : FRAME_ID);
}

static int begin_property(struct mqtt_frame *f, uint8_t id)
{
	uint8_t kind = id < sizeof(kinds) ? kinds[id] : UNKNOWN;

	if (kind == UNKNOWN)
		return -EBADMSG;
	if (kind == NUMBER) {
		f->skip = 0;
		go(f, FRAME_NUMBER);
	} else if (kind == TEXT || kind == TWO_TEXTS) {
		f->n_texts = kind == TEXT ? 1 : 2;
		go(f, FRAME_TEXT_HIGH);
	} else {
		f->skip = kind == ONE_BYTE ? 1 : kind == TWO_BYTES ? 2 : 4;
		go(f, FRAME_FIXED);
	}
	return f->properties == 0 || (f->step == FRAME_FIXED && f->skip > f->properties) ? -EBADMSG : 0;
}

static int end_text(struct mqtt_frame *f)
{
	if (--f->n_texts == 0) {
		next_property(f);
		return 0;
	}
	go(f, FRAME_TEXT_HIGH);
	return f->properties == 0 ? -EBADMSG : 0;
}

/* A byte of the properties, which has been counted. */
static int take_property(struct mqtt_frame *f, uint8_t byte)
{
	int r;

	switch (f->step) {
	case FRAME_ID:
		return begin_property(f, byte);
	case FRAME_FIXED:
		if (--f->skip == 0)
			next_property(f);
		return 0;
	case FRAME_NUMBER:
		r = take_number(f, &f->skip, byte);
		if (r > 0)
			next_property(f);
		return r < 0 || (r == 0 && f->properties == 0) ? -EBADMSG : 0;
	case FRAME_TEXT_HIGH:
		f->skip = (uint32_t)byte << 8;
		go(f, FRAME_TEXT_LOW);
		return f->properties == 0 ? -EBADMSG : 0;
	case FRAME_TEXT_LOW:
		f->skip |= byte;
		if (f->skip > f->properties)
			return -EBADMSG;
		if (f->skip == 0)
			return end_text(f);
		go(f, FRAME_TEXT);
		return 0;
	default: /* FRAME_TEXT */
		return --f->skip == 0 ? end_text(f) : 0;
	}
}

/* A byte of the body, which has been counted. */
static int take_body(struct mqtt_frame *f, uint8_t byte)
{
	int r;

	switch (f->step) {
	case FRAME_TOPIC_HIGH:
		f->skip = (uint32_t)byte << 8;
		go(f, FRAME_TOPIC_LOW);
		return 0;
	case FRAME_TOPIC_LOW:
		/* With a packet identifier where there is a QoS: section 3.3.2. */
		skip(f, (f->skip | byte) + ((f->head & 0x06) != 0 ? 2 : 0));
		return 0;
	case FRAME_SKIP:
		if (--f->skip == 0)
			begin_properties(f);
		return 0;
	case FRAME_PROPERTIES:
		r = take_number(f, &f->properties, byte);
		if (r > 0)
			next_property(f);
		return r < 0 || (r > 0 && f->properties > f->left) ? -EBADMSG : 0;
	default:
		f->properties--;
		return take_property(f, byte);
	}
}

int mqtt_frame_take(struct mqtt_frame *f, const uint8_t *data, size_t size)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < size; i++) {
		if (f->step == FRAME_HEAD) {
			/* There is no such packet, and libmosquitto takes the byte behind it for the head once more. */
			if (data[i] >> 4 == 0)
				return -EBADMSG;
			f->head = data[i];
			f->left = 0;
			go(f, FRAME_LENGTH);
			continue;
		}
		if (f->step == FRAME_LENGTH) {
			r = take_number(f, &f->left, data[i]);
			if (r > 0)
				begin_body(f);
		} else if (f->step == FRAME_REST) {
			uint32_t n = size - i < f->left ? (uint32_t)(size - i) : f->left;

			f->left -= n;
			i += n - 1;
		} else {
			f->left--;
			r = take_body(f, data[i]);
		}
		if (r >= 0 && f->left == 0 && f->step != FRAME_LENGTH)
			go(f, FRAME_HEAD);
	}
	return r < 0 ? r : 0;
}
