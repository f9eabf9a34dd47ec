/* SPDX-License-Identifier: Apache-2.0 */
/* Certificate signing requests: RFC 2986, extensions as RFC 2985 section 5.4.2 wants them. */
#include <agent/cert.h>

#include <errno.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <agent/openssl.h>

#include "base/macro.h"
#include "crypto/cert_read.h"
#include "crypto/name.h"
#include "crypto/openssl_error.h"

#define NAMES_MAX 16
#define NAME_TEXT_MAX 255

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(GENERAL_NAME *, GENERAL_NAME_free)
DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free)
DEFINE_CLEANUP(X509_NAME *, X509_NAME_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)

static void free_extensions(STACK_OF(X509_EXTENSION) **list)
{
	sk_X509_EXTENSION_pop_free(*list, X509_EXTENSION_free);
}

static int no_memory(struct agent_error **err)
{
	ERR_clear_error();
	return agent_error_set(err, -ENOMEM, "memory", "no memory for a signing request");
}

/* "uri:urn:dev:1": IA5String (RFC 5280 section 4.2.1.6), or the octets of an address. */
static int parse_name(const char *text, GENERAL_NAME **ret_name, struct agent_error **err)
{
	static const struct {
		const char *prefix;
		int type;
	} kinds[] = { { "dns:", GEN_DNS }, { "uri:", GEN_URI }, { "email:", GEN_EMAIL }, { "ip:", GEN_IPADD } };
	_cleanup_(GENERAL_NAME_freep) GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *value = NULL;
	const char *rest = text;
	size_t kind;

	if (name == NULL)
		return no_memory(err);
	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++)
		if (strncmp(text, kinds[kind].prefix, strlen(kinds[kind].prefix)) == 0)
			break;
	if (kind < ARRAY_SIZE(kinds))
		rest = text + strlen(kinds[kind].prefix);
	if (kind == ARRAY_SIZE(kinds) || rest[0] == '\0' || strlen(rest) > NAME_TEXT_MAX || strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789.-_:/@%+=?&~") != strlen(rest))
		return agent_error_set(err, -EINVAL, "cert.names", "\"%.64s\" is no name for a request: dns:, uri:, email: or ip:, then at most %d "
				       "characters as they stand in addresses", text, NAME_TEXT_MAX);
	if (kinds[kind].type == GEN_IPADD) {
		ERR_set_mark();
		value = a2i_IPADDRESS(rest);
		ERR_pop_to_mark();
		if (value == NULL)
			return agent_error_set(err, -EINVAL, "cert.names", "\"%.64s\" is no IP address", rest);
	} else {
		value = ASN1_IA5STRING_new();
		if (value == NULL || ASN1_STRING_set(value, rest, -1) != 1) {
			ASN1_STRING_free(value);
			return no_memory(err);
		}
	}
	GENERAL_NAME_set0_value(name, kinds[kind].type, value);
	*ret_name = TAKE_PTR(name);
	return 0;
}

static int names_of(const struct agent_csr_options *options, X509 *like, GENERAL_NAMES **ret_names, struct agent_error **err)
{
	_cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *list = NULL;
	size_t n = 0;
	int r;

	*ret_names = NULL;
	if (options->names == NULL) {
		if (like != NULL)
			*ret_names = X509_get_ext_d2i(like, NID_subject_alt_name, NULL, NULL);
		ERR_clear_error();
		return 0;
	}
	list = GENERAL_NAMES_new();
	if (list == NULL)
		return no_memory(err);
	for (; options->names[n] != NULL; n++) {
		_cleanup_(GENERAL_NAME_freep) GENERAL_NAME *name = NULL;

		if (n == NAMES_MAX)
			return agent_error_set(err, -EINVAL, "cert.names", "more than %d names for a request", NAMES_MAX);
		r = parse_name(options->names[n], &name, err);
		if (r < 0)
			return r;
		if (sk_GENERAL_NAME_push(list, name) <= 0)
			return no_memory(err);
		name = NULL;
	}
	if (n > 0)
		*ret_names = TAKE_PTR(list);
	return 0;
}

