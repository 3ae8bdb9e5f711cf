// SPDX-License-Identifier: Apache-2.0
/*
 * What a peer's certificate says of it. The first byte chooses: even, the rest
 * is a certificate; odd, it is the value of our extension in one that is good
 * otherwise, so that its decoder is reached at once. What is taken must be
 * something that we could have written.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/units.h"
#include "pki/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static X509 *with_extension(const uint8_t *p, size_t n)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();
	ASN1_OBJECT *oid = OBJ_txt2obj(PKI_RIGHTS_OID, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;

	must(x && name && oid && value);
	must(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC,
					(const uint8_t *)"web1", -1, -1, 0));
	must(X509_set_subject_name(x, name));
	must(ASN1_OCTET_STRING_set(value, p, (int)n));
	ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 1, value);
	must(ext && X509_add_ext(x, ext, -1));
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	X509_NAME_free(name);
	return x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *p = data + 1;
	struct pki_subject s;
	struct err err = ERR_INIT;
	X509 *x;

	if (!size || size > 1 << 16)
		return 0;
	x = *data & 1 ? with_extension(p, size - 1) :
			d2i_X509(NULL, &p, (long)size - 1);
	if (x && pki_subject_of(x, &s, &err) == 0) {
		must(name_is_valid(s.name));
		must(!(s.rights & ~0xfU));
		must(s.rights ? pki_pattern_is_valid(s.volumes) :
				!s.volumes[0]);
	} else if (x) {
		must(!strcmp(err.code, "tls-rights"));
	}
	X509_free(x);
	ERR_clear_error();
	return 0;
}
