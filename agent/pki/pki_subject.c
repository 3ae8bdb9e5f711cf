// SPDX-License-Identifier: Apache-2.0
/*
 * What a certificate says of its holder: name, rights, volumes. Pure
 * functions; any thread.
 *
 * The extension is critical, so that software which does not know it refuses
 * the certificate instead of taking it for an ordinary one. What is read here
 * comes from a peer: it counts only after the chain was verified, and it is
 * refused unless it is exactly what our encoder writes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/checked.h"
#include "base/units.h"
#include "pki/pki_x509.h"

static const struct {
	uint32_t bit;
	const char *name;
} rights_table[] = {
	{ PKI_RIGHT_PUSH, "push" },
	{ PKI_RIGHT_READ, "read" },
	{ PKI_RIGHT_PROMOTE, "promote" },
	{ PKI_RIGHT_ADMIN, "admin" },
};

static uint32_t right_named(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rights_table); i++)
		if (strlen(rights_table[i].name) == n &&
		    !memcmp(rights_table[i].name, s, n))
			return rights_table[i].bit;
	return 0;
}

uint32_t pki_rights_parse(const char *s)
{
	uint32_t rights = 0;

	for (;;) {
		size_t n = strcspn(s, ",");
		uint32_t bit = right_named(s, n);

		if (!bit)
			return 0;
		rights |= bit;
		if (!s[n])
			return rights;
		s += n + 1;
	}
}

void pki_rights_format(uint32_t rights, char out[48])
{
	size_t i, len = 0;

	(void)snprintf(out, 48, "none");
	for (i = 0; i < ARRAY_SIZE(rights_table); i++)
		if (rights & rights_table[i].bit)
			len += (size_t)snprintf(out + len, 48 - len, "%s%s",
						len ? "," : "",
						rights_table[i].name);
}

/* As pki_rights_parse, but "none" is an answer. 0 or -EBADMSG. */
int pki_rights_read(const char *s, uint32_t *out)
{
	*out = strcmp(s, "none") ? pki_rights_parse(s) : 0;
	return *out || !strcmp(s, "none") ? 0 : -EBADMSG;
}