static int push(STACK_OF(X509_EXTENSION) *list, X509_EXTENSION *extension, struct agent_error **err)
{
	if (extension != NULL && sk_X509_EXTENSION_push(list, extension) > 0)
		return 0;
	X509_EXTENSION_free(extension);
	return no_memory(err);
}

static int add_extensions(X509_REQ *req, const GENERAL_NAMES *names, int for_client, int has_subject, struct agent_error **err)
{
	_cleanup_(free_extensions) STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	int r = 0;

	if (list == NULL)
		return no_memory(err);
	/* Without a subject the names must be critical: RFC 5280 section 4.2.1.6. */
	if (names != NULL)
		r = push(list, X509V3_EXT_i2d(NID_subject_alt_name, !has_subject, (void *)(uintptr_t)names), err);
	if (r >= 0 && for_client)
		r = push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "critical,digitalSignature"), err);
	if (r >= 0 && for_client)
		r = push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, "clientAuth"), err);
	if (r < 0 || sk_X509_EXTENSION_num(list) == 0)
		return r;
	return X509_REQ_add_extensions(req, list) == 1 ? 0 : no_memory(err);
}

static int sign_request(struct agent_context *ctx, X509_REQ *req, struct agent_signer *signer, char **ret_pem, struct agent_error **err)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;
	_cleanup_(BIO_free_allp) BIO *bio = BIO_new(BIO_s_mem());
	const EVP_MD *digest = agent_signer_get_type(signer) == AGENT_KEY_EC_P384 ? EVP_sha384() : EVP_sha256();
	char *data;
	long n;
	int r = agent_openssl_pkey(ctx, signer, &pkey, err);

	if (r < 0)
		return r;
	if (bio == NULL || X509_REQ_set_pubkey(req, pkey) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.request", "cannot make a signing request");
	if (X509_REQ_sign(req, pkey, digest) <= 0)
		return openssl_error_set(err, -EIO, "cert.sign", "cannot sign the signing request");
	if (PEM_write_bio_X509_REQ(bio, req) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.request", "cannot write the signing request");
	n = BIO_get_mem_data(bio, &data);
	*ret_pem = n > 0 ? strndup(data, (size_t)n) : NULL;
	return *ret_pem == NULL ? no_memory(err) : 0;
}

int agent_csr_make(struct agent_context *ctx, struct agent_signer *signer, const struct agent_csr_options *options, char **ret_pem,
		   struct agent_error **err)
{
	_cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *names = NULL;
	_cleanup_(X509_NAME_freep) X509_NAME *name = NULL;
	_cleanup_(X509_freep) X509 *like = NULL;
	_cleanup_(X509_REQ_freep) X509_REQ *req = NULL;
	OSSL_LIB_CTX *libctx;
	int r;

	if (signer == NULL || options == NULL || (options->subject == NULL && options->like_pem == NULL) || ret_pem == NULL)
		return agent_error_set(err, -EINVAL, "cert.argument", "a signing request needs a key and a subject");
	r = agent_openssl_libctx(ctx, &libctx, err);
	if (r >= 0 && options->like_pem != NULL)
		r = cert_read(libctx, options->like_pem, &like, err);
	if (r >= 0 && options->subject != NULL)
		r = name_parse(options->subject, &name, err);
	if (r >= 0 && options->subject == NULL && (name = X509_NAME_dup(X509_get_subject_name(like))) == NULL)
		r = no_memory(err);
	if (r >= 0)
		r = names_of(options, like, &names, err);
	if (r < 0)
		return r;
	req = X509_REQ_new_ex(libctx, NULL);
	if (req == NULL || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_subject_name(req, name) != 1)
		return openssl_error_set(err, -ENOMEM, "cert.request", "cannot make a signing request");
	r = add_extensions(req, names, options->for_client, X509_NAME_entry_count(name) > 0, err);
	return r < 0 ? r : sign_request(ctx, req, signer, ret_pem, err);
}

int agent_csr_new(struct agent_context *ctx, struct agent_signer *signer, const char *subject, char **ret_pem, struct agent_error **err)
{
	if (subject == NULL)
		return agent_error_set(err, -EINVAL, "cert.argument", "a signing request needs a key and a subject");
	return agent_csr_make(ctx, signer, &(struct agent_csr_options){ .subject = subject }, ret_pem, err);
}
