/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "crypto/list_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/macro.h"

#define BEGIN "-----BEGIN " PEM_STRING_X509_CRL "-----"
#define DER_SEQUENCE 0x30

DEFINE_CLEANUP(BIO *, BIO_free)
DEFINE_CLEANUP(X509_CRL *, X509_CRL_free)

static bool at_end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* OpenSSL passes over a first line with a blank before it, and over one that a copy ended in. */
static int count_begun(const char *data, size_t size)
{
	size_t n_begin = strlen(BEGIN), last;
	int n = 0;

	for (size_t i = 0; i + n_begin <= size; i++)
		n += memcmp(data + i, BEGIN, n_begin) == 0;
	for (last = size; last > 0 && data[last - 1] != '\n' && data[last - 1] != '\r'; last--)
		;
	return size > last && size - last < n_begin && memcmp(data + last, BEGIN, size - last) == 0 ? n + 1 : n;
}

static int parse(OSSL_LIB_CTX *libctx, BIO *bio, bool is_der, int max, STACK_OF(X509_CRL) *lists)
{
	for (;;) {
		_cleanup_(X509_CRL_freep) X509_CRL *list = X509_CRL_new_ex(libctx, NULL);

		if (list == NULL)
			return -ENOMEM;
		ERR_clear_error();
		if ((is_der ? d2i_X509_CRL_bio(bio, &list) : PEM_read_bio_X509_CRL(bio, &list, NULL, NULL)) == NULL)
			return !is_der && sk_X509_CRL_num(lists) > 0 && at_end_of_pem() ? 0 : -EBADMSG;
		if (sk_X509_CRL_num(lists) == max)
			return -EMSGSIZE;
		if (sk_X509_CRL_push(lists, list) <= 0)
			return -ENOMEM;
		list = NULL;
		if (is_der)
			return BIO_pending(bio) == 0 ? 0 : -EBADMSG;
	}
}

int list_file_parse(OSSL_LIB_CTX *libctx, const char *data, size_t size, int max, STACK_OF(X509_CRL) **ret_lists, int *ret_at)
{
	_cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(data, (int)size);
	STACK_OF(X509_CRL) *lists = sk_X509_CRL_new_null();
	bool is_der = size > 0 && data[0] == DER_SEQUENCE;
	int r = bio == NULL || lists == NULL ? -ENOMEM : parse(libctx, bio, is_der, max, lists);

	ERR_clear_error();
	if (r >= 0 && !is_der && count_begun(data, size) != sk_X509_CRL_num(lists))
		r = -EBADMSG;
	*ret_at = sk_X509_CRL_num(lists) + 1;
	if (r < 0) {
		sk_X509_CRL_pop_free(lists, X509_CRL_free);
		return r;
	}
	*ret_lists = lists;
	return 0;
}
