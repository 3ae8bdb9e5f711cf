// SPDX-License-Identifier: Apache-2.0
/*
 * Opens units. Order of trust: shape, then the key's identity (id and
 * commitment), then the seal, and only what passed it is decompressed, into
 * exactly the size the sealed header names.
 *
 * A view mixes units of many deltas and a derivation costs as much as
 * deciphering a small unit, so contexts are kept: SETS x WAYS of them, chosen
 * by the salt, the longest unused replaced. One thread per opener. Keys live
 * here and in the library's contexts, and are wiped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "wire/aead.h"
#include "wire/compress.h"
#include "wire/kdf.h"
#include "wire/seal.h"

#define SETS 32U
#define WAYS 4U

struct slot {
	uint8_t delta[DELTA_BYTES];	/* encoded: what the context is for */
	EVP_CIPHER_CTX *cipher;		/* NULL: empty */
	uint64_t used;			/* tick of the last use */
};

struct opener {
	struct volume_key key;
	struct unpacker *unpacker;
	uint64_t tick;
	uint32_t lacks;			/* see opener_lacks */
	struct slot slots[SETS][WAYS];
	uint8_t packed[UNIT_MAX_PLAIN_BYTES];
};

DEFINE_CLEANUP(struct opener, opener_free)

struct opener *opener_new(const struct volume_key *key)
{
	_cleanup_(opener_freep) struct opener *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->key = *key;
	o->unpacker = unpacker_new();
	return o->unpacker ? TAKE_PTR(o) : NULL;
}

void opener_free(struct opener *o)
{
	unsigned int i;

	if (!o)
		return;
	for (i = 0; i < SETS * WAYS; i++)
		EVP_CIPHER_CTX_free(o->slots[i / WAYS][i % WAYS].cipher);
	unpacker_free(o->unpacker);
	volume_key_wipe(&o->key);
	free(o);
}

/* The delta's cipher, derived and checked against the commitment. */
static int derive(struct opener *o, const struct delta *d,
		  EVP_CIPHER_CTX **out)
{
	uint8_t delta_key[KDF_KEY_BYTES], commitment[16];
	int r;

	o->lacks = volume_key_find(&o->key, d->key_id) ? 0 : d->key_id;
	r = kdf_delta_key(&o->key, d, delta_key);
	if (r < 0)
		return r;
	r = kdf_commitment(delta_key, commitment);
	if (!r && CRYPTO_memcmp(commitment, d->commitment, sizeof(commitment)))
		r = -ENOKEY;
	if (!r) {
		*out = aead_new(delta_key, false);
		r = *out ? 0 : -ENOMEM;
	}
	OPENSSL_cleanse(delta_key, sizeof(delta_key));
	OPENSSL_cleanse(commitment, sizeof(commitment));
	return r;
}

static struct slot *find_slot(struct opener *o,
			      const uint8_t delta[DELTA_BYTES],
			      const uint8_t *salt)
{
	struct slot *set = o->slots[salt[0] % SETS], *oldest = &set[0];
	unsigned int i;

	for (i = 0; i < WAYS; i++) {
		if (set[i].cipher && !memcmp(set[i].delta, delta, DELTA_BYTES))
			return &set[i];
		if (set[i].used < oldest->used)
			oldest = &set[i];
	}
	EVP_CIPHER_CTX_free(TAKE_PTR(oldest->cipher));
	memcpy(oldest->delta, delta, DELTA_BYTES);
	return oldest;
}

static int cipher_of(struct opener *o, const struct delta *d,
		     EVP_CIPHER_CTX **out)
{
	uint8_t encoded[DELTA_BYTES];
	struct slot *slot;
	int r;

	delta_encode(d, encoded);
	slot = find_slot(o, encoded, d->salt);
	if (!slot->cipher) {
		slot->used = 0;
		r = derive(o, d, &slot->cipher);
		if (r < 0)
			return r;
	}
	slot->used = ++o->tick;
	*out = slot->cipher;
	return 0;
}

int opener_try(struct opener *o, const struct delta *d)
{
	EVP_CIPHER_CTX *cipher;

	return cipher_of(o, d, &cipher);
}

uint32_t opener_lacks(const struct opener *o)
{
	return o->lacks;
}

int opener_open(struct opener *o, const struct delta *d, const uint8_t *p,
		size_t n, struct unit_view *view, uint8_t *out, size_t out_cap)
{
	EVP_CIPHER_CTX *cipher;
	size_t plain_bytes;
	bool packed;
	int r;

	if (unit_parse(p, n, view) < 0 || view->total_bytes != n)
		return -EBADMSG;
	packed = view->codec == UNIT_LZ4 || view->codec == UNIT_ZSTD;
	plain_bytes = view->codec == UNIT_ZERO ?
			      0 :
			      (size_t)view->count * US_BLOCK_BYTES;
	if (out_cap < plain_bytes)
		return -EINVAL;
	r = cipher_of(o, d, &cipher);
	if (r < 0)
		return r;
	r = aead_open(cipher, d, p, view, packed ? o->packed : out);
	if (r < 0 || !packed)
		return r;
	r = unpacker_unpack(o->unpacker, view->codec, o->packed,
			    view->payload_bytes, out, plain_bytes);
	if (r < 0)
		OPENSSL_cleanse(out, plain_bytes);
	return r;
}
