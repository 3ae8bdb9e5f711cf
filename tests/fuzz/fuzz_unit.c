// SPDX-License-Identifier: Apache-2.0
/*
 * Units from strangers and from holders of the key. The first byte chooses:
 * even, the rest is the bytes of a unit as they come from disk or wire; odd,
 * the rest is codec, count and a payload that is sealed properly first, so
 * that the unpackers see it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/aead.h"
#include "wire/kdf.h"
#include "wire/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct volume_key key = { .id = 1, .bytes = { 1, 2, 3 } };
static struct delta delta = { .volume = { { 4 } }, .epoch = 1, .seq = 1,
			      .key_id = 1, .salt = { 5 } };
static struct opener *opener;
static EVP_CIPHER_CTX *cipher;
static uint8_t plain[UNIT_MAX_PLAIN_BYTES];

static void must(int ok)
{
	if (!ok)
		abort();
}

static void prepare(void)
{
	uint8_t delta_key[KDF_KEY_BYTES];

	if (opener)
		return;
	must(!kdf_delta_key(&key, &delta, delta_key));
	must(!kdf_commitment(delta_key, delta.commitment));
	cipher = aead_new(delta_key, true);
	opener = opener_new(&key);
	must(cipher && opener);
}

static void from_stranger(const uint8_t *p, size_t n)
{
	struct unit_view v;

	if (unit_parse(p, n, &v))
		return;
	must(v.total_bytes <= n);
	(void)unit_verify_checksum(p, v.total_bytes);
	/* Nobody forges a seal: this would be the find of the century. */
	must(opener_open(opener, &delta, p, v.total_bytes, &v, plain,
			 sizeof(plain)) != 0);
}

static void from_holder(const uint8_t *p, size_t n)
{
	uint8_t unit[UNIT_MAX_BYTES] = { 0 };
	size_t payload = n - 2, fps, total;
	uint32_t count = 1 + p[1] % UNIT_MAX_BLOCKS;
	struct unit_view v;

	fps = count * UNIT_FP_BYTES;
	total = UNIT_HEADER_BYTES + fps + payload + UNIT_TAG_BYTES;
	if (total > sizeof(unit))
		return;
	put_le32(unit, (uint32_t)total);
	unit[4] = p[0] & 3;
	put_le32(unit + 16, count);
	if (unit_parse(unit, total, &v))
		return;
	must(!aead_seal(cipher, &delta, unit, &v, p + 2));
	(void)opener_open(opener, &delta, unit, total, &v, plain,
			  sizeof(plain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	prepare();
	if (size < 1)
		return 0;
	if (data[0] % 2 == 0)
		from_stranger(data + 1, size - 1);
	else if (size >= 4)
		from_holder(data + 1, size - 1);
	return 0;
}
