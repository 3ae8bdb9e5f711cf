/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_KDF_H
#define WIRE_KDF_H

#include <stdint.h>

#include <openssl/evp.h>

#include "base/uuid.h"
#include "wire/seal.h"
#include "wire/unit.h"

/*
 * Algorithms, fetched once per process: a fetch per use costs more than the
 * use. NULL when the library lacks one of them. Any thread.
 */
struct kdf_algs {
	EVP_CIPHER *aes_256_gcm;
	EVP_MAC *hmac;
	EVP_KDF *hkdf;
};

const struct kdf_algs *kdf_algs(void);

#define KDF_KEY_BYTES 32U

/*
 * Derived keys (see seal.h). 0 or -EIO; the caller wipes out. kdf_delta_key
 * reads of d everything but the commitment; -ENOKEY when key lacks the
 * generation that d names.
 */
int kdf_delta_key(const struct volume_key *key, const struct delta *d,
		  uint8_t out[KDF_KEY_BYTES]);
int kdf_fp_key(const struct volume_key *key, const struct uuid *volume,
	       uint8_t out[KDF_KEY_BYTES]);
/* The commitment to a delta key. 0 or -EIO. */
int kdf_commitment(const uint8_t delta_key[KDF_KEY_BYTES], uint8_t out[16]);

/* A context with the key set, ready for any number of messages; or NULL. */
EVP_MAC_CTX *kdf_hmac_sha256(const uint8_t *key, size_t n);

#endif
