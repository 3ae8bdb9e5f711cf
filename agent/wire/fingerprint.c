// SPDX-License-Identifier: Apache-2.0
/*
 * Fingerprints: HMAC-SHA256(fingerprint key, le64 block number || the block's
 * 4096 bytes), first 128 bits. Keyed and cryptographic because whoever writes
 * to a protected volume chooses the content and would profit from a collision;
 * with the number inside, equal content does not show across blocks.
 *
 * The keyed state is computed once and copied by the library for every block:
 * that costs about a tenth over bare SHA-256. One thread per context.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "wire/kdf.h"
#include "wire/seal.h"

const struct fp fp_unknown = { { 0 } };
const struct fp fp_zero_block = { { 1 } };

struct fp_ctx {
	EVP_MAC_CTX *mac;
};

DEFINE_CLEANUP(struct fp_ctx, fp_ctx_free)

struct fp_ctx *fp_ctx_new(const struct volume_key *key,
			  const struct uuid *volume)
{
	_cleanup_(fp_ctx_freep) struct fp_ctx *ctx = NULL;
	uint8_t fp_key[KDF_KEY_BYTES];

	ctx = calloc(1, sizeof(*ctx));
	if (!ctx || kdf_fp_key(key, volume, fp_key) < 0)
		return NULL;
	ctx->mac = kdf_hmac_sha256(fp_key, sizeof(fp_key));
	OPENSSL_cleanse(fp_key, sizeof(fp_key));
	return ctx->mac ? TAKE_PTR(ctx) : NULL;
}

void fp_ctx_free(struct fp_ctx *ctx)
{
	if (!ctx)
		return;
	EVP_MAC_CTX_free(ctx->mac);	/* wipes its key */
	free(ctx);
}

int fp_compute(struct fp_ctx *ctx, uint64_t block, const void *data,
	       struct fp *out)
{
	uint8_t number[8], mac[32];
	size_t n = 0;

	put_le64(number, block);
	/* No key given: starts afresh under the one set before. */
	if (!EVP_MAC_init(ctx->mac, NULL, 0, NULL) ||
	    !EVP_MAC_update(ctx->mac, number, sizeof(number)) ||
	    !EVP_MAC_update(ctx->mac, data, US_BLOCK_BYTES) ||
	    !EVP_MAC_final(ctx->mac, mac, &n, sizeof(mac)) ||
	    n != sizeof(mac)) {
		ERR_clear_error();
		return -EIO;
	}
	memcpy(out->b, mac, sizeof(out->b));
	return 0;
}

bool fp_equal(const struct fp *a, const struct fp *b)
{
	return !memcmp(a->b, b->b, sizeof(a->b));
}

/*
 * Zero at the front and equal to itself shifted by that much: zero all over.
 * The C library's memcmp uses the widest registers there are.
 */
bool block_is_zero(const void *data, size_t n)
{
	static const uint8_t zeros[64];
	const uint8_t *p = data;

	if (n <= sizeof(zeros))
		return !memcmp(p, zeros, n);
	return !memcmp(p, zeros, sizeof(zeros)) &&
	       !memcmp(p, p + sizeof(zeros), n - sizeof(zeros));
}
