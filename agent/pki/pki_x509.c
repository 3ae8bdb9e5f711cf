// SPDX-License-Identifier: Apache-2.0
/*
 * Making certificates and revocation lists. No files; any thread.
 *
 * Everything is built through OpenSSL's typed interface: no text that a user
 * gave is ever parsed as an OpenSSL configuration value.
 *
 * What we sign satisfies X509_V_FLAG_X509_STRICT: key usages and basic
 * constraints critical, key identifiers everywhere. Key identifiers are the
 * first 160 bits of the SHA-256 of the public key (RFC 7093, method 1).
 */
#include "pki/pki_x509.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "base/checked.h"

#define KEY_ID_BYTES 20
#define DAY_S 86400LL

static void bignum_freep(BIGNUM **p)
{
	BN_free(*p);
}

static void asn1_integer_freep(ASN1_INTEGER **p)
{
	ASN1_INTEGER_free(*p);
}

static void asn1_time_freep(ASN1_TIME **p)
{
	ASN1_TIME_free(*p);
}

static void asn1_bits_freep(ASN1_BIT_STRING **p)
{
	ASN1_BIT_STRING_free(*p);
}

static void x509_ext_freep(X509_EXTENSION **p)
{
	X509_EXTENSION_free(*p);
}

static void x509_name_freep(X509_NAME **p)
{
	X509_NAME_free(*p);
}

static void basic_constraints_freep(BASIC_CONSTRAINTS **p)
{
	BASIC_CONSTRAINTS_free(*p);
}

static void general_names_freep(GENERAL_NAMES **p)
{
	GENERAL_NAMES_free(*p);
}

static void general_name_freep(GENERAL_NAME **p)
{
	GENERAL_NAME_free(*p);
}

static void ext_key_usage_freep(EXTENDED_KEY_USAGE **p)
{
	EXTENDED_KEY_USAGE_free(*p);
}

static void authority_keyid_freep(AUTHORITY_KEYID **p)
{
	AUTHORITY_KEYID_free(*p);
}

static void revoked_freep(X509_REVOKED **p)
{
	X509_REVOKED_free(*p);
}

int pki_openssl_err(struct err *err, const char *object, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return err_set(err, -EIO, "crypto", object, "%s: %s", what,
		       reason ? reason : "refused by OpenSSL");
}

EVP_PKEY *pki_key_new(struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		(void)pki_openssl_err(err, "key", "generate");
	return key;
}

/* ---- fields; each 0 or -EIO, the reason in OpenSSL's queue ---- */

static ASN1_INTEGER *integer_of(const uint8_t *p, size_t n)
{
	_cleanup_(bignum_freep) BIGNUM *bn = BN_bin2bn(p, (int)n, NULL);

	return bn ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
}

static int set_serial(X509 *x, const uint8_t serial[PKI_SERIAL_BYTES])
{
	_cleanup_(asn1_integer_freep) ASN1_INTEGER *n =
		integer_of(serial, PKI_SERIAL_BYTES);

	return n && X509_set_serialNumber(x, n) ? 0 : -EIO;
}

static int set_validity(X509 *x, int64_t from_s, int64_t to_s)
{
	_cleanup_(asn1_time_freep) ASN1_TIME *from = ASN1_TIME_set(NULL, from_s);
	_cleanup_(asn1_time_freep) ASN1_TIME *to = ASN1_TIME_set(NULL, to_s);

	return from && to && X509_set1_notBefore(x, from) &&
	       X509_set1_notAfter(x, to) ? 0 : -EIO;
}

static int set_subject(X509 *x, const char *cn)
{
	_cleanup_(x509_name_freep) X509_NAME *name = X509_NAME_new();

	return name &&
	       X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)cn, -1, -1,
					  0) &&
	       X509_set_subject_name(x, name) ? 0 : -EIO;
}

static int add_ext(X509 *x, int nid, void *value, bool critical)
{
	return X509_add1_ext_i2d(x, nid, value, critical, X509V3_ADD_DEFAULT) ==
	       1 ? 0 : -EIO;
}

