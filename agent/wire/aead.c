// SPDX-License-Identifier: Apache-2.0
/*
 * The seal over a unit. Additional authenticated data:
 *
 *   volume UUID (16), le64 epoch, le64 sequence      from the delta
 *   header bytes [4, 20): codec, reserved, first block, block count
 *   fingerprints, 16 per block (none for UNIT_ZERO)
 *
 * so that a unit moved to another place, point, lineage or volume, or opened
 * as another codec, fails. The plaintext's length follows from codec and
 * count; the counter is bound as the nonce. One thread per context.
 */
#include "wire/aead.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define AAD_HEADER_FROM 4
#define AAD_HEADER_BYTES 16
#define AAD_FIXED_BYTES (16 + 8 + 8 + AAD_HEADER_BYTES)
#define NONCE_BYTES 12

struct aad {
	uint8_t b[AAD_FIXED_BYTES + UNIT_MAX_BLOCKS * UNIT_FP_BYTES];
	int n;
};

DEFINE_CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

EVP_CIPHER_CTX *aead_new(const uint8_t key[KDF_KEY_BYTES], bool seals)
{
	_cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	const struct kdf_algs *a = kdf_algs();

	if (!a)
		return NULL;
	ctx = EVP_CIPHER_CTX_new();
	if (!ctx || EVP_CipherInit_ex2(ctx, a->aes_256_gcm, key, NULL, seals,
				       NULL) <= 0) {
		ERR_clear_error();
		return NULL;
	}
	return TAKE_PTR(ctx);
}

static void make_aad(const struct delta *d, const uint8_t *unit,
		     const struct unit_view *view, struct aad *out)
{
	uint8_t *p = out->b;

	memcpy(p, d->volume.b, 16);
	put_le64(p + 16, d->epoch);
	put_le64(p + 24, d->seq);
	memcpy(p + 32, unit + AAD_HEADER_FROM, AAD_HEADER_BYTES);
	out->n = AAD_FIXED_BYTES;
	if (view->codec == UNIT_ZERO)
		return;
	assert(view->count <= UNIT_MAX_BLOCKS);
	memcpy(p + AAD_FIXED_BYTES, view->fps,
	       (size_t)view->count * UNIT_FP_BYTES);
	out->n += (int)(view->count * UNIT_FP_BYTES);
}

/* Starts a message: nonce and AAD. */
static bool begin(EVP_CIPHER_CTX *ctx, const struct delta *d,
		  const uint8_t *unit, const struct unit_view *view)
{
	uint8_t nonce[NONCE_BYTES] = { 0 };
	struct aad aad;
	int n;

	make_aad(d, unit, view, &aad);
	put_le64(nonce, view->counter);
	/* -1: the direction set when the context was made. */
	return EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL) > 0 &&
	       EVP_CipherUpdate(ctx, NULL, &n, aad.b, aad.n) > 0;
}

static bool cipher(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in,
		   uint32_t n)
{
	int done = 0;

	if (!n)
		return true;
	return EVP_CipherUpdate(ctx, out, &done, in, (int)n) > 0 &&
	       done == (int)n;
}

int aead_seal(EVP_CIPHER_CTX *ctx, const struct delta *d, uint8_t *unit,
	      const struct unit_view *view, const uint8_t *plain)
{
	uint8_t *payload = unit + (view->payload - unit);
	uint8_t none[EVP_MAX_BLOCK_LENGTH];
	int n = 0;

	if (begin(ctx, d, unit, view) &&
	    cipher(ctx, payload, plain, view->payload_bytes) &&
	    EVP_CipherFinal_ex(ctx, none, &n) > 0 && n == 0 &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, UNIT_TAG_BYTES,
				payload + view->payload_bytes) > 0)
		return 0;
	ERR_clear_error();
	return -EIO;
}

int aead_open(EVP_CIPHER_CTX *ctx, const struct delta *d, const uint8_t *unit,
	      const struct unit_view *view, uint8_t *out)
{
	uint8_t none[EVP_MAX_BLOCK_LENGTH], tag[UNIT_TAG_BYTES];
	int n = 0, r = -EIO;

	memcpy(tag, view->tag, sizeof(tag));
	if (begin(ctx, d, unit, view) &&
	    cipher(ctx, out, view->payload, view->payload_bytes) &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag),
				tag) > 0)
		r = EVP_CipherFinal_ex(ctx, none, &n) > 0 && n == 0 ? 0 :
								     -EBADMSG;
	if (r < 0) {
		ERR_clear_error();
		if (view->payload_bytes)
			OPENSSL_cleanse(out, view->payload_bytes);
	}
	return r;
}
