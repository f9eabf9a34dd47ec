/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/macro.h"

#define VALUE_MAX 64	/* RFC 5280 appendix A: ub-common-name and most others */

DEFINE_CLEANUP(X509_NAME *, X509_NAME_free)

static const struct {
	const char *type;
	int nid;
} name_types[] = {
	{ "C", NID_countryName },
	{ "ST", NID_stateOrProvinceName },
	{ "L", NID_localityName },
	{ "O", NID_organizationName },
	{ "OU", NID_organizationalUnitName },
	{ "CN", NID_commonName },
	{ "serialNumber", NID_serialNumber },
};

/* One "TYPE=value" at *p; afterwards *p is at the comma or the end. */
static int parse_part(const char **p, X509_NAME *name, struct agent_error **err)
{
	const char *s = *p, *equals;
	char value[VALUE_MAX + 1];
	size_t n = 0;
	int nid = NID_undef, ok;

	s += strspn(s, " ");
	equals = strchr(s, '=');
	for (size_t i = 0; equals != NULL && i < ARRAY_SIZE(name_types); i++)
		if ((size_t)(equals - s) == strlen(name_types[i].type) && strncmp(s, name_types[i].type, (size_t)(equals - s)) == 0)
			nid = name_types[i].nid;
	if (nid == NID_undef)
		return agent_error_set(err, -EINVAL, "cert.subject",
				       "subject has \"%.20s\" where C=, ST=, L=, O=, OU=, CN= or serialNumber= must stand", s);
	for (s = equals + 1; *s != '\0' && *s != ','; s++) {
		if (*s == '\\') {
			s++;
			if (*s != ',' && *s != '\\')
				return agent_error_set(err, -EINVAL, "cert.subject", "\"\\\" in a subject must be followed by \",\" or \"\\\"");
		}
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return agent_error_set(err, -EINVAL, "cert.subject", "subject contains a control character");
		if (n == VALUE_MAX)
			return agent_error_set(err, -EINVAL, "cert.subject", "a value of the subject is longer than %d bytes", VALUE_MAX);
		value[n++] = *s;
	}
	*p = s;
	ERR_set_mark();
	ok = n > 0 && X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)value, (int)n, -1, 0) == 1;
	ERR_pop_to_mark();
	if (!ok)
		return agent_error_set(err, -EINVAL, "cert.subject", "\"%.*s\" is no value for %s in a subject", (int)n, value,
				       OBJ_nid2sn(nid));
	return 0;
}

int name_parse(const char *text, X509_NAME **ret_name, struct agent_error **err)
{
	_cleanup_(X509_NAME_freep) X509_NAME *name = X509_NAME_new();
	const char *p = text;
	int r;

	if (name == NULL)
		return agent_error_set(err, -ENOMEM, "memory", "no memory for a subject");
	for (;;) {
		r = parse_part(&p, name, err);
		if (r < 0)
			return r;
		if (*p == '\0')
			break;
		p++;
	}
	*ret_name = TAKE_PTR(name);
	return 0;
}

void name_show(const X509_NAME *name, char *ret_text, size_t size)
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	size_t n;

	if (at >= 0) {
		const ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

		n = (size_t)ASN1_STRING_length(s);
		if (n >= size)
			n = size - 1;
		memcpy(ret_text, ASN1_STRING_get0_data(s), n);
		ret_text[n] = '\0';
	} else {
		if (X509_NAME_oneline(name, ret_text, (int)size) == NULL)
			ret_text[0] = '\0';
		n = strlen(ret_text);
	}
	for (size_t i = 0; i < n; i++)
		if (ret_text[i] < 0x20 || ret_text[i] > 0x7e)
			ret_text[i] = '?';
}
