/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CRYPTO_KEY_IDENTITY_H
#define CRYPTO_KEY_IDENTITY_H
/*
 * Which key is it, however its certificate spells it: who counts signers must not count one of them twice. One RSA key may stand in a
 * SubjectPublicKeyInfo as rsaEncryption and as RSASSA-PSS (RFC 4055 section 1.2) or with another exponent, one point of a curve compressed and not
 * (RFC 5480 section 2.2), its curve by name and by parameters.
 */
#include <stdint.h>

#include <openssl/x509.h>

#include "crypto/digest.h"

/* SHA-256 over what only the owner of the private key could have: the modulus, the x coordinate, else the SubjectPublicKeyInfo. 0 or -ENOMEM. */
int key_identity(X509 *cert, uint8_t ret_hash[DIGEST_SIZE]);

#endif
