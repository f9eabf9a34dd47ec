/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRUST_POLICY_H
#define TESTS_UNIT_TRUST_POLICY_H
/* Policies of signers, for tests. After test_certs.h or update_fixture.h. */

/* A policy that names @certs. */
static inline void trust_policy_make(char text[8192], unsigned version, uint64_t issued_s, unsigned n_min, X509 *const *certs, size_t n)
{
	size_t at = (size_t)snprintf(text, 8192, "{\"profile\":\"agent-trust-1\",\"version\":%u,\"issued\":%llu,\"min-signers\":%u,\"certificates\":[", version,
				     (unsigned long long)issued_s, n_min);

	for (size_t i = 0; i < n; i++) {
		BIO *bio = BIO_new(BIO_s_mem());
		char *pem;
		long size;

		assert_int_equal(PEM_write_bio_X509(bio, certs[i]), 1);
		size = BIO_get_mem_data(bio, &pem);
		at += (size_t)snprintf(text + at, 8192 - at, "%s\"", i == 0 ? "" : ",");
		for (long k = 0; k < size; k++)
			at += (size_t)snprintf(text + at, 8192 - at, pem[k] == '\n' ? "\\n" : "%c", pem[k]);
		at += (size_t)snprintf(text + at, 8192 - at, "\"");
		BIO_free(bio);
	}
	snprintf(text + at, 8192 - at, "]}");
}

#endif