static int add_basic_constraints(X509 *x, bool ca)
{
	_cleanup_(basic_constraints_freep) BASIC_CONSTRAINTS *bc =
		BASIC_CONSTRAINTS_new();

	if (!bc)
		return -EIO;
	bc->ca = ca ? 0xff : 0;
	if (ca) {
		bc->pathlen = ASN1_INTEGER_new();
		if (!bc->pathlen || !ASN1_INTEGER_set(bc->pathlen, 0))
			return -EIO;
	}
	return add_ext(x, NID_basic_constraints, bc, true);
}

/* Bit numbers of RFC 5280 4.2.1.3. */
#define USAGE_DIGITAL_SIGNATURE 0
#define USAGE_KEY_CERT_SIGN 5
#define USAGE_CRL_SIGN 6

static int add_key_usage(X509 *x, bool ca)
{
	_cleanup_(asn1_bits_freep) ASN1_BIT_STRING *bits =
		ASN1_BIT_STRING_new();

	if (!bits)
		return -EIO;
	if (ca ? !ASN1_BIT_STRING_set_bit(bits, USAGE_KEY_CERT_SIGN, 1) ||
		 !ASN1_BIT_STRING_set_bit(bits, USAGE_CRL_SIGN, 1) :
		 !ASN1_BIT_STRING_set_bit(bits, USAGE_DIGITAL_SIGNATURE, 1))
		return -EIO;
	return add_ext(x, NID_key_usage, bits, true);
}

static int add_ext_key_usage(X509 *x)
{
	static const int nids[] = { NID_server_auth, NID_client_auth };
	_cleanup_(ext_key_usage_freep) EXTENDED_KEY_USAGE *eku =
		sk_ASN1_OBJECT_new_null();
	size_t i;

	/* OBJ_nid2obj's objects are static: freeing the stack leaves them. */
	for (i = 0; i < ARRAY_SIZE(nids); i++)
		if (!eku || !sk_ASN1_OBJECT_push(eku, OBJ_nid2obj(nids[i])))
			return -EIO;
	return add_ext(x, NID_ext_key_usage, eku, false);
}

static ASN1_OCTET_STRING *key_id_of(X509 *x)
{
	_cleanup_(asn1_octets_freep) ASN1_OCTET_STRING *id =
		ASN1_OCTET_STRING_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int n;

	if (!id || !X509_pubkey_digest(x, EVP_sha256(), digest, &n) ||
	    !ASN1_OCTET_STRING_set(id, digest, KEY_ID_BYTES))
		return NULL;
	return TAKE_PTR(id);
}

static AUTHORITY_KEYID *authority_of(X509 *ca)
{
	_cleanup_(authority_keyid_freep) AUTHORITY_KEYID *id =
		AUTHORITY_KEYID_new();

	if (!id)
		return NULL;
	id->keyid = key_id_of(ca);
	return id->keyid ? TAKE_PTR(id) : NULL;
}

static int add_key_ids(X509 *x, X509 *ca)
{
	_cleanup_(asn1_octets_freep) ASN1_OCTET_STRING *own = key_id_of(x);
	_cleanup_(authority_keyid_freep) AUTHORITY_KEYID *by = authority_of(ca);

	if (!own || !by || add_ext(x, NID_subject_key_identifier, own, false) ||
	    add_ext(x, NID_authority_key_identifier, by, false))
		return -EIO;
	return 0;
}

/* ---- alternative names ---- */

/* Bytes of an address, 4 or 16; 0 when it is none. */
static int address_of(const char *san, unsigned char out[16])
{
	if (inet_pton(AF_INET, san, out) == 1)
		return 4;
	return inet_pton(AF_INET6, san, out) == 1 ? 16 : 0;
}

static bool dns_name_is_valid(const char *s)
{
	size_t i, label = 0;

	for (i = 0; s[i]; i++) {
		char c = s[i];

		if (c == '.' ? !label : !((c >= 'a' && c <= 'z') ||
					  (c >= 'A' && c <= 'Z') ||
					  (c >= '0' && c <= '9') ||
					  c == '_' || (c == '-' && label)))
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > 63 || i >= 253)
			return false;
	}
	return label > 0;
}

int pki_san_check(const char *san, struct err *err)
{
	unsigned char bytes[16];

	if (address_of(san, bytes) || dns_name_is_valid(san))
		return 0;
	(void)err_set(err, -EINVAL, "bad-san", san,
		      "add the name to the certificate: neither a host name "
		      "nor an address");
	(void)err_remedy(err, "give names as dr1.example, addresses as "
			 "192.0.2.1 or 2001:db8::1; no wildcards");
	return -EINVAL;
}

