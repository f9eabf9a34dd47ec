/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTALL_INSTALL_H
#define INSTALL_INSTALL_H
/*
 * One installation at a time, in a thread of its own, so that the loop goes on answering. The engine is used by one thread
 * at a time: by the loop while nothing is being installed, by the worker otherwise; then questions get the last known state.
 */
#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include <agent/context.h>
#include <agent/update.h>

#include "agentd/common/digests.h"
#include "agentd/common/settings.h"

#define INSTALL_ANSWER_S 180	/* for a question: core has a TPM to ask, which may be making a key */
#define INSTALL_TEXT 65
#define UPDATE_LOOKED "update.looked"

/* What Install1 reports, copied out of the engine. Empty texts are left out. */
struct install_status {
	char stage[16], booted_slot[INSTALL_TEXT], target_slot[INSTALL_TEXT], version[INSTALL_TEXT], release_id[INSTALL_TEXT],
		failed_release_id[INSTALL_TEXT], manifest_sha256[INSTALL_TEXT];
	uint64_t done_bytes, total_bytes, security_version, n_tries_left;
	uint64_t trust_version;	/* 0: none, or it cannot be told */
	char signers[SIGNERS_TEXT];	/* of the bundle that version and release_id tell of: digests, blanks between */
	char trusted_keys[KEYS_TEXT];	/* whose signatures count; empty: cannot be told */
	/* Of a bundle that was looked into and left alone; empty otherwise. */
	char offer_release_id[INSTALL_TEXT], offer_version[INSTALL_TEXT], offer_kind[9], offer_advisory[256], offer_manifest_sha256[INSTALL_TEXT];
	uint64_t offer_security_version, offer_bytes;
	uint64_t signed_s;	/* when the last bundle that was good was signed; 0: nobody says */
};

/* What core lets an installation do. */
struct install_order {
	uint64_t floor, trust_floor, now_s;
	bool looks_only;	/* stop when the manifest is known to be good: -ECANCELED UPDATE_LOOKED */
	char release_id[INSTALL_TEXT]; /* the one that was allowed; empty: any */
	char manifest_sha256[INSTALL_TEXT]; /* and the bundle; empty: any */
	char *ticket;	/* a service ticket, malloc()ed, or NULL */
	char device[AGENT_UPDATE_DEVICE_MAX + 1];
	uint64_t tickets_used;
};

/* What is asked of core in the middle of an installation. */
enum install_question {
	QUESTION_KEY,	 /* UpdateKey: the bundle is good and encrypted, with the key of the device */
	QUESTION_UNWRAP, /* UpdateUnwrap: it brought its key along, for the TPM to open */
	QUESTION_TICKET, /* UpdateTicketUse: all bytes are in the slot, and only a service ticket lets them boot */
	QUESTIONS_
};

struct installer;

/* What the loop is told. */
struct installer_hooks {
	void (*progress)(void *userdata, const char *stage, uint64_t done_bytes, uint64_t total_bytes); /* at most 10 in a second */
	void (*done)(void *userdata, int r, struct agent_error **err);	/* takes *err */
	/* installer_answer(); @recipients, of QUESTION_UNWRAP, are lent for the call */
	void (*ask)(void *userdata, enum install_question question, const struct agent_recipient *recipients, size_t n);
	void *userdata;
};

int installer_new(sd_event *event, const struct settings *settings, const struct installer_hooks *hooks, struct installer **ret_installer,
		  struct agent_error **err);
/* Must not be called while an installation runs: the process has to end then, the journal knows what to undo. */
struct installer *installer_free(struct installer *installer);
bool installer_is_running(const struct installer *installer);

/* Open the engine, if it is not open yet, and settle what a power cut left. */
int installer_settle(struct installer *installer, struct agent_error **err);
/* Start to install what comes from @fd, which is taken over also on failure, as is the ticket of @order. -EBUSY update.busy. */
int installer_begin(struct installer *installer, int fd, struct install_order *order, struct agent_error **err);
int installer_get_status(struct installer *installer, struct install_status *ret_status, struct agent_error **err);
/* The answer to @question: IV and key of the device, or the key of a recipient, copied; or @r below 0 and *err, which is taken. */
void installer_answer(struct installer *installer, enum install_question question, const void *data, size_t size, int r, struct agent_error **err);
/* Would the service ticket @text be good? -EBUSY update.busy while an installation runs, else as agent_update_check_ticket(). */
int installer_check_ticket(struct installer *installer, const char *text, const struct install_order *order, struct agent_update_ticket_facts *ret_facts,
			   struct agent_error **err);
/* -EBUSY update.busy while an installation runs, else as agent_update_*(). */
int installer_confirm(struct installer *installer, uint64_t *ret_floor, struct agent_error **err);
int installer_confirm_done(struct installer *installer, struct agent_error **err);
int installer_rollback(struct installer *installer, uint64_t floor, struct agent_error **err);

#endif
