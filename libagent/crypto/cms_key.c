/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL 3.0 reaches tokens through engines, which it calls deprecated; Debian has no provider for them. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "config.h"

#include "crypto/cms_key.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#ifndef OPENSSL_NO_ENGINE
#include <openssl/engine.h>
#endif

#include "base/file.h"
#include "base/secret.h"
#include "crypto/openssl_error.h"

#define KEY_MAX_BYTES (64 * KIB)

DEFINE_CLEANUP(BIO *, BIO_free_all)

/* Never ask a terminal: a program that signs is mostly not at one. */
static int no_passphrase(char *buf, int size, int is_writing, void *userdata)
{
	*(bool *)userdata = true;
	return -1;
}

static int pem_load(OSSL_LIB_CTX *libctx, const char *path, EVP_PKEY **ret_key, struct agent_error **err)
{
	_cleanup_(BIO_free_allp) BIO *bio = NULL;
	_cleanup_error_ struct agent_error *why = NULL;
	bool is_encrypted = false;
	char *data = NULL;
	size_t size = 0;
	int r = file_read_at(AT_FDCWD, path, KEY_MAX_BYTES, &data, &size, &why);

	if (r < 0)
		return agent_error_set(err, r == -ENOENT ? -ENOKEY : r, "bundle.key", "cannot read the key: %s", agent_error_message(why));
	bio = BIO_new_mem_buf(data, (int)size);
	if (bio != NULL)
		*ret_key = PEM_read_bio_PrivateKey_ex(bio, NULL, no_passphrase, &is_encrypted, libctx, NULL);
	wipe(data, size);
	free(data);
	if (*ret_key != NULL)
		return 0;
	if (is_encrypted) {
		ERR_clear_error();
		return agent_error_set(err, -EINVAL, "bundle.key", "%s is encrypted: keep the key in a token (pkcs11:) or a TPM, or give it without a pass phrase", path);
	}
	return openssl_error_set(err, -EINVAL, "bundle.key", "%s holds no PEM private key", path);
}

#ifndef OPENSSL_NO_ENGINE
static int token_load(const char *uri, EVP_PKEY **ret_key, struct agent_error **err)
{
	ENGINE *engine;

	ENGINE_load_dynamic();
	engine = ENGINE_by_id("pkcs11");
	if (engine == NULL || ENGINE_init(engine) != 1) {
		ENGINE_free(engine);
		return openssl_error_set(err, -EOPNOTSUPP, "bundle.key", "OpenSSL has no engine \"pkcs11\", or it finds no module: install libengine-pkcs11-openssl, "
					 "and name the module in PKCS11_MODULE_PATH");
	}
	*ret_key = ENGINE_load_private_key(engine, uri, NULL, NULL);
	/* The key holds a reference of its own. */
	ENGINE_finish(engine);
	ENGINE_free(engine);
	if (*ret_key == NULL)
		return openssl_error_set(err, -ENOKEY, "bundle.key", "the token gives no private key for %s; the PIN comes from pin-source=file:...", uri);
	ERR_clear_error();
	return 0;
}
#else
static int token_load(const char *uri, EVP_PKEY **ret_key, struct agent_error **err)
{
	return agent_error_set(err, -EOPNOTSUPP, "bundle.key", "this OpenSSL was built without engines, so it reaches no PKCS#11 token");
}
#endif

int cms_key_load(OSSL_LIB_CTX *libctx, const char *key, EVP_PKEY **ret_key, struct agent_error **err)
{
	if (strncmp(key, "pkcs11:", 7) != 0)
		return pem_load(libctx, key, ret_key, err);
	/* Everybody on the machine reads arguments of programs. */
	if (strstr(key, "pin-value") != NULL)
		return agent_error_set(err, -EINVAL, "bundle.key", "the URI of the key holds its PIN: put the PIN into a file and say pin-source=file:PATH");
	return token_load(key, ret_key, err);
}
