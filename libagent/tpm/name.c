/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tpm/name.h"

#include <errno.h>

#include <openssl/evp.h>

int name_of_public(OSSL_LIB_CTX *libctx, const uint8_t *area, size_t size, TPM2B_NAME *ret_name)
{
	const char *md_name;
	unsigned alg;
	size_t n = 0;

	if (size < 4)
		return -EBADMSG;
	alg = (unsigned)area[2] << 8 | area[3]; /* nameAlg */
	switch (alg) {
	case TPM2_ALG_SHA256:
		md_name = "SHA256";
		break;
	case TPM2_ALG_SHA384:
		md_name = "SHA384";
		break;
	case TPM2_ALG_SHA512:
		md_name = "SHA512";
		break;
	default: /* SHA-1 Names prove nothing */
		return -EBADMSG;
	}
	ret_name->name[0] = (BYTE)(alg >> 8);
	ret_name->name[1] = (BYTE)alg;
	if (!EVP_Q_digest(libctx, md_name, NULL, area, size, ret_name->name + 2, &n))
		return -EBADMSG;
	ret_name->size = (UINT16)(2 + n);
	return 0;
}