bool pki_pattern_matches(const char *pattern, const char *name)
{
	const char *star = NULL, *resume = NULL;

	/* On a mismatch only the last star takes one more: linear space, and
	 * never worse than the product of both lengths. */
	while (*name) {
		if (*pattern == '*') {
			star = pattern++;
			resume = name;
		} else if (*pattern == '?' || *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool pki_pattern_is_valid(const char *pattern)
{
	size_t i, slashes = 0;

	for (i = 0; pattern[i]; i++) {
		char c = pattern[i];

		if (i >= sizeof(((struct pki_subject *)0)->volumes) - 1)
			return false;
		if (c == '/')
			slashes++;
		else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			   (c >= '0' && c <= '9') || strchr("._-*?", c)))
			return false;
	}
	return i && *pattern != '-' && slashes <= 1;
}

bool pki_volume_allowed(const char *pattern, const char *holder,
			const char *source, const char *name)
{
	const char *slash = strchr(pattern, '/');
	char of_source[256];

	if (!pki_pattern_is_valid(pattern))
		return false;
	if (!slash)
		return !strcmp(holder, source) &&
		       pki_pattern_matches(pattern, name);
	(void)snprintf(of_source, sizeof(of_source), "%.*s",
		       (int)(slash - pattern), pattern);
	return pki_pattern_matches(of_source, source) &&
	       pki_pattern_matches(slash + 1, name);
}

/* ---- the extension ---- */

struct rights_der {
	ASN1_UTF8STRING *rights;
	ASN1_UTF8STRING *volumes;
};

typedef struct rights_der RIGHTS_DER;

ASN1_SEQUENCE(RIGHTS_DER) = {
	ASN1_SIMPLE(RIGHTS_DER, rights, ASN1_UTF8STRING),
	ASN1_SIMPLE(RIGHTS_DER, volumes, ASN1_UTF8STRING),
} static_ASN1_SEQUENCE_END(RIGHTS_DER)

static void rights_der_freep(RIGHTS_DER **d)
{
	ASN1_item_free((ASN1_VALUE *)*d, ASN1_ITEM_rptr(RIGHTS_DER));
}

static void openssl_freep(unsigned char **p)
{
	OPENSSL_free(*p);
}

static int encode(const struct pki_subject *s, unsigned char **out)
{
	_cleanup_(rights_der_freep) RIGHTS_DER *d = NULL;
	char rights[48];
	int n;

	pki_rights_format(s->rights, rights);
	d = (RIGHTS_DER *)ASN1_item_new(ASN1_ITEM_rptr(RIGHTS_DER));
	if (!d || !ASN1_STRING_set(d->rights, rights, -1) ||
	    !ASN1_STRING_set(d->volumes, s->volumes, -1))
		return -ENOMEM;
	n = ASN1_item_i2d((ASN1_VALUE *)d, out, ASN1_ITEM_rptr(RIGHTS_DER));
	return n < 0 ? -ENOMEM : n;
}

int pki_subject_to_extension(const struct pki_subject *s,
			     X509_EXTENSION **out)
{
	_cleanup_(openssl_freep) unsigned char *der = NULL;
	_cleanup_(asn1_octets_freep) ASN1_OCTET_STRING *value = NULL;
	_cleanup_(asn1_object_freep) ASN1_OBJECT *oid = NULL;
	int n = encode(s, &der);

	if (n < 0)
		return n;
	oid = OBJ_txt2obj(PKI_RIGHTS_OID, 1);
	value = ASN1_OCTET_STRING_new();
	if (!oid || !value || !ASN1_OCTET_STRING_set(value, der, n))
		return -ENOMEM;
	*out = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
	return *out ? 0 : -ENOMEM;
}

/* Text of at most cap - 1 bytes without a NUL among them. */
static int copy_text(const ASN1_STRING *from, char *out, size_t cap)
{
	int n = ASN1_STRING_length(from);
	const unsigned char *p = ASN1_STRING_get0_data(from);

	if (n < 0 || (size_t)n >= cap || memchr(p, 0, (size_t)n))
		return -EBADMSG;
	memcpy(out, p, (size_t)n);
	out[n] = 0;
	return 0;
}

static int decode(const ASN1_OCTET_STRING *value, struct pki_subject *out)
{
	_cleanup_(rights_der_freep) RIGHTS_DER *d = NULL;
	_cleanup_(openssl_freep) unsigned char *again = NULL;
	const unsigned char *p = ASN1_STRING_get0_data(value);
	const unsigned char *start = p;
	int len = ASN1_STRING_length(value), n;
	char rights[48];

	d = (RIGHTS_DER *)ASN1_item_d2i(NULL, &p, len,
					ASN1_ITEM_rptr(RIGHTS_DER));
	if (!d || copy_text(d->rights, rights, sizeof(rights)) ||
	    copy_text(d->volumes, out->volumes, sizeof(out->volumes)) ||
	    pki_rights_read(rights, &out->rights))
		return -EBADMSG;
	/* No second spelling of the same thing, and nothing after it. */
	n = encode(out, &again);
	if (n != len || memcmp(again, start, (size_t)len))
		return -EBADMSG;
	if (out->rights ? !pki_pattern_is_valid(out->volumes) :
			  out->volumes[0] != 0)
		return -EBADMSG;
	return 0;
}

static int common_name(X509 *cert, char out[65])
{
	const X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	const X509_NAME_ENTRY *entry;

	if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
		return -EBADMSG;
	entry = X509_NAME_get_entry(name, at);
	if (copy_text(X509_NAME_ENTRY_get_data(entry), out, 65) ||
	    !name_is_valid(out))
		return -EBADMSG;
	return 0;
}

static int extension_of(X509 *cert, struct pki_subject *out, struct err *err)
{
	_cleanup_(asn1_object_freep) ASN1_OBJECT *oid = NULL;
	X509_EXTENSION *ext;
	int at;

	oid = OBJ_txt2obj(PKI_RIGHTS_OID, 1);
	if (!oid)
		return err_set(err, -ENOMEM, "no-memory", out->name,
			       "read the certificate: out of memory");
	at = X509_get_ext_by_OBJ(cert, oid, -1);
	if (at < 0)
		return err_set(err, -EACCES, "tls-rights", out->name,
			       "read the certificate: it names no rights");
	ext = X509_get_ext(cert, at);
	if (X509_get_ext_by_OBJ(cert, oid, at) >= 0 ||
	    !X509_EXTENSION_get_critical(ext) ||
	    decode(X509_EXTENSION_get_data(ext), out))
		return err_set(err, -EACCES, "tls-rights", out->name,
			       "read the certificate: its rights are malformed");
	return 0;
}

int pki_subject_of(struct x509_st *cert, struct pki_subject *out,
		   struct err *err)
{
	struct pki_subject s = { 0 };
	int r;

	if (common_name(cert, s.name)) {
		r = err_set(err, -EACCES, "tls-rights", "certificate",
			    "read the subject: its common name is no name");
	} else {
		r = extension_of(cert, &s, err);
	}
	if (r < 0) {
		(void)err_remedy(err, "give the peer a certificate made by "
				 "`understudyctl pki issue`");
		return r;
	}
	*out = s;
	return 0;
}
