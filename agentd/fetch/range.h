/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_RANGE_H
#define FETCH_RANGE_H
/* What the headers of an answer to a Range request say, and whether that is what was asked for (RFC 9110, sections 8.8, 13.1.5 and 14). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>

#define RANGE_VALIDATOR_MAX 256

/* Headers of one answer. */
struct range_head {
	char etag[RANGE_VALIDATOR_MAX + 1];	/* strong ones only */
	char modified[RANGE_VALIDATOR_MAX + 1];
	char content_range[64];
	unsigned n_content_ranges;
};

/* The file as its first answer described it. */
struct range_file {
	bool is_known;
	uint64_t size_bytes;
	char etag[RANGE_VALIDATOR_MAX + 1], modified[RANGE_VALIDATOR_MAX + 1];
};

/* Look at one header line of @size bytes, without a NUL; a status line begins anew. */
void range_head_add(struct range_head *head, const char *line, size_t size);
/*
 * Does an answer 206 hold exactly bytes @first to @last (@last may lie beyond the end), of the same file as before? The first one fills
 * @file. -EBADMSG fetch.range (no, two, malformed or other Content-Range, so multipart too); -ESTALE fetch.changed.
 */
int range_check(const struct range_head *head, uint64_t first, uint64_t last, struct range_file *file, struct agent_error **err);
/* For If-Range; NULL if the server gave nothing to compare with. */
const char *range_validator(const struct range_file *file);

#endif
