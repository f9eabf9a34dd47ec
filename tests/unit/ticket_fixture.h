/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TICKET_FIXTURE_H
#define TESTS_UNIT_TICKET_FIXTURE_H
/* Service tickets for the device of update_fixture.h, right ones and wrong ones. Included after it and bundle.h. */
#include "update/ticket.h"

#define DEVICE "000b00112233"
#define TICKET_SIZE 8192

/* What a test may want to get wrong; nothing is a ticket for @bundle that is good. */
struct ticket_spec {
	const struct bundle *bundle;
	struct bundle how;	/* who signs */
	const char *device, *release;
	uint64_t counter, security_version, not_before_s, not_after_s;
	bool other_manifest;
};

/* The signed description of @b: the first member. */
static inline void manifest_of(struct device *d, const struct bundle *b, char *ret_text, size_t size)
{
	_cleanup_bytes_ struct bytes bytes = { 0 };
	const size_t begin = 128; /* header of 110 bytes and "sw-description" with its NUL, padded to 4 */
	char digits[9] = "";
	size_t n;

	bundle_make(d, b, &bytes);
	memcpy(digits, bytes.data + 54, 8);
	n = strtoul(digits, NULL, 16);
	assert_true(n < size);
	memcpy(ret_text, bytes.data + begin, n);
	ret_text[n] = '\0';
	assert_int_equal(strncmp(ret_text, "software = ", 11), 0);
}

static inline void ticket_lines(struct device *d, const struct ticket_spec *s, char text[4096])
{
	char manifest[4096], sha256[65];

	manifest_of(d, s->bundle, manifest, sizeof(manifest));
	sha256_text(manifest, strlen(manifest) - (s->other_manifest ? 1 : 0), sha256);
	snprintf(text, 4096, TICKET_MAGIC "device=%s\ncounter=%llu\nrelease=%s\nsecurity-version=%llu\nmanifest=%s\nnot-before=%llu\nnot-after=%llu\n",
		 s->device == NULL ? DEVICE : s->device, (unsigned long long)s->counter, s->release == NULL ? s->bundle->release : s->release,
		 (unsigned long long)(s->security_version == 0 ? s->bundle->security_version : s->security_version), sha256,
		 (unsigned long long)s->not_before_s, (unsigned long long)(s->not_after_s == 0 ? NOW_S + 3600 : s->not_after_s));
}

static inline void ticket_join(const char *text, const struct bytes *signature, char ticket[TICKET_SIZE])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;
	long size;

	assert_true(PEM_write_bio(bio, "CMS", "", signature->data, (long)signature->size) > 0);
	size = BIO_get_mem_data(bio, &pem);
	assert_true(snprintf(ticket, TICKET_SIZE, "%s%.*s", text, (int)size, pem) < TICKET_SIZE);
	BIO_free(bio);
}

static inline void ticket_make(struct device *d, const struct ticket_spec *s, char ticket[TICKET_SIZE])
{
	_cleanup_bytes_ struct bytes signature = { 0 };
	char text[4096];

	ticket_lines(d, s, text);
	sign(d, &s->how, text, &signature);
	ticket_join(text, &signature, ticket);
}

/* The counter of a device that has none. */
struct uses {
	struct device *d;
	uint64_t counter;
	unsigned n_used;
	int result;	/* of the next use */
	bool was_whole;	/* when it was asked for, all bytes were in the slot, and nothing booted them yet */
};

static inline int ticket_use(void *userdata, struct agent_error **err)
{
	struct uses *uses = userdata;
	struct boot_state s;

	if (uses->result < 0)
		return agent_error_set(err, uses->result, "tpm.io", "as told");
	s = env_read(uses->d);
	uses->was_whole = slot_holds_image(uses->d, 1) && strcmp(s.primary, "a") == 0 && !boot_state_slot(&s, "b")->is_good &&
			  boot_state_slot(&s, "b")->n_tries_left == 0;
	uses->n_used++;
	return 0;
}

static inline void ticket_set(struct device *d, struct agent_update *u, const char *text, const char *device, struct uses *uses)
{
	uses->d = d;
	assert_int_equal(agent_update_set_ticket(u, &(struct agent_update_ticket){ .text = text, .device = device, .counter = uses->counter,
						 .use = ticket_use, .userdata = uses }, NULL), 0);
}

#endif
