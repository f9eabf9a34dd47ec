/* SPDX-License-Identifier: Apache-2.0 */
/* A stapled OCSP answer, as a server that is not trusted yet may send it. Answers in the corpus are signed by this authority, or by one that it named. */
#include <stdint.h>
#include <string.h>

#include <openssl/pem.h>

#include "net/tls_ocsp.h"

#define NOW_S UINT64_C(1795500000) /* 2026-11-24 */

static const char ca_pem[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBijCCATGgAwIBAgIUc5n6S+xScrFDtJ5QqqQEhSPLz8EwCgYIKoZIzj0EAwIw\n"
	"EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMjIwMzM2NDFaGA8yMTI2MTAyOTAz\n"
	"MzY0MVowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
	"A0IABOMcbrAL7ftMciTZGjY1Oams/Oo8kKKSHa3VkbYR/RemUILbFvfUqOqPS6K+\n"
	"60wKdByQOpS+9tRa2WRA0QundUGjYzBhMB0GA1UdDgQWBBQ/k5gPtrzM12vksuUe\n"
	"AbVum10UHjAfBgNVHSMEGDAWgBQ/k5gPtrzM12vksuUeAbVum10UHjAPBgNVHRMB\n"
	"Af8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAKBggqhkjOPQQDAgNHADBEAiACFqZe\n"
	"XXrwtTZqEGwCDR8Nb8ox12xsR/2t5Fa4QjjXUwIgFKo4WstAtc9NIVFC3SXciJhY\n"
	"vtUYtKmuONK7ainanag=\n"
	"-----END CERTIFICATE-----\n";
static const char leaf_pem[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBazCCARCgAwIBAgICEAAwCgYIKoZIzj0EAwIwEjEQMA4GA1UEAwwHVGVzdCBD\n"
	"QTAgFw0yNjAxMDEwMDAwMDBaGA8yMTI1MTIzMTAwMDAwMFowDzENMAsGA1UEAwwE\n"
	"bGVhZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEY0U3BLr9lbeFw+JH3hM+b3\n"
	"/2Y9a/aEKEFBXkkRuXHdgptjAIqIl7Q8qoScB9coLUKN7Zie3tCIGUVEATL1UDmj\n"
	"VzBVMBMGA1UdJQQMMAoGCCsGAQUFBwMBMB0GA1UdDgQWBBTQqvuNTXSN8JgDdU+M\n"
	"lMwaSCbPwTAfBgNVHSMEGDAWgBQ/k5gPtrzM12vksuUeAbVum10UHjAKBggqhkjO\n"
	"PQQDAgNJADBGAiEA9t4mVhi9GjnuKOU9p18pjD1pW0Y/K9Tk3fKT+DM5KdACIQD4\n"
	"wjNzVWJL4m3rWo6IQwdWmkQ2kT0Gwq6ZaTYoXc9CVg==\n"
	"-----END CERTIFICATE-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static X509 *parse(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return cert;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static X509 *ca, *leaf;
	struct agent_time_reading now = { .state = AGENT_TIME_NETWORK, .now_s = NOW_S, .floor_s = NOW_S };
	struct ocsp_question q = { .now = &now, .system_s = NOW_S };
	struct agent_error *err = NULL;
	int r;

	if (ca == NULL)
		ca = parse(ca_pem);
	if (leaf == NULL)
		leaf = parse(leaf_pem);
	q.cert = leaf;
	q.issuer = ca;
	r = ocsp_check(&q, data, size, &err);
	/* No refusal without a reason, and no reason without a refusal. */
	if ((r < 0) != (err != NULL))
		__builtin_trap();
	agent_error_free(err);
	return 0;
}
