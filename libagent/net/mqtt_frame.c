/* SPDX-License-Identifier: Apache-2.0 */
#include "net/mqtt_frame.h"

#include <errno.h>
#include <stdlib.h>

#define PUBLISH 3
#define PUBREL 6
#define PROPERTY_COST 128	/* of libmosquitto: the property and two texts, each of them a piece of the heap of its own */
#define MESSAGE_COST 256	/* and for a message that it keeps */
#define COST_MAX (UINT32_MAX / 2)	/* where there is no limit */
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

void mqtt_kept_clear(struct mqtt_kept *kept)
{
	free(kept->list);
	*kept = (struct mqtt_kept){ 0 };
}

static int keep(const struct mqtt_frame *f, struct mqtt_kept *kept)
{
	uint32_t cost = f->cost + MESSAGE_COST;

	if (f->max_kept != 0 && kept->cost + cost > f->max_kept)
		return -ENOSPC;
	if (kept->n == kept->room) {
		size_t room = kept->room == 0 ? 8 : 2 * kept->room;
		struct mqtt_kept_one *list = realloc(kept->list, room * sizeof(*list));

		if (list == NULL)
			return -ENOMEM;
		kept->list = list;
		kept->room = room;
	}
	kept->list[kept->n++] = (struct mqtt_kept_one){ .cost = cost, .id = f->id };
	kept->cost += cost;
	return 0;
}

static void release(struct mqtt_kept *kept, uint16_t id)
{
	size_t i = kept->n;

	while (i > 0 && kept->list[i - 1].id != id)
		i--;
	if (i == 0)
		return;
	kept->cost -= kept->list[i - 1].cost;
	kept->list[i - 1] = kept->list[--kept->n];
	if (kept->n == 0)
		mqtt_kept_clear(kept);
}

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

static void end_skip(struct mqtt_frame *f)
{
	if (f->is_311)
		go(f, FRAME_REST);
	else
		begin_properties(f);
}

static void skip(struct mqtt_frame *f, uint32_t n)
{
	f->skip = n;
	if (n == 0)
		end_skip(f);
	else
		go(f, FRAME_SKIP);
}

static int add_cost(struct mqtt_frame *f, uint32_t n)
{
	f->cost = f->cost > COST_MAX - n ? COST_MAX : f->cost + n;
	return f->max_cost != 0 && f->cost > f->max_cost ? -EMSGSIZE : 0;
}

static int begin_body(struct mqtt_frame *f)
{
	unsigned type = f->head >> 4;

	f->cost = 0;
	f->id = 0;
	if (type == PUBLISH)
		go(f, FRAME_TOPIC_HIGH);
	else if (f->is_311 && type == PUBREL)
		skip(f, 2);
	else if (!f->is_311 && before[type] != 0)
		skip(f, before[type]);
	else
		go(f, FRAME_REST);
	return add_cost(f, f->left);
}

/* The identifier is what comes last before the properties; in PUBREL of MQTT 5 a reason is in between. */
static void take_skipped(struct mqtt_frame *f, uint8_t byte)
{
	if (f->skip > 1 || f->is_311 || f->head >> 4 != PUBREL)
		f->id = (uint16_t)(f->id << 8 | byte);
	if (--f->skip == 0)
		end_skip(f);
}

static int end_packet(struct mqtt_frame *f, struct mqtt_kept *kept)
{
	go(f, FRAME_HEAD);
	if (f->head >> 4 == PUBREL)
		release(kept, f->id);
	return f->head >> 4 == PUBLISH && (f->head & 0x06) == 0x04 ? keep(f, kept) : 0;
}

static void next_property(struct mqtt_frame *f)
{
	go(f, f->properties == 0 ? FRAME_REST : FRAME_ID);
}

static int begin_property(struct mqtt_frame *f, uint8_t id)
{
	uint8_t kind = id < sizeof(kinds) ? kinds[id] : UNKNOWN;
	int r = add_cost(f, PROPERTY_COST);

	if (kind == UNKNOWN || r < 0)
		return kind == UNKNOWN ? -EBADMSG : r;
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
		take_skipped(f, byte);
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

int mqtt_frame_take(struct mqtt_frame *f, struct mqtt_kept *kept, const uint8_t *data, size_t size)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < size; i++) {
		if (f->step == FRAME_HEAD) {
			/* There is no type 0, and libmosquitto takes the byte behind it for the head once more. And no QoS 3. */
			if (data[i] >> 4 == 0 || (data[i] >> 4 == PUBLISH && (data[i] & 0x06) == 0x06))
				return -EBADMSG;
			f->head = data[i];
			f->left = 0;
			go(f, FRAME_LENGTH);
			continue;
		}
		if (f->step == FRAME_LENGTH) {
			r = take_number(f, &f->left, data[i]);
			if (r > 0)
				r = begin_body(f);
		} else if (f->step == FRAME_REST) {
			uint32_t n = size - i < f->left ? (uint32_t)(size - i) : f->left;

			f->left -= n;
			i += n - 1;
		} else {
			f->left--;
			r = take_body(f, data[i]);
		}
		if (r >= 0 && f->left == 0 && f->step != FRAME_LENGTH)
			r = end_packet(f, kept);
	}
	return r < 0 ? r : 0;
}
