/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MGMT_ROUTES_TPM_H
#define MGMT_ROUTES_TPM_H
/* Answers of the routes of TPM, keys and certificates; for routes.c alone. */
#include "agentd/mgmt/route.h"

#define KEY_NAME "a-z0-9-"
#define KEY_TYPES "ec-p256 ec-p384 rsa-2048 rsa-3072"
#define HEX "0-9a-fA-F"
#define TPM_STATES "READY OPENING BUSY LOCKED_OUT ABSENT CHANGED FAILED"

static const struct arg_rule answer_tpm[] = {
	{ "state", ARG_TEXT, REQUIRED, .values = TPM_STATES, .about = "looked at now, for 3 s at most; what a silent TPM has not told is left out" },
	{ "detail", ARG_TEXT, OPTIONAL },
	{ "tcti", ARG_TEXT, REQUIRED },
	{ "resource_manager", ARG_TRUTH, OPTIONAL },
	{ "manufacturer", ARG_TEXT, OPTIONAL },
	{ "vendor", ARG_TEXT, OPTIONAL },
	{ "firmware", ARG_TEXT, OPTIONAL },
	{ "srk_name", ARG_TEXT, OPTIONAL, .bytes = HEX },
	{ "locked_out", ARG_TRUTH, OPTIONAL },
	{ "lockout_counter", ARG_NUMBER, OPTIONAL },
	{ "lockout_max", ARG_NUMBER, OPTIONAL },
	{ "lockout_interval_s", ARG_NUMBER, OPTIONAL },
	{ "lockout_recovery_s", ARG_NUMBER, OPTIONAL },
	{ "objects_free", ARG_NUMBER, OPTIONAL },
	{ "sessions_free", ARG_NUMBER, OPTIONAL },
	{ "persistent_free", ARG_NUMBER, OPTIONAL },
	{ "nv_indices", ARG_NUMBER, OPTIONAL },
	{ "nv_counters", ARG_NUMBER, OPTIONAL },
	{ "nv_counters_free", ARG_NUMBER, OPTIONAL },
	{ "software_keys", ARG_NUMBER, REQUIRED, .about = "keys that are files without a TPM" },
	{ "floor_increments", ARG_NUMBER, OPTIONAL, .about = "writes of this NV counter since provisioning" },
	{ "password_increments", ARG_NUMBER, OPTIONAL, .about = "writes of this NV counter since provisioning" },
	{ "commands", ARG_NUMBER, REQUIRED, .about = "sent since start" },
	{ "requests_waiting", ARG_NUMBER, REQUIRED },
	{ NULL },
};

static const struct arg_rule finding[] = {
	{ "check", ARG_TEXT, REQUIRED },
	{ "result", ARG_TEXT, REQUIRED, .values = "ok warn bad" },
	{ "means", ARG_TEXT, OPTIONAL },
	{ "do", ARG_TEXT, OPTIONAL },
	{ NULL },
};

static const struct arg_rule answer_doctor[] = {
	{ "findings", ARG_OBJECTS, REQUIRED, .members = finding, .about = "found without any authValue, so asking makes no lockout worse" },
	{ NULL },
};

#define KEY_BACKENDS "tpm software"
#define KEY_ORIGINS "tpm imported software"

static const struct arg_rule answer_key[] = {
	{ "name", ARG_TEXT, REQUIRED },
	{ "type", ARG_TEXT, OPTIONAL },
	{ "backend", ARG_TEXT, OPTIONAL, .values = KEY_BACKENDS, .about = "where the private key is" },
	{ "origin", ARG_TEXT, OPTIONAL, .values = KEY_ORIGINS, .about = "where it was made; of an imported key copies may exist" },
	{ "fingerprint", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "SHA-256 of the SubjectPublicKeyInfo" },
	{ "problem", ARG_TEXT, OPTIONAL, .about = "why this key cannot be used; then the four before are missing" },
	{ "purposes", ARG_TEXT, REQUIRED, .about = "separated by spaces" },
	{ "callers", ARG_TEXTS, REQUIRED },
	{ NULL },
};

static const struct arg_rule answer_keys[] = {
	{ "keys", ARG_OBJECTS, REQUIRED, .members = answer_key },
	{ NULL },
};

static const struct arg_rule answer_key_details[] = {
	{ "name", ARG_TEXT, REQUIRED },
	{ "type", ARG_TEXT, REQUIRED },
	{ "backend", ARG_TEXT, REQUIRED, .values = KEY_BACKENDS },
	{ "origin", ARG_TEXT, REQUIRED, .values = KEY_ORIGINS },
	{ "fingerprint", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "left out for \"ak\"" },
	{ "tpm_name", ARG_TEXT, OPTIONAL, .bytes = HEX },
	{ "public_area", ARG_TEXT, OPTIONAL, .bytes = HEX },
	{ "attributes", ARG_TEXT, OPTIONAL },
	{ "words", ARG_TEXTS, OPTIONAL, .about = "the attributes in plain words" },
	{ NULL },
};

