/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_PKI_X509_H
#define PKI_PKI_X509_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "pki/pki.h"
#include "pki/pki_index.h"

/* Inside agent/pki: certificates, keys and lists as objects and as PEM. */

#define PKI_SERIAL_BYTES 16

static inline void x509_freep(X509 **p)
{
	X509_free(*p);
}

static inline void x509_crl_freep(X509_CRL **p)
{
	X509_CRL_free(*p);
}

static inline void evp_pkey_freep(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}

static inline void asn1_octets_freep(ASN1_OCTET_STRING **p)
{
	ASN1_OCTET_STRING_free(*p);
}

static inline void asn1_object_freep(ASN1_OBJECT **p)
{
	ASN1_OBJECT_free(*p);
}

/* Text of a file to be; the bytes are wiped when it is freed. */
static inline void bio_freep(BIO **p)
{
	BIO_free_all(*p);
}

/* Record what OpenSSL's queue says and empty the queue. Returns -EIO. */
int pki_openssl_err(struct err *err, const char *object, const char *what);

/* A new P-256 key, or NULL. */
EVP_PKEY *pki_key_new(struct err *err);

/* Who signs. Both borrowed. */
struct pki_signer {
	X509 *ca;
	EVP_PKEY *key;
};

struct pki_leaf {
	uint8_t serial[PKI_SERIAL_BYTES];
	struct pki_subject subject;
	int64_t not_before_s, not_after_s;
	const char *const *sans;	/* names and addresses; may be NULL */
	int n_sans;
};

/* Self-signed, path length 0, may sign certificates and lists. */
X509 *pki_ca_new(const uint8_t serial[PKI_SERIAL_BYTES], const char *cn,
		 int64_t not_before_s, EVP_PKEY *key, struct err *err);
X509 *pki_leaf_new(const struct pki_leaf *leaf, EVP_PKEY *key,
		   const struct pki_signer *by, struct err *err);
/*
 * All revoked entries of the index. A list is good until it is replaced: its
 * next update is the CA's end, so that an idle authority locks nobody out.
 */
X509_CRL *pki_crl_new(const struct pki_index *index, int64_t now_s,
		      uint64_t number, const struct pki_signer *by,
		      struct err *err);
/* Its number; 0 when it has none. */
uint64_t pki_crl_number(X509_CRL *crl);
/* 0 or -EINVAL "bad-san". */
int pki_san_check(const char *san, struct err *err);

/*
 * Calls cb with each name and address, as pki_san_check takes them. 0,
 * -ENOMEM, or cb's non-zero result.
 */
int pki_sans_of(X509 *cert, int (*cb)(void *arg, const char *san), void *arg);

/* In pki_subject.c. */
int pki_subject_to_extension(const struct pki_subject *s,
			     X509_EXTENSION **out);
int pki_rights_read(const char *s, uint32_t *out);

#endif