static GENERAL_NAME *general_name_of(const char *san)
{
	_cleanup_(general_name_freep) GENERAL_NAME *name = GENERAL_NAME_new();
	_cleanup_(asn1_octets_freep) ASN1_OCTET_STRING *ip = NULL;
	ASN1_IA5STRING *dns;
	unsigned char bytes[16];
	int n = address_of(san, bytes);

	if (!name)
		return NULL;
	if (n) {
		ip = ASN1_OCTET_STRING_new();
		if (!ip || !ASN1_OCTET_STRING_set(ip, bytes, n))
			return NULL;
		GENERAL_NAME_set0_value(name, GEN_IPADD, TAKE_PTR(ip));
		return TAKE_PTR(name);
	}
	dns = ASN1_IA5STRING_new();
	if (!dns)
		return NULL;
	GENERAL_NAME_set0_value(name, GEN_DNS, dns);
	if (!ASN1_STRING_set(dns, san, -1))
		return NULL;
	return TAKE_PTR(name);
}

static int add_sans(X509 *x, const char *const *sans, int n_sans)
{
	_cleanup_(general_names_freep) GENERAL_NAMES *names =
		GENERAL_NAMES_new();
	int i;

	for (i = 0; i < n_sans; i++) {
		GENERAL_NAME *name = names ? general_name_of(sans[i]) : NULL;

		if (!name)
			return -EIO;
		if (!sk_GENERAL_NAME_push(names, name)) {
			GENERAL_NAME_free(name);
			return -EIO;
		}
	}
	return n_sans ? add_ext(x, NID_subject_alt_name, names, false) : 0;
}

static int san_text(const GENERAL_NAME *name, char *out, size_t cap)
{
	const ASN1_STRING *value;
	int n;

	if (name->type != GEN_DNS && name->type != GEN_IPADD)
		return -ENOENT;
	value = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;
	n = ASN1_STRING_length(value);
	if (name->type == GEN_DNS) {
		(void)snprintf(out, cap, "%.*s", n,
			       (const char *)ASN1_STRING_get0_data(value));
		return 0;
	}
	return inet_ntop(n == 4 ? AF_INET : AF_INET6,
			 ASN1_STRING_get0_data(value), out,
			 (socklen_t)cap) ? 0 : -ENOENT;
}

int pki_sans_of(X509 *cert, int (*cb)(void *arg, const char *san), void *arg)
{
	_cleanup_(general_names_freep) GENERAL_NAMES *names =
		X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int i, r = 0;

	for (i = 0; r == 0 && i < sk_GENERAL_NAME_num(names); i++) {
		char text[256];

		if (san_text(sk_GENERAL_NAME_value(names, i), text,
			     sizeof(text)) == 0)
			r = cb(arg, text);
	}
	return r;
}

/* ---- certificates ---- */

static int add_rights(X509 *x, const struct pki_subject *s)
{
	_cleanup_(x509_ext_freep) X509_EXTENSION *ext = NULL;

	if (pki_subject_to_extension(s, &ext))
		return -EIO;
	return X509_add_ext(x, ext, -1) ? 0 : -EIO;
}

X509 *pki_ca_new(const uint8_t serial[PKI_SERIAL_BYTES], const char *cn,
		 int64_t not_before_s, EVP_PKEY *key, struct err *err)
{
	_cleanup_(x509_freep) X509 *x = X509_new();

	if (!x || !X509_set_version(x, X509_VERSION_3) ||
	    set_serial(x, serial) || set_subject(x, cn) ||
	    !X509_set_issuer_name(x, X509_get_subject_name(x)) ||
	    set_validity(x, not_before_s,
			 not_before_s + PKI_CA_DAYS * DAY_S) ||
	    !X509_set_pubkey(x, key) || add_basic_constraints(x, true) ||
	    add_key_usage(x, true) || add_key_ids(x, x) ||
	    !X509_sign(x, key, EVP_sha256())) {
		(void)pki_openssl_err(err, cn, "make the certificate");
		return NULL;
	}
	return TAKE_PTR(x);
}

