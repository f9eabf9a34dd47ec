/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_FIELDS_H
#define COMMON_FIELDS_H
/* Reading an a{sv} into a struct: one row for each key that is wanted; other keys, and known ones with a value of another type, are passed over. */
#include <stddef.h>

#include <systemd/sd-bus.h>

enum field_kind {
	FIELD_TEXT,	  /* char[size]; a longer text is cut */
	FIELD_WHOLE_TEXT, /* char[size]; a longer text becomes "": half an address leads elsewhere */
	FIELD_TEXT_REF,	  /* const char *, lives as long as the message */
	FIELD_NUMBER,	  /* uint64_t */
	FIELD_TRUTH,	  /* bool */
};

struct field {
	const char *key;
	enum field_kind kind;
	void *to;
	size_t size; /* of a text */
};

/* The row of a char[] that is a member of what @object points to, with the member's name as key. */
#define FIELD_MEMBER(kind, object, member) { #member, kind, (object)->member, sizeof((object)->member) }

/* @m stands before an a{sv} and afterwards behind it. A negative errno when it cannot be read; some rows are filled in by then. */
int fields_read(sd_bus_message *m, const struct field *fields, size_t n_fields);

#endif