static const struct arg_rule answer_rotation[] = {
	{ "key", ARG_TEXT, REQUIRED },
	{ "state", ARG_TEXT, REQUIRED, .values = "none making-key waiting-for-certificate proving committing aborting done failed",
	  .about = "docs/design/rotation.md" },
	{ "type", ARG_TEXT, OPTIONAL, .values = KEY_TYPES },
	{ "renewal", ARG_TRUTH, OPTIONAL, .about = "a new certificate for the key in use" },
	{ "since", ARG_NUMBER, OPTIONAL, .about = "when the state was reached" },
	{ "reason", ARG_TEXT, OPTIONAL, .about = "why the new pair was given up" },
	{ "csr", ARG_TEXT, OPTIONAL, .about = "request for the new key, while its certificate is waited for" },
	{ NULL },
};

static const struct arg_rule answer_https[] = {
	{ "source", ARG_TEXT, REQUIRED, .values = "device owner", .about = "who issued what HTTPS shows now: the device CA, or an authority of the owner" },
	{ "pending", ARG_TRUTH, REQUIRED, .about = "a request waits for its certificate" },
	{ "expired", ARG_TRUTH, OPTIONAL, .about = "of the owner's certificate, as what follows" },
	{ "subject", ARG_TEXT, OPTIONAL },
	{ "issuer", ARG_TEXT, OPTIONAL },
	{ "names", ARG_TEXT, OPTIONAL, .about = "separated by blanks" },
	{ "fingerprint", ARG_TEXT, OPTIONAL, .bytes = HEX, .about = "SHA-256 of the certificate, as browsers show it" },
	{ "not_before", ARG_NUMBER, OPTIONAL },
	{ "not_after", ARG_NUMBER, OPTIONAL },
	{ NULL },
};

static const struct arg_rule answer_recipient[] = {
	{ "key_id", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "identifier of the key: SHA-1 of its public half, as in the certificate" },
	{ "certificate", ARG_TEXT, REQUIRED, .about = "PEM, issued by the device CA: bundles can be encrypted to it" },
	{ NULL },
};

static const struct arg_rule answer_csr[] = {
	{ "csr", ARG_TEXT, REQUIRED, .about = "PEM" },
	{ NULL },
};

static const struct arg_rule answer_certify[] = {
	{ "kind", ARG_TEXT, REQUIRED, .values = "certify" },
	{ "nonce", ARG_TEXT, REQUIRED, .bytes = HEX },
	{ "statement", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "TPMS_ATTEST; docs/design/evidence.md says how to check it" },
	{ "signature", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "of its SHA-256, DER" },
	{ "tpm_signature", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "the same as TPMT_SIGNATURE" },
	{ "ak_public", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "TPM2B_PUBLIC of the attestation key" },
	{ "key", ARG_TEXT, REQUIRED },
	{ "origin", ARG_TEXT, REQUIRED, .values = "tpm imported" },
	{ "fingerprint", ARG_TEXT, REQUIRED, .bytes = HEX },
	{ "tpm_name", ARG_TEXT, REQUIRED, .bytes = HEX },
	{ "key_public", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "TPM2B_PUBLIC" },
	{ NULL },
};

static const struct arg_rule answer_quote[] = {
	{ "kind", ARG_TEXT, REQUIRED, .values = "quote" },
	{ "nonce", ARG_TEXT, REQUIRED, .bytes = HEX },
	{ "statement", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "TPMS_ATTEST; docs/design/evidence.md says how to check it" },
	{ "signature", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "of its SHA-256, DER" },
	{ "tpm_signature", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "the same as TPMT_SIGNATURE" },
	{ "ak_public", ARG_TEXT, REQUIRED, .bytes = HEX, .about = "TPM2B_PUBLIC of the attestation key" },
	{ "pcr_bank", ARG_TEXT, REQUIRED, .values = "sha256" },
	{ "pcrs", ARG_TEXT_MAP, REQUIRED, .about = "number to value" },
	{ NULL },
};

static const struct arg_rule counter[] = {
	{ "name", ARG_TEXT, REQUIRED },
	{ "index", ARG_TEXT, REQUIRED },
	{ "value", ARG_NUMBER, REQUIRED },
	{ "writes", ARG_NUMBER, REQUIRED },
	{ "budget", ARG_NUMBER, REQUIRED },
	{ "over_budget", ARG_TRUTH, REQUIRED },
	{ "attributes", ARG_TEXT, OPTIONAL },
	{ "words", ARG_TEXTS, OPTIONAL },
	{ NULL },
};

static const struct arg_rule answer_counters[] = {
	{ "counters", ARG_OBJECTS, REQUIRED, .members = counter },
	{ NULL },
};

static const struct arg_rule answer_ek[] = {
	{ "type", ARG_TEXT, REQUIRED, .values = "rsa-2048 ec-p256" },
	{ "public_key", ARG_TEXT, REQUIRED },
	{ "certificates", ARG_TEXT, OPTIONAL, .about = "PEM; left out when the TPM has none" },
	{ NULL },
};

#endif
