/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TPM_H
#define AGENT_TPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/counter.h>
#include <agent/error.h>
#include <agent/mac.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_TPM_N_PCRS - PCRs of a bank. Since: 0.1 */
#define AGENT_TPM_N_PCRS 24
/** AGENT_TPM_PCR_SIZE - of one value, in bytes: the SHA-256 bank. Since: 0.1 */
#define AGENT_TPM_PCR_SIZE 32

/** enum agent_tpm_state - what can be expected of the TPM now. Since: 0.1 */
enum agent_tpm_state {
	AGENT_TPM_ABSENT = 0,	  /* no device, or it does not answer */
	AGENT_TPM_OPENING = 1,	  /* not tried yet, being opened again, or without an SRK (factory) */
	AGENT_TPM_READY = 2,
	AGENT_TPM_LOCKED_OUT = 3, /* dictionary-attack lockout, TPM 2.0 Part 1 section 19.8 */
	AGENT_TPM_BUSY = 4,	  /* asks to be tried again, or out of slots */
	AGENT_TPM_CHANGED = 5,	  /* the SRK is not the one pinned at provisioning: cleared or another TPM */
	AGENT_TPM_FAILED = 6	  /* failure mode or unusable answers */
};

/**
 * struct agent_tpm - one TPM 2.0 through one ESYS context
 *
 * Belongs to one thread at a time, which must have all signals blocked (a signal during a command costs the ESYS
 * context). Only agent_tpm_get_state() may be called from other threads. Reference counted: keys, counters and MACs
 * made from it keep it. Since: 0.1
 */
struct agent_tpm;

/**
 * agent_tpm_new() - describe a TPM; nothing is sent yet
 * @ctx:        referenced; its OpenSSL context is made here
 * @tcti:       TCTI string such as "device:/dev/tpmrm0" or "swtpm:path=SOCKET"; copied. Its library is loaded for good, so
 *              call this before a sandbox closes
 * @srk_handle: persistent handle of the storage root key, normally 0x81000001
 * @ret_tpm:    the caller unrefs it
 * @err:        receives the explanation, or NULL
 *
 * Returns 0, -EINVAL (no TCTI string, not a persistent handle), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_new(struct agent_context *ctx, const char *tcti, uint32_t srk_handle,
						struct agent_tpm **ret_tpm, struct agent_error **err);
/** agent_tpm_ref() - one more owner; takes and returns @tpm. Since: 0.1 */
AGENT_EXPORT struct agent_tpm *agent_tpm_ref(struct agent_tpm *tpm);
/** agent_tpm_unref() - one owner less; the last one closes, nothing stays loaded in the TPM. Takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_tpm *agent_tpm_unref(struct agent_tpm *tpm);

/**
 * agent_tpm_pin_srk() - accept only this SRK from now on
 * @name:      Name of the SRK (TPM 2.0 Part 1 section 16), from agent_tpm_get_srk_name() at provisioning; copied
 * @name_size: its length in bytes, 22 to 68
 *
 * Does not block. Returns 0, -EINVAL, -EKEYREJECTED (another SRK is in use already). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_pin_srk(struct agent_tpm *tpm, const uint8_t *name, size_t name_size,
						    struct agent_error **err);
/**
 * agent_tpm_open() - connect and read the SRK, if that has not been done
 *
 * Every other call does this by itself, also after the contact broke off. Blocks; after two failures in a row it does not
 * try again for 250 ms, then 500 ms, up to 10 s, and says so.
 * Returns 0, -ENODEV (tpm.absent), -ENOKEY (tpm.no-srk: none at the handle and none pinned), -EKEYREJECTED (tpm.changed:
 * the SRK is not the pinned one, or gone), -EBUSY (tpm.busy, tpm.locked-out), -EIO. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_open(struct agent_tpm *tpm, struct agent_error **err);
/**
 * agent_tpm_provision_srk() - like agent_tpm_open(), but makes and persists an ECC P-256 SRK if there is none
 *
 * Never does so when an SRK is pinned. Blocks. Returns as agent_tpm_open() does, and -EPERM (tpm.owner-auth: the owner
 * hierarchy has a password), -ENOSPC (tpm.no-space). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_provision_srk(struct agent_tpm *tpm, struct agent_error **err);
/** agent_tpm_get_srk_name() - Name of the SRK in use, lent until the next call; -ENODATA before it was read. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_get_srk_name(const struct agent_tpm *tpm, const uint8_t **ret_name, size_t *ret_size);
/** agent_tpm_get_state() - as of the last command; does not block, callable from any thread. ABSENT for NULL. Since: 0.1 */
AGENT_EXPORT enum agent_tpm_state agent_tpm_get_state(const struct agent_tpm *tpm);
/** agent_tpm_state_name() - "ABSENT", "READY" ..., lent; "UNKNOWN" for other numbers. Since: 0.1 */
AGENT_EXPORT const char *agent_tpm_state_name(enum agent_tpm_state state);
/** agent_tpm_get_n_commands() - commands sent since agent_tpm_new(), those that ESYS repeats included. Since: 0.1 */
AGENT_EXPORT uint64_t agent_tpm_get_n_commands(const struct agent_tpm *tpm);

