/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_AEAD_H
#define WIRE_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "wire/kdf.h"
#include "wire/unit.h"

/*
 * AES-256-GCM as units use it: nonce from the counter in the header, AAD from
 * the delta, the header and the fingerprints. A context is for one key and
 * one direction. NULL when memory is out or the library lacks the cipher.
 */
EVP_CIPHER_CTX *aead_new(const uint8_t key[KDF_KEY_BYTES], bool seals);

/*
 * unit holds a whole unit whose header and fingerprints are in place: fills in
 * ciphertext and tag. plain has view->payload_bytes bytes. 0 or -EIO.
 */
int aead_seal(EVP_CIPHER_CTX *ctx, const struct delta *d, uint8_t *unit,
	      const struct unit_view *view, const uint8_t *plain);
/*
 * Deciphers view->payload_bytes bytes into out and checks the tag. 0; -EIO;
 * -EBADMSG, with out wiped.
 */
int aead_open(EVP_CIPHER_CTX *ctx, const struct delta *d, const uint8_t *unit,
	      const struct unit_view *view, uint8_t *out);

#endif
