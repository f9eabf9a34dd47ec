/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_TCTI_H
#define TPM_TCTI_H
/*
 * A pass-through TCTI between ESYS and the real one: counts commands, sets a deadline, keeps the last answer for
 * checks that ESYS does not make, and is where tests make the TPM misbehave.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tss2/tss2_tcti.h>

/* What becomes of a command. */
enum tcti_verdict {
	TCTI_PASS = 0,	  /* to the TPM */
	TCTI_ANSWER = 1,  /* not sent; *ret_rc is the answer */
	TCTI_IO_ERROR = 2 /* sent, but the answer gets lost */
};

/* May also change the answer: called again with @answer non-NULL when it has come, the verdict is then ignored. */
typedef enum tcti_verdict (*tcti_hook_fn)(void *userdata, uint32_t command_code, uint8_t *answer, size_t answer_size,
					  uint32_t *ret_rc);

#define TCTI_ANSWER_MAX 4096

struct tcti_wrap {
	TSS2_TCTI_CONTEXT_COMMON_V2 common; /* first: ESYS sees only this */
	TSS2_TCTI_CONTEXT *inner;	     /* NULL while closed */
	_Atomic uint64_t *n_commands;
	tcti_hook_fn hook;
	void *hook_userdata;
	uint32_t command_code;
	enum tcti_verdict verdict;
	uint32_t verdict_rc;
	uint8_t answer[TCTI_ANSWER_MAX];
	size_t answer_size;
};

/* Open @conf and wrap it; @n_commands is lent. */
TSS2_RC tcti_wrap_open(struct tcti_wrap *w, const char *conf, _Atomic uint64_t *n_commands);
void tcti_wrap_close(struct tcti_wrap *w);

/*
 * Load the libraries that @conf names and keep them: tctildr uses dlopen() at each open, and a program in its sandbox may
 * no longer read /usr/lib.
 */
void tcti_preload(const char *conf);

/* True if nothing between us and the chip manages its slots: left-overs stay, and TPM2_Startup may be ours to send. */
bool tcti_is_raw(const char *conf);

#endif