/** agent_tpm_get_detail() - why the state is what it is, with code and remedy; lent until the next call, "" when READY or NULL. Since: 0.1 */
AGENT_EXPORT const char *agent_tpm_get_detail(const struct agent_tpm *tpm);

/** struct agent_tpm_info - what a TPM tells everybody, TPM 2.0 Part 2 section 6.13; zero until read. Since: 0.1 */
struct agent_tpm_info {
	char manufacturer[5], vendor[17]; /* printable ASCII */
	uint32_t firmware_1, firmware_2;  /* as the maker numbers it */
	uint32_t lockout_counter, lockout_max; /* wrong passwords now, and how many lock the TPM */
	uint32_t lockout_interval_s, lockout_recovery_s; /* until one is forgiven; until lockoutAuth may be tried again */
	bool is_locked_out;
	bool has_owner_auth, has_lockout_auth, is_clear_disabled;
	bool is_raw;	    /* no resource manager between us and the chip */
	bool is_srk_exempt; /* the SRK is not under dictionary-attack protection */
	uint32_t n_objects_free, n_sessions_free, n_persistent_free;
	uint32_t n_nv_indices, n_nv_counters, n_nv_counters_free;
};

/**
 * agent_tpm_probe() - see whether the TPM is there, the same, and of use
 * @ret_info: what it tells, as far as ever read; filled also on failure; may be NULL
 *
 * Reads the SRK again and compares it with the pin, reads properties, starts and ends a session: 4 commands, no authValue,
 * so a lockout does not get worse. Afterwards state and detail are up to date. Blocks. Returns as agent_tpm_open() does.
 * Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_probe(struct agent_tpm *tpm, struct agent_tpm_info *ret_info, struct agent_error **err);

/**
 * struct agent_tpm_clock - TPM 2.0 Part 1 section 36: time the TPM has been powered, over all of its life
 * @clock_ms:   rises while there is power, up to 15 % too fast or too slow; back to 0 only by TPM2_Clear
 * @n_resets:   times the TPM lost its state (TPM Reset); 0 after TPM2_Clear
 * @n_restarts: times it was resumed or restarted since
 * @is_safe:    no value of @clock_ms so late was shown before; false after a loss of power for up to 70 minutes
 *
 * Since: 0.1
 */
struct agent_tpm_clock {
	uint64_t clock_ms;
	uint32_t n_resets, n_restarts;
	bool is_safe;
};

/** agent_tpm_read_clock() - one command. Blocks. Returns as agent_tpm_open() does. Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_read_clock(struct agent_tpm *tpm, struct agent_tpm_clock *ret_clock, struct agent_error **err);

/** enum agent_tpm_flags - for the functions below. Since: 0.1 */
enum agent_tpm_flags {
	AGENT_TPM_CREATE = 1u << 0,   /* make it if it is not there (provisioning) */
	AGENT_TPM_FROM_ZERO = 1u << 1 /* counter values are relative to its value when it was made */
};

/**
 * agent_tpm_counter_open() - an NV counter (TPM 2.0 Part 1 section 37.2.4)
 * @nv_index:    NV handle, 0x01800000 to 0x01bfffff; with AGENT_TPM_FROM_ZERO the next index holds the write-locked base
 * @dir_fd:      folder of the counter's files, 0600: NAME.nvauth (its secret) and NAME.pin (what it looked like when made)
 * @name:        names those files: 1 to 64 of [A-Za-z0-9._-], not beginning with a dot
 * @flags:       of enum agent_tpm_flags; AGENT_TPM_FROM_ZERO the same each time
 * @ret_counter: the caller unrefs it; it keeps @tpm
 *
 * Killed while it makes a counter, the next call with AGENT_TPM_CREATE goes on. An increment is done once even if its
 * answer gets lost. Values are authenticated by the TPM all the way. Blocks.
 * Returns 0, -ENOENT (tpm.no-counter: not made and no CREATE), -EKEYREJECTED (tpm.counter-changed: removed or made again
 * since it was pinned; also with CREATE), -EEXIST (tpm.counter-taken: index of another program), -EINVAL, -EBADMSG (file
 * damaged), -EPERM (tpm.owner-auth), -ENOSPC (tpm.no-space), or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_counter_open(struct agent_tpm *tpm, uint32_t nv_index, int dir_fd, const char *name,
							 unsigned flags, struct agent_counter **ret_counter,
							 struct agent_error **err);
/**
 * agent_tpm_mac_open() - an HMAC-SHA-256 key in the TPM, wrapped in NAME.pem and NAME.auth of @dir_fd
 * @name:    1 to 64 of [A-Za-z0-9._-], not beginning with a dot
 * @flags:   0 or AGENT_TPM_CREATE
 * @ret_mac: the caller unrefs it; it keeps @tpm. What it computes on travels encrypted to and from the TPM
 *
 * Blocks. Returns 0, -ENOENT, -EINVAL, -EBADMSG (damaged file or another kind of key), -EOPNOTSUPP (keyfile.field),
 * -EKEYREJECTED (tpm.foreign, tpm.attributes), or as agent_tpm_open() does. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_tpm_mac_open(struct agent_tpm *tpm, int dir_fd, const char *name, unsigned flags,
						     struct agent_mac **ret_mac, struct agent_error **err);

#ifdef __cplusplus
}
#endif

#endif
