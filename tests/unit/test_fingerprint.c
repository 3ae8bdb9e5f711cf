// SPDX-License-Identifier: Apache-2.0
/* Fingerprints of blocks, and telling a block that is all zero. */
#include "lib/tap.h"

#include <string.h>

#include "wire/seal.h"

static const struct volume_key key = {
	.id = 1,
	.bytes = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
		   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31 },
};
static const struct uuid volume = { { 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46,
				      0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d,
				      0x4e, 0x4f } };
static uint8_t data[US_BLOCK_BYTES];

static void fill_data(void)
{
	size_t i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 3);
}

static struct fp fp_of(const struct volume_key *k, const struct uuid *v,
		       uint64_t block)
{
	struct fp_ctx *ctx = fp_ctx_new(k, v);
	struct fp fp;

	ASSERT_NOT_NULL(ctx);
	ASSERT_OK(fp_compute(ctx, block, data, &fp));
	fp_ctx_free(ctx);
	return fp;
}

TEST(known_answers_of_a_second_implementation)
{
	/* seal_vectors.py: HKDF and HMAC by Python's hmac and hashlib */
	static const struct {
		uint64_t block;
		uint8_t fp[16];
	} known[] = {
		{ 0,
		  { 0x74, 0xe9, 0x25, 0x70, 0x96, 0x2a, 0x8f, 0x68, 0x4b, 0x9f,
		    0x63, 0x94, 0x4e, 0xc4, 0x47, 0x70 } },
		{ 5,
		  { 0xea, 0x07, 0x93, 0xe0, 0x20, 0xce, 0xfd, 0x04, 0x0e, 0x0a,
		    0x87, 0x6f, 0xba, 0xb6, 0xc9, 0xf9 } },
		{ (1ULL << 51) - 1,
		  { 0x80, 0x23, 0xbe, 0x5f, 0x4c, 0x99, 0x16, 0x76, 0x99, 0xcf,
		    0x98, 0x30, 0x24, 0xe5, 0xd6, 0xbd } },
	};
	struct fp_ctx *ctx;
	struct fp fp;
	size_t i;

	fill_data();
	ctx = fp_ctx_new(&key, &volume);
	ASSERT_NOT_NULL(ctx);
	for (i = 0; i < 3; i++) {
		ASSERT_OK(fp_compute(ctx, known[i].block, data, &fp));
		EXPECT_MEM(fp.b, known[i].fp, 16);
	}
	/* Asked again, the same: nothing is left of the call before. */
	ASSERT_OK(fp_compute(ctx, 0, data, &fp));
	EXPECT_MEM(fp.b, known[0].fp, 16);
	fp_ctx_free(ctx);
}

TEST(everything_that_goes_in_changes_the_fingerprint)
{
	struct volume_key other_key = key;
	struct uuid other_volume = volume;
	struct fp fp, fp2;

	fill_data();
	fp = fp_of(&key, &volume, 5);
	fp2 = fp_of(&key, &volume, 5);
	EXPECT_TRUE(fp_equal(&fp, &fp2));
	fp2 = fp_of(&key, &volume, 6);
	EXPECT_FALSE(fp_equal(&fp, &fp2));
	other_key.bytes[31] ^= 1;
	fp2 = fp_of(&other_key, &volume, 5);
	EXPECT_FALSE(fp_equal(&fp, &fp2));
	other_volume.b[0] ^= 1;
	fp2 = fp_of(&key, &other_volume, 5);
	EXPECT_FALSE(fp_equal(&fp, &fp2));
	data[4095] ^= 0x80;
	fp2 = fp_of(&key, &volume, 5);
	EXPECT_FALSE(fp_equal(&fp, &fp2));
}

TEST(the_reserved_values_are_told_apart)
{
	static const uint8_t zero[16], one[16] = { 1 };

	EXPECT_MEM(fp_unknown.b, zero, 16);
	EXPECT_MEM(fp_zero_block.b, one, 16);
	EXPECT_FALSE(fp_equal(&fp_unknown, &fp_zero_block));
}

TEST(one_set_bit_anywhere_makes_a_block_not_zero)
{
	static uint8_t block[US_BLOCK_BYTES];
	size_t i;

	memset(block, 0, sizeof(block));
	EXPECT_TRUE(block_is_zero(block, sizeof(block)));
	for (i = 0; i < sizeof(block); i++) {
		block[i] = (uint8_t)(1 << i % 8);
		EXPECT_MSG(!block_is_zero(block, sizeof(block)), "byte %zu", i);
		block[i] = 0;
	}
}

TEST(zero_is_told_for_every_length)
{
	static uint8_t bytes[300];
	size_t n;

	for (n = 1; n < sizeof(bytes); n++) {
		memset(bytes, 0, sizeof(bytes));
		bytes[n] = 1;		/* just outside */
		EXPECT_TRUE(block_is_zero(bytes, n));
		bytes[n - 1] = 1;	/* the last one inside */
		EXPECT_FALSE(block_is_zero(bytes, n));
		bytes[n - 1] = 0;
		bytes[0] = 1;
		EXPECT_FALSE(block_is_zero(bytes, n));
	}
	EXPECT_TRUE(block_is_zero(bytes, 0));
}