X509 *pki_leaf_new(const struct pki_leaf *leaf, EVP_PKEY *key,
		   const struct pki_signer *by, struct err *err)
{
	_cleanup_(x509_freep) X509 *x = X509_new();

	if (!x || !X509_set_version(x, X509_VERSION_3) ||
	    set_serial(x, leaf->serial) || set_subject(x, leaf->subject.name) ||
	    !X509_set_issuer_name(x, X509_get_subject_name(by->ca)) ||
	    set_validity(x, leaf->not_before_s, leaf->not_after_s) ||
	    !X509_set_pubkey(x, key) || add_basic_constraints(x, false) ||
	    add_key_usage(x, false) || add_ext_key_usage(x) ||
	    add_key_ids(x, by->ca) || add_sans(x, leaf->sans, leaf->n_sans) ||
	    add_rights(x, &leaf->subject) ||
	    !X509_sign(x, by->key, EVP_sha256())) {
		(void)pki_openssl_err(err, leaf->subject.name,
				      "make the certificate");
		return NULL;
	}
	return TAKE_PTR(x);
}

/* ---- revocation lists ---- */

static int add_revoked(X509_CRL *crl, const struct pki_cert *c)
{
	_cleanup_(revoked_freep) X509_REVOKED *entry = X509_REVOKED_new();
	_cleanup_(asn1_integer_freep) ASN1_INTEGER *serial = NULL;
	_cleanup_(asn1_time_freep) ASN1_TIME *when =
		ASN1_TIME_set(NULL, c->revoked_s);
	_cleanup_(bignum_freep) BIGNUM *bn = NULL;

	if (!BN_hex2bn(&bn, c->serial))
		return -EIO;
	serial = BN_to_ASN1_INTEGER(bn, NULL);
	if (!entry || !serial || !when ||
	    !X509_REVOKED_set_serialNumber(entry, serial) ||
	    !X509_REVOKED_set_revocationDate(entry, when) ||
	    !X509_CRL_add0_revoked(crl, entry))
		return -EIO;
	entry = NULL;
	return 0;
}

static int add_crl_exts(X509_CRL *crl, uint64_t number, X509 *ca)
{
	_cleanup_(asn1_integer_freep) ASN1_INTEGER *n = ASN1_INTEGER_new();
	_cleanup_(authority_keyid_freep) AUTHORITY_KEYID *by = authority_of(ca);

	if (!n || !by || !ASN1_INTEGER_set_uint64(n, number) ||
	    X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, by, 0,
				  X509V3_ADD_DEFAULT) != 1 ||
	    X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0,
				  X509V3_ADD_DEFAULT) != 1)
		return -EIO;
	return 0;
}

X509_CRL *pki_crl_new(const struct pki_index *index, int64_t now_s,
		      uint64_t number, const struct pki_signer *by,
		      struct err *err)
{
	_cleanup_(x509_crl_freep) X509_CRL *crl = X509_CRL_new();
	_cleanup_(asn1_time_freep) ASN1_TIME *from =
		ASN1_TIME_set(NULL, now_s - PKI_BACKDATE_S);
	size_t i;
	bool ok;

	ok = crl && from && X509_CRL_set_version(crl, X509_CRL_VERSION_2) &&
	     X509_CRL_set_issuer_name(crl, X509_get_subject_name(by->ca)) &&
	     X509_CRL_set1_lastUpdate(crl, from) &&
	     X509_CRL_set1_nextUpdate(crl, X509_get0_notAfter(by->ca));
	for (i = 0; ok && i < index->n; i++)
		if (index->certs[i].revoked)
			ok = add_revoked(crl, &index->certs[i]) == 0;
	if (!ok || add_crl_exts(crl, number, by->ca) || !X509_CRL_sort(crl) ||
	    !X509_CRL_sign(crl, by->key, EVP_sha256())) {
		(void)pki_openssl_err(err, "revocation list", "make");
		return NULL;
	}
	return TAKE_PTR(crl);
}

uint64_t pki_crl_number(X509_CRL *crl)
{
	_cleanup_(asn1_integer_freep) ASN1_INTEGER *n =
		X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	uint64_t out;

	return n && ASN1_INTEGER_get_uint64(&out, n) ? out : 0;
}
