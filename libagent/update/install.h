/* SPDX-License-Identifier: Apache-2.0 */
#ifndef UPDATE_INSTALL_H
#define UPDATE_INSTALL_H
/* One installation: install.c begins and ends it, admit.c decides before anything is touched, members.c takes what comes in the archive. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/update.h>

#include "base/secret.h"
#include "update/container.h"
#include "update/engine.h"
#include "update/manifest.h"
#include "update/source.h"
#include "update/trust.h"

struct install {
	struct agent_update *u;
	struct manifest *manifest;
	const char *target;
	struct trust trust;
	char *trust_text;	/* a change of signers, until its signature has come */
	size_t trust_size;
	bool has_changed_trust;
	struct secret content_key;	/* struct stream_key that the bundle brought, or empty */
	bool has_envelope;	/* its envelope was read */
	uint64_t now_s;
	char *script_texts[MANIFEST_SCRIPTS_MAX];	/* whose hash is the signed one; else NULL */
	size_t script_sizes[MANIFEST_SCRIPTS_MAX];
	const struct slot *slots[MANIFEST_IMAGES_MAX];
	uint64_t max_bytes[MANIFEST_IMAGES_MAX];
	uint8_t *tables[MANIFEST_IMAGES_MAX];
	uint64_t table_bytes;
	bool is_done[MANIFEST_IMAGES_MAX];
	bool is_prepared[SLOTS_MAX];
	bool has_begun;
	const char *selection;	/* of a trial */
	struct cms_signers signers;
	bool uses_ticket;	/* below the floor, by a ticket that is good: used up before the switch */
	bool is_trial;		/* agent_bundle_verify(): there are no slots, and nothing is written anywhere */
	const struct source *source;
	char manifest_sha256[2 * DIGEST_SIZE + 1];
	bool may_resume;
	uint64_t done_bytes, total_bytes;	/* stored payload */
	agent_update_progress_fn progress;
	void *userdata;
};

/* Tell the caller how far it is. */
void install_tell(const struct install *in, uint64_t done_bytes);

/* May this release go onto this device now? -EKEYREJECTED, -EPERM, -ESTALE, -ERANGE, -EALREADY. */
int admit_release(const struct install *in, unsigned n_signers, uint64_t floor, uint64_t now_s, struct agent_error **err);
/* A release below the floor: does the ticket that was given let it in? Without one nothing happens. Sets uses_ticket. As ticket.h says. */
int admit_ticket(struct install *in, uint64_t floor, uint64_t now_s, struct agent_error **err);
/* Where each image goes, and whether it fits. */
int admit_targets(struct install *in, struct agent_error **err);
/* The same for a trial: as much room as can be. */
int admit_trial(struct install *in, struct agent_error **err);
/* What the device cannot decrypt is refused before anything is touched. */
int admit_keys(const struct install *in, struct agent_error **err);
/* The caller's word, when all that the manifest says is known to be good and nothing was touched. */
int admit_ask(struct install *in, struct agent_error **err);

/* The envelope with the key of the images, the current member of @container: read, compared with the manifest, opened. */
int content_key_install(struct install *in, struct container *container, const struct member *member, struct agent_error **err);
/* The text inside of an envelope, as "swupdate -K" wants it: key, and perhaps IV, in hexadecimal digits. -EBADMSG update.envelope. */
int content_key_parse(const uint8_t *text, size_t size, struct secret *ret_key, struct agent_error **err);

/* Script @i, the current member of @container: read and compared with the manifest. */
int script_take(struct install *in, size_t i, struct container *container, const struct member *member, struct agent_error **err);
/* Run those whose time it is, in the order of the manifest; in a trial none, but they must be here. */
int scripts_run(const struct install *in, bool is_after, struct agent_error **err);

/* All members behind the manifest: each is named in it, and everything named there has arrived. */
int members_install(struct install *in, struct container *container, struct agent_error **err);

#endif
