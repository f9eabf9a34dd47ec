/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_TIMEKEEPER_H
#define CORE_TIMEKEEPER_H
/* How late it is at least, and how far the clock can be relied on: docs/design/time.md. Arithmetic only, no clock and no file in here. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/error.h>
#include <agent/time.h>
#include <agent/tpm.h>

#define TIMEKEEPER_TEXT_MAX 256
#define TIMEKEEPER_STEP_S 5		/* a clock that moved so far against the running time was set */
#define TIMEKEEPER_DATE_LIFE_S 604800	/* after so long the drift of a quartz makes a date worth less than a fresh look */

/* All times in seconds since 1970 UTC, "at" in seconds of CLOCK_MONOTONIC. */
struct timekeeper {
	uint64_t at_s;
	uint64_t drift_s;	/* running time of which nothing was taken off yet for the drift of the quartz */
	uint64_t hard_s;	/* it is not earlier: build, TPM clock, authenticated time as far as that is bounded */
	uint64_t soft_s;	/* nor than this, but an authenticated source may know better: network time, dates that somebody signed */
	uint64_t witness_s;	/* without a date and without the network: build, TPM clock, root's file, what was signed. Both are held against it */
	bool has_evidence;	/* of more than the build */
	uint64_t date_s, date_at_s; /* told by an authenticated server; date_s 0: none */
	uint64_t date_off_s;	/* the answer was under way for so long */
	bool has_offset;
	int64_t offset_s;	/* of the system clock against the running time */
	uint64_t n_changes;
	enum agent_time_state state;
	struct timekeeper_saved {
		uint64_t hard_s, soft_s, witness_s;
		bool has_clock;
		struct agent_tpm_clock clock;
		uint64_t clock_age_s;	/* read so long before the time was saved */
	} saved;		/* of before the start; zeroes: none */
	bool has_clock;
	struct agent_tpm_clock clock; /* as last read */
	uint64_t clock_at_s;
};

struct timekeeper_look {
	uint64_t system_s, boot_s;
	bool is_network, is_authenticated; /* what the files of the configuration say of the system clock */
};

struct timekeeper_news {
	struct agent_time_reading reading;
	bool is_new_state;
	int64_t step_s;		/* the system clock was moved by so much; 0: it was not */
	const char *source;	/* what the state rests on; a constant */
	bool is_behind;		/* the system clock shows less than the floor */
	uint64_t corrected_s;	/* an authenticated source showed that the floor was too high by so much */
};

void timekeeper_start(struct timekeeper *tk, uint64_t build_s, uint64_t boot_s);
/* What timekeeper_save() wrote before the start. -EBADMSG: damaged; nothing is taken of it. */
int timekeeper_load(struct timekeeper *tk, const char *text, size_t size);
/* The TPM's clock now: after the first one the time since the last save counts. False: it is not the TPM, or not the clock, of the saved time. */
bool timekeeper_tpm(struct timekeeper *tk, const struct agent_tpm_clock *clock, uint64_t boot_s);
/* Who says that something we trust was signed at a time. */
enum timekeeper_signed {
	TIMEKEEPER_AUTHORITY,	/* a pinned authority, seen by core or agentd-link: begin of a certificate, of a list, of an OCSP answer */
	TIMEKEEPER_AUTHORITY_FETCH, /* the same, seen by agentd-fetch, which tells dates too: nobody is his own witness */
	TIMEKEEPER_SIGNER	/* those who sign updates, by their own clocks */
};
/* It is not earlier than @signed_s. -ERANGE: nonsense, or too far ahead to be believed. */
int timekeeper_signed(struct timekeeper *tk, enum timekeeper_signed who, uint64_t signed_s, uint64_t boot_s);
/* A server was checked, and its certificates are valid from @begin_s to @end_s; -ERANGE: nonsense. */
int timekeeper_handshake(struct timekeeper *tk, enum timekeeper_signed who, uint64_t begin_s, uint64_t end_s, uint64_t system_s, uint64_t boot_s);
/* A server whose certificate was checked says that it is @date_s, or up to @off_s later. -ERANGE: nonsense, or earlier than is known. */
int timekeeper_date(struct timekeeper *tk, uint64_t date_s, uint64_t off_s, uint64_t boot_s);
/* Everything but the build is forgotten. */
void timekeeper_forget(struct timekeeper *tk, uint64_t build_s, uint64_t boot_s);
/* After a sleep: nobody knows how long ago the date was told, and a clock that went on meanwhile was not set. */
void timekeeper_slept(struct timekeeper *tk);
/* What all that makes now. */
void timekeeper_look(struct timekeeper *tk, const struct timekeeper_look *look, struct timekeeper_news *ret_news);
uint64_t timekeeper_floor(const struct timekeeper *tk, uint64_t boot_s);
/* To be loaded at the next start. */
void timekeeper_save(const struct timekeeper *tk, uint64_t boot_s, char ret_text[TIMEKEEPER_TEXT_MAX]);

#endif
