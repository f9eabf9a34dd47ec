/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cert_read.h"

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/macro.h"
#include "crypto/openssl_error.h"

#define PEM_MAX_BYTES (64 * 1024)

DEFINE_CLEANUP(BIO *, BIO_free_all)

int cert_read(OSSL_LIB_CTX *libctx, const char *pem, X509 **ret_cert, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	X509 *cert;
	size_t n = strnlen(pem, PEM_MAX_BYTES + 1);

	if (n > PEM_MAX_BYTES)
		return agent_error_set(err, -EMSGSIZE, "cert.pem", "certificate text is longer than %d bytes", PEM_MAX_BYTES);
	bio = BIO_new_mem_buf(pem, (int)n);
	cert = X509_new_ex(libctx, NULL);
	if (bio == NULL || cert == NULL || PEM_read_bio_X509(bio, &cert, NULL, NULL) == NULL) {
		X509_free(cert);
		return openssl_error_set(err, -EBADMSG, "cert.pem", "text is not a PEM certificate");
	}
	*ret_cert = cert;
	return 0;
}
