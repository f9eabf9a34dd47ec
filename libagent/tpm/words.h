/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TPM_WORDS_H
#define TPM_WORDS_H
/* Attributes of keys and NV indices in plain words. */
#include <stddef.h>
#include <stdint.h>

#include <agent/attest.h>

/* TPMA_OBJECT and TPMA_NV; constants into @ret_words, how many is returned. */
size_t words_of_object(uint32_t attributes, const char *ret_words[AGENT_WORDS_MAX]);
size_t words_of_nv(uint32_t attributes, const char *ret_words[AGENT_WORDS_MAX]);

#endif
